//! WebRTC over TCP (RFC 6544, passive side): takes connections on the port's number, and hands each frame to its peer.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use tracing::warn;

use super::connection::{Connection, Flushed, Health};
use super::peers::{Peer, Peers};
use crate::server::limits::{Quota, Seat};
use crate::sink::whep::Room;
use crate::telemetry::{DropReason, Telemetry};
use crate::wire::framed::Frames;
use crate::wire::stun;

/// Connections in all, and of those that have not passed a check yet: in all, of one address.
const MAX_CONNECTIONS: usize = 4096;
const MAX_STRANGERS: usize = 2048;
const MAX_STRANGERS_PER_ADDRESS: usize = 256;
/// Until then a connection must have passed a check.
const PROVE_WITHIN: Duration = Duration::from_secs(10);
/// How often clocks are looked at.
const SWEEP: Duration = Duration::from_millis(500);
/// Asked of the kernel for each connection; beyond it the backlog begins.
const SEND_BUFFER_BYTES: usize = 192 << 10;
/// Read from one connection before the others have their turn.
const READ_BYTES: usize = 16 << 10;
const READS: usize = 4;

pub const LISTENER: Token = Token(2);
const FIRST: usize = 3;

/// The listener and its connections, owned by the port's thread.
pub struct Tcp {
    listener: mio::net::TcpListener,
    registry: Registry,
    connections: HashMap<Token, Incoming>,
    next: usize,
    /// Those that may have more to read than was taken.
    busy: VecDeque<Token>,
    all: Arc<Quota>,
    strangers: Arc<Quota>,
    swept: Instant,
}

struct Incoming {
    connection: Arc<Connection>,
    frames: Frames,
    since: Instant,
    /// Known by its first frame.
    peer: Option<Arc<Peer>>,
    /// Given back when it has passed a check.
    stranger: Option<Seat>,
    _seat: Seat,
}

/// Why a connection is closed.
enum End {
    Left,
    Malformed,
    Unwanted,
}

