//! One TCP connection of a WebRTC peer: what is sent is framed (RFC 4571), and waits in a bounded backlog.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;

use crate::sink::whep::Way;
use crate::wire::framed;

/// With that much waiting no picture is begun: it waits with its sink, by reference.
const FULL_BYTES: usize = 128 << 10;
/// What was begun goes out whole, and is at most one access unit, sealed and framed. Beyond, datagrams are lost as with UDP.
const MAX_BYTES: usize = FULL_BYTES + (10 << 20);
/// A connection that takes nothing for that long while something waits is dead.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// What a peer that has ended is given to take the last words.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// Read by the port's thread, written by the peer's shard, or by the thread when the socket has room again.
pub struct Connection {
    stream: mio::net::TcpStream,
    remote: SocketAddr,
    local: SocketAddr,
    is_proven: AtomicBool,
    out: Mutex<Out>,
}

struct Out {
    backlog: BytesMut,
    /// When the socket last took something, or something began to wait.
    progress: Instant,
    /// Pictures were refused or wait: whoever sends them wants to hear when there is room.
    is_awaited: bool,
    carries_media: bool,
    state: State,
}

enum State {
    Open,
    /// Closed when the backlog is out, or then.
    Leaving(Instant),
    Closed,
}

/// What became of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Something waits still, or nobody cares.
    Quiet,
    /// There is room, and the sender waits for it.
    Room,
}

/// What a look at the clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// To be dropped.
    Closed,
    /// The peer has taken nothing for too long; `carries_media`: its pictures went this way.
    Stalled {
        carries_media: bool,
    },
}

impl Connection {
    pub fn new(stream: mio::net::TcpStream, remote: SocketAddr, local: SocketAddr) -> Self {
        let out = Out {
            backlog: BytesMut::new(),
            progress: Instant::now(),
            is_awaited: false,
            carries_media: false,
            state: State::Open,
        };
        Self { stream, remote, local, is_proven: AtomicBool::new(false), out: Mutex::new(out) }
    }

    pub fn stream(&self) -> &mio::net::TcpStream {
        &self.stream
    }

    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// A check that came by it was granted.
    pub fn prove(&self) {
        self.is_proven.store(true, Relaxed);
    }

    pub fn is_proven(&self) -> bool {
        self.is_proven.load(Relaxed)
    }

    pub fn is_open(&self) -> bool {
        matches!(self.out.lock().state, State::Open)
    }

    /// Sends equal pieces of `segment` bytes, the last may be shorter. Over the bound they are lost.
    pub fn send(&self, datagrams: &[u8], segment: usize) -> io::Result<()> {
        let mut framed = Vec::with_capacity(datagrams.len() + 2 * datagrams.len().div_ceil(segment.max(1)));
        framed::write(datagrams, segment, &mut framed);
        let mut out = self.out.lock();
        if !matches!(out.state, State::Open) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        // RTP and RTCP (RFC 7983 §7).
        out.carries_media |= datagrams.first().is_some_and(|first| (128..192).contains(first));
        if !out.backlog.is_empty() {
            if out.backlog.len() + framed.len() > MAX_BYTES {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            out.backlog.extend_from_slice(&framed);
            return Ok(());
        }
        out.progress = Instant::now();
        match write(&self.stream, &framed) {
            Ok(written) => {
                out.backlog.extend_from_slice(framed.get(written..).unwrap_or_default());
                Ok(())
            }
            Err(cause) => {
                self.shut(&mut out);
                Err(cause)
            }
        }
    }

    /// Whether another picture may follow; if not, its sender is told when it may.
    pub fn way(&self) -> Way {
        let mut out = self.out.lock();
        if !matches!(out.state, State::Open) {
            return Way::Broken;
        }
        out.is_awaited = out.backlog.len() >= FULL_BYTES;
        if out.is_awaited { Way::Full } else { Way::Open }
    }

    /// The socket has room: writes what waits.
    pub fn flush(&self) -> Flushed {
        let mut out = self.out.lock();
        if !out.backlog.is_empty() {
            match write(&self.stream, &out.backlog) {
                Ok(0) => {}
                Ok(written) => {
                    out.progress = Instant::now();
                    out.backlog.advance(written);
                    if out.backlog.is_empty() {
                        // A viewer that was slow once need not keep the room.
                        out.backlog = BytesMut::new();
                    }
                }
                Err(_) => self.shut(&mut out),
            }
        }
        let has_room = out.backlog.len() < FULL_BYTES / 2 || !matches!(out.state, State::Open);
        if has_room && std::mem::take(&mut out.is_awaited) { Flushed::Room } else { Flushed::Quiet }
    }

    pub fn health(&self, now: Instant) -> Health {
        let mut out = self.out.lock();
        match out.state {
            State::Closed => Health::Closed,
            State::Leaving(until) if out.backlog.is_empty() || now >= until => {
                self.shut(&mut out);
                Health::Closed
            }
            State::Open if !out.backlog.is_empty() && now.saturating_duration_since(out.progress) >= STALL_TIMEOUT => {
                let carries_media = out.carries_media;
                self.shut(&mut out);
                Health::Stalled { carries_media }
            }
            State::Open | State::Leaving(_) => Health::Good,
        }
    }

    pub fn close(&self) {
        self.shut(&mut self.out.lock());
    }

    /// Closes when what waits is out, but soon.
    pub fn close_gently(&self) {
        let mut out = self.out.lock();
        if matches!(out.state, State::Open) {
            if out.backlog.is_empty() {
                self.shut(&mut out);
            } else {
                out.state = State::Leaving(Instant::now() + GOODBYE_TIME);
            }
        }
    }

    fn shut(&self, out: &mut Out) {
        out.state = State::Closed;
        out.backlog = BytesMut::new();
        // It may be closed by the peer already; the thread sees the end and drops it.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

/// Writes as much as the socket takes now.
fn write(mut stream: &mio::net::TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => break,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(written)
}
