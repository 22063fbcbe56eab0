//! A WHEP viewer without a decoder: str0m on the receiving side, counting frames. Also the heart of the load program.

#![allow(dead_code)] // Each program that includes this file uses a part of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{DatagramRecv, Protocol, Receive, TcpType};
use str0m::rtp::Ssrc;
use str0m::{Candidate, Event, Input, Output, Rtc};

/// An HTTP answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The `reason` of a problem+json body.
    pub fn reason(&self) -> String {
        let problem: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_default();
        problem["reason"].as_str().unwrap_or_default().to_owned()
    }
}

/// Sends bytes and reads until the server closes; they should ask for that.
pub fn raw(server: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    // A server that refuses early may close before it has read all; its answer counts.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let mut room = [0; 4096];
    loop {
        match stream.read(&mut room) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&room[..count]),
            Err(_) if !answer.is_empty() => break,
            Err(cause) => return Err(cause),
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// One request with a body of known length.
pub fn request(
    server: SocketAddr,
    method: &str,
    path: &str,
    fields: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    raw(server, format!("{head}\r\n{body}").as_bytes())
}

pub fn post_offer(server: SocketAddr, camera: &str, ticket: &str, sdp: &str) -> io::Result<Answer> {
    let bearer = format!("Bearer {ticket}");
    let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/sdp")];
    request(server, "POST", &format!("/whep/{camera}"), &fields, sdp)
}

/// The same from a page, which a browser posts with the page's origin.
pub fn post_offer_of_page(server: SocketAddr, camera: &str, ticket: &str, sdp: &str) -> io::Result<Answer> {
    let (bearer, origin) = (format!("Bearer {ticket}"), format!("http://{server}"));
    let fields = [("Authorization", bearer.as_str()), ("Content-Type", "application/sdp"), ("Origin", origin.as_str())];
    request(server, "POST", &format!("/whep/{camera}"), &fields, sdp)
}

/// What a viewer has seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    pub connected: Option<Instant>,
    /// The first packet of a picture that decoding can start at.
    pub first_keyframe: Option<Instant>,
    pub video_packets: u64,
    pub video_bytes: u64,
    pub audio_packets: u64,
    /// Complete pictures, by the RTP marker.
    pub frames: u64,
    pub keyframes: u64,
    /// Packets missing in the sequence when it was last looked at; resent ones fill it again.
    pub lost: u64,
    /// Timestamps that went backwards.
    pub backwards: u64,
    /// The server has said goodbye.
    pub closed: Option<Instant>,
    pub error: Option<String>,
}

/// A packet of video as it came.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub at: Instant,
    pub sequence: u64,
    pub timestamp: u64,
    pub marker: bool,
    /// The first octets of a slice behind its header, where the packet begins one.
    pub slice: Option<[u8; 8]>,
    pub is_keyframe: bool,
}

pub type Tap = Box<dyn FnMut(&[u8])>;
pub type Loses = Box<dyn FnMut(&[u8]) -> bool>;

/// What carries the client's datagrams.
enum Wire {
    Udp(UdpSocket),
    /// To be connected when the answer says where.
    Unconnected,
    /// Each datagram with its length in front (RFC 4571).
    Tcp {
        stream: TcpStream,
        server: SocketAddr,
        received: Vec<u8>,
        unsent: Vec<u8>,
    },
}

pub struct WhepClient {
    rtc: Rtc,
    wire: Wire,
    /// A TCP client that reads nothing any more.
    pub is_deaf: bool,
    local: SocketAddr,
    pending: Option<SdpPendingOffer>,
    pub video: Mid,
    pub audio: Option<Mid>,
    video_ssrc: Option<Ssrc>,
    first_sequence: Option<u64>,
    last_sequence: u64,
    last_timestamp: Option<u64>,
    deadline: Instant,
    pub seen: Seen,
    /// Is shown each payload of video.
    pub tap: Option<Tap>,
    /// Every packet, if wanted.
    pub record: Option<Vec<Arrived>>,
    /// Whether a datagram is lost on its way in.
    pub loses: Option<Loses>,
}

