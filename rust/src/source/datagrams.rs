//! One RTP track that comes by UDP: a pair of ports, packets put in order, receiver reports (RFC 3550 §6.4.2, §11).

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::task::Context;
use std::time::Duration;

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use smallvec::SmallVec;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::wire::reception::Reception;
use crate::wire::reorder::{Ordered, Reorder};
use crate::wire::rtcp::{self, Report, SenderInfo};
use crate::wire::rtp::{self, HEADER_LEN};

/// Asked of the kernel, which gives no more than `net.core.rmem_max`: a second of 16 Mbit/s.
const RECEIVE_BUFFER_BYTES: usize = 2 << 20;
/// Pairs that are tried until one begins at an even port.
const MAX_BINDS: usize = 32;
/// Messages per system call, and room for one that the kernel has put together (GRO).
const BATCH: usize = 8;
const MESSAGE_BYTES: usize = 1 << 16;
/// System calls between two looks at anything else.
const ROUNDS: usize = 8;

thread_local! {
    /// Where all tracks of a thread receive, one after another.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BATCH * MESSAGE_BYTES]);
}

/// What came for the track.
#[derive(Debug)]
pub enum Came<'a> {
    /// In its turn; `header.sequence` leaves holes for what is lost, and for nothing else. `at`: when it came.
    Packet {
        packet: rtp::Packet<'a>,
        at: Duration,
    },
    Report(SenderInfo),
}

/// What a look at the sockets has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub packets: u64,
    pub octets: u64,
    pub malformed: u64,
    /// More may be waiting.
    pub has_more: bool,
}

/// The receiving end of one track. Times count from any fixed moment.
pub struct Datagrams {
    rtp: Socket,
    rtcp: Socket,
    /// The sender's address; its port is the RTP one.
    peer: SocketAddr,
    /// The sender's ports: as announced, or learned from its first packet.
    ports: Option<(u16, u16)>,
    our_ssrc: u32,
    ssrc: Option<u32>,
    /// Another sender's last packet, and when it came: two in a row, and it takes over. The first may begin a keyframe.
    other: Option<(u32, Vec<u8>, Duration)>,
    reorder: Reorder<Vec<u8>>,
    reception: Reception,
    has_heard: bool,
    strangers: u64,
    overflown: u32,
}

struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

impl Datagrams {
    /// Opens an even port and the odd one above it on the address of `local`, for a track from the host of `peer`.
    pub fn bind(local: SocketAddr, peer: SocketAddr, rate_hz: u32) -> io::Result<Self> {
        let (rtp, rtcp) = bind_pair(local)?;
        Ok(Self {
            rtp: Socket::new(rtp)?,
            rtcp: Socket::new(rtcp)?,
            peer,
            ports: None,
            our_ssrc: rand::random(),
            ssrc: None,
            other: None,
            reorder: Reorder::default(),
            reception: Reception::new(rate_hz),
            has_heard: false,
            strangers: 0,
            overflown: 0,
        })
    }

    /// Our ports.
    pub fn local_ports(&self) -> io::Result<(u16, u16)> {
        Ok((self.rtp.socket.local_addr()?.port(), self.rtcp.socket.local_addr()?.port()))
    }

    /// The ports that the sender has announced: what comes from others is dropped from now on.
    pub fn expect(&mut self, ports: (u16, u16)) {
        self.ports = Some(ports);
    }

    /// Opens the way through firewalls and NAT, as other receivers do: an empty packet to each of the sender's ports.
    pub fn punch(&self) {
        let Some((rtp, rtcp)) = self.ports else { return };
        let header = rtp::Header { marker: false, payload_type: 0, sequence: 0, timestamp: 0, ssrc: self.our_ssrc };
        self.rtp.send(&header.to_bytes(), self.peer, rtp);
        self.rtcp.send(&rtcp::receiver_report(self.our_ssrc, &[], &self.name()), self.peer, rtcp);
    }

    /// Whether anything of the track has come.
    pub fn has_heard(&self) -> bool {
        self.has_heard
    }

    /// Datagrams that came from elsewhere and were dropped.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// When `expire` is to be called.
    pub fn deadline(&self) -> Option<Duration> {
        self.reorder.deadline()
    }

