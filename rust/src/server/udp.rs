//! A UDP port that many viewers share: roomy buffers, segmentation offload, and the source address that each viewer knows.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::SockAddr;

/// Asked of the kernel, which may give less: a keyframe for many viewers leaves at once, and their reports come together.
const SOCKET_BUFFER_BYTES: usize = 4 << 20;

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
        let socket = UdpSockRef::from(&self.socket);
        let segmented = contents.len() > segment;
        let transmit =
            Transmit { destination, ecn: None, contents, segment_size: segmented.then_some(segment), src_ip };
        match self.state.try_send(socket, &transmit) {
            Err(cause) if segmented && cause.kind() != io::ErrorKind::WouldBlock => {
                // A network card without segmentation: quinn-udp has noted it and will say so by `max_gso_segments`.
                for piece in contents.chunks(segment.max(1)) {
                    let transmit = Transmit { destination, ecn: None, contents: piece, segment_size: None, src_ip };
                    self.state.try_send(UdpSockRef::from(&self.socket), &transmit)?;
                }
                Ok(())
            }
            other => other,
        }
    }
}