impl WhepClient {
    /// A client with its offer, on a loopback port of its own.
    pub fn offer(with_audio: bool) -> (Self, String) {
        Self::offer_from(([127, 0, 0, 1], 0).into(), with_audio)
    }

    /// A client that has no UDP.
    pub fn offer_by_tcp(with_audio: bool) -> (Self, String) {
        Self::offer_with(Wire::Unconnected, ([0, 0, 0, 0], 0).into(), with_audio)
    }

    /// The same from a given address.
    pub fn offer_from(address: SocketAddr, with_audio: bool) -> (Self, String) {
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None).unwrap();
        socket.set_recv_buffer_size(4 << 20).unwrap();
        socket.bind(&address.into()).unwrap();
        let socket: UdpSocket = socket.into();
        socket.set_nonblocking(true).unwrap();
        let local = socket.local_addr().unwrap();
        Self::offer_with(Wire::Udp(socket), local, with_audio)
    }

    fn offer_with(wire: Wire, local: SocketAddr, with_audio: bool) -> (Self, String) {
        let now = Instant::now();
        let mut rtc = Rtc::builder().set_rtp_mode(true).enable_pcma(true, false).enable_pcmu(true, false).build(now);
        if matches!(wire, Wire::Udp(_)) {
            rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
        }
        let mut changes = rtc.sdp_api();
        let audio = with_audio.then(|| changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None));
        let video = changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let client = Self {
            rtc,
            wire,
            is_deaf: false,
            local,
            pending: Some(pending),
            video,
            audio,
            video_ssrc: None,
            first_sequence: None,
            last_sequence: 0,
            last_timestamp: None,
            deadline: now,
            seen: Seen::default(),
            tap: None,
            record: None,
            loses: None,
        };
        (client, offer.to_sdp_string())
    }

    /// Connects to the first TCP candidate of the answer, and has its checks sent there.
    fn connect(&mut self, answer: &str) {
        let server = tcp_candidates(answer)[0];
        let socket = socket2::Socket::new(socket2::Domain::for_address(server), socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(32 << 10).unwrap();
        socket.connect(&server.into()).unwrap();
        let stream: TcpStream = socket.into();
        stream.set_nonblocking(true).unwrap();
        self.local = stream.local_addr().unwrap();
        self.rtc.add_local_candidate(active(self.local));
        self.wire = Wire::Tcp { stream, server, received: Vec::new(), unsent: Vec::new() };
    }

    /// Loses its TCP connection and makes a new one.
    pub fn reconnect(&mut self, answer: &str) {
        self.rtc.direct_api().invalidate_candidate(&active(self.local));
        self.connect(answer);
        self.drive(Instant::now());
    }

    /// Begins an ICE restart: the client goes on from another UDP port. Its new credentials.
    pub fn restart(&mut self) -> (String, String) {
        let socket = UdpSocket::bind((self.local.ip(), 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        self.local = socket.local_addr().unwrap();
        self.wire = Wire::Udp(socket);
        let mut changes = self.rtc.sdp_api();
        let credentials = changes.ice_restart(false);
        self.pending = Some(changes.apply().unwrap().1);
        (credentials.ufrag, credentials.pass)
    }

    /// Ends it, with the answer of the beginning and the fragment that the server gave.
    pub fn restarted(&mut self, answer: &str, fragment: &str) {
        let new = |wanted: &str| {
            fragment.lines().filter(|line| line.starts_with(wanted)).map(str::to_owned).collect::<Vec<_>>()
        };
        let replaced = |line: &str| match line.split_once(':').map(|(name, _)| name) {
            Some("a=candidate") => Vec::new(),
            Some("a=ice-ufrag") => [new("a=ice-ufrag:"), new("a=candidate:")].concat(),
            Some("a=ice-pwd") => new("a=ice-pwd:"),
            _ => vec![line.to_owned()],
        };
        let answer: String = answer.lines().flat_map(replaced).map(|line| line + "\r\n").collect();
        self.accept(&answer);
        self.rtc.add_local_candidate(Candidate::host(self.local, "udp").unwrap());
        self.drive(Instant::now());
    }

    pub fn accept(&mut self, answer: &str) {
        if matches!(self.wire, Wire::Unconnected) {
            self.connect(answer);
        }
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        let pending = self.pending.take().expect("one answer per offer");
        self.rtc.sdp_api().accept_answer(pending, answer).unwrap();
    }

    /// Says that the picture is lost, as a decoder does.
    pub fn ask_for_keyframe(&mut self) {
        let mut direct = self.rtc.direct_api();
        if let Some(stream) = self.video_ssrc.and_then(|ssrc| direct.stream_rx(&ssrc)) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
        }
        self.drive(Instant::now());
    }

    /// Sends octets from the viewer's own address.
    pub fn forge(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.wire.send(datagram, to);
    }

    fn drive(&mut self, now: Instant) {
        if let Err(cause) = self.rtc.handle_input(Input::Timeout(now)) {
            self.seen.error = Some(cause.to_string());
        }
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(deadline)) => {
                    self.deadline = deadline;
                    return;
                }
                Ok(Output::Transmit(transmit)) => {
                    self.wire.send(&transmit.contents, transmit.destination);
                }
                Ok(Output::Event(event)) => self.event(event, now),
                Err(cause) => {
                    self.seen.error = Some(cause.to_string());
                    self.deadline = now + Duration::from_secs(3600);
                    return;
                }
            }
        }
    }

    fn event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Connected => self.seen.connected = Some(now),
            Event::Closed => self.seen.closed = Some(now),
            Event::RtpPacket(packet) => {
                let ssrc = packet.header.ssrc;
                let mid = self.rtc.direct_api().stream_rx(&ssrc).map(|stream| stream.mid());
                if mid != Some(self.video) {
                    self.seen.audio_packets += 1;
                    return;
                }
                self.video_ssrc = Some(ssrc);
                let (sequence, timestamp) = (*packet.seq_no, packet.time.numer());
                self.seen.video_packets += 1;
                self.seen.video_bytes += packet.payload.len() as u64;
                let first = *self.first_sequence.get_or_insert(sequence);
                self.last_sequence = self.last_sequence.max(sequence);
                self.seen.lost = (self.last_sequence + 1 - first).saturating_sub(self.seen.video_packets);
                if sequence == self.last_sequence {
                    self.seen.backwards += u64::from(self.last_timestamp.is_some_and(|last| timestamp < last));
                    self.last_timestamp = Some(timestamp);
                }
                if starts_keyframe(&packet.payload) {
                    self.seen.keyframes += 1;
                    self.seen.first_keyframe.get_or_insert(now);
                }
                self.seen.frames += u64::from(packet.header.marker);
                if let Some(record) = &mut self.record {
                    // FU-A (RFC 6184 §5.8) that starts a slice.
                    let begins = matches!(packet.payload[..], [28 | 60 | 92 | 124, 0x80..=0xff, ..]);
                    record.push(Arrived {
                        at: now,
                        sequence,
                        timestamp,
                        marker: packet.header.marker,
                        slice: packet
                            .payload
                            .get(2..)
                            .filter(|_| begins)
                            .and_then(|slice| slice.first_chunk().copied()),
                        is_keyframe: begins && packet.payload[1] & 31 == 5,
                    });
                }
                if let Some(tap) = &mut self.tap {
                    tap(&packet.payload);
                }
            }
            _ => {}
        }
    }

    fn receive(&mut self) {
        let mut room = [0; 2000];
        while let Some((length, source, proto)) = (!self.is_deaf).then(|| self.wire.receive(&mut room)).flatten() {
            let now = Instant::now();
            if self.loses.as_mut().is_some_and(|loses| loses(&room[..length])) {
                continue;
            }
            let Ok(contents) = DatagramRecv::try_from(&room[..length]) else { continue };
            let receive = Receive { proto, source, destination: self.local, contents };
            if let Err(cause) = self.rtc.handle_input(Input::Receive(now, receive)) {
                self.seen.error = Some(cause.to_string());
            }
            self.drain(now);
        }
    }
}

