//! One connection to a camera, clear or TLS: octets out, and what comes in handed on where it lies.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::super::{Failure, FailureKind, Options};
use super::Address;
use crate::wire::rtsp::{Fault, Input, MAX_FRAME_BYTES, Reader};

/// Octets that one call to the kernel may bring.
const READ_BYTES: usize = 192 << 10;
/// Requests that a camera does not take from the socket; beyond, it is given up.
const MAX_UNSENT_BYTES: usize = 64 << 10;

thread_local! {
    /// Where all connections of a thread read, one after another: a camera of its own keeps the part of a packet only.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; MAX_FRAME_BYTES + READ_BYTES]);
}

/// Why a connection is no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Closed,
    Cut,
    /// The camera reads no requests.
    Deaf,
    NotRtsp,
    TooLarge,
    /// The camera has ended the session by a request of its own.
    Ended,
    /// So has another hub, and says why.
    EndedByHub(&'static str),
}

impl Broken {
    /// `during`: what the connection was doing, as in "DESCRIBE".
    pub fn explain(self, during: &str) -> Failure {
        let (kind, message) = match self {
            Self::Closed | Self::Cut => (FailureKind::Busy, format!("the camera has cut the connection ({during})")),
            Self::Ended => (FailureKind::Busy, format!("the camera has ended the session ({during})")),
            Self::EndedByHub(reason) => {
                (FailureKind::Hub(reason), format!("the hub that shares the camera has ended it: {reason}"))
            }
            Self::Deaf => (FailureKind::Silent, format!("the camera takes no more requests ({during}): restart it")),
            Self::NotRtsp => (FailureKind::Invalid, format!("what the camera sends is no RTSP ({during})")),
            Self::TooLarge => {
                (FailureKind::Invalid, format!("the camera's answer is larger than any camera's ({during})"))
            }
        };
        Failure::new(kind, message)
    }
}

pub struct Connection {
    stream: Stream,
    reader: Reader,
    /// The beginning of a frame whose rest has not come.
    rest: Vec<u8>,
    unsent: Vec<u8>,
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Dials one address, and shakes hands where the URL wants TLS.
    pub async fn dial(
        address: &Address,
        dialled: SocketAddr,
        options: &Options,
        deadline: Instant,
    ) -> Result<Self, Failure> {
        let late = |_| unreachable(&io::ErrorKind::TimedOut.into());
        let connected = timeout_at(deadline, TcpStream::connect(dialled)).await.map_err(late)?;
        let socket = connected.map_err(|error| unreachable(&error))?;
        let broken = |error: io::Error| unreachable(&error);
        socket.set_nodelay(true).map_err(broken)?;
        let (peer, local) = (socket.peer_addr().map_err(broken)?, socket.local_addr().map_err(broken)?);
        let stream = if address.is_secure {
            let shaken = timeout_at(deadline, shake_hands(socket, address, dialled, options)).await;
            Stream::Tls(Box::new(shaken.map_err(|_| super::no_answer("the TLS handshake"))??))
        } else {
            Stream::Clear(socket)
        };
        Ok(Self::over(stream, peer, local))
    }

    /// Over a connection to another hub, whose certificate was looked at.
    pub fn secured(stream: TlsStream<TcpStream>) -> Result<Self, Failure> {
        let ends = |socket: &TcpStream| Ok::<_, io::Error>((socket.peer_addr()?, socket.local_addr()?));
        let (peer, local) = ends(stream.get_ref().0).map_err(|_| Broken::Closed.explain("the TLS handshake"))?;
        Ok(Self::over(Stream::Tls(Box::new(stream)), peer, local))
    }

    fn over(stream: Stream, peer: SocketAddr, local: SocketAddr) -> Self {
        Self { stream, reader: Reader::default(), rest: Vec::new(), unsent: Vec::new(), peer, local }
    }

