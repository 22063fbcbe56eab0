//! From a camera's packets to the stream's access units: one depacketiser a track, one timeline for all.
//!
//! A picture with a missing part is never delivered, and neither are those that refer to it: after a loss the stream
//! goes on at the next keyframe. Viewers see a short standstill instead of smear, and who joins meanwhile is not
//! handed a broken group of pictures.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::offer::Offer;
use crate::media::timeline::{Clock, Timeline};
use crate::media::{AccessUnit, Codec, CodecParameters, MediaKind, Track};
use crate::stream::{Described, Stream};
use crate::telemetry::{DropReason, Telemetry};
use crate::wire::aac;
use crate::wire::depay::{Depacketiser, Event, Events, Loss, Packet};
use crate::wire::h264::H264;
use crate::wire::h265::H265;
use crate::wire::nal::NalFormat;
use crate::wire::opus;
use crate::wire::unit_builder::PictureUnit;

/// Samples of one AAC frame (ISO 14496-3; 960 is for broadcast).
const AAC_FRAME: u32 = 1024;
/// Of H.264 and H.265 (RFC 6184 §8.2.1, RFC 7798 §7.1).
const VIDEO_CLOCK_HZ: u32 = 90_000;
/// Comfort noise (RFC 3389) comes on the track's own channel and is no sound of its codec.
const COMFORT_NOISE: u8 = 13;

/// What one packet brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// A complete picture, delivered or not.
    pub picture: bool,
    /// A keyframe was delivered.
    pub keyframe: bool,
}

/// Takes the packets of one source, over all its connections.
pub struct Intake {
    stream: Arc<Stream>,
    telemetry: Arc<Telemetry>,
    /// How far another source had brought the stream's time when this one began.
    start: Option<Duration>,
    timeline: Option<Timeline>,
    tracks: Vec<TrackIntake>,
    described: Described,
    /// The source has sound that the hub does not carry.
    leaves_sound: bool,
    /// Until the next keyframe, pictures refer to something that is missing.
    waits_for_keyframe: bool,
    /// Delivery began, or went on, at the last keyframe: what leans on pictures before it can't be decoded.
    began_at_keyframe: bool,
}

enum TrackIntake {
    H264(Box<Depacketiser<H264>>),
    H265(Box<Depacketiser<H265>>),
    Aac { depacketiser: aac::Depacketiser, follow: Follow, track: Track },
    G711 { follow: Follow, track: Track },
    Opus { clock: opus::Clock, follow: Follow, track: Track },
}

/// What a packet gave of a track with pictures, and what is known of the track after it.
struct Given {
    events: Events,
    reorder_depth: u32,
    /// Known when there is a keyframe among the events.
    parameters: Option<CodecParameters>,
}

impl Given {
    fn by<F: NalFormat>(depacketiser: &mut Depacketiser<F>, packet: Packet<'_>) -> Self {
        let events = depacketiser.push(packet);
        let sets = &depacketiser.sets;
        let has_keyframe = events.iter().any(|event| matches!(event, Event::Unit(unit) if unit.keyframe));
        let parameters = if has_keyframe { sets.parameters() } else { None };
        Self { reorder_depth: sets.reorder_depth(), parameters, events }
    }
}

/// One RTP packet of the track with this place among the offers.
#[derive(Clone, Copy)]
pub struct Arrived<'a> {
    pub payload_type: u8,
    pub packet: Packet<'a>,
    /// Counts from the moment that the intake was made.
    pub at: Duration,
}