impl Wire {
    fn send(&mut self, datagram: &[u8], to: SocketAddr) {
        match self {
            // Lost like any datagram.
            Self::Udp(socket) => drop(socket.send_to(datagram, to)),
            Self::Unconnected => {}
            Self::Tcp { stream, unsent, .. } => {
                unsent.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
                unsent.extend_from_slice(datagram);
                if let Ok(written) = stream.write(unsent) {
                    unsent.drain(..written);
                }
            }
        }
    }

    fn receive(&mut self, room: &mut [u8]) -> Option<(usize, SocketAddr, Protocol)> {
        match self {
            Self::Udp(socket) => socket.recv_from(room).ok().map(|(length, source)| (length, source, Protocol::Udp)),
            Self::Unconnected => None,
            Self::Tcp { stream, server, received, .. } => loop {
                if let Some(length) = received.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)))
                    && let Some(frame) = received.get(2..2 + length)
                {
                    room[..length].copy_from_slice(frame);
                    received.drain(..2 + length);
                    return Some((length, *server, Protocol::Tcp));
                }
                let mut piece = [0; 4096];
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => received.extend_from_slice(&piece[..count]),
                    _ => return None,
                }
            },
        }
    }

    fn descriptor(&self) -> i32 {
        match self {
            Self::Udp(socket) => socket.as_raw_fd(),
            Self::Unconnected => panic!("the client has not heard where to connect"),
            Self::Tcp { stream, .. } => stream.as_raw_fd(),
        }
    }
}

