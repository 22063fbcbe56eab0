//! The one port of WebRTC, UDP and TCP: sends for all viewers, receives on one thread and hands each datagram to its viewer.

mod connection;
mod inbound;
mod peers;
mod place;
mod reach;
mod tcp;
pub mod whip;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quinn_udp::RecvMeta;
use rand::distr::{Alphanumeric, SampleString};
use str0m::IceCreds;
use str0m::config::DtlsCert;
use tracing::{error, warn};

use self::inbound::Inbound;
use self::peers::{Ice, Peers};
pub use self::peers::{Peer, gone};
use self::place::Lease;
use self::tcp::Tcp;
pub use self::whip::check as check_to_publish;
use super::choice::Choice;
use super::limits::{Full, Quota, Seat};
use super::udp::UdpPort;
use crate::error::{Error, ErrorKind, Result};
use crate::gate::Admission;
use crate::sink::whep::{self, Crowd, Fit, Local, Offer, Restart, Restarted, WhepSink};
use crate::stream::Shards;
use crate::telemetry::{DropReason, Telemetry};
use crate::wire::{feedback, stun};

/// str0m takes none above that.
const MAX_DATAGRAM: usize = 2000;
/// Messages per system call, and room for one that the kernel has put together (GRO).
const RECEIVE_BATCH: usize = 8;
const RECEIVE_BYTES: usize = 1 << 16;
/// After that many receive errors in a row the thread pauses, so that a broken socket does not burn a core.
const MAX_ERRORS: usize = 64;
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Reports that ask for nothing come by the hundred a second, and each costs a call of the thread: when nothing else has come,
/// what comes next may wait so long. A packet that is asked for waits for the viewer's way to us and back anyway.
const LULL: Duration = Duration::from_millis(4);
/// Connections that the kernel keeps for the thread to take.
const LISTEN_BACKLOG: i32 = 1024;
/// A free port is free for UDP and TCP, mostly at once.
const FREE_PORT_ATTEMPTS: usize = 32;
const WAKE: mio::Token = mio::Token(0);
const SOCKET: mio::Token = mio::Token(1);

#[derive(Clone, Debug)]
pub struct WebrtcOptions {
    /// What clients are told; port 0 stands for the socket's own. Empty: the socket's own address.
    pub advertise: Vec<SocketAddr>,
    pub max_viewers: usize,
    pub max_viewers_per_address: usize,
    /// Octets of access units that may wait for one viewer's TCP connection; one may always.
    pub sink_queue_bytes: usize,
    /// A publisher that brings no complete picture for so long is closed.
    pub stall_timeout: Duration,
}

impl Default for WebrtcOptions {
    fn default() -> Self {
        Self {
            advertise: Vec::new(),
            max_viewers: 1024,
            max_viewers_per_address: 256,
            sink_queue_bytes: 1 << 20,
            stall_timeout: Duration::from_secs(5),
        }
    }
}

