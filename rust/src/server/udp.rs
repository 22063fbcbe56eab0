//! A UDP port that many viewers share: roomy buffers, segmentation offload, and the source address that each viewer knows.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::SockAddr;

/// Asked of the kernel, which may give less: a keyframe for many viewers leaves at once, and their reports come together.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// One call may fail for a refusal of somebody else's host (`hear_refusals`), and then nothing has left.
const SEND_TRIES: usize = 3;

pub(super) struct UdpPort {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
}

impl UdpPort {
    /// Binds without blocking; an IPv6 port takes IPv4 too.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from(socket);
        let state = UdpSocketState::new((&socket).into())?;
        let local = socket.local_addr()?;
        Ok(Self { socket, state, local })
    }

    pub fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Datagrams that one `send` may hold; the kernel is told their size once.
    pub fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Takes what has come; one buffer may hold several datagrams (`RecvMeta::stride`).
    pub fn receive(&self, buffers: &mut [IoSliceMut<'_>], about: &mut [RecvMeta]) -> io::Result<usize> {
        self.state.recv((&self.socket).into(), buffers, about)
    }

    /// From now on the kernel keeps refusals (ICMP) of the hosts that we send to, for `refused`. Each also fails one call
    /// on the port, whatever that is about.
    pub fn hear_refusals(&self) -> io::Result<()> {
        self.state.enable_transport_errors((&self.socket).into())
    }

    /// Whom the oldest refused datagram was for; None when there are no more.
    pub fn refused(&self) -> Option<SocketAddr> {
        // SAFETY: zero is a valid `msghdr`; the name points to `storage`, which is as long as `length` says and outlives the
        // call, and on success the kernel has written an address there whose length it gives.
        let received = unsafe {
            SockAddr::try_init(|storage, length| {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_name = storage.cast();
                message.msg_namelen = *length;
                let flags = libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT;
                if libc::recvmsg(self.socket.as_raw_fd(), &mut message, flags) < 0 {
                    return Err(io::Error::last_os_error());
                }
                *length = message.msg_namelen;
                Ok(())
            })
        };
        received.ok()?.1.as_socket()
    }

    /// Sends `contents`, cut into datagrams of `segment` octets of which the last may be shorter. `from` is one of our
    /// addresses, for a port on all of them.
    pub fn send(&self, to: SocketAddr, from: Option<IpAddr>, contents: &[u8], segment: usize) -> io::Result<()> {
        // An IPv6 socket that takes IPv4 too wants the mapped form back.
        let destination = match (self.local.is_ipv6(), to.ip()) {
            (true, IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        // A socket with an address of its own can't send from another.
        let src_ip = from.filter(|_| self.local.ip().is_unspecified());
        let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip };
        if contents.len() <= segment {
            return self.try_send(&transmit);
        }
        let sent = self.try_send(&Transmit { segment_size: Some(segment), ..transmit.clone() });
        if sent.is_ok() || self.max_segments() > 1 {
            return sent;
        }
        // A network card without segmentation, which quinn-udp notes on the way: cut here, this once.
        contents
            .chunks(segment.max(1))
            .try_for_each(|contents| self.try_send(&Transmit { contents, ..transmit.clone() }))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut tries = SEND_TRIES;
        loop {
            tries -= 1;
            match self.state.try_send(UdpSockRef::from(&self.socket), transmit) {
                Err(error) if tries > 0 && error.kind() != io::ErrorKind::WouldBlock => {}
                done => return done,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::time::Duration;

    use super::*;

    /// Refusals of a dead viewer's host come while a live one's unit leaves: each datagram of that arrives once.
    #[test]
    fn refusals_of_others_repeat_nothing() {
        let port = UdpPort::bind("127.0.0.1:0".parse().expect("address")).expect("port");
        port.hear_refusals().expect("refusals");
        let viewer = UdpSocket::bind("127.0.0.1:0").expect("port");
        viewer.set_read_timeout(Some(Duration::from_secs(5))).expect("time-out");
        let alive = viewer.local_addr().expect("address");
        let dead = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("address");
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Relaxed) {
                    let _ = port.send(dead, None, &[0; 100], 100);
                    while port.refused().is_some() {}
                }
            });
            let mut refusals = 0;
            for round in 0..5_000_u32 {
                let unit: Vec<u8> = (0..8_u32).flat_map(|place| (round * 8 + place).to_be_bytes()).collect();
                let expected = match port.send(alive, None, &unit, 4) {
                    Ok(()) => 8,
                    Err(_) => 0,
                };
                refusals += u32::from(expected == 0);
                for place in 0..expected {
                    let mut datagram = [0; 8];
                    assert_eq!(viewer.recv(&mut datagram).expect("datagram"), 4);
                    assert_eq!(datagram[..4], (round * 8 + place).to_be_bytes());
                }
            }
            is_done.store(true, Relaxed);
            assert!(refusals < 2_500, "{refusals} of 5000 units were lost");
        });
    }
}
