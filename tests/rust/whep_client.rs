//! A WHEP viewer without a decoder: str0m on the receiving side, counting frames. Also the heart of the load program.

#![allow(dead_code)] // Each program that includes this file uses a part of it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{DatagramRecv, Protocol, Receive};
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

pub type Tap = Box<dyn FnMut(&[u8])>;

pub struct WhepClient {
    rtc: Rtc,
    socket: UdpSocket,
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
}

impl WhepClient {
    /// A client with its offer, on a loopback port of its own.
    pub fn offer(with_audio: bool) -> (Self, String) {
        Self::offer_from(([127, 0, 0, 1], 0).into(), with_audio)
    }

    /// The same from a given address.
    pub fn offer_from(address: SocketAddr, with_audio: bool) -> (Self, String) {
        let now = Instant::now();
        let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None).unwrap();
        socket.set_recv_buffer_size(4 << 20).unwrap();
        socket.bind(&address.into()).unwrap();
        let socket: UdpSocket = socket.into();
        socket.set_nonblocking(true).unwrap();
        let local = socket.local_addr().unwrap();
        let mut rtc = Rtc::builder().set_rtp_mode(true).enable_pcma(true, false).enable_pcmu(true, false).build(now);
        rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
        let mut changes = rtc.sdp_api();
        let audio = with_audio.then(|| changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None));
        let video = changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let client = Self {
            rtc,
            socket,
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
        };
        (client, offer.to_sdp_string())
    }

    pub fn accept(&mut self, answer: &str) {
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
                    // Lost like any datagram.
                    let _ = self.socket.send_to(&transmit.contents, transmit.destination);
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
                if let Some(tap) = &mut self.tap {
                    tap(&packet.payload);
                }
            }
            _ => {}
        }
    }

    fn receive(&mut self) {
        let mut room = [0; 2000];
        while let Ok((length, source)) = self.socket.recv_from(&mut room) {
            let now = Instant::now();
            let Ok(contents) = DatagramRecv::try_from(&room[..length]) else { continue };
            let receive = Receive { proto: Protocol::Udp, source, destination: self.local, contents };
            if let Err(cause) = self.rtc.handle_input(Input::Receive(now, receive)) {
                self.seen.error = Some(cause.to_string());
            }
            self.drain(now);
        }
    }
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
        let fd = client.socket.as_raw_fd();
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