impl Tcp {
    pub fn new(mut listener: mio::net::TcpListener, registry: Registry) -> io::Result<Self> {
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            listener,
            registry,
            connections: HashMap::new(),
            next: FIRST,
            busy: VecDeque::new(),
            all: Quota::new(MAX_CONNECTIONS, MAX_CONNECTIONS),
            strangers: Quota::new(MAX_STRANGERS, MAX_STRANGERS_PER_ADDRESS),
            swept: Instant::now(),
        })
    }

    /// How long the thread may wait for events.
    pub fn patience(&self) -> Option<Duration> {
        match (self.busy.is_empty(), self.connections.is_empty()) {
            (false, _) => Some(Duration::ZERO),
            (true, false) => Some(SWEEP),
            (true, true) => None,
        }
    }

    /// Takes whoever waits at the door.
    pub fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, address)) => self.welcome(stream, address),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return,
                Err(cause) if cause.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(cause) => {
                    // Out of descriptors, mostly: those who wait are taken at a later sweep.
                    warn!(%cause, "WebRTC can't take a connection");
                    return;
                }
            }
        }
    }

    /// One too many is closed without a word: there is none in RFC 4571.
    fn welcome(&mut self, mut stream: mio::net::TcpStream, address: SocketAddr) {
        let ip = address.ip().to_canonical();
        let (Ok(seat), Ok(stranger)) = (self.all.take(None), self.strangers.take(Some(ip))) else { return };
        let Ok(local) = stream.local_addr() else { return };
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        // Neither is needed to work: a kernel that refuses is slower.
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
        let token = Token(self.next);
        self.next = self.next.wrapping_add(1).max(FIRST);
        if self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_err() {
            return;
        }
        let connection = Connection::new(stream, SocketAddr::new(ip, address.port()), local);
        let incoming = Incoming {
            connection: Arc::new(connection),
            frames: Frames::default(),
            since: Instant::now(),
            peer: None,
            stranger: Some(stranger),
            _seat: seat,
        };
        self.connections.insert(token, incoming);
    }

    /// A connection has something to read or room to write.
    pub fn ready(&mut self, token: Token, event: &mio::event::Event, peers: &Peers, telemetry: &Telemetry) {
        let Some(incoming) = self.connections.get(&token) else { return };
        if event.is_writable() && incoming.connection.flush() == Flushed::Room {
            incoming.tell_of_room();
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(token, peers, telemetry);
        }
    }

    /// Goes on reading where more was left, and looks at the clocks now and then.
    pub fn work(&mut self, peers: &Peers, telemetry: &Telemetry) {
        for _ in 0..self.busy.len() {
            let Some(token) = self.busy.pop_front() else { break };
            self.read(token, peers, telemetry);
        }
        let now = Instant::now();
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.sweep(now);
            self.accept();
        }
    }

    fn read(&mut self, token: Token, peers: &Peers, telemetry: &Telemetry) {
        let Some(incoming) = self.connections.get_mut(&token) else { return };
        match incoming.read(peers, telemetry) {
            Ok(false) => {}
            Ok(true) if self.busy.contains(&token) => {}
            Ok(true) => self.busy.push_back(token),
            Err(end) => {
                if matches!(end, End::Malformed) {
                    telemetry.dropped(DropReason::Malformed).fetch_add(1, Relaxed);
                }
                self.drop(token);
            }
        }
    }

    fn sweep(&mut self, now: Instant) {
        let mut gone = Vec::new();
        for (token, incoming) in &mut self.connections {
            if incoming.connection.is_proven() {
                incoming.stranger = None;
            }
            let is_late = incoming.stranger.is_some() && now >= incoming.since + PROVE_WITHIN;
            match incoming.connection.health(now) {
                Health::Good if !is_late => continue,
                Health::Stalled { carries_media: true } => incoming.end_peer("VIEWER_STALLED"),
                Health::Good | Health::Closed | Health::Stalled { carries_media: false } => {}
            }
            gone.push(*token);
        }
        gone.into_iter().for_each(|token| self.drop(token));
    }

    fn drop(&mut self, token: Token) {
        let Some(incoming) = self.connections.remove(&token) else { return };
        incoming.connection.close();
        // Who waits for room on it waits no longer.
        incoming.tell_of_room();
        // A socket that the peer has reset may be gone from the poll already.
        let _ = self.registry.deregister(&mut mio::unix::SourceFd(&incoming.connection.stream().as_raw_fd()));
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        self.connections.values().for_each(|incoming| incoming.connection.close());
    }
}

impl Incoming {
    /// Reads for one turn; true when there may be more.
    fn read(&mut self, peers: &Peers, telemetry: &Telemetry) -> Result<bool, End> {
        let mut room = [0; READ_BYTES];
        for _ in 0..READS {
            match self.connection.stream().read(&mut room) {
                Ok(0) => return Err(End::Left),
                Ok(count) => {
                    self.frames.push(room.get(..count).unwrap_or_default());
                    self.hand_over(peers, telemetry)?;
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(End::Left),
            }
        }
        Ok(true)
    }

    /// Gives complete frames to the peer, which the first one must name.
    fn hand_over(&mut self, peers: &Peers, telemetry: &Telemetry) -> Result<(), End> {
        while let Some(frame) = self.frames.take().map_err(|_| End::Malformed)? {
            let peer = match &self.peer {
                Some(peer) => peer,
                None => {
                    let ufrag = stun::local_ufrag(frame).ok_or(End::Malformed)?;
                    let named = peers.by_ufrag(ufrag).filter(|peer| peer.joins(&self.connection));
                    self.peer.insert(named.ok_or(End::Unwanted)?)
                }
            };
            let (from, to) = (self.connection.remote(), self.connection.local());
            // A full inbox drops it, as the network might have.
            if !peer.takes(self.connection.is_proven(), |handle| handle.framed(from, to, frame.to_vec())) {
                telemetry.dropped(DropReason::OverBudget).fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }

    fn tell_of_room(&self) {
        if let Some(handle) = self.peer.as_ref().and_then(|peer| peer.handle()) {
            // One that has many messages waiting looks for itself soon.
            let _ = handle.message(Box::new(Room));
        }
    }

    fn end_peer(&self, reason: &'static str) {
        if let Some(peer) = &self.peer {
            peer.end(reason);
        }
    }
}