impl Intake {
    /// Times of arrival count from this moment.
    pub fn new(stream: Arc<Stream>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            start: stream.time(),
            stream,
            telemetry,
            timeline: None,
            tracks: Vec::new(),
            described: Described::default(),
            leaves_sound: false,
            waits_for_keyframe: true,
            began_at_keyframe: true,
        }
    }

    /// Whether pictures are held back until a keyframe comes: at the beginning, and after a loss.
    pub fn waits_for_keyframe(&self) -> bool {
        self.waits_for_keyframe
    }

    /// How often the camera's stamps could not be used.
    pub fn rebased(&self) -> u64 {
        self.timeline.as_ref().map_or(0, Timeline::rebased)
    }

    /// The source is connected (again): packets count anew, the stream's time goes on. `leaves_sound`: as in `Choice`.
    pub fn restart(&mut self, offers: impl IntoIterator<Item = Offer>, leaves_sound: bool) {
        self.leaves_sound = leaves_sound;
        self.tracks = offers.into_iter().map(TrackIntake::new).collect();
        let clocks: Vec<Clock> = self.tracks.iter().map(TrackIntake::clock).collect();
        match &mut self.timeline {
            Some(timeline) => timeline.restart(&clocks),
            None => {
                self.timeline = Some(match self.start {
                    Some(start) => Timeline::going_on(&clocks, start),
                    None => Timeline::new(&clocks),
                });
            }
        }
        self.waits_for_keyframe = true;
    }

    pub fn sender_report(&mut self, track: usize, stamp: u32, ntp: u64) {
        if let Some(timeline) = &mut self.timeline {
            timeline.sender_report(track, stamp, ntp);
        }
    }

    pub fn take(&mut self, place: usize, arrived: Arrived<'_>) -> Brought {
        let packet = arrived.packet;
        match self.tracks.get_mut(place) {
            None => {}
            Some(TrackIntake::H264(depacketiser)) => {
                let given = Given::by(depacketiser, packet);
                return self.pictures(place, given, arrived.at);
            }
            Some(TrackIntake::H265(depacketiser)) => {
                let given = Given::by(depacketiser, packet);
                return self.pictures(place, given, arrived.at);
            }
            Some(TrackIntake::Aac { depacketiser, follow, .. }) => {
                if !follow.next(packet.sequence) {
                    depacketiser.lost();
                    self.telemetry.dropped(DropReason::SourceGap).fetch_add(1, Relaxed);
                }
                match depacketiser.push(packet.timestamp, packet.payload) {
                    Some(frames) => {
                        for (number, frame) in frames {
                            let stamp = packet.timestamp.wrapping_add(number.wrapping_mul(AAC_FRAME));
                            self.sound(place, stamp, frame, arrived.at);
                        }
                    }
                    None => {
                        self.telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
                    }
                }
            }
            Some(TrackIntake::G711 { follow, .. }) => {
                if !follow.next(packet.sequence) {
                    self.telemetry.dropped(DropReason::SourceGap).fetch_add(1, Relaxed);
                }
                if arrived.payload_type != COMFORT_NOISE && !packet.payload.is_empty() {
                    self.sound(place, packet.timestamp, Bytes::copy_from_slice(packet.payload), arrived.at);
                }
            }
            Some(TrackIntake::Opus { clock, follow, .. }) => {
                let follows = follow.next(packet.sequence);
                if !follows {
                    self.telemetry.dropped(DropReason::SourceGap).fetch_add(1, Relaxed);
                }
                match opus::Toc::read(packet.payload) {
                    Some(toc) => {
                        let stamp = clock.stamp(packet.timestamp, toc, follows);
                        self.sound(place, stamp, Bytes::copy_from_slice(packet.payload), arrived.at);
                    }
                    None => {
                        self.telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
                    }
                }
            }
        }
        Brought::default()
    }

    fn pictures(&mut self, place: usize, given: Given, at: Duration) -> Brought {
        let mut brought = Brought::default();
        for event in given.events {
            match event {
                Event::Unit(unit) => {
                    brought.picture = true;
                    brought.keyframe |= self.picture(place, unit, at, given.reorder_depth, given.parameters.as_ref());
                }
                Event::Lost(loss) => self.lost(loss),
            }
        }
        brought
    }

    fn lost(&mut self, loss: Loss) {
        let reason = match loss {
            Loss::Gap => DropReason::SourceGap,
            Loss::Malformed | Loss::TooLarge => DropReason::Malformed,
        };
        self.telemetry.dropped(reason).fetch_add(1, Relaxed);
        self.waits_for_keyframe = true;
    }

    /// True when a keyframe was delivered.
    fn picture(
        &mut self,
        place: usize,
        unit: PictureUnit,
        at: Duration,
        depth: u32,
        parameters: Option<&CodecParameters>,
    ) -> bool {
        if self.waits_for_keyframe && !unit.keyframe {
            // Before the first keyframe nothing is missed.
            if !self.described.tracks.is_empty() {
                self.telemetry.dropped(DropReason::SourceGap).fetch_add(1, Relaxed);
            }
            self.stream.holds_back();
            return false;
        }
        if unit.keyframe {
            self.began_at_keyframe = self.waits_for_keyframe;
        } else if unit.is_leaning && self.began_at_keyframe {
            return false;
        }
        if let (true, Some(parameters)) = (unit.keyframe, parameters) {
            self.describe(place, parameters);
        }
        self.waits_for_keyframe = false;
        let stamps = self.timeline.as_mut().and_then(|timeline| timeline.place(place, unit.timestamp, at, depth));
        let Some(stamps) = stamps else { return false };
        let keyframe = unit.keyframe;
        self.stream.publish(AccessUnit {
            track: place,
            pts: stamps.pts,
            dts: stamps.dts,
            keyframe,
            data: unit.data,
            nals: unit.nals,
        });
        keyframe
    }

    fn sound(&mut self, place: usize, stamp: u32, data: Bytes, at: Duration) {
        // The stream is described by its first keyframe; sound before that has nothing to belong to, and after a
        // reconnection it may be none of the sound that is described.
        if self.described.tracks.get(place) != self.tracks.get(place).and_then(TrackIntake::track) {
            return;
        }
        let Some(stamps) = self.timeline.as_mut().and_then(|timeline| timeline.place(place, stamp, at, 0)) else {
            return;
        };
        self.stream.publish(AccessUnit {
            track: place,
            pts: stamps.pts,
            dts: stamps.dts,
            keyframe: true,
            data,
            nals: SmallVec::new(),
        });
    }

    fn describe(&mut self, place: usize, parameters: &CodecParameters) {
        let tracks: Vec<Track> = self
            .tracks
            .iter()
            .enumerate()
            .filter_map(|(at, track)| {
                let picture = |codec| {
                    let parameters = parameters.clone();
                    (at == place).then_some(Track { codec, clock_rate_hz: VIDEO_CLOCK_HZ, parameters })
                };
                match track {
                    TrackIntake::H264(_) => picture(Codec::H264),
                    TrackIntake::H265(_) => picture(Codec::H265),
                    TrackIntake::Aac { track, .. }
                    | TrackIntake::G711 { track, .. }
                    | TrackIntake::Opus { track, .. } => Some(track.clone()),
                }
            })
            .collect();
        let described = Described { tracks, leaves_sound: self.leaves_sound };
        if described != self.described {
            self.stream.describe(described.clone());
            self.described = described;
        }
    }
}

