//! One RTSP viewer's connection on its shard, from PLAY on: media interleaved on it (RFC 2326 §10.12), or beside it by UDP.
//! A connection of our own to another hub is served likewise from RECORD on (`relay.rs`).

mod announce;
mod clock;
mod datagrams;
mod media;
mod relay;
mod requests;

use std::any::Any;
use std::io::{ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::media::MediaKind;
use crate::stream::{Description, Flow, Sink, Stream, WireUnit};
use crate::telemetry::{Direction, DropReason, Meter, Protocol, SinkKind, Telemetry};
use crate::wire::rtp;
use crate::wire::rtsp::Parser;

use super::outbox::{MAX_SLICES, Outbox};
use super::transport::Transport;
use clock::Clock;
use datagrams::Paced;

pub use announce::{Recorded, record};
pub use datagrams::{Feedback, Ports};
pub use relay::Relay;
pub use requests::METHODS;

/// A reader that takes nothing for so long while data waits is closed.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
const REPORT_INTERVAL: Duration = Duration::from_secs(5);
/// PLAY is answered with the first unit; when the camera has just gone, without one after this.
const PLAY_PATIENCE: Duration = Duration::from_secs(5);
/// What is left to say at the end is said within this.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Octets handed to the kernel for one sink before the others of the shard have their turn.
const FLUSH_BUDGET: usize = 1024 * 1024;
/// What a client may send between two reports; receiver reports and keep-alives need a few hundred octets.
const INBOUND_BUDGET: usize = 512 * 1024;

/// What the server settled before PLAY.
pub struct Play {
    pub transport: Transport,
    /// Where media goes by UDP; None: interleaved on the connection.
    pub ports: Option<Box<dyn Ports>>,
    /// What came behind PLAY is still in it.
    pub parser: Parser,
    pub cseq: Option<u32>,
    pub session: String,
    /// `Content-Base`.
    pub base: String,
    pub stream: Arc<Stream>,
    pub description: Arc<Description>,
    /// Which tracks were set up.
    pub tracks: Vec<bool>,
    pub protocol: Protocol,
    /// Bound of the private backlog.
    pub queue_bytes: usize,
    pub telemetry: Arc<Telemetry>,
    /// Where the viewer is another hub.
    pub link: Option<Meter>,
    /// Wall-clock time since 1970, for sender reports.
    pub wall: Duration,
    /// Called at the first complete keyframe written.
    pub first_picture: Box<dyn FnOnce() + Send>,
    /// Kept for as long as the sink lives: the admission, the place among the connections.
    pub keep: Box<dyn Any + Send>,
}

/// One track as this viewer has it.
struct TrackState {
    is_set_up: bool,
    rate_hz: u32,
    ssrc: u32,
    /// Sequence number of the first unit.
    first_sequence: Option<u64>,
    /// Sequence number of the next large packet, where the viewer is another hub.
    next_large: u64,
    packets: u32,
    octets: u32,
    /// Packets that the viewer has reported as lost so far, and those sent by then.
    lost: i32,
    reported: u32,
}

pub struct RtspSink {
    transport: Transport,
    parser: Parser,
    /// Set until PLAY is answered.
    play: Option<PendingPlay>,
    /// The other side takes what we push, and the cache is being handed over; nothing is answered then.
    is_joining: bool,
    is_pushing: bool,
    session: String,
    base: String,
    stream: Arc<Stream>,
    description: Arc<Description>,
    generation: u32,
    tracks: Vec<TrackState>,
    has_video: bool,
    clock: Clock,
    outbox: Outbox,
    /// Media that goes by UDP; all else stays on the connection.
    paced: Option<Paced>,
    /// A request has come.
    heard: Instant,
    /// The socket was full at the last try; the shard tells when it is not.
    is_blocked: bool,
    /// The budget was used up at the last try: go on at the next timer.
    is_unfinished: bool,
    progress: Instant,
    acknowledged: u64,
    next_report: Instant,
    inbound: usize,
    /// Set when only the last words are left to say.
    closing: Option<(&'static str, Instant)>,
    sent_packets: u64,
    sent_octets: u64,
    protocol: Protocol,
    telemetry: Arc<Telemetry>,
    link: Option<Meter>,
    first_picture: Option<Box<dyn FnOnce() + Send>>,
    _keep: Box<dyn Any + Send>,
}

struct PendingPlay {
    cseq: Option<u32>,
    until: Instant,
}

impl RtspSink {
    pub fn new(play: Play, now: Instant) -> Self {
        let tracks: Vec<TrackState> = play
            .description
            .tracks
            .iter()
            .zip(&play.description.ssrcs)
            .enumerate()
            .map(|(index, (track, ssrc))| TrackState {
                is_set_up: play.tracks.get(index).copied().unwrap_or(false),
                rate_hz: track.clock_rate_hz.max(1),
                ssrc: *ssrc,
                first_sequence: None,
                next_large: 0,
                packets: 0,
                octets: 0,
                lost: 0,
                reported: 0,
            })
            .collect();
        let has_video = tracks
            .iter()
            .zip(&play.description.tracks)
            .any(|(state, track)| state.is_set_up && track.kind() == MediaKind::Video);
        play.telemetry.sinks(SinkKind::Rtsp).fetch_add(1, Relaxed);
        Self {
            transport: play.transport,
            parser: play.parser,
            play: Some(PendingPlay { cseq: play.cseq, until: now + PLAY_PATIENCE }),
            is_joining: false,
            is_pushing: false,
            session: play.session,
            base: play.base,
            stream: play.stream,
            generation: play.description.generation,
            description: play.description,
            tracks,
            has_video,
            clock: Clock::new(play.wall, now),
            outbox: Outbox::new(play.queue_bytes),
            paced: play.ports.map(|ports| Paced::new(ports, play.queue_bytes, now)),
            heard: now,
            is_blocked: false,
            is_unfinished: false,
            progress: now,
            acknowledged: 0,
            next_report: now + REPORT_INTERVAL,
            inbound: 0,
            closing: None,
            sent_packets: 0,
            sent_octets: 0,
            protocol: play.protocol,
            telemetry: play.telemetry,
            link: play.link,
            first_picture: Some(play.first_picture),
            _keep: play.keep,
        }
    }

    /// The same where the other side has asked for nothing, but takes what we push: media follows at once.
    fn pushing(play: Play, now: Instant) -> Self {
        let mut sink = Self::new(play, now);
        (sink.play, sink.is_joining, sink.is_pushing) = (None, true, true);
        sink
    }

    /// Writes what waits until the socket is full or others should have their turn.
    fn flush(&mut self, now: Instant) -> Flow {
        let mut budget = FLUSH_BUDGET;
        self.is_unfinished = false;
        let failure = loop {
            if self.outbox.is_empty() {
                match self.transport.flush() {
                    Ok(()) => break None,
                    Err(error) => break Some(error),
                }
            }
            if budget == 0 {
                self.is_unfinished = true;
                break None;
            }
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut filled = self.outbox.slices(&mut slices);
            let is_first = self.first_picture.is_some();
            if is_first {
                // PLAY's answer and the keyframe. Of those who join together each has its picture before the rest of the
                // cache goes to any.
                filled = filled.min(2);
            }
            match self.transport.write(slices.get(..filled).unwrap_or_default()) {
                Ok(0) => break Some(ErrorKind::WriteZero.into()),
                Ok(written) => {
                    budget = budget.saturating_sub(written);
                    self.progress = now;
                    self.advance(written);
                    if is_first && self.first_picture.is_none() && !self.outbox.is_empty() {
                        self.is_unfinished = true;
                        break None;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Some(error),
            }
        };
        self.is_blocked = false;
        match failure {
            Some(error) if error.kind() == ErrorKind::WouldBlock => {
                self.is_blocked = true;
                self.acknowledged = self.transport.acknowledged();
            }
            Some(error) => {
                debug!(stream = self.stream.name(), %error, "a viewer's connection broke");
                self.count();
                return Flow::Close("CONNECTION_LOST");
            }
            None => {}
        }
        self.count();
        match self.closing {
            Some((reason, _)) if self.outbox.is_empty() && !self.transport.has_pending() => {
                self.transport.finish();
                Flow::Close(reason)
            }
            _ => Flow::Continue,
        }
    }

    fn advance(&mut self, written: usize) {
        let Self { outbox, tracks, sent_packets, sent_octets, first_picture, .. } = self;
        outbox.advance(written, |sent| {
            *sent_packets += sent.packets as u64;
            // Without the interleaving headers.
            let octets = sent.octets.saturating_sub(4 * sent.packets);
            *sent_octets += octets as u64;
            if let Some(track) = tracks.get_mut(sent.track) {
                track.sent(sent.packets, octets);
            }
            if sent.starts_gop
                && let Some(first_picture) = first_picture.take()
            {
                first_picture();
            }
        });
    }

    /// Moves what was sent into the counters.
    fn count(&mut self) {
        if self.sent_packets > 0 {
            self.telemetry.moved(Direction::Out, self.protocol, self.sent_packets, self.sent_octets);
            if let Some(link) = &self.link {
                link.add(self.sent_octets.saturating_sub(rtp::HEADER_LEN as u64 * self.sent_packets));
            }
            (self.sent_packets, self.sent_octets) = (0, 0);
        }
    }

    fn count_dropped(&self, packets: usize) {
        if packets > 0 {
            self.telemetry.dropped(DropReason::SlowViewer).fetch_add(packets as u64, Relaxed);
        }
    }

    /// No more media: what waits in messages goes out, then the connection ends.
    fn close(&mut self, reason: &'static str, now: Instant) {
        if self.closing.is_none() {
            self.outbox.drop_units();
            if let Some(paced) = &mut self.paced {
                paced.clear();
            }
            self.closing = Some((reason, now + CLOSE_TIMEOUT));
        }
    }

    /// The time without progress counts from when something waits.
    fn starts_waiting(&mut self, now: Instant) {
        if !self.has_waiting() {
            self.progress = now;
        }
    }

    fn has_waiting(&self) -> bool {
        !self.outbox.is_empty() || self.transport.has_pending()
    }
}

impl Sink for RtspSink {
    fn socket(&mut self) -> Option<&mut dyn mio::event::Source> {
        Some(self.transport.source())
    }

    fn on_start(&mut self, _now: Instant) -> Flow {
        Flow::Continue
    }

    fn on_unit(&mut self, unit: &Arc<WireUnit>, now: Instant) -> Flow {
        if self.closing.is_some() {
            return Flow::Continue;
        }
        if !self.follows(unit.generation) {
            self.notify("STREAM_CHANGED", now);
            return self.flush(now);
        }
        let index = unit.unit.track;
        let Some(track) = self.tracks.get_mut(index).filter(|track| track.is_set_up) else {
            return Flow::Continue;
        };
        // Without the video track any sound may be the first.
        let starts_gop = unit.starts_gop() || !self.has_video;
        self.clock.see(unit.unit.pts, track.rate_hz);
        // To another hub it goes in packets of its own.
        let (large, packets, sequence) = match &self.link {
            Some(_) if self.paced.is_none() => {
                let sequence = track.next_large;
                let (bytes, packets) = unit.large(sequence);
                track.next_large += packets as u64;
                (Some(bytes), packets, sequence)
            }
            _ => (None, unit.packet_count(), unit.first_sequence()),
        };
        track.first_sequence.get_or_insert(sequence);
        let is_burst = self.play.is_some() || self.is_joining;
        if let Some(paced) = &mut self.paced {
            let dropped = paced.push(unit.datagrams(), index, packets, starts_gop, is_burst);
            self.count_dropped(dropped);
            if !is_burst {
                self.send_datagrams(now);
            }
            return Flow::Continue;
        }
        if is_burst {
            self.outbox.push_burst(large.unwrap_or_else(|| unit.interleaved()), index, packets, starts_gop);
            return Flow::Continue;
        }
        self.starts_waiting(now);
        let bytes = large.unwrap_or_else(|| unit.interleaved());
        let taken = self.outbox.push_unit(bytes, index, packets, starts_gop);
        self.count_dropped(taken.dropped_packets);
        if self.is_blocked { Flow::Continue } else { self.flush(now) }
    }

    fn on_flush(&mut self, now: Instant) -> Flow {
        if std::mem::take(&mut self.is_joining) {
            self.progress = now;
            self.report(now);
            return self.flush(now);
        }
        if self.play.is_none() || self.paced.as_ref().map_or(self.outbox.is_empty(), Paced::is_empty) {
            return Flow::Continue;
        }
        self.progress = now;
        match self.answer_play(now) {
            Flow::Continue => {
                let flow = self.flush(now);
                // Behind the answer, which says what they are.
                self.send_datagrams(now);
                flow
            }
            other => other,
        }
    }

    fn on_ready(&mut self, readable: bool, writable: bool, now: Instant) -> Flow {
        if readable && let Flow::Close(reason) = self.read(now) {
            return Flow::Close(reason);
        }
        if (writable || !self.is_blocked) && self.has_waiting() && self.play.is_none() {
            return self.flush(now);
        }
        Flow::Continue
    }

    fn on_datagram(&mut self, _from: SocketAddr, _to: SocketAddr, _data: &[u8], _now: Instant) -> Flow {
        Flow::Continue
    }

    fn on_timer(&mut self, now: Instant) -> Flow {
        if let Some((reason, until)) = self.closing
            && now >= until
        {
            return Flow::Close(reason);
        }
        if self.play.as_ref().is_some_and(|play| now >= play.until)
            && let Flow::Close(reason) = self.answer_play(now)
        {
            return Flow::Close(reason);
        }
        if self.play.is_none() && self.closing.is_none() && now >= self.next_report {
            self.report(now);
            if let Some(reason) = self.gone(now) {
                self.notify(reason, now);
            }
        }
        if self.play.is_none() {
            self.send_datagrams(now);
        }
        if self.has_waiting() && now.saturating_duration_since(self.progress) >= STALL_TIMEOUT {
            // The kernel tells of room late; what the peer has acknowledged is the truth.
            let acknowledged = self.transport.acknowledged();
            if acknowledged <= self.acknowledged {
                return Flow::Close("READER_STALLED");
            }
            self.acknowledged = acknowledged;
            self.progress = now;
        }
        if self.play.is_none() && self.has_waiting() && !self.is_blocked {
            return self.flush(now);
        }
        Flow::Continue
    }

    fn deadline(&self) -> Option<Instant> {
        if self.is_unfinished {
            return Some(self.progress);
        }
        let mut next = match (&self.closing, &self.play) {
            (Some((_, until)), _) => *until,
            (None, Some(play)) => play.until,
            (None, None) => self.next_report,
        };
        if self.has_waiting() {
            next = next.min(self.progress + STALL_TIMEOUT);
        }
        if self.play.is_none()
            && let Some(due) = self.paced.as_ref().and_then(Paced::deadline)
        {
            next = next.min(due);
        }
        Some(next)
    }

    fn on_end(&mut self, reason: &'static str, now: Instant) {
        self.notify(reason, now);
        // The sink is dropped next, whatever comes of it.
        let _ = self.flush(now);
        self.transport.finish();
    }
}

impl Drop for RtspSink {
    fn drop(&mut self) {
        self.count();
        self.telemetry.sinks(SinkKind::Rtsp).fetch_sub(1, Relaxed);
    }
}
