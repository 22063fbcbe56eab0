//! A socket that a request comes in on and a sink goes on with.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::sink::Transport;

pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn into_transport(self) -> io::Result<Transport>;
    /// Our own end of it.
    fn local(&self) -> io::Result<SocketAddr>;
}

impl Socket for TcpStream {
    fn into_transport(self) -> io::Result<Transport> {
        Transport::plain(self.into_std()?)
    }

    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

impl Socket for TlsStream<TcpStream> {
    fn into_transport(self) -> io::Result<Transport> {
        let (socket, session) = self.into_inner();
        Transport::tls(socket.into_std()?, session)
    }

    fn local(&self) -> io::Result<SocketAddr> {
        self.get_ref().0.local_addr()
    }
}