/// The port and its viewers.
pub struct Webrtc {
    port: UdpPort,
    candidates: Arc<[SocketAddr]>,
    certificate: DtlsCert,
    shards: Arc<Shards>,
    telemetry: Arc<Telemetry>,
    quota: Arc<Quota>,
    peers: Peers,
    crowd: Arc<Crowd>,
    sink_queue_bytes: usize,
    stall_timeout: Duration,
    waker: mio::Waker,
    stopping: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// An answered offer.
pub struct Opened {
    pub resource: String,
    pub etag: String,
    pub answer: String,
}

impl Webrtc {
    /// Opens the port and starts its thread.
    pub fn start(
        address: SocketAddr,
        options: WebrtcOptions,
        shards: Arc<Shards>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Arc<Self>> {
        let failed = |what: &str, cause: io::Error| {
            Error::new(ErrorKind::Unavailable, "LISTEN_FAILED", format!("WebRTC on {address}: {what}: {cause}"))
                .because(cause)
        };
        let (port, listener) = bind(address).map_err(|cause| failed("the port can't be opened", cause))?;
        let local = port.local();
        let candidates = candidates(&options.advertise, local)?;
        let certificate = str0m::crypto::from_feature_flags()
            .dtls_provider
            .generate_certificate()
            .ok_or_else(|| Error::new(ErrorKind::Internal, "DTLS_CERTIFICATE", "no DTLS certificate could be made"))?;
        let poll = mio::Poll::new().map_err(|cause| failed("no poll", cause))?;
        poll.registry()
            .register(&mut mio::unix::SourceFd(&port.socket().as_raw_fd()), SOCKET, mio::Interest::READABLE)
            .map_err(|cause| failed("no poll", cause))?;
        let tcp = poll
            .registry()
            .try_clone()
            .and_then(|registry| Tcp::new(listener, registry))
            .map_err(|cause| failed("no poll", cause))?;
        let waker = mio::Waker::new(poll.registry(), WAKE).map_err(|cause| failed("no waker", cause))?;
        let webrtc = Arc::new(Self {
            port,
            candidates,
            certificate,
            shards,
            telemetry,
            quota: Quota::new(options.max_viewers, options.max_viewers_per_address),
            peers: Peers::default(),
            crowd: Arc::default(),
            sink_queue_bytes: options.sink_queue_bytes,
            stall_timeout: options.stall_timeout,
            waker,
            stopping: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let receiver = Arc::clone(&webrtc);
        let thread = std::thread::Builder::new()
            .name("vidhub-webrtc".into())
            .spawn(move || receiver.receive(poll, tcp))
            .map_err(|cause| failed("no thread", cause))?;
        *webrtc.thread.lock() = Some(thread);
        Ok(webrtc)
    }

    pub fn local_address(&self) -> SocketAddr {
        self.port.local()
    }

    pub fn viewers(&self) -> usize {
        self.quota.taken()
    }

    /// Takes a place for a viewer to come, before its camera is asked for anything.
    pub fn reserve(&self, address: IpAddr) -> Result<Seat> {
        self.quota.take(Some(address)).map_err(|full| match full {
            Full::All => Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_VIEWERS",
                "this hub has as many WebRTC viewers as it may; try again later or watch by RTSP",
            ),
            Full::Address => Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_VIEWERS_PER_ADDRESS",
                "your address has as many WebRTC viewers as it may; close one first",
            ),
        })
    }

    /// Answers an offer and puts the viewer on its shard.
    pub fn open(
        self: &Arc<Self>,
        seat: Seat,
        camera: &str,
        admission: Arc<dyn Admission>,
        offer: &Offer<'_>,
        choice: &Choice<Fit>,
    ) -> Result<Opened> {
        let now = Instant::now();
        let (ufrag, pass) = (random(16), random(32));
        let local = Local {
            certificate: &self.certificate,
            credentials: IceCreds { ufrag: ufrag.clone(), pass },
            candidates: &self.candidates,
        };
        let mut negotiated = whep::negotiate(offer, &choice.description, choice.fit, local, now)?;
        let answer = std::mem::take(&mut negotiated.answer);
        let ice = Ice { etag: random(16), local_ufrag: ufrag, remote_ufrag: offer.ufrag.to_owned(), restarted: None };
        let etag = ice.etag.clone();
        let session = admission.session_id().to_owned();
        let peer = Peer::new(random(32), camera.to_owned(), session, ice, Inbound::of_viewer(now));
        self.peers.add(&peer);
        let stream = admission.stream();
        let place =
            Lease { webrtc: Arc::clone(self), peer: Arc::clone(&peer), admission: Arc::clone(&admission), _seat: seat };
        let sink = WhepSink::new(
            negotiated,
            Box::new(place),
            Arc::clone(&stream),
            choice.description.generation,
            Arc::clone(&self.candidates),
            Arc::clone(&self.telemetry),
            now,
        );
        let handle = self.shards.attach(stream, Box::new(sink), false);
        peer.is_driven_by(handle.clone());
        admission.connected(handle);
        Ok(Opened { resource: peer.resource.clone(), etag, answer })
    }

    /// Gives the peer new ICE credentials for the client's; the answer's fragment and ETag. Errors: LIMIT_RESTARTS
    /// (ResourceExhausted), RESOURCE_NOT_FOUND.
    pub async fn restart(&self, peer: &Arc<Peer>, remote: IceCreds) -> Result<(String, String)> {
        if !peer.may_restart(Instant::now()) {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_RESTARTS",
                "this viewer has restarted ICE just now: wait a second",
            ));
        }
        let (reply, answer) = tokio::sync::oneshot::channel();
        let remote_ufrag = remote.ufrag.clone();
        let handle = peer.handle().ok_or_else(gone)?;
        handle.message(Box::new(Restart { remote, reply })).map_err(|_| gone())?;
        // The shard answers at once, or drops the question with the viewer.
        let Restarted { local_ufrag, fragment } = answer.await.map_err(|_| gone())?;
        let etag = random(16);
        let ice = Ice { etag: etag.clone(), local_ufrag, remote_ufrag, restarted: Some(Instant::now()) };
        if !self.peers.renames(peer, ice) {
            return Err(gone());
        }
        Ok((fragment, etag))
    }

