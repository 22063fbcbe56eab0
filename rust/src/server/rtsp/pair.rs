//! The pair of UDP ports that all viewers of RTSP over UDP share (RFC 2326 §12.39): one for RTP, the next for RTCP.
//!
//! What comes in is RTCP of viewers, known by the address it comes from, and refusals of their hosts (ICMP). Both are
//! noted where the viewer's sink looks from time to time; whatever else comes is dropped here.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quinn_udp::RecvMeta;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::warn;

use crate::server::udp::UdpPort;
use crate::sink::rtsp::{Feedback, Ports};
use crate::wire::rtcp::{self, Report};

/// Tries to find two free ports side by side, of which the first is even.
const FREE_PAIR_TRIES: usize = 64;
/// Ports below are for the services of a host, which no viewer can have meant.
const FIRST_CLIENT_PORT: u16 = 1024;
/// A compound packet of a viewer is far smaller; room for what the kernel has put together (GRO).
const RECEIVE_BYTES: usize = 1 << 16;
const MAX_RTCP_BYTES: usize = 2048;
/// Messages and refusals taken before others of the runtime have their turn.
const ROUNDS: usize = 64;
/// After so many errors in one round.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

pub struct UdpPair {
    rtp: UdpPort,
    rtcp: UdpPort,
    /// By the address RTP goes to, and by that of RTCP.
    viewers: Mutex<HashMap<SocketAddr, Viewer>>,
}

#[derive(Clone)]
struct Viewer {
    lease: u64,
    session: Arc<str>,
    feedback: Arc<Feedback>,
    track: usize,
    ssrc: u32,
}

/// Why a client's ports are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortsRefused {
    Invalid,
    /// Another session's viewer of the same host has them.
    Taken,
}

impl PortsRefused {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "CLIENT_PORT_INVALID",
            Self::Taken => "CLIENT_PORT_TAKEN",
        }
    }
}

impl UdpPair {
    /// Binds `address` and the port behind it; port 0 finds a free pair.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut tries = if address.port() == 0 { FREE_PAIR_TRIES } else { 1 };
        loop {
            tries -= 1;
            match Self::bind_once(address) {
                Err(_) if tries > 0 => {}
                done => return done,
            }
        }
    }

    fn bind_once(address: SocketAddr) -> io::Result<Self> {
        let rtp = UdpPort::bind(address)?;
        let port = rtp.local().port();
        if address.port() == 0 && port % 2 == 1 {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let next = port.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
        let rtcp = UdpPort::bind(SocketAddr::new(rtp.local().ip(), next))?;
        rtp.hear_refusals()?;
        Ok(Self { rtp, rtcp, viewers: Mutex::default() })
    }

    /// Where RTP comes from; RTCP has the next port.
    pub fn local(&self) -> SocketAddr {
        self.rtp.local()
    }

    pub(super) fn server_ports(&self) -> (u16, u16) {
        (self.rtp.local().port(), self.rtcp.local().port())
    }

    /// Whether a client that has reached us at `local` can be sent to, from that address.
    pub(super) fn reaches(&self, local: IpAddr, peer: IpAddr) -> bool {
        let own = self.rtp.local().ip();
        (own.is_unspecified() || own.to_canonical() == local.to_canonical())
            && (own.is_ipv6() || peer.to_canonical().is_ipv4())
    }

    /// Receives until dropped.
    pub(super) async fn listen(self: Arc<Self>) {
        let (rtp, rtcp) = (Half { pair: self.clone(), is_rtcp: false }, Half { pair: self, is_rtcp: true });
        tokio::join!(receive(rtp), receive(rtcp));
    }

    fn take_rtcp(&self, from: SocketAddr, packet: &[u8], now: Instant) {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        // A stranger's costs a look at the table.
        let Some(viewer) = self.viewers.lock().get(&from).cloned() else { return };
        for report in rtcp::parse(packet) {
            let blocks = match report {
                Report::Receiver { blocks, .. } | Report::Sender { blocks, .. } => blocks,
                Report::Bye { .. } | Report::Other { .. } => continue,
            };
            viewer.feedback.heard(now);
            for block in blocks.iter().filter(|block| block.ssrc == viewer.ssrc) {
                viewer.feedback.lost(viewer.track, block.cumulative_lost);
            }
        }
    }

    fn take_refusal(&self, of: SocketAddr, now: Instant) {
        let of = SocketAddr::new(of.ip().to_canonical(), of.port());
        if let Some(viewer) = self.viewers.lock().get(&of) {
            viewer.feedback.refused(now);
        }
    }
}

struct Half {
    pair: Arc<UdpPair>,
    is_rtcp: bool,
}

impl Half {
    fn port(&self) -> &UdpPort {
        if self.is_rtcp { &self.pair.rtcp } else { &self.pair.rtp }
    }

