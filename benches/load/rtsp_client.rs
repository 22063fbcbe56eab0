//! One RTSP reader, interleaved on TCP or with media by UDP: a state machine that is fed what its sockets have.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;

use mio::net::{TcpStream, UdpSocket};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::clip;
use crate::clock::{milliseconds, now_ns};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Connecting,
    Describe,
    Setup,
    Play,
    Playing,
    Dead,
}

/// What the load program adds up.
#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub packets: u64,
    /// RTP octets.
    pub bytes: u64,
    pub lost: u64,
}

pub struct Reader {
    url: String,
    ticket: String,
    pub socket: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Where RTP comes, and a port for RTCP that nobody reads; None: interleaved.
    pub datagrams: Option<(UdpSocket, UdpSocket)>,
    pub state: State,
    /// What was read and is not complete yet.
    rest: Vec<u8>,
    cseq: u32,
    session: String,
    base: String,
    pub started: u64,
    pub first_key: Option<u64>,
    sequence: Option<u16>,
    pub counts: Counts,
    pub error: String,
}

impl Reader {
    /// Connects to `rtsp://ADDRESS:PORT/…`, or `rtsps://…` with `tls`.
    pub fn connect(url: &str, ticket: &str, by_udp: bool, tls: Option<&Arc<ClientConfig>>) -> std::io::Result<Self> {
        let bind = || {
            let socket = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0).into())?;
            socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
            std::io::Result::Ok(socket)
        };
        let host = url.split_once("://").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default();
        let address: std::net::SocketAddr = host.parse().map_err(|_| std::io::Error::from(ErrorKind::InvalidInput))?;
        let client = |config: &Arc<ClientConfig>| {
            let name = ServerName::IpAddress(address.ip().into());
            Box::new(ClientConnection::new(config.clone(), name).expect("a configuration"))
        };
        Ok(Self {
            url: url.to_owned(),
            ticket: ticket.to_owned(),
            started: now_ns(),
            socket: TcpStream::connect(address)?,
            tls: tls.map(client),
            datagrams: if by_udp { Some((bind()?, bind()?)) } else { None },
            state: State::Connecting,
            rest: Vec::new(),
            cseq: 0,
            session: String::new(),
            base: String::new(),
            first_key: None,
            sequence: None,
            counts: Counts::default(),
            error: String::new(),
        })
    }

    /// Its socket can be written to or read from.
    pub fn on_ready(&mut self, room: &mut [u8], delays: &mut Vec<f64>) {
        if self.state == State::Connecting {
            match self.socket.take_error() {
                Ok(None) if self.socket.peer_addr().is_ok() => {
                    // Without it a request waits for the answer to the last one.
                    let _ = self.socket.set_nodelay(true);
                    self.state = State::Describe;
                    let url = self.url.clone();
                    self.request("DESCRIBE", &url, "Accept: application/sdp\r\n");
                }
                Ok(None) => return,
                Ok(Some(cause)) | Err(cause) => return self.die(&format!("connect: {cause}")),
            }
        }
        while self.state != State::Dead {
            match self.read(room) {
                Ok(0) => return self.die(&format!("closed in {:?}", self.state)),
                Ok(length) => {
                    let (now, is_full) = (now_ns(), length == room.len());
                    if self.rest.is_empty() {
                        let used = self.parse(&room[..length], now, delays);
                        self.rest.extend_from_slice(&room[used..length]);
                    } else {
                        let mut all = std::mem::take(&mut self.rest);
                        all.extend_from_slice(&room[..length]);
                        let used = self.parse(&all, now, delays);
                        all.drain(..used);
                        self.rest = all;
                    }
                    if !is_full && self.tls.is_none() {
                        return;
                    }
                }
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return self.die(&format!("read: {cause}")),
            }
        }
    }

    /// Its port for RTP can be read from.
    pub fn on_datagrams(&mut self, room: &mut [u8], delays: &mut Vec<f64>) {
        while let Some(length) = self.datagrams.as_ref().and_then(|(rtp, _)| rtp.recv(room).ok()) {
            self.packet(&room[..length], now_ns(), delays);
        }
    }

    /// Shows that it is still there, as players do.
    pub fn keep_alive(&mut self) {
        if self.state == State::Playing {
            let base = self.base.clone();
            self.request("OPTIONS", &base, "");
        }
    }

    fn die(&mut self, why: &str) {
        self.state = State::Dead;
        self.error = why.to_owned();
    }

    fn request(&mut self, method: &str, url: &str, extra: &str) {
        self.cseq += 1;
        let mut text = format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{extra}", self.cseq);
        if !self.ticket.is_empty() {
            text += &format!("Authorization: Bearer {}\r\n", self.ticket);
        }
        if !self.session.is_empty() {
            text += &format!("Session: {}\r\n", self.session);
        }
        let text = format!("{text}\r\n");
        let written = match &mut self.tls {
            None => self.socket.write_all(text.as_bytes()),
            Some(tls) => tls.writer().write_all(text.as_bytes()).and_then(|()| push(tls, &mut self.socket)),
        };
        if let Err(cause) = written {
            self.die(&format!("{method}: {cause}"));
        }
    }

    fn read(&mut self, room: &mut [u8]) -> std::io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(room) };
        loop {
            match tls.reader().read(room) {
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => {}
                done => return done,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(std::io::Error::other)?;
            push(tls, &mut self.socket)?;
        }
    }

    /// Takes what is complete; tells how much that was.
    fn parse(&mut self, data: &[u8], now: u64, delays: &mut Vec<f64>) -> usize {
        let mut place = 0;
        while self.state != State::Dead {
            match &data[place..] {
                [b'$', channel, high, low, rest @ ..] => {
                    let length = usize::from(u16::from_be_bytes([*high, *low]));
                    let Some(packet) = rest.get(..length) else { break };
                    if channel & 1 == 0 {
                        self.packet(packet, now, delays);
                    }
                    place += 4 + length;
                }
                [b'$', ..] | [] => break,
                text => {
                    let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { break };
                    let head = String::from_utf8_lossy(&text[..end]).into_owned();
                    let length = field(&head, "Content-Length").and_then(|length| length.parse().ok()).unwrap_or(0);
                    let Some(body) = text.get(end + 4..end + 4 + length) else { break };
                    self.answer(&head, body);
                    place += end + 4 + length;
                }
            }
        }
        place
    }

    fn answer(&mut self, head: &str, body: &[u8]) {
        if !head.starts_with("RTSP/") {
            // A request of the server: it says goodbye.
            return self.die(head.lines().next().unwrap_or_default());
        }
        if self.state == State::Playing {
            return;
        }
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            return self.die(&format!("{:?}: {status} {}", self.state, field(head, "X-Vidhub-Reason").unwrap_or("")));
        }
        match self.state {
            State::Describe => {
                self.base = field(head, "Content-Base").unwrap_or(&self.url).trim_end_matches('/').to_owned() + "/";
                let sdp = String::from_utf8_lossy(body);
                let video = sdp.split("m=video").nth(1).and_then(|video| video.split("a=control:").nth(1));
                let Some(control) = video.and_then(|control| control.lines().next()) else {
                    return self.die("no video in the SDP");
                };
                let track = if control.starts_with("rtsp:") { control.to_owned() } else { self.base.clone() + control };
                self.state = State::Setup;
                let port = |socket: &UdpSocket| socket.local_addr().map_or(0, |address| address.port());
                let way = match &self.datagrams {
                    Some((rtp, rtcp)) => format!("RTP/AVP;unicast;client_port={}-{}", port(rtp), port(rtcp)),
                    None => "RTP/AVP/TCP;unicast;interleaved=0-1".to_owned(),
                };
                self.request("SETUP", &track, &format!("Transport: {way}\r\n"));
            }
            State::Setup => {
                let session = field(head, "Session").and_then(|session| session.split(';').next());
                self.session = session.unwrap_or_default().to_owned();
                self.state = State::Play;
                let base = self.base.clone();
                self.request("PLAY", &base, "Range: npt=0.000-\r\n");
            }
            State::Play => self.state = State::Playing,
            State::Connecting | State::Playing | State::Dead => {}
        }
    }

    fn packet(&mut self, packet: &[u8], now: u64, delays: &mut Vec<f64>) {
        // The hub writes neither contributing sources nor extensions nor padding.
        let Some((header, payload)) = packet.split_at_checked(12) else { return };
        self.counts.packets += 1;
        self.counts.bytes += packet.len() as u64;
        let sequence = u16::from_be_bytes([header[2], header[3]]);
        let ahead = self.sequence.map_or(0, |last| sequence.wrapping_sub(last).wrapping_sub(1));
        self.counts.lost += u64::from(ahead);
        self.sequence = Some(sequence);
        let told = clip::inspect(payload);
        if told.is_key {
            self.first_key.get_or_insert(now);
        }
        if let Some(sent) = told.sent_ns {
            delays.push(milliseconds(now.saturating_sub(sent)));
        }
    }
}

/// The handshake, and what was written before its end.
fn push(tls: &mut ClientConnection, socket: &mut TcpStream) -> std::io::Result<()> {
    while tls.wants_write() {
        tls.write_tls(socket)?;
    }
    Ok(())
}

/// Believes the hub's own CA and nobody else.
pub fn believe(ca: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).expect("a certificate")).expect("a certificate of a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Arc::new(config.expect("TLS").with_root_certificates(roots).with_no_client_auth())
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
