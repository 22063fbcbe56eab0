//! Media towards one viewer: which packets leave when, which leave again, and what the viewer says of them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::Rtc;

use super::answer::Chosen;
use super::batch::Batch;
use super::clock::Clock;
use super::connection::Connection;
use super::history::{Asked, History};
use super::outgoing::{Outgoing, Outlet};
use super::pace::{Bitrate, Budget};
use super::way::Carrier;
use crate::stream::WireUnit;
use crate::telemetry::{Direction, Telemetry};
use crate::wire::feedback::{self, Feedback, Lost};
use crate::wire::rtcp::{self, Report, ReportBlock};
use crate::wire::srtp::{Contexts, RtcpOpener, RtcpSealer, RtpSealer};

/// A viewer is told this often how its clocks stand to each other.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Until the viewer has told otherwise.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// When more is missing than this, it is asked whether the group of pictures is the shorter way to the present.
const MANY_MISSING: usize = 64;
/// What is sent again leaves this much faster than the stream flows: two seconds are made up for in an eighth of one.
const CATCH_UP: f64 = 16.0;
const MIN_PACE_BPS: f64 = 4e6;
/// Units that may wait for the pace: the cache is handed over at once.
const MAX_WAITING: usize = 4096;

/// What the viewer wants that its sink has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    /// The picture is lost: the GOP cache again.
    Replay,
}

/// A unit on its way out.
struct Leaving {
    unit: Arc<WireUnit>,
    timestamp: u32,
    /// Its next packet.
    next: usize,
}

pub(super) struct Media {
    rtp: RtpSealer,
    reports: RtcpSealer,
    opener: RtcpOpener,
    pub video: Outgoing,
    pub audio: Option<Outgoing>,
    name: String,
    history: History,
    leaving: VecDeque<Leaving>,
    /// What waits leaves by the budget, not at once.
    is_paced: bool,
    budget: Budget,
    bitrate: Bitrate,
    clock: Clock,
    next_report: Instant,
    round_trip: Duration,
    transport_sequence: u64,
    /// Sequence number of the newest keyframe's first packet.
    keyframe_sequence: u64,
}

impl Media {
    /// None when str0m does not know the streams that it answered with.
    pub fn new(rtc: &mut Rtc, contexts: Contexts, video: Chosen, audio: Option<Chosen>, now: Instant) -> Option<Self> {
        let name = rtc.media(video.mid)?.cname().to_owned();
        let video = Outgoing::new(rtc, video, true)?;
        let audio = audio.and_then(|audio| Outgoing::new(rtc, audio, false));
        Some(Self {
            rtp: contexts.rtp,
            reports: contexts.reports,
            opener: contexts.feedback,
            keyframe_sequence: video.next_sequence(),
            video,
            audio,
            name,
            history: History::new(),
            leaving: VecDeque::new(),
            is_paced: false,
            budget: Budget::new(now),
            bitrate: Bitrate::default(),
            clock: Clock::new(now),
            next_report: now,
            round_trip: ROUND_TRIP,
            transport_sequence: u64::from(rand::random::<u16>()),
        })
    }

    /// Takes a unit of the stream. `replayed`: it comes again, from the cache.
    pub fn unit(&mut self, unit: &Arc<WireUnit>, replayed: bool, link: Line<'_>, now: Instant) {
        if unit.unit.track == self.video.track {
            if !replayed {
                let pts_s = unit.unit.pts as f64 / f64::from(self.video.rate_hz.max(1));
                self.bitrate.see(pts_s, unit.unit.data.len());
                self.clock.see(unit.unit.pts, self.video.rate_hz, now);
            }
            let timestamp = self.video.timestamp(unit.unit.pts, replayed);
            if self.leaving.len() == MAX_WAITING {
                self.leaving.clear();
            }
            self.leaving.push_back(Leaving { unit: unit.clone(), timestamp, next: 0 });
            if !self.is_paced {
                self.pump(link, now);
            }
        } else if !replayed {
            self.sound(unit, link);
        }
    }