    /// Takes up to `ROUNDS` messages; true when there was nothing more.
    fn take(&self, room: &mut [u8], errors: &mut usize) -> bool {
        let now = Instant::now();
        for _ in 0..ROUNDS {
            let mut about = [RecvMeta::default()];
            match self.port().receive(&mut [IoSliceMut::new(room)], &mut about) {
                Ok(_) if !self.is_rtcp => {}
                Ok(count) => {
                    for meta in about.iter().take(count) {
                        let bytes = room.get(..meta.len).unwrap_or_default();
                        let packets = bytes.chunks(meta.stride.max(1)).filter(|packet| packet.len() <= MAX_RTCP_BYTES);
                        packets.for_each(|packet| self.pair.take_rtcp(meta.addr, packet, now));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // What the host of some viewer has answered; who that is says the queue of refusals.
                Err(_) => *errors += 1,
            }
        }
        false
    }

    fn take_refusals(&self) {
        let now = Instant::now();
        for _ in 0..ROUNDS {
            let Some(of) = self.port().refused() else { return };
            self.pair.take_refusal(of, now);
        }
    }
}

async fn receive(half: Half) {
    let socket = match half.port().socket().try_clone().and_then(UdpSocket::from_std) {
        Ok(socket) => socket,
        Err(error) => return warn!(%error, "RTSP over UDP can't hear its viewers"),
    };
    let mut room = vec![0; RECEIVE_BYTES];
    let nothing_more = || Err::<(), _>(io::Error::from(io::ErrorKind::WouldBlock));
    while let Ok(ready) = socket.ready(Interest::READABLE | Interest::ERROR).await {
        let mut errors = 0;
        // Each is tried and its readiness, when nothing more has come, taken back.
        if ready.is_error() {
            let _ = socket.try_io(Interest::ERROR, || {
                half.take_refusals();
                nothing_more()
            });
        }
        let _ = socket
            .try_io(Interest::READABLE, || if half.take(&mut room, &mut errors) { nothing_more() } else { Ok(()) });
        if errors == ROUNDS {
            tokio::time::sleep(ERROR_PAUSE).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

/// The ports of one client, from SETUP to the end of its sink.
pub(super) struct ViewerPorts {
    pair: Arc<UdpPair>,
    lease: u64,
    session: Arc<str>,
    /// One of our addresses: the one that the client has reached.
    source: IpAddr,
    peer: IpAddr,
    /// Where RTP and RTCP of each track go.
    tracks: Vec<Option<(SocketAddr, SocketAddr)>>,
    feedback: Arc<Feedback>,
}

impl ViewerPorts {
    pub fn new(pair: Arc<UdpPair>, session: &str, source: IpAddr, peer: IpAddr, tracks: usize) -> Self {
        static LEASES: AtomicU64 = AtomicU64::new(0);
        Self {
            pair,
            lease: LEASES.fetch_add(1, Relaxed),
            session: session.into(),
            source: source.to_canonical(),
            peer: peer.to_canonical(),
            tracks: vec![None; tracks],
            feedback: Arc::new(Feedback::new(tracks, Instant::now())),
        }
    }

    /// Sets where a track goes: to ports of the client's own host, whatever it may ask for.
    pub fn set(&mut self, track: usize, ssrc: u32, ports: (u16, u16)) -> Result<(), PortsRefused> {
        if ports.0 < FIRST_CLIENT_PORT || ports.1 < FIRST_CLIENT_PORT || ports.0 == ports.1 {
            return Err(PortsRefused::Invalid);
        }
        let place = self.tracks.get_mut(track).ok_or(PortsRefused::Invalid)?;
        let addresses = [SocketAddr::new(self.peer, ports.0), SocketAddr::new(self.peer, ports.1)];
        let mut viewers = self.pair.viewers.lock();
        let is_taken = addresses.iter().filter_map(|address| viewers.get(address)).any(|other| {
            // A viewer that comes again with the same ports takes over from itself.
            if other.lease == self.lease { other.track != track } else { other.session != self.session }
        });
        if is_taken {
            return Err(PortsRefused::Taken);
        }
        release(&mut viewers, self.lease, place.take());
        let viewer =
            Viewer { lease: self.lease, session: self.session.clone(), feedback: self.feedback.clone(), track, ssrc };
        viewers.extend(addresses.map(|address| (address, viewer.clone())));
        *place = Some((addresses[0], addresses[1]));
        Ok(())
    }

    /// Whether some track is set.
    pub fn is_used(&self) -> bool {
        self.tracks.iter().any(Option::is_some)
    }
}

impl Ports for ViewerPorts {
    fn send_rtp(&self, track: usize, datagrams: &[u8], segment: usize) -> io::Result<()> {
        let Some((to, _)) = self.tracks.get(track).copied().flatten() else { return Ok(()) };
        self.pair.rtp.send(to, Some(self.source), datagrams, segment)
    }

    fn send_rtcp(&self, track: usize, packet: &[u8]) -> io::Result<()> {
        let Some((_, to)) = self.tracks.get(track).copied().flatten() else { return Ok(()) };
        self.pair.rtcp.send(to, Some(self.source), packet, packet.len())
    }

    fn max_segments(&self) -> usize {
        self.pair.rtp.max_segments()
    }

    fn feedback(&self) -> &Feedback {
        &self.feedback
    }
}

impl Drop for ViewerPorts {
    fn drop(&mut self) {
        let mut viewers = self.pair.viewers.lock();
        self.tracks.drain(..).for_each(|addresses| release(&mut viewers, self.lease, addresses));
    }
}

/// Gives a track's addresses back, unless a later connection has them.
fn release(viewers: &mut HashMap<SocketAddr, Viewer>, lease: u64, addresses: Option<(SocketAddr, SocketAddr)>) {
    for address in addresses.into_iter().flat_map(|(rtp, rtcp)| [rtp, rtcp]) {
        if viewers.get(&address).is_some_and(|viewer| viewer.lease == lease) {
            viewers.remove(&address);
        }
    }
}