    /// The peer behind a resource, while it is there.
    pub fn resource(&self, resource: &str) -> Option<Arc<Peer>> {
        self.peers.by_resource(resource)
    }

    /// Stops receiving and waits for the thread. Viewers are ended by `Shards::stop`, before this, so that they can say so.
    pub fn stop(&self) {
        self.stopping.store(true, Relaxed);
        if let Err(cause) = self.waker.wake() {
            warn!(%cause, "the WebRTC thread can't be woken");
            return;
        }
        if self.thread.lock().take().is_some_and(|thread| thread.join().is_err()) {
            error!("the WebRTC thread has panicked");
        }
    }

    fn receive(&self, mut poll: mio::Poll, mut tcp: Tcp) {
        let mut events = mio::Events::with_capacity(256);
        let mut room = vec![0; RECEIVE_BATCH * RECEIVE_BYTES];
        let mut is_calm = false;
        while !self.stopping.load(Relaxed) {
            if std::mem::take(&mut is_calm) {
                std::thread::sleep(LULL);
            }
            if let Err(cause) = poll.poll(&mut events, tcp.patience()) {
                if cause.kind() != io::ErrorKind::Interrupted {
                    error!(%cause, "WebRTC can't wait for datagrams");
                    std::thread::sleep(ERROR_PAUSE);
                }
                continue;
            }
            for event in &events {
                match event.token() {
                    WAKE => {}
                    SOCKET => is_calm = self.receive_all(&mut room),
                    tcp::LISTENER => tcp.accept(),
                    token => tcp.ready(token, event, &self.peers, &self.telemetry),
                }
            }
            tcp.work(&self.peers, &self.telemetry);
        }
    }

    /// Takes everything there is: the poll tells of new arrivals only. True when none of it asks for anything.
    fn receive_all(&self, room: &mut [u8]) -> bool {
        let (mut errors, mut asks) = (0, false);
        let mut about = [RecvMeta::default(); RECEIVE_BATCH];
        while !self.stopping.load(Relaxed) {
            let mut slices: Vec<IoSliceMut> = room.chunks_exact_mut(RECEIVE_BYTES).map(IoSliceMut::new).collect();
            match self.port.receive(&mut slices, &mut about) {
                Ok(count) => {
                    errors = 0;
                    let now = Instant::now();
                    for (slice, meta) in slices.iter().zip(&about).take(count) {
                        let Some(bytes) = slice.get(..meta.len) else { continue };
                        for datagram in bytes.chunks(meta.stride.max(1)) {
                            asks |= !self.route(datagram, meta, now);
                        }
                    }
                    // What comes from now on the poll tells.
                    if count < RECEIVE_BATCH {
                        return !asks;
                    }
                }
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return !asks,
                // An ICMP answer to something sent earlier; each is told once.
                Err(_) if errors < MAX_ERRORS => errors += 1,
                Err(cause) => {
                    warn!(%cause, "WebRTC can't receive");
                    std::thread::sleep(ERROR_PAUSE);
                    errors = 0;
                }
            }
        }
        false
    }

