//! The socket of a viewer, or of a hub that is sent to, plain or behind TLS, without blocking.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use mio::net::TcpStream;
use rustls::Connection;
use socket2::{SockRef, TcpKeepalive};

/// The kernel doubles it for its own bookkeeping: a reader that stalls costs at most 384 KiB there.
const SEND_BUFFER_BYTES: usize = 192 * 1024;
/// Data that nobody acknowledges for so long ends the connection, also when the reader keeps its window shut.
const USER_TIMEOUT: Duration = Duration::from_secs(10);
/// Ciphertext that may wait in the TLS session.
const TLS_BUFFER_BYTES: usize = 64 * 1024;

pub struct Transport {
    socket: TcpStream,
    /// Encrypts for this viewer alone; the shared buffer ends here.
    tls: Option<Box<Connection>>,
    written: u64,
}

impl Transport {
    pub fn plain(socket: std::net::TcpStream) -> io::Result<Self> {
        Self::new(socket, None)
    }

    /// `session` has its handshake behind it, whichever side it is of.
    pub fn tls(socket: std::net::TcpStream, session: impl Into<Connection>) -> io::Result<Self> {
        let mut session = session.into();
        session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        Self::new(socket, Some(Box::new(session)))
    }

    fn new(socket: std::net::TcpStream, tls: Option<Box<Connection>>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        options.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        options.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(20))
            .with_interval(Duration::from_secs(5))
            .with_retries(3);
        options.set_tcp_keepalive(&keepalive)?;
        Ok(Self { socket: TcpStream::from_std(socket), tls, written: 0 })
    }

    pub fn source(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Takes what it can of `slices` in one call to the kernel.
    pub fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else {
            let taken = Quiet(self.socket.as_fd()).write_vectored(slices)?;
            self.written += taken as u64;
            return Ok(taken);
        };
        push_tls(session, &self.socket, &mut self.written)?;
        let taken = session.writer().write_vectored(slices)?;
        match push_tls(session, &self.socket, &mut self.written) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    /// Writes ciphertext that waits.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            Some(session) => push_tls(session, &self.socket, &mut self.written),
            None => Ok(()),
        }
    }

    pub fn has_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|session| session.wants_write())
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else { return self.socket.read(buffer) };
        loop {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A peer that closes without its notice has closed all the same.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            session.read_tls(&mut self.socket)?;
            session.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }

    /// Octets that the peer has acknowledged so far; a reader that lives lets it grow.
    pub fn acknowledged(&self) -> u64 {
        let mut unsent: libc::c_int = 0;
        // SAFETY: TIOCOUTQ (SIOCOUTQ on a socket) writes one int through the pointer, which outlives the call.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::TIOCOUTQ, &mut unsent) };
        let unsent = if result == 0 { u64::try_from(unsent).unwrap_or(0) } else { 0 };
        self.written.saturating_sub(unsent)
    }

    /// Says goodbye in order: with unread data in the socket, close would reset and the last answer be lost.
    pub fn finish(&mut self) {
        let mut scratch = [0; 4096];
        for _ in 0..16 {
            if !matches!(self.socket.read(&mut scratch), Ok(1..)) {
                break;
            }
        }
        if let Some(session) = &mut self.tls {
            session.send_close_notify();
        }
        // Both fail only on a connection that is gone.
        let _ = self.flush();
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }
}

fn push_tls(session: &mut Connection, socket: &TcpStream, written: &mut u64) -> io::Result<()> {
    while session.wants_write() {
        match session.write_tls(&mut Quiet(socket.as_fd()))? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            octets => *written += octets as u64,
        }
    }
    Ok(())
}

/// Writes without SIGPIPE, which would end a process that has not switched it off.
struct Quiet<'a>(BorrowedFd<'a>);

impl Write for Quiet<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.0).send_with_flags(data, libc::MSG_NOSIGNAL)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.write(one),
            many => SockRef::from(&self.0).send_vectored_with_flags(many, libc::MSG_NOSIGNAL),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