    pub fn is_secure(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Puts a request, or an answer, behind those that wait to be sent. `poll` sends it.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Broken> {
        if self.unsent.len() + message.len() > MAX_UNSENT_BYTES {
            return Err(Broken::Deaf);
        }
        self.unsent.extend_from_slice(message);
        Ok(())
    }

    /// Sends what waits, and takes what has come in one call to the kernel. Ready when something has come.
    pub fn poll(&mut self, cx: &mut Context<'_>, mut take: impl FnMut(Input<'_>)) -> Poll<Result<(), Broken>> {
        if let Poll::Ready(Err(_)) = self.poll_send(cx) {
            return Poll::Ready(Err(Broken::Cut));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let Some((before, space)) = scratch.split_at_mut_checked(MAX_FRAME_BYTES) else {
                return Poll::Ready(Err(Broken::TooLarge));
            };
            let mut buffer = ReadBuf::new(space);
            if ready!(self.stream.poll_read(cx, &mut buffer)).is_err() {
                return Poll::Ready(Err(Broken::Cut));
            }
            let came = buffer.filled().len();
            if came == 0 {
                return Poll::Ready(Err(Broken::Closed));
            }
            let start = MAX_FRAME_BYTES - self.rest.len();
            if let Some(place) = before.get_mut(start..) {
                place.copy_from_slice(&self.rest);
            }
            let mut data = scratch.get(start..MAX_FRAME_BYTES + came).unwrap_or_default();
            loop {
                let (used, input) = match self.reader.read(data) {
                    Ok(read) => read,
                    Err(Fault::Malformed) => return Poll::Ready(Err(Broken::NotRtsp)),
                    Err(Fault::TooLarge) => return Poll::Ready(Err(Broken::TooLarge)),
                };
                data = data.get(used..).unwrap_or_default();
                match input {
                    Some(input) => take(input),
                    None if used == 0 => break,
                    None => {}
                }
            }
            self.rest.clear();
            self.rest.extend_from_slice(data);
            Poll::Ready(Ok(()))
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(self.stream.poll_write(cx, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.drain(..sent);
        }
        self.stream.poll_flush(cx)
    }
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Clear(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Clear(socket) => Pin::new(socket).poll_write(cx, data),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, data),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // A socket of the kernel's has nothing to flush.
            Self::Clear(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
}

async fn shake_hands(
    socket: TcpStream,
    address: &Address,
    dialled: SocketAddr,
    options: &Options,
) -> Result<TlsStream<TcpStream>, Failure> {
    let failed = |message: String| Failure::new(FailureKind::Certificate, message);
    let host = address.host.trim_matches(['[', ']']);
    let (config, handshake) = options
        .certificates
        .handshake(host, address.port)
        .map_err(|error| failed(format!("TLS can't be begun: {}", error.message())))?;
    let name = ServerName::try_from(host.to_owned()).unwrap_or_else(|_| ServerName::from(dialled.ip()));
    let changed = || {
        failed(
            "the camera shows another certificate than before: if it was renewed or the camera replaced, register \
             the camera again, or restart the hub; if not, somebody is in between"
                .to_owned(),
        )
    };
    let stream = TlsConnector::from(config).connect(name, socket).await.map_err(|error| {
        if handshake.has_changed() {
            changed()
        } else if handshake.is_unknown() {
            failed(
                "the camera's certificate does not name its address, or no authority of source.tls_ca has issued it: \
                 give the camera one that fits"
                    .to_owned(),
            )
        } else if error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>()) {
            failed(
                "no TLS session with the camera comes about: check that the port is its RTSPS one and that it knows \
                 TLS 1.2"
                    .to_owned(),
            )
        } else {
            Failure::new(FailureKind::Unreachable, "the camera has cut the connection (TLS): check the port")
        }
    })?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    match certificate {
        Some(certificate) if handshake.confirm(certificate) => Ok(stream),
        _ => Err(changed()),
    }
}

/// Viewers read it as well, and where a camera is dialled is for its unit and administrators alone: no address in it.
fn unreachable(error: &io::Error) -> Failure {
    let message = match error.kind() {
        io::ErrorKind::ConnectionRefused => "the camera's address refuses the connection: check port and RTSP service",
        _ => "the camera can't be reached: check that it has power and network",
    };
    Failure::new(FailureKind::Unreachable, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_camera_can_not_be_reached_says_nothing_of_where_it_is() {
        for kind in [io::ErrorKind::TimedOut, io::ErrorKind::HostUnreachable, io::ErrorKind::ConnectionRefused] {
            let failure = unreachable(&io::Error::new(kind, "connect to 192.0.2.21:554"));
            assert!(!failure.message.contains("192.0.2.21"), "{failure:?}");
            assert!(failure.message.contains(": check"), "it says what to do: {failure:?}");
        }
    }
}
