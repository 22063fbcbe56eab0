//! fMP4 over WebSocket, for Media Source Extensions: one viewer's connection on its shard, from its first message on.
//!
//! The viewer hears in a text message what comes, then gets an initialisation segment and one fragment per access unit,
//! each a binary message. New parameters in mid-stream bring a new segment; where the codec string changes, a new text
//! message goes in front of it.

mod choice;

use std::any::Any;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tracing::debug;

use super::line::Line;
use super::transport::Transport;
use crate::media::Profile;
use crate::stream::{Flow, Sink, Stream, WireUnit};
use crate::telemetry::{Direction, DropReason, Protocol, SinkKind, Telemetry};
use crate::wire::fmp4;
use crate::wire::mp4_codecs::Playable;
use crate::wire::websocket::{self, Incoming, Opcode, Parser};

pub use choice::{Choice, choose};

/// Keeps proxies from closing a connection that they think idle, and finds viewers that have gone without a word.
const PING_EVERY: Duration = Duration::from_secs(20);
/// A viewer of whom nothing was heard for so long, pongs included, is closed.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// What is left to say at the end is said within this.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Octets of one message that a viewer may still send, and of all between two pings; nothing it says has a meaning.
pub const MAX_MESSAGE: usize = 1024;
const INBOUND_BUDGET: usize = 64 * 1024;

/// What the server settled before the first fragment.
pub struct Play {
    pub transport: Transport,
    /// What came behind the first message is still in it.
    pub parser: Parser,
    pub stream: Arc<Stream>,
    /// What the browser says it plays.
    pub playable: Playable,
    /// Which of the camera's streams that is, and why that one; empty where it is the one that was asked for.
    pub profile: Profile,
    pub reason: &'static str,
    /// Bound of the private backlog.
    pub queue_bytes: usize,
    pub telemetry: Arc<Telemetry>,
    /// Called at the first complete keyframe written.
    pub first_picture: Box<dyn FnOnce() + Send>,
    /// Kept for as long as the sink lives: the admission, the place among the viewers.
    pub keep: Box<dyn Any + Send>,
}

pub struct MseSink {
    line: Line,
    parser: Parser,
    stream: Arc<Stream>,
    playable: Playable,
    profile: Profile,
    reason: &'static str,
    /// What the viewer was told last.
    generation: Option<u32>,
    mime: String,
    tracks: SmallVec<[usize; 2]>,
    /// The cache is being handed over.
    is_joining: bool,
    next_ping: Instant,
    heard: Instant,
    inbound: usize,
    /// Set when only the last words are left to say.
    closing: Option<(&'static str, Instant)>,
    sent_fragments: u64,
    sent_octets: u64,
    telemetry: Arc<Telemetry>,
    first_picture: Option<Box<dyn FnOnce() + Send>>,
    _keep: Box<dyn Any + Send>,
}

/// The status with which a connection is closed whose session, stream or patience has ended: 4000 and the HTTP status that
/// says what the viewer does next.
pub fn close_code(reason: &str) -> u16 {
    match reason {
        // Ask again.
        "HUB_DRAINING" | "STREAM_CHANGED" | "CODEC_CHANGED" | "SHARD_FAILED" | "SINK_PANICKED" => 4503,
        "READER_STALLED" | "VIEWER_SILENT" => 4408,
        "CONNECTION_REPLACED" => 4409,
        "CLIENT_FLOODS" => 4429,
        // The session is over.
        _ => 4410,
    }
}

impl MseSink {
    pub fn new(play: Play, now: Instant) -> Self {
        play.telemetry.sinks(SinkKind::Mse).fetch_add(1, Relaxed);
        Self {
            line: Line::new(play.transport, play.queue_bytes, now),
            parser: play.parser,
            stream: play.stream,
            playable: play.playable,
            profile: play.profile,
            reason: play.reason,
            generation: None,
            mime: String::new(),
            tracks: SmallVec::new(),
            is_joining: true,
            next_ping: now + PING_EVERY,
            heard: now,
            inbound: 0,
            closing: None,
            sent_fragments: 0,
            sent_octets: 0,
            telemetry: play.telemetry,
            first_picture: Some(play.first_picture),
            _keep: play.keep,
        }
    }