impl TrackIntake {
    fn new(offer: Offer) -> Self {
        match offer {
            Offer::H264(sets) => Self::H264(Box::new(Depacketiser::new(sets))),
            Offer::H265(sets) => Self::H265(Box::new(Depacketiser::new(sets))),
            Offer::Aac { config, channels, rate_hz } => Self::Aac {
                depacketiser: aac::Depacketiser::default(),
                follow: Follow::default(),
                track: Track {
                    codec: Codec::Aac,
                    clock_rate_hz: rate_hz,
                    parameters: CodecParameters::Aac { config, channels },
                },
            },
            Offer::G711 { codec, channels, rate_hz } => Self::G711 {
                follow: Follow::default(),
                track: Track { codec, clock_rate_hz: rate_hz, parameters: CodecParameters::G711 { channels } },
            },
            Offer::Opus { channels } => Self::Opus {
                clock: opus::Clock::default(),
                follow: Follow::default(),
                track: Track {
                    codec: Codec::Opus,
                    clock_rate_hz: opus::CLOCK_HZ,
                    parameters: CodecParameters::Opus { channels },
                },
            },
        }
    }

    /// What SDP has told in full.
    fn track(&self) -> Option<&Track> {
        match self {
            Self::H264(_) | Self::H265(_) => None,
            Self::Aac { track, .. } | Self::G711 { track, .. } | Self::Opus { track, .. } => Some(track),
        }
    }

    fn clock(&self) -> Clock {
        match self {
            Self::H264(_) | Self::H265(_) => Clock { kind: MediaKind::Video, rate_hz: VIDEO_CLOCK_HZ },
            Self::Aac { track, .. } | Self::G711 { track, .. } | Self::Opus { track, .. } => {
                Clock { kind: MediaKind::Audio, rate_hz: track.clock_rate_hz }
            }
        }
    }
}

/// Sequence numbers of a track whose packets stand each for itself.
#[derive(Default)]
struct Follow(Option<u16>);

