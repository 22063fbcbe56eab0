//! Media towards one viewer: which packets leave when, which leave again, and what the viewer says of them.

mod probing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use str0m::Rtc;

use super::answer::Chosen;
use super::batch::Batch;
use super::clock::Clock;
use super::connection::Connection;
use super::crowd::Newcomer;
use super::history::{Asked, History};
use super::link::Link;
use super::outgoing::{Outgoing, Outlet};
use super::pace::{Bitrate, Budget};
use super::probe::Probe;
use super::rate::{Change, Rate};
use super::way::Carrier;
use crate::media::Profile;
use crate::stream::WireUnit;
use crate::telemetry::{Direction, DropReason, Telemetry};
use crate::wire::feedback::{self, Feedback, Lost};
use crate::wire::rtcp::{self, Report, ReportBlock};
use crate::wire::srtp::{Contexts, RtcpOpener, RtcpSealer, RtpSealer};
use probing::Keyframes;

/// A viewer is told this often how its clocks stand to each other.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Until the viewer has told otherwise.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// When more is missing than this, it is asked whether the group of pictures is the shorter way to the present.
const MANY_MISSING: usize = 64;
/// What is live leaves at once up to so many octets, which the socket of any viewer has room for (Linux: 208 KiB, of which
/// a datagram takes 2.3); the rest of a large picture, or of the cache at the start, so much faster than the stream flows.
const AT_ONCE: f64 = 48.0 * 1024.0;
const HURRY: f64 = 16.0;
const MIN_HURRY_BPS: f64 = 16e6;
/// Units that may wait for the pace: the cache is handed over at once.
const MAX_WAITING: usize = 4096;

/// What the viewer wants that its sink has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    /// The picture is lost: the GOP cache again.
    Replay,
    /// The link takes less than it is given.
    Change(Change),
}