fn active(local: SocketAddr) -> Candidate {
    Candidate::builder().tcp().host(local).tcptype(TcpType::Active).build().unwrap()
}

/// Where an answer says that TCP is taken (RFC 6544).
pub fn tcp_candidates(answer: &str) -> Vec<SocketAddr> {
    let fields = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let candidates = answer.lines().filter(|line| line.starts_with("a=candidate:")).map(fields);
    candidates
        .filter(|fields| fields[2] == "tcp" && fields.windows(2).any(|pair| pair == ["tcptype", "passive"]))
        .map(|fields| SocketAddr::new(fields[4].parse().unwrap(), fields[5].parse().unwrap()))
        .collect()
}

/// Whether an H.264 payload begins with parameter sets or an IDR picture (RFC 6184 §5.2). A keyframe's parameter sets come
/// in a payload of their own in front of it, so this counts each keyframe once.
fn starts_keyframe(payload: &[u8]) -> bool {
    match payload.first().map(|first| first & 0x1f) {
        Some(7) => true,
        Some(24) => payload.get(3).is_some_and(|first| first & 0x1f == 7),
        _ => false,
    }
}

/// Drives clients until `done` or the end of `time`; false when the time ran out. `done` is asked after each round.
pub fn run(clients: &mut [WhepClient], time: Duration, mut done: impl FnMut(&[WhepClient]) -> bool) -> bool {
    let end = Instant::now() + time;
    let mut poll = mio::Poll::new().unwrap();
    let mut events = mio::Events::with_capacity(1024);
    for (place, client) in clients.iter().enumerate() {
        let fd = client.wire.descriptor();
        poll.registry().register(&mut SourceFd(&fd), mio::Token(place), mio::Interest::READABLE).unwrap();
    }
    loop {
        let now = Instant::now();
        for client in clients.iter_mut() {
            client.receive();
            if client.deadline <= now {
                client.drive(now);
            }
        }
        if done(clients) {
            return true;
        }
        if now >= end {
            return false;
        }
        let next = clients.iter().map(|client| client.deadline).min().unwrap_or(end).min(end);
        match poll.poll(&mut events, Some(next.saturating_duration_since(now))) {
            Err(cause) if cause.kind() != io::ErrorKind::Interrupted => panic!("poll: {cause}"),
            _ => {}
        }
    }
}