impl Follow {
    /// Whether the packet follows the one before it.
    fn next(&mut self, sequence: u16) -> bool {
        let follows = self.0.is_none_or(|expected| expected == sequence);
        self.0 = Some(sequence.wrapping_add(1));
        follows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamLimits;
    use crate::wire::h264::samples::{PPS, SPS};
    use crate::wire::parameter_sets::ParameterSets;

    struct Bench {
        stream: Arc<Stream>,
        intake: Intake,
        sequence: u16,
    }

    impl Bench {
        fn new() -> Self {
            let telemetry = Arc::new(Telemetry::default());
            let stream = Stream::new("c/main".into(), StreamLimits { gop_cache_bytes: 1 << 20 }, telemetry.clone());
            Self { intake: Intake::new(stream.clone(), telemetry), stream, sequence: 0 }
        }

        fn restart(&mut self, sound: Offer) {
            self.intake.restart([Offer::H264(ParameterSets::default()), sound], false);
        }

        fn take(&mut self, place: usize, marker: bool, payload: &[u8], at_ms: u64) {
            let packet = Packet { sequence: self.sequence, timestamp: 90 * at_ms as u32, marker, payload };
            self.sequence += u16::from(place == 0);
            self.intake.take(place, Arrived { payload_type: 96, packet, at: Duration::from_millis(at_ms) });
        }

        fn keyframe(&mut self, at_ms: u64) {
            for (marker, nal) in [(false, SPS), (false, PPS), (true, &[0x65, 0x88, 1, 2][..])] {
                self.take(0, marker, nal, at_ms);
            }
        }

        fn last(&self) -> AccessUnit {
            self.stream.cached().pop().unwrap().unit.clone()
        }
    }

    fn telephone() -> Offer {
        Offer::G711 { codec: Codec::Pcma, channels: 1, rate_hz: 8_000 }
    }

    #[test]
    fn a_source_that_takes_over_goes_on_in_the_streams_time() {
        let mut bench = Bench::new();
        bench.restart(telephone());
        (0..10).for_each(|second| bench.keyframe(second * 1_000));
        let before = bench.last();
        assert_eq!(before.dts, 9 * 90_000);
        let Bench { stream, .. } = bench;
        stream.report(crate::stream::SourceState::Idle);
        let intake = Intake::new(stream.clone(), Arc::new(Telemetry::default()));
        let mut other = Bench { stream, intake, sequence: 0 };
        other.restart(telephone());
        other.keyframe(500);
        let step = other.last().dts - before.dts;
        assert!((90_000..2 * 90_000).contains(&step), "{step}");
    }

    #[test]
    fn who_joins_is_told_of_sound_as_it_is_since_the_camera_came_back() {
        let mut bench = Bench::new();
        let mut told = |leaves_sound: bool, at_ms: u64| {
            bench.intake.restart([Offer::H264(ParameterSets::default())], leaves_sound);
            bench.keyframe(at_ms);
            let description = bench.stream.description().unwrap();
            (description.silence(), description.generation)
        };
        assert_eq!(told(false, 0), ("NO_SOUND", 0));
        assert_eq!(told(true, 1_000), ("SOUND_NOT_CARRIED", 0), "the pictures are the same: whoever watches goes on");
        assert_eq!(told(true, 2_000), ("SOUND_NOT_CARRIED", 0));
        bench.restart(telephone());
        bench.keyframe(3_000);
        assert_eq!(bench.stream.description().unwrap().generation, 1);
        bench.intake.restart([Offer::H264(ParameterSets::default())], true);
        bench.keyframe(4_000);
        let description = bench.stream.description().unwrap();
        assert_eq!((description.silence(), description.generation), ("SOUND_NOT_CARRIED", 2));
    }

    #[test]
    fn sound_of_another_kind_waits_until_it_is_described() {
        let mut bench = Bench::new();
        bench.restart(telephone());
        bench.keyframe(0);
        bench.take(1, true, &[0xd5; 160], 20);
        assert_eq!(bench.last().track, 1);
        let shown = bench.stream.cached().len();
        bench.restart(Offer::Opus { channels: 1 });
        bench.take(1, true, &[0xfc, 1, 2], 40);
        assert_eq!(bench.stream.cached().len(), shown, "no player of the one can play the other");
        bench.keyframe(1_000);
        bench.take(1, true, &[0xfc, 1, 2], 1_020);
        assert_eq!((bench.last().track, bench.stream.description().unwrap().tracks[1].codec), (1, Codec::Opus));
    }
}