    fn sound(&mut self, unit: &WireUnit, line: Line<'_>) {
        let Some(audio) = self.audio.as_mut().filter(|audio| audio.track == unit.unit.track) else { return };
        let timestamp = audio.timestamp(unit.unit.pts, false);
        let mut outlet = Outlet { batch: line.batch, connection: line.connection, sealer: &self.rtp };
        let mut octets = 0;
        for packet in unit.packets() {
            octets +=
                audio.send(&mut outlet, packet, unit.timestamp(), timestamp, None).map_or(0, |(_, octets)| octets);
        }
        line.count(unit.packet_count(), octets);
    }

    /// What follows is the cache once more, at the pace of what is sent again; what was missed before it is let go.
    pub fn begin_replay(&mut self, connection: &Connection) {
        self.history.clear();
        self.leaving.clear();
        // TCP has a pace of its own.
        self.is_paced = connection.route().is_some_and(|route| route.to.carrier == Carrier::Udp);
    }

    /// Sends what it is time for: what was missed first, then what waits.
    pub fn pump(&mut self, line: Line<'_>, now: Instant) {
        let pace = self.pace_bps();
        let mut may_go = self.budget.fill(pace, now);
        let mut outlet = Outlet { batch: line.batch, connection: line.connection, sealer: &self.rtp };
        let (mut packets, mut octets) = (0, 0);
        let mut counter = self.video.counts_transport().then_some(self.transport_sequence);
        while may_go && let Some(again) = self.history.next(now) {
            let number = counter.map(|number| number as u16);
            let sent = self.video.resend(&mut outlet, again.packet, again.own, again.stamp, number);
            let Some((length, is_numbered)) = sent else { break };
            counter = counter.map(|number| number + u64::from(is_numbered));
            (packets, octets) = (packets + 1, octets + length);
            may_go = self.budget.spend(length);
        }
        while let Some(leaving) = self.leaving.front_mut() {
            let Leaving { unit, timestamp, next } = leaving;
            let (skip, own, mut first) = (*next, unit.timestamp(), None);
            if unit.unit.keyframe && skip == 0 {
                self.keyframe_sequence = self.video.next_sequence();
            }
            while (may_go || !self.is_paced)
                && let Some(packet) = unit.packets().get(*next)
            {
                let number = counter.map(|number| number as u16);
                let Some((stamp, length)) = self.video.send(&mut outlet, packet, own, *timestamp, number) else {
                    break;
                };
                counter = counter.map(|number| number + 1);
                first.get_or_insert(stamp);
                *next += 1;
                (packets, octets) = (packets + 1, octets + length);
                if self.is_paced {
                    may_go = self.budget.spend(length);
                }
            }
            if let Some(first) = first {
                self.history.push(unit, skip, *next - skip, first, now);
            }
            if *next < unit.packet_count() && self.is_paced {
                break;
            }
            self.leaving.pop_front();
        }
        // What waited is gone: the stream flows as it comes.
        self.is_paced &= !self.leaving.is_empty();
        self.transport_sequence = counter.unwrap_or(self.transport_sequence);
        line.count(packets, octets);
    }

    /// Opens what the viewer reports and takes it to heart; None when it is not the viewer's.
    pub fn report(&mut self, data: &mut [u8], now: Instant) -> Option<Wish> {
        let report = self.opener.open(data).ok()?;
        let mut wish = Wish::Nothing;
        for raw in rtcp::packets(report) {
            match feedback::read(raw) {
                Some(Feedback::Nack { media_ssrc, lost }) if media_ssrc == self.video.ssrc => {
                    if missed(&mut self.history, &self.video, self.keyframe_sequence, self.round_trip, lost, now) {
                        wish = Wish::Replay;
                    }
                }
                Some(Feedback::Keyframe { media_ssrc }) if media_ssrc == self.video.ssrc => wish = Wish::Replay,
                Some(_) => {}
                None => match rtcp::read(raw) {
                    Report::Sender { blocks, .. } | Report::Receiver { blocks, .. } => {
                        for block in blocks {
                            received(
                                &mut self.video,
                                self.audio.as_mut(),
                                &self.clock,
                                &mut self.round_trip,
                                block,
                                now,
                            );
                        }
                    }
                    Report::Bye { .. } | Report::Other { .. } => {}
                },
            }
        }
        Some(wish)
    }

