//! What is pushed to the hub: an announced description becomes offers, one publisher's packets the stream's units.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tracing::info;

use super::intake::{Arrived, Intake};
use super::offer::{self, Offer};
use crate::error::{Error, ErrorKind, Result};
use crate::stream::Stream;
use crate::telemetry::{Direction, DropReason, Meter, Protocol, SourceKind, Telemetry};
use crate::wire::depay::Packet;
use crate::wire::reception::Reception;
use crate::wire::reorder::{Ordered, Reorder};
use crate::wire::rtcp::{self, Report};
use crate::wire::rtp;
use crate::wire::sdp;

/// One media section that a publisher announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// `a=control`, by which SETUP names it.
    pub control: Option<String>,
    /// Its place among the tracks; None for what is taken and left out.
    pub place: Option<usize>,
}

/// What is carried of that which a publisher announces.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    tracks: Vec<Carried>,
    /// As in `offer::Choice`.
    leaves_sound: bool,
}

#[derive(Clone, Debug)]
struct Carried {
    offer: Offer,
    rate_hz: u32,
}

/// Reads what a publisher announces: the first picture and the first sound that the hub carries; the rest is taken and
/// left out. Errors: SDP_INVALID, CODEC_NOT_CARRIED (InvalidArgument).
pub fn announced(camera: &str, sdp: &[u8]) -> Result<(Vec<Section>, Announced)> {
    let text = String::from_utf8_lossy(sdp);
    let sections = offer::sections(&text);
    if !text.starts_with("v=0") || sections.is_empty() {
        let message = "the body is no session description with media (RFC 4566)";
        return Err(Error::new(ErrorKind::InvalidArgument, "SDP_INVALID", message));
    }
    let choice = offer::choose(&sections)
        .map_err(|failure| Error::new(ErrorKind::InvalidArgument, "CODEC_NOT_CARRIED", failure.message))?;
    if !choice.left.is_empty() {
        info!(camera, media = ?choice.left, "announced media that are not carried");
    }
    let place = |number: usize| choice.offers.iter().position(|(place, _)| *place == number);
    let told = sections
        .iter()
        .enumerate()
        .map(|(number, section)| Section { control: section.control.map(str::to_owned), place: place(number) });
    let told = told.collect();
    let rate = |place: usize| sections.get(place).map_or(0, |section| section.rate_hz);
    let leaves_sound = choice.leaves_sound || sdp::leaves_sound(&text);
    let tracks = choice.offers.into_iter().map(|(place, offer)| Carried { offer, rate_hz: rate(place) }).collect();
    Ok((told, Announced { tracks, leaves_sound }))
}

/// One publisher's media on its way into the stream. Packets of a track come to its place among those announced.
pub struct Push {
    telemetry: Arc<Telemetry>,
    kind: SourceKind,
    protocol: Protocol,
    link: Option<Meter>,
    intake: Intake,
    tracks: Vec<Receiving>,
    began: Instant,
    last_picture: Instant,
    is_live: bool,
    /// Of the reports that go back.
    ssrc: u32,
    /// Packets, octets and payload octets that are not counted yet.
    moved: (u64, u64, u64),
}

struct Receiving {
    /// For what comes by datagram.
    reorder: Option<Reorder<Held>>,
    sender: Option<u32>,
    reception: Reception,
}

struct Held {
    header: rtp::Header,
    payload: Vec<u8>,
}