/// How old a unit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// It comes as the camera sent it, or is part of the cache that the viewer begins with.
    Present,
    /// It is in the cache of the stream that the viewer goes over to: it lies before the present.
    Past,
    /// It was sent before.
    Again,
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
    /// What waits leaves by the budget of what is sent again.
    is_paced: bool,
    /// Until what the viewer begins with has left.
    newcomer: Option<Newcomer>,
    /// For what is sent again, and for what is paced.
    budget: Budget,
    /// For what is live.
    burst: Budget,
    bitrate: Bitrate,
    clock: Clock,
    next_report: Instant,
    round_trip: Duration,
    link: Link,
    rate: Rate,
    /// While a narrow link is asked whether it takes more.
    probe: Option<Probe>,
    keyframes: Keyframes,
    /// Of the newest.
    keyframe_octets: usize,
    /// What the sink is still to be told.
    change: Option<(Change, Instant)>,
    /// Nothing is sent before the next keyframe.
    is_skipping: bool,
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
            newcomer: None,
            budget: Budget::new(now, 0.0),
            burst: Budget::new(now, AT_ONCE),
            bitrate: Bitrate::default(),
            clock: Clock::new(now),
            next_report: now,
            round_trip: ROUND_TRIP,
            link: Link::new(now),
            rate: Rate::new(now),
            probe: None,
            keyframes: Keyframes::default(),
            keyframe_octets: 0,
            change: None,
            is_skipping: false,
            transport_sequence: u64::from(rand::random::<u16>()),
        })
    }

    /// Takes a unit of the stream.
    pub fn unit(&mut self, unit: &Arc<WireUnit>, age: Age, line: Line<'_>, now: Instant) {
        if self.video.track != Some(unit.unit.track) {
            if age == Age::Present {
                self.sound(unit, line, now);
            }
            return;
        }
        if age != Age::Again {
            let pts_s = unit.unit.pts as f64 / f64::from(self.video.rate_hz.max(1));
            self.bitrate.see(pts_s, unit.unit.data.len());
        }
        if age == Age::Present {
            self.clock.see(unit.unit.pts, self.video.rate_hz, now);
            if unit.unit.keyframe {
                self.keyframes.see(now);
                self.keyframe_octets = unit.unit.data.len();
            }
        }
        let is_taken = match (self.is_skipping || self.rate.is_narrow(), unit.unit.keyframe) {
            (false, _) => true,
            (true, false) => false,
            // One that is still on its way is not overtaken.
            (true, true) => !self.rate.is_narrow() || self.leaving.is_empty(),
        };
        if !is_taken {
            line.telemetry.dropped(DropReason::SlowViewer).fetch_add(1, Relaxed);
            return;
        }
        self.is_skipping = false;
        if unit.unit.keyframe && age == Age::Present {
            self.keyframes.took(now);
        }
        self.is_paced |= self.rate.is_narrow();
        if self.leaving.len() == MAX_WAITING {
            self.leaving.clear();
        }
        let timestamp = self.video.timestamp(unit.unit.pts, age != Age::Present, now);
        self.leaving.push_back(Leaving { unit: unit.clone(), timestamp, next: 0 });
        if !self.is_paced {
            self.pump(line, now);
        }
    }

    /// What was taken is the cache that the viewer begins with, as the newcomer that it was until now or again: what of it
    /// waits leaves as others' does.
    pub fn catches_up(&mut self, newcomer: Option<Newcomer>, connection: &Connection) {
        if !self.leaving.is_empty() && self.newcomer.is_none() {
            let newcomer = newcomer.unwrap_or_else(|| Newcomer::new(connection.place.crowd()));
            self.newcomer.insert(newcomer).begins();
        }
    }

    fn sound(&mut self, unit: &WireUnit, line: Line<'_>, now: Instant) {
        let Some(audio) = self.audio.as_mut().filter(|audio| audio.track == Some(unit.unit.track)) else { return };
        let timestamp = audio.timestamp(unit.unit.pts, false, now);
        let mut outlet = Outlet::new(line.batch, line.connection, &self.rtp);
        let mut octets = 0;
        for packet in unit.packets() {
            octets +=
                audio.send(&mut outlet, packet, unit.timestamp(), timestamp, None).map_or(0, |(_, octets)| octets);
        }
        line.count(unit.packet_count(), octets);
    }

    /// What follows is described anew. What was sent in another format can't be sent again: it would not be the same.
    pub fn change_format(&mut self, rtc: &Rtc, chosen: Chosen) {
        if chosen.codec != self.video.codec {
            self.history.clear();
            self.leaving.clear();
        }
        self.video.change_format(rtc, chosen);
    }

    /// Whether the cache would be an answer to a viewer that has lost its picture. On a narrow link the keyframe that is on
    /// its way is one, which a second one would only hold up; and so is the next, where the last is not through before it.
    pub fn may_replay(&self, now: Instant) -> bool {
        let lasts =
            Duration::try_from_secs_f64(self.keyframe_octets as f64 * 8.0 / self.pace_bps()).unwrap_or(Duration::MAX);
        !self.rate.is_narrow() || self.leaving.is_empty() && self.keyframes.leave_room(lasts, now)
    }

    /// What follows is the cache once more, at the pace of what is sent again; what was missed before it is let go.
    pub fn begin_replay(&mut self, connection: &Connection) {
        self.history.clear();
        self.leaving.clear();
        self.is_paced = connection.route().is_some_and(|route| route.to.carrier == Carrier::Udp);
    }

    /// What follows is another stream, its cache first.
    pub fn begin_stream(&mut self, connection: &Connection, profile: Profile, now: Instant) {
        self.begin_replay(connection);
        match profile {
            Profile::Sub => self.rate.lowered(now),
            Profile::Main => self.rate.raised(now),
        }
        self.is_skipping = false;
        (self.probe, self.keyframes) = (None, Keyframes::default());
        self.bitrate.clear();
        self.clock.restart();
        self.link.restart(now);
        self.video.change_timeline();
        if let Some(audio) = &mut self.audio {
            audio.change_timeline();
        }
    }

    /// Time passes: what follows for what is sent.
    pub fn pass(&mut self, now: Instant) -> Option<Change> {
        let told = self.change.take().map(|(change, _)| change).or_else(|| self.judge_probe(now));
        match self.rate.pass(now) {
            Some(Change::MayOpen) => {
                self.begin_probe(now);
                told
            }
            passed => told.or(passed),
        }
    }

    /// Sends what it is time for: what was missed first, then what waits, then what a link is asked with.
    pub fn pump(&mut self, mut line: Line<'_>, now: Instant) {
        self.send_due(line.again(), now);
        self.probe(line, now);
    }

    fn send_due(&mut self, line: Line<'_>, now: Instant) {
        let pace = self.pace_bps();
        let is_narrow = self.rate.is_narrow();
        let mut may_go = if is_narrow { self.budget.make_up(pace, now) } else { self.budget.fill(pace, now) };
        if self.leaving.is_empty() && self.history.waiting() == 0 {
            (self.is_paced, self.newcomer) = (false, None);
            return;
        }
        let mut outlet = Outlet::new(line.batch, line.connection, &self.rtp);
        let (mut packets, mut octets) = (0, 0);
        // What the link is judged by; the numbers of these packets follow each other.
        let mut judged = SmallVec::<[u16; 64]>::new();
        let first_number = self.video.counts_transport().then_some(self.transport_sequence);
        let mut counter = first_number;
        while may_go && let Some(again) = self.history.next(now) {
            let number = counter.map(|number| number as u16);
            let sent = self.video.resend(&mut outlet, again.packet, again.own, again.stamp, number);
            let Some((length, is_numbered)) = sent else { break };
            if is_numbered {
                judged.push(again.packet.payload_len() as u16);
                counter = counter.map(|number| number + 1);
            }
            (packets, octets) = (packets + 1, octets + length);
            may_go = self.budget.spend(length);
        }
        // TCP has a pace of its own.
        let is_udp = line.connection.route().is_some_and(|route| route.to.carrier == Carrier::Udp);
        let is_bounded = self.is_paced || is_udp;
        if let Some(own) = &mut self.newcomer {
            own.pass(now);
        }
        let hurry = self.hurry_bps();
        if !self.is_paced && !self.leaving.is_empty() {
            may_go = self.burst.fill(hurry, now);
        }
        while let Some(leaving) = self.leaving.front_mut() {
            let Leaving { unit, timestamp, next } = leaving;
            let (skip, own, mut first) = (*next, unit.timestamp(), None);
            if unit.unit.keyframe && skip == 0 {
                self.keyframe_sequence = self.video.next_sequence();
            }
            while (may_go || !is_bounded)
                && let Some(packet) = unit.packets().get(*next)
            {
                let number = counter.map(|number| number as u16);
                let Some((stamp, length)) = self.video.send(&mut outlet, packet, own, *timestamp, number) else {
                    break;
                };
                judged.push(packet.payload_len() as u16);
                counter = counter.map(|number| number + 1);
                first.get_or_insert(stamp);
                *next += 1;
                (packets, octets) = (packets + 1, octets + length);
                if is_bounded {
                    let budget = if self.is_paced { &mut self.budget } else { &mut self.burst };
                    may_go = budget.spend(length);
                }
            }
            if let Some(first) = first {
                self.history.push(unit, skip, *next - skip, first, now);
            }
            // Else it can't be sent at all.
            if *next < unit.packet_count() && is_bounded && !may_go {
                break;
            }
            self.leaving.pop_front();
            if let Some(own) = &mut self.newcomer {
                own.has_picture(now);
            }
        }
        // What waited is gone: the stream flows as it comes.
        if self.leaving.is_empty() {
            (self.is_paced, self.newcomer) = (false, None);
        }
        self.link.sent(&judged, first_number, now);
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
                    if self.missed(lost, now) {
                        wish = Wish::Replay;
                    }
                }
                Some(Feedback::Keyframe { media_ssrc }) if media_ssrc == self.video.ssrc => wish = Wish::Replay,
                Some(Feedback::Arrivals(arrivals)) => {
                    arrivals.each(|number, came| self.link.arrival(number, came));
                    self.link.told(now);
                }
                Some(_) => {}
                None => match rtcp::read(raw) {
                    Report::Sender { blocks, .. } | Report::Receiver { blocks, .. } => {
                        blocks.into_iter().for_each(|block| self.received(block, now));
                    }
                    Report::Bye { .. } | Report::Other { .. } => {}
                },
            }
        }
        Some(self.judge(now).map_or(wish, Wish::Change))
    }

    /// The viewer misses packets. True when the group of pictures from its keyframe on is less than they are.
    fn missed(&mut self, lost: Lost<'_>, now: Instant) -> bool {
        let Self { history, link, video, .. } = self;
        let mut youngest = None;
        for sequence in lost.sequences().filter_map(|sequence| video.sent_sequence(sequence)) {
            if let Asked::Queued { sent, is_new: true } = history.ask(sequence, self.round_trip, now) {
                if !video.counts_transport() {
                    link.missed(sent, now);
                }
                youngest = youngest.max(Some(sent));
            }
        }
        if let Some(youngest) = youngest.filter(|_| !video.counts_transport()) {
            link.asked(youngest, now);
        }
        let since_keyframe = video.next_sequence() - self.keyframe_sequence;
        history.waiting() > MANY_MISSING && history.waiting() as u64 > since_keyframe
    }

    /// How one of our streams reaches the viewer.
    fn received(&mut self, block: ReportBlock, now: Instant) {
        if let Some(audio) = self.audio.as_mut().filter(|audio| audio.ssrc == block.ssrc) {
            audio.is_known();
        }
        if block.ssrc != self.video.ssrc {
            return;
        }
        self.video.is_known();
        let answer = self.clock.round_trip(block.last_sender_report, block.delay_since, now);
        if let Some((_, sent)) = answer {
            self.link.answered(sent);
        }
        let round_trip = answer.map(|(round_trip, _)| round_trip);
        self.round_trip = round_trip.unwrap_or(self.round_trip);
        if let Some(round_trip) = round_trip.filter(|_| self.video.counts_transport()) {
            self.link.round_trip(round_trip, self.is_probing(), now);
        }
        if !self.video.counts_transport() {
            let came = i64::from(block.highest_sequence) - i64::from(block.cumulative_lost);
            self.link.reported(came.try_into().unwrap_or_default(), round_trip, now);
        }
    }

    /// Whether the link takes what it is given.
    fn judge(&mut self, now: Instant) -> Option<Change> {
        let stream_bps = self.bitrate.bps();
        if self.is_probing() {
            return self.judge_probe(now);
        }
        if stream_bps == 0.0 || !self.rate.is_settled(now) {
            return None;
        }
        let takes_bps = match self.rate.is_narrow() {
            false => self.link.too_narrow(stream_bps, now)?,
            true if self.link.is_still_too_narrow(now) => self.rate.pace_bps(stream_bps),
            true => return None,
        };
        let change = self.rate.too_much(takes_bps, now);
        self.link.restart(now);
        // What is too much already is not asked for more.
        self.probe = None;
        if change == Change::Narrowed {
            // The pictures behind a keyframe make way for it.
            self.history.keep_keyframes();
            self.leaving.retain(|leaving| leaving.unit.unit.keyframe);
            self.is_paced = true;
            self.is_skipping = true;
        }
        Some(change)
    }

    /// Tells the viewer how the clocks stand, if it is time.
    pub fn tell(&mut self, line: Line<'_>, now: Instant) {
        if now < self.next_report {
            return;
        }
        self.next_report = now + self.report_pause(now);
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
        let is_left = !self.leaving.is_empty();
        let again =
            (self.history.waiting() > 0 || (is_left && self.is_paced)).then(|| self.budget.next(self.pace_bps()));
        let live = (is_left && !self.is_paced).then(|| self.burst.next(self.hurry_bps()));
        let probe = self.probe.as_ref().and_then(Probe::deadline);
        let change = self.change.map(|(_, since)| since);
        [again, live, probe, change, self.rate.deadline()].into_iter().flatten().fold(self.next_report, Instant::min)
    }

    fn pace_bps(&self) -> f64 {
        self.rate.pace_bps(self.bitrate.bps())
    }

    fn hurry_bps(&self) -> f64 {
        let stream = self.bitrate.bps();
        let alone = (stream * HURRY).max(MIN_HURRY_BPS);
        self.newcomer.as_ref().map_or(alone, |own| own.pace_bps(stream, alone))
    }

    fn sender_reports(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut packet = rtcp::sender_report(self.clock.sender_info(&self.video, now)?, &self.name);
        if let Some(audio) = self.audio.as_ref().filter(|audio| audio.track.is_some()) {
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
    fn again(&mut self) -> Line<'_> {
        Line { batch: self.batch, connection: self.connection, telemetry: self.telemetry }
    }

    fn count(&self, packets: usize, octets: usize) {
        if packets > 0 {
            let carrier = self.connection.route().map_or(Carrier::Udp, |route| route.to.carrier);
            self.telemetry.moved(Direction::Out, carrier.protocol(), packets as u64, octets as u64);
        }
    }
}