    /// Tells the viewer how the clocks stand, if it is time.
    pub fn tell(&mut self, line: Line<'_>, now: Instant) {
        if now < self.next_report {
            return;
        }
        self.next_report = now + REPORT_EVERY;
        if let Some(packet) = self.sender_reports(now) {
            self.put(packet, line);
        }
    }

    /// Says goodbye for all streams.
    pub fn bye(&mut self, reason: &str, line: Line<'_>, now: Instant) {
        let mut packet = self.sender_reports(now).unwrap_or_else(|| rtcp::empty_report(self.video.ssrc));
        packet.extend(rtcp::bye(self.video.ssrc, reason));
        if let Some(audio) = &self.audio {
            packet.extend(rtcp::bye(audio.ssrc, reason));
        }
        self.put(packet, line);
    }

    /// When `pump` or `tell` want to be called next.
    pub fn deadline(&self) -> Instant {
        let waits = self.history.waiting() > 0 || (self.is_paced && !self.leaving.is_empty());
        match waits {
            true => self.budget.next(self.pace_bps()).min(self.next_report),
            false => self.next_report,
        }
    }

    fn pace_bps(&self) -> f64 {
        (self.bitrate.bps() * CATCH_UP).max(MIN_PACE_BPS)
    }

    fn sender_reports(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut packet = rtcp::sender_report(self.clock.sender_info(&self.video, now)?, &self.name);
        if let Some(audio) = &self.audio {
            packet.extend(rtcp::sender_report(self.clock.sender_info(audio, now)?, &self.name));
        }
        Some(packet)
    }

    fn put(&mut self, mut packet: Vec<u8>, line: Line<'_>) {
        if let Some(route) = line.connection.route()
            && self.reports.seal(&mut packet).is_ok()
        {
            let write = |bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(&packet);
                Ok::<_, std::convert::Infallible>(())
            };
            let Ok(()) = line.connection.add(line.batch, route, packet.len(), write);
        }
    }
}

/// Where media goes and is counted.
pub(super) struct Line<'a> {
    pub batch: &'a mut Batch,
    pub connection: &'a Connection,
    pub telemetry: &'a Telemetry,
}

impl Line<'_> {
    fn count(&self, packets: usize, octets: usize) {
        if packets > 0 {
            let carrier = self.connection.route().map_or(Carrier::Udp, |route| route.to.carrier);
            self.telemetry.moved(Direction::Out, carrier.protocol(), packets as u64, octets as u64);
        }
    }
}

/// The viewer misses packets. True when the group of pictures from its keyframe on is less than they are.
fn missed(
    history: &mut History,
    video: &Outgoing,
    keyframe_sequence: u64,
    round_trip: Duration,
    lost: Lost<'_>,
    now: Instant,
) -> bool {
    for sequence in lost.sequences().filter_map(|sequence| video.sent_sequence(sequence)) {
        match history.ask(sequence, round_trip, now) {
            Asked::Queued { .. } | Asked::Ignored | Asked::Gone => {}
        }
    }
    let since_keyframe = video.next_sequence() - keyframe_sequence;
    history.waiting() > MANY_MISSING && history.waiting() as u64 > since_keyframe
}

/// How one of our streams reaches the viewer.
fn received(
    video: &mut Outgoing,
    audio: Option<&mut Outgoing>,
    clock: &Clock,
    round_trip: &mut Duration,
    block: ReportBlock,
    now: Instant,
) {
    if block.ssrc == video.ssrc {
        video.is_known();
        if let Some(measured) = clock.round_trip(block.last_sender_report, block.delay_since, now) {
            *round_trip = measured;
        }
    } else if let Some(audio) = audio.filter(|audio| audio.ssrc == block.ssrc) {
        audio.is_known();
    }
}