impl Push {
    /// `link`: where another hub pushes. `patience`: packets may come in any order, and a missing one is waited for so long.
    pub fn new(
        stream: Arc<Stream>,
        announced: &Announced,
        (kind, protocol): (SourceKind, Protocol),
        link: Option<Meter>,
        patience: Option<Duration>,
        telemetry: Arc<Telemetry>,
        now: Instant,
    ) -> Self {
        let mut intake = Intake::new(stream, telemetry.clone());
        let Announced { tracks, leaves_sound } = announced;
        intake.restart(tracks.iter().map(|track| track.offer.clone()), *leaves_sound);
        let receiving = |track: &Carried| Receiving {
            reorder: patience.map(Reorder::new),
            sender: None,
            reception: Reception::new(track.rate_hz),
        };
        let tracks = tracks.iter().map(receiving).collect();
        let (began, last_picture) = (now, now);
        let ssrc = rand::random();
        let (is_live, moved) = (false, (0, 0, 0));
        Self { telemetry, kind, protocol, link, intake, tracks, began, last_picture, is_live, ssrc, moved }
    }

    /// When the last complete picture came, or the push began.
    pub fn last_picture(&self) -> Instant {
        self.last_picture
    }

    /// Whether pictures are held back until a keyframe comes.
    pub fn waits_for_keyframe(&self) -> bool {
        self.intake.waits_for_keyframe()
    }

    /// The publisher comes another way now: what came so far counts for the way that it took.
    pub fn comes_by(&mut self, protocol: Protocol) {
        if self.protocol != protocol {
            self.count();
            self.protocol = protocol;
        }
    }

    /// Takes an RTP packet as it came.
    pub fn rtp(&mut self, place: usize, data: &[u8], now: Instant) {
        match rtp::Packet::parse(data) {
            Some(rtp::Packet { header, payload }) => {
                self.received(place, header, payload, now);
            }
            None => {
                self.telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
            }
        }
    }

    /// Takes an RTP packet whose header has been read. True when it brought a keyframe.
    pub fn received(&mut self, place: usize, header: rtp::Header, payload: &[u8], now: Instant) -> bool {
        self.moved.0 += 1;
        self.moved.1 += (rtp::HEADER_LEN + payload.len()) as u64;
        self.moved.2 += payload.len() as u64;
        let at = now.saturating_duration_since(self.began);
        let Some(track) = self.tracks.get_mut(place) else { return false };
        track.reception.packet(header.ssrc, header.sequence, header.timestamp, at);
        let is_new = track.sender.replace(header.ssrc).is_some_and(|known| known != header.ssrc);
        let Some(reorder) = &mut track.reorder else { return self.packet(place, header, payload, at) };
        let mut released = Vec::new();
        if is_new {
            reorder.restart(|one| released.push(one));
        }
        // After a new beginning nothing passes, so that what was released goes first.
        if let Some(sequence) = reorder.passes(header.sequence) {
            return self.packet(place, rtp::Header { sequence, ..header }, payload, at);
        }
        let held = Held { header, payload: payload.to_vec() };
        reorder.push(header.sequence, held, payload.len(), at, |one| released.push(one));
        self.release(place, released)
    }

    /// Takes an RTCP packet of the track: its sender reports say how picture and sound belong together.
    pub fn rtcp(&mut self, place: usize, data: &[u8], now: Instant) {
        let at = now.saturating_duration_since(self.began);
        for report in rtcp::parse(data) {
            if let Report::Sender { info, .. } = report {
                self.intake.sender_report(place, info.rtp_timestamp, info.ntp);
                if let Some(track) = self.tracks.get_mut(place) {
                    track.reception.sender_report(&info, at);
                }
            }
        }
    }

    /// Takes what a sender report says of the track, where another has read it.
    pub fn sender_report(&mut self, place: usize, stamp: u32, ntp: u64) {
        self.intake.sender_report(place, stamp, ntp);
    }

    /// The end of a batch, or of the time that a missing packet is waited for.
    pub fn settle(&mut self, now: Instant) {
        let at = now.saturating_duration_since(self.began);
        for place in 0..self.tracks.len() {
            let mut released = Vec::new();
            if let Some(reorder) = self.tracks.get_mut(place).and_then(|track| track.reorder.as_mut()) {
                reorder.expire(at, |one| released.push(one));
            }
            self.release(place, released);
        }
        self.count();
    }