    /// Hands a datagram to its viewer; true when that may take its time.
    fn route(&self, datagram: &[u8], meta: &RecvMeta, now: Instant) -> bool {
        if datagram.len() > MAX_DATAGRAM {
            return true;
        }
        let from = canonical(meta.addr);
        let known = self.peers.by_address(from);
        // A check names its viewer, also when it comes from a new address or from one that was another's.
        let peer = match stun::is_stun(datagram) {
            true => stun::local_ufrag(datagram).and_then(|ufrag| self.peers.by_ufrag(ufrag)),
            false => known.clone(),
        };
        let Some(peer) = peer else { return true };
        let is_proven = known.is_some_and(|known| Arc::ptr_eq(&known, &peer));
        let ip = meta.dst_ip.map_or(self.port.local().ip(), |ip| ip.to_canonical());
        let to = SocketAddr::new(ip, self.port.local().port());
        let may_wait = is_proven && feedback::asks_nothing(datagram);
        // A full inbox drops it, as the network might have.
        let is_taken = peer.takes(is_proven, |handle| match may_wait {
            true => handle.datagram_that_waits(from, to, datagram.to_vec(), now),
            false => handle.datagram(from, to, datagram.to_vec()),
        });
        if !is_taken {
            self.telemetry.dropped(DropReason::OverBudget).fetch_add(1, Relaxed);
        }
        may_wait
    }
}

/// Opens the port for UDP and TCP under one number.
fn bind(address: SocketAddr) -> io::Result<(UdpPort, mio::net::TcpListener)> {
    let mut attempts = if address.port() == 0 { FREE_PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let port = UdpPort::bind(address)?;
        match listen(port.local()) {
            Ok(listener) => return Ok((port, listener)),
            Err(cause) if cause.kind() == io::ErrorKind::AddrInUse && attempts > 0 => {}
            Err(cause) => return Err(cause),
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<mio::net::TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restarted hub does not wait for connections of its earlier life.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(mio::net::TcpListener::from_std(socket.into()))
}

/// The addresses that clients are offered.
fn candidates(advertise: &[SocketAddr], local: SocketAddr) -> Result<Arc<[SocketAddr]>> {
    let mut candidates: Vec<SocketAddr> = Vec::new();
    let own = [local];
    for address in if advertise.is_empty() { &own } else { advertise } {
        let port = if address.port() == 0 { local.port() } else { address.port() };
        let candidate = SocketAddr::new(address.ip().to_canonical(), port);
        if candidate.ip().is_unspecified() || candidate.ip().is_multicast() {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "ADVERTISE_MISSING",
                format!(
                    "WebRTC clients can't send to {candidate}: name the addresses they reach this hub at (--advertise)"
                ),
            ));
        }
        if !candidates.contains(&candidate) {
            candidates.push(candidate);
        }
    }
    Ok(candidates.into())
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// A word nobody can guess.
fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_must_be_told_its_name() {
        let all: SocketAddr = "0.0.0.0:8555".parse().unwrap();
        assert_eq!(candidates(&[], all).unwrap_err().reason(), "ADVERTISE_MISSING");
        let told = ["192.0.2.7:0".parse().unwrap(), "[2001:db8::7]:9000".parse().unwrap()];
        let expected: Vec<SocketAddr> = vec!["192.0.2.7:8555".parse().unwrap(), "[2001:db8::7]:9000".parse().unwrap()];
        assert_eq!(*candidates(&told, all).unwrap(), *expected);
    }
}