    /// Tells the viewer what comes. False when units of that generation can't be shown to it.
    fn describe(&mut self, generation: u32, now: Instant) -> bool {
        // Where the stream is further already, its keyframe is on the way.
        let Some(description) = self.stream.description().filter(|known| known.generation == generation) else {
            return false;
        };
        let found = choose(&self.playable, &description).ok().and_then(|choice| {
            let track = |place: &usize| description.tracks.get(*place).map(|track| (*place, track));
            let tracks: SmallVec<[_; 2]> = choice.tracks.iter().filter_map(track).collect();
            Some((fmp4::init(&tracks)?, choice))
        });
        let Some((init, choice)) = found else {
            self.end("CODEC_CHANGED", now);
            return false;
        };
        if self.mime != choice.mime {
            let answer = choice::answer(&choice, self.profile, self.reason);
            self.say(Opcode::Text, answer.as_bytes(), now);
        }
        self.say(Opcode::Binary, &init, now);
        self.generation = Some(generation);
        self.mime = choice.mime;
        self.tracks = choice.tracks;
        self.closing.is_none()
    }

    fn say(&mut self, opcode: Opcode, payload: &[u8], now: Instant) {
        self.line.starts_waiting(now);
        if !self.line.outbox.push_message(websocket::message(opcode, payload)) {
            self.end("READER_STALLED", now);
        }
    }

    /// No more media: the reason goes out, then the connection ends.
    fn end(&mut self, reason: &'static str, now: Instant) {
        self.close(close_code(reason), reason, now);
    }

    fn close(&mut self, code: u16, reason: &'static str, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        self.line.outbox.drop_units();
        self.line.starts_waiting(now);
        // Where so much waits already, the end of the connection says it all.
        let _ = self.line.outbox.push_message(websocket::close(code, reason));
        self.closing = Some((reason, now + CLOSE_TIMEOUT));
    }

    fn flush(&mut self, now: Instant) -> Flow {
        let Self { line, sent_fragments, sent_octets, first_picture, .. } = self;
        let flushed = line.flush(now, |sent| {
            *sent_fragments += 1;
            *sent_octets += sent.octets as u64;
            if sent.starts_gop
                && let Some(first_picture) = first_picture.take()
            {
                first_picture();
            }
        });
        self.count();
        match (flushed, self.closing) {
            (Ok(true), Some((reason, _))) => {
                self.line.transport.finish();
                Flow::Close(reason)
            }
            (Ok(_), _) => Flow::Continue,
            (Err(error), _) => {
                debug!(stream = self.stream.name(), %error, "a viewer's connection broke");
                Flow::Close("CONNECTION_LOST")
            }
        }
    }

    /// Moves what was sent into the counters.
    fn count(&mut self) {
        if self.sent_fragments > 0 {
            self.telemetry.moved(Direction::Out, Protocol::Mse, self.sent_fragments, self.sent_octets);
            (self.sent_fragments, self.sent_octets) = (0, 0);
        }
    }