    /// Takes what has come by `now`; wakes the task of `cx` when more comes.
    pub fn poll(&mut self, cx: &mut Context<'_>, now: Duration, mut take: impl FnMut(Came<'_>)) -> Tally {
        let mut tally = Tally::default();
        SCRATCH.with_borrow_mut(|scratch| {
            for is_control in [false, true] {
                let mut rounds = 0;
                loop {
                    if rounds == ROUNDS {
                        tally.has_more = true;
                        break;
                    }
                    rounds += 1;
                    let mut about = [RecvMeta::default(); BATCH];
                    let socket = if is_control { &self.rtcp } else { &self.rtp };
                    let Some(count) = socket.receive(cx, scratch, &mut about) else { break };
                    for (message, about) in scratch.chunks(MESSAGE_BYTES).zip(about.iter().take(count)) {
                        let message = message.get(..about.len).unwrap_or_default();
                        for datagram in message.chunks(about.stride.max(1)) {
                            self.datagram(is_control, about.addr, datagram, now, &mut tally, &mut take);
                        }
                    }
                }
            }
        });
        tally
    }

    /// Lets go what has waited long enough for a packet that is missing.
    pub fn expire(&mut self, now: Duration, mut take: impl FnMut(Came<'_>)) {
        self.reorder.expire(now, |ordered| hand_on(&ordered, &mut take));
    }

    /// Sends a receiver report. Says how many datagrams the kernel has dropped since the last one, for want of room.
    pub fn report(&mut self, now: Duration) -> u32 {
        let block = self.reception.block(now);
        if let Some((_, port)) = self.ports {
            self.rtcp.send(&rtcp::receiver_report(self.our_ssrc, block.as_slice(), &self.name()), self.peer, port);
        }
        let overflown = self.rtp.overflown();
        overflown.wrapping_sub(std::mem::replace(&mut self.overflown, overflown))
    }

    /// Tells the sender that we leave.
    pub fn bye(&mut self, now: Duration) {
        let Some((_, port)) = self.ports else { return };
        let block = self.reception.block(now);
        let mut compound = rtcp::receiver_report(self.our_ssrc, block.as_slice(), &self.name());
        compound.extend_from_slice(&rtcp::bye(self.our_ssrc, ""));
        self.rtcp.send(&compound, self.peer, port);
    }

    /// Random, so that it tells nothing (RFC 7022).
    fn name(&self) -> String {
        format!("{:08x}", self.our_ssrc)
    }

    fn datagram(
        &mut self,
        is_control: bool,
        from: SocketAddr,
        data: &[u8],
        now: Duration,
        tally: &mut Tally,
        take: &mut impl FnMut(Came<'_>),
    ) {
        let is_peer = from.ip().to_canonical() == self.peer.ip().to_canonical();
        let is_port = self.ports.is_none_or(|(rtp, rtcp)| from.port() == if is_control { rtcp } else { rtp });
        if !is_peer || !is_port {
            self.strangers += 1;
            return;
        }
        if is_control {
            for report in rtcp::parse(data) {
                if let Report::Sender { info, .. } = report
                    && self.ssrc.is_none_or(|ssrc| ssrc == info.ssrc)
                {
                    self.reception.sender_report(&info, now);
                    take(Came::Report(info));
                }
            }
            return;
        }
        let Some(packet) = rtp::Packet::parse(data) else {
            // An empty packet opens a way, as ours does.
            tally.malformed += u64::from(data.len() >= HEADER_LEN);
            return;
        };
        if self.ports.is_none() {
            self.ports = Some((from.port(), from.port().wrapping_add(1)));
        }
        self.has_heard = true;
        let Some(held) = self.senders(packet.header.ssrc, data, now) else { return };
        if let Some((first, at)) = held {
            self.reorder.restart(|ordered| hand_on(&ordered, take));
            if let Some(packet) = rtp::Packet::parse(&first) {
                self.admit(packet, &first, at, take, tally);
            }
        }
        self.admit(packet, data, now, take, tally);
    }

    /// A packet of the track's sender, read from `data`.
    fn admit(
        &mut self,
        packet: rtp::Packet<'_>,
        data: &[u8],
        now: Duration,
        take: &mut impl FnMut(Came<'_>),
        tally: &mut Tally,
    ) {
        let header = packet.header;
        tally.packets += 1;
        tally.octets += data.len() as u64;
        self.reception.packet(header.ssrc, header.sequence, header.timestamp, now);
        match self.reorder.passes(header.sequence) {
            Some(sequence) => {
                let header = rtp::Header { sequence, ..header };
                take(Came::Packet { packet: rtp::Packet { header, ..packet }, at: now });
            }
            None => {
                let release = |ordered: Ordered<Vec<u8>>| hand_on(&ordered, take);
                self.reorder.push(header.sequence, data.to_vec(), data.len(), now, release);
            }
        }
    }

    /// Whether a packet is the sender's; with one that has just taken over comes its first, and when that came.
    fn senders(&mut self, ssrc: u32, data: &[u8], now: Duration) -> Option<Option<(Vec<u8>, Duration)>> {
        let other = self.other.take();
        if *self.ssrc.get_or_insert(ssrc) == ssrc {
            return Some(None);
        }
        let Some((_, first, at)) = other.filter(|(other, ..)| *other == ssrc) else {
            self.other = Some((ssrc, data.to_vec(), now));
            return None;
        };
        self.ssrc = Some(ssrc);
        Some(Some((first, at)))
    }
}

fn hand_on(ordered: &Ordered<Vec<u8>>, take: &mut impl FnMut(Came<'_>)) {
    let Some(packet) = rtp::Packet::parse(&ordered.packet) else { return };
    let header = rtp::Header { sequence: ordered.sequence, ..packet.header };
    take(Came::Packet { packet: rtp::Packet { header, ..packet }, at: ordered.at });
}

impl Socket {
    fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        // It also makes the socket non-blocking.
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        Ok(Self { socket: UdpSocket::from_std(socket)?, state })
    }

    /// Messages received; None when there are none, and the task is woken when there are.
    fn receive(&self, cx: &mut Context<'_>, scratch: &mut [u8], about: &mut [RecvMeta; BATCH]) -> Option<usize> {
        loop {
            if !matches!(self.socket.poll_recv_ready(cx), std::task::Poll::Ready(Ok(()))) {
                return None;
            }
            let mut buffers: SmallVec<[IoSliceMut<'_>; BATCH]> =
                scratch.chunks_mut(MESSAGE_BYTES).map(IoSliceMut::new).collect();
            let received = self
                .socket
                .try_io(Interest::READABLE, || self.state.recv(UdpSockRef::from(&self.socket), &mut buffers, about));
            match received {
                Ok(count) => return Some(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A host that is not there says so now and then; that it is silent is noticed elsewhere.
                Err(_) => return Some(0),
            }
        }
    }

    /// Sends or does not: nothing depends on one datagram.
    fn send(&self, data: &[u8], to: SocketAddr, port: u16) {
        let mut to = to;
        to.set_port(port);
        // Not tokio's way, which does not even try before it has waited once.
        SockRef::from(&self.socket).send_to(data, &to.into()).ok();
    }

    /// Datagrams that the kernel has dropped for want of room.
    fn overflown(&self) -> u32 {
        /// Words of the answer (`include/uapi/linux/sock_diag.h`), and the place of the drops in it.
        const WORDS: usize = 9;
        const DROPS: usize = 8;
        let mut words = [0u32; WORDS];
        let mut length = size_of_val(&words) as libc::socklen_t;
        // SAFETY: the buffer is as long as is said, and the descriptor is open while `self` is.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MEMINFO,
                words.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result == 0 { words[DROPS] } else { 0 }
    }
}

fn bind_pair(local: SocketAddr) -> io::Result<(std::net::UdpSocket, std::net::UdpSocket)> {
    let open = |port: u16| -> io::Result<std::net::UdpSocket> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(local), socket2::Type::DGRAM, None)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        let mut address = local;
        address.set_port(port);
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    for _ in 0..MAX_BINDS {
        let first = open(0)?;
        let port = first.local_addr()?.port();
        let Ok(second) = open(port ^ 1) else { continue };
        return Ok(if port % 2 == 0 { (first, second) } else { (second, first) });
    }
    Err(io::ErrorKind::AddrInUse.into())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
        let header = rtp::Header { marker: false, payload_type: 96, sequence, timestamp: 0, ssrc };
        [&header.to_bytes()[..], &sequence.to_be_bytes()].concat()
    }

    async fn take(datagrams: &mut Datagrams, wanted: usize, now: Duration) -> Vec<(u16, u16)> {
        let mut taken = Vec::new();
        poll_fn(|cx| {
            datagrams.poll(cx, now, |came| {
                if let Came::Packet { packet, .. } = came {
                    let own = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
                    taken.push((packet.header.sequence, own));
                }
            });
            if taken.len() < wanted { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
        taken
    }

    fn track() -> (Datagrams, std::net::UdpSocket, SocketAddr) {
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = sender.local_addr().unwrap();
        let mut datagrams = Datagrams::bind("127.0.0.1:0".parse().unwrap(), peer, 90_000).unwrap();
        datagrams.expect((peer.port(), peer.port()));
        let to = SocketAddr::new(peer.ip(), datagrams.local_ports().unwrap().0);
        (datagrams, sender, to)
    }

    #[tokio::test]
    async fn ports_are_a_pair_that_begins_even() {
        let pairs: Vec<Datagrams> = (0..20)
            .map(|_| {
                let any = "127.0.0.1:0".parse().unwrap();
                Datagrams::bind(any, any, 90_000).unwrap()
            })
            .collect();
        for pair in &pairs {
            let (rtp, rtcp) = pair.local_ports().unwrap();
            assert!(rtp % 2 == 0 && rtcp == rtp + 1, "{rtp} {rtcp}");
        }
    }

    #[tokio::test]
    async fn packets_are_put_in_order_and_only_the_announced_sender_is_heard() {
        let (mut datagrams, sender, to) = track();
        let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(&packet(1, 99), to).unwrap();
        for sequence in [5, 7, 6, 6, 8] {
            sender.send_to(&packet(1, sequence), to).unwrap();
        }
        assert_eq!(take(&mut datagrams, 4, MS).await, [(5, 5), (6, 6), (7, 7), (8, 8)]);
        assert_eq!(datagrams.strangers(), 1);
        assert!(datagrams.has_heard());
    }

    #[tokio::test]
    async fn another_sender_takes_over_with_its_second_packet() {
        let (mut datagrams, sender, to) = track();
        for (ssrc, sequence) in [(1, 5), (2, 100), (1, 6), (2, 101), (2, 102), (2, 103)] {
            sender.send_to(&packet(ssrc, sequence), to).unwrap();
        }
        let taken = take(&mut datagrams, 5, MS).await;
        assert_eq!(taken, [(5, 5), (6, 6), (8, 101), (9, 102), (10, 103)], "the first may begin a keyframe");
    }

    #[tokio::test]
    async fn reports_say_what_was_lost_and_the_end_is_told() {
        let (mut datagrams, sender, to) = track();
        datagrams.punch();
        for sequence in [1, 2, 4] {
            sender.send_to(&packet(7, sequence), to).unwrap();
        }
        take(&mut datagrams, 2, MS).await;
        assert_eq!(datagrams.report(2 * MS), 0);
        datagrams.bye(3 * MS);
        sender.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut heard = Vec::new();
        let mut buffer = [0; 1500];
        while heard.len() < 4 {
            let (length, _) = sender.recv_from(&mut buffer).unwrap();
            heard.push(buffer[..length].to_vec());
        }
        assert_eq!(heard[0].len(), HEADER_LEN, "the punch");
        let Some(Report::Receiver { blocks, .. }) = rtcp::parse(&heard[2]).next() else { panic!("{heard:?}") };
        assert_eq!((blocks[0].ssrc, blocks[0].cumulative_lost, blocks[0].highest_sequence), (7, 1, 4));
        assert!(rtcp::parse(&heard[3]).any(|report| matches!(report, Report::Bye { .. })));
    }

    #[tokio::test]
    async fn what_the_kernel_has_no_room_for_is_known() {
        let (mut datagrams, sender, to) = track();
        SockRef::from(&datagrams.rtp.socket).set_recv_buffer_size(4096).unwrap();
        for sequence in 0..200 {
            sender.send_to(&[&packet(1, sequence)[..], &[0; 1000]].concat(), to).unwrap();
        }
        assert!(datagrams.report(MS) > 100);
        assert_eq!(datagrams.report(MS), 0, "counted once");
    }
}