    /// Moves what has come into the counters.
    fn count(&mut self) {
        let (packets, octets, payload_octets) = std::mem::take(&mut self.moved);
        if packets > 0 {
            self.telemetry.moved(Direction::In, self.protocol, packets, octets);
            if let Some(link) = &self.link {
                link.add(payload_octets);
            }
        }
    }

    /// When `settle` is to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = self.tracks.iter().filter_map(|track| track.reorder.as_ref()?.deadline()).min();
        waits.map(|wait| self.began + wait)
    }

    /// A receiver report for the track; None before its first packet.
    pub fn report(&mut self, place: usize, now: Instant) -> Option<Vec<u8>> {
        let at = now.saturating_duration_since(self.began);
        let block = self.tracks.get_mut(place)?.reception.block(at)?;
        Some(rtcp::receiver_report(self.ssrc, &[block], "vidhub"))
    }

    fn release(&mut self, place: usize, released: Vec<Ordered<Held>>) -> bool {
        let mut keyframe = false;
        for one in released {
            let header = rtp::Header { sequence: one.sequence, ..one.packet.header };
            keyframe |= self.packet(place, header, &one.packet.payload, one.at);
        }
        keyframe
    }

    fn packet(&mut self, place: usize, header: rtp::Header, payload: &[u8], at: Duration) -> bool {
        let rtp::Header { sequence, timestamp, marker, payload_type, .. } = header;
        let packet = Packet { sequence, timestamp, marker, payload };
        let brought = self.intake.take(place, Arrived { payload_type, packet, at });
        if brought.picture {
            self.last_picture = self.began + at;
        }
        if brought.keyframe && !self.is_live {
            self.is_live = true;
            self.telemetry.streams(self.kind).fetch_add(1, Relaxed);
        }
        brought.keyframe
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        if self.is_live {
            self.telemetry.streams(self.kind).fetch_sub(1, Relaxed);
        }
        self.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamLimits;

    #[test]
    fn sound_that_a_publisher_has_and_the_hub_leaves_out_is_noticed() {
        let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
        let leaves_sound = |more: &str| announced("c", format!("{sdp}{more}").as_bytes()).unwrap().1.leaves_sound;
        assert!(!leaves_sound("") && !leaves_sound("m=audio 0 RTP/AVP 8\r\n"));
        assert!(leaves_sound("m=audio 0 RTP/AVP 97\r\na=rtpmap:97 G726-32/8000\r\n"));
        assert!(leaves_sound(&sdp::leaves_sound_line()), "a hub that pushes says so of its camera");
    }

    #[test]
    fn what_comes_is_counted_for_the_way_that_it_takes() {
        let telemetry = Arc::new(Telemetry::default());
        let sdp =
            b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n";
        let (_, announced) = announced("c", sdp).unwrap();
        let stream = Stream::new("c/main".into(), StreamLimits { gop_cache_bytes: 1 << 20 }, telemetry.clone());
        let ways = (SourceKind::Whip, Protocol::WebrtcUdp);
        let mut push = Push::new(stream, &announced, ways, None, None, telemetry.clone(), Instant::now());
        let mut sequence = 0;
        let mut send = |push: &mut Push, packets: u16| {
            for _ in 0..packets {
                sequence += 1;
                let header = rtp::Header { marker: true, payload_type: 96, sequence, timestamp: 0, ssrc: 7 };
                push.rtp(0, &[&header.to_bytes()[..], &[0x09, 0xf0]].concat(), Instant::now());
            }
        };
        send(&mut push, 3);
        push.comes_by(Protocol::WebrtcTcp);
        send(&mut push, 2);
        drop(push);
        let packets = |protocol| telemetry.flow(Direction::In, protocol).packets.load(Relaxed);
        assert_eq!((packets(Protocol::WebrtcUdp), packets(Protocol::WebrtcTcp)), (3, 2));
    }
}