    /// Reads what the viewer sends: pongs, its goodbye, and what nobody asked it for.
    fn read(&mut self, now: Instant) -> Flow {
        let mut chunk = [0; 4096];
        loop {
            while self.closing.is_none() {
                match self.parser.take() {
                    Ok(Some(Incoming::Ping(payload))) => self.say(Opcode::Pong, &payload, now),
                    Ok(Some(Incoming::Close)) => self.close(1000, "CLIENT_CLOSED", now),
                    Ok(Some(Incoming::Text(_) | Incoming::Binary(_) | Incoming::Pong)) => {}
                    Ok(None) => break,
                    Err(fault) => self.close(fault.code(), fault.reason(), now),
                }
            }
            if self.closing.is_some() {
                // What it sends behind that matters to nobody; the time to close bounds it.
                return Flow::Continue;
            }
            match self.line.transport.read(&mut chunk) {
                Ok(0) => return Flow::Close("CLIENT_CLOSED"),
                Ok(count) => {
                    self.heard = now;
                    self.inbound += count;
                    if self.inbound > INBOUND_BUDGET {
                        self.end("CLIENT_FLOODS", now);
                    }
                    self.parser.push(chunk.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Flow::Continue,
                Err(_) => return Flow::Close("CONNECTION_LOST"),
            }
        }
    }
}

impl Sink for MseSink {
    fn socket(&mut self) -> Option<&mut dyn mio::event::Source> {
        Some(self.line.transport.source())
    }

    fn on_start(&mut self, now: Instant) -> Flow {
        // What came with the first message, before the shard looks at the socket.
        match self.read(now) {
            Flow::Continue => self.flush(now),
            other => other,
        }
    }

    fn on_unit(&mut self, unit: &Arc<WireUnit>, now: Instant) -> Flow {
        if self.closing.is_some() {
            return Flow::Continue;
        }
        if self.generation != Some(unit.generation) && !self.describe(unit.generation, now) {
            return self.flush(now);
        }
        let track = unit.unit.track;
        if !self.tracks.contains(&track) {
            return Flow::Continue;
        }
        let fragment = unit.fragment();
        if self.is_joining {
            self.line.outbox.push_burst(fragment, track, 1, unit.starts_gop());
            return Flow::Continue;
        }
        self.line.starts_waiting(now);
        let taken = self.line.outbox.push_unit(fragment, track, 1, unit.starts_gop());
        if taken.dropped_packets > 0 {
            self.telemetry.dropped(DropReason::SlowViewer).fetch_add(taken.dropped_packets as u64, Relaxed);
        }
        if self.line.is_blocked() { Flow::Continue } else { self.flush(now) }
    }

    fn on_flush(&mut self, now: Instant) -> Flow {
        self.is_joining = self.is_joining && self.generation.is_none();
        if self.line.has_waiting() && !self.line.is_blocked() { self.flush(now) } else { Flow::Continue }
    }

    fn on_ready(&mut self, readable: bool, writable: bool, now: Instant) -> Flow {
        if readable && let Flow::Close(reason) = self.read(now) {
            return Flow::Close(reason);
        }
        if (writable || !self.line.is_blocked()) && self.line.has_waiting() {
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
        if self.line.is_stalled(now) {
            // Nothing more gets through, not even a reason.
            return Flow::Close("READER_STALLED");
        }
        if self.closing.is_none() && now.saturating_duration_since(self.heard) >= SILENCE_TIMEOUT {
            self.end("VIEWER_SILENT", now);
        } else if self.closing.is_none() && now >= self.next_ping {
            self.next_ping = now + PING_EVERY;
            self.inbound = 0;
            // Behind data that waits it would prove nothing.
            if !self.line.has_waiting() {
                self.say(Opcode::Ping, b"", now);
            }
        }
        if self.line.has_waiting() && !self.line.is_blocked() { self.flush(now) } else { Flow::Continue }
    }

    fn deadline(&self) -> Option<Instant> {
        let own = self.closing.map_or(self.next_ping, |(_, until)| until);
        Some(self.line.deadline().map_or(own, |line| line.min(own)))
    }

    fn on_end(&mut self, reason: &'static str, now: Instant) {
        self.end(reason, now);
        // The sink is dropped next, whatever comes of it.
        let _ = self.flush(now);
        self.line.transport.finish();
    }
}

impl Drop for MseSink {
    fn drop(&mut self) {
        self.count();
        self.telemetry.sinks(SinkKind::Mse).fetch_sub(1, Relaxed);
    }
}
