//! A door with one camera behind it, a server in front of it, and a client that speaks RTSP by hand.

// Each test program uses its part of this.
#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use _core::error::{Error, ErrorKind, Result};
use _core::gate::{Admission, BoxFuture, Door, Proof};
use _core::media::{AccessUnit, Codec, CodecParameters, Track};
use _core::server::rtsp::{RtspOptions, RtspServer};
use _core::stream::{Description, Shards, SinkHandle, Stream, StreamLimits};
use _core::telemetry::{Protocol, Telemetry};
use bytes::Bytes;
use smallvec::SmallVec;

pub const GOP: u64 = 10;
pub const USER: &str = "viewer";
pub const PASSWORD: &str = "Wh4t-ever 'it' takes";

/// Admits the ticket `good` to `gate`, and to `dark`, which never gets ready.
pub struct OneCamera {
    pub stream: Arc<Stream>,
    pub sinks: Mutex<Vec<SinkHandle>>,
    pub admissions: Arc<AtomicUsize>,
    pub first_pictures: Arc<AtomicUsize>,
    /// How the viewers' media goes, in the order of their PLAYs.
    pub carried: Mutex<Vec<Protocol>>,
    this: std::sync::Weak<Self>,
}

struct Admitted {
    door: Arc<OneCamera>,
    session: &'static str,
    is_dark: bool,
}

impl Door for OneCamera {
    fn admit(
        &self,
        camera: &str,
        proof: Option<Proof<'_>>,
        _protocol: Protocol,
        _peer: SocketAddr,
    ) -> Result<Arc<dyn Admission>> {
        let refuse = |kind, reason| Err(Error::new(kind, reason, "refused by the test"));
        match proof {
            None => return refuse(ErrorKind::Unauthenticated, "TICKET_MISSING"),
            Some(Proof::Ticket("good" | "another") | Proof::RtspUser(USER)) => {}
            Some(Proof::Ticket("old")) => return refuse(ErrorKind::Unauthenticated, "TICKET_EXPIRED"),
            Some(Proof::Ticket("other")) => return refuse(ErrorKind::PermissionDenied, "TICKET_OTHER_CAMERA"),
            Some(Proof::Ticket("many")) => return refuse(ErrorKind::ResourceExhausted, "LIMIT_SESSIONS"),
            Some(_) => return refuse(ErrorKind::Unauthenticated, "TICKET_INVALID"),
        }
        if !matches!(camera, "gate" | "dark") {
            return refuse(ErrorKind::NotFound, "CAMERA_NOT_FOUND");
        }
        self.admissions.fetch_add(1, Ordering::SeqCst);
        let door = self.this.upgrade().expect("the door is open");
        let session = if matches!(proof, Some(Proof::Ticket("another"))) { "another" } else { "session" };
        Ok(Arc::new(Admitted { door, session, is_dark: camera == "dark" }))
    }

    fn session_of(&self, _ticket: &str) -> Result<String> {
        Ok("session".into())
    }

    fn rtsp_password(&self, rtsp_user: &str) -> Option<String> {
        (rtsp_user == USER).then(|| PASSWORD.to_owned())
    }
}

impl Admission for Admitted {
    fn session_id(&self) -> &str {
        self.session
    }

    fn stream(&self) -> Arc<Stream> {
        self.door.stream.clone()
    }

    fn ready(&self) -> BoxFuture<'_, Result<Arc<Description>>> {
        Box::pin(async {
            match self.door.stream.description() {
                Some(description) if !self.is_dark => Ok(description),
                _ => Err(Error::new(ErrorKind::Unavailable, "CAMERA_SILENT", "the camera says nothing")),
            }
        })
    }

    fn carried_by(&self, protocol: Protocol) {
        self.door.carried.lock().expect("lock").push(protocol);
    }

    fn connected(&self, sink: SinkHandle) {
        self.door.sinks.lock().expect("lock").push(sink);
    }

    fn first_picture(&self) {
        self.door.first_pictures.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.door.admissions.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A hub of one camera.
pub struct Studio {
    pub door: Arc<OneCamera>,
    pub telemetry: Arc<Telemetry>,
    pub address: SocketAddr,
    pub server: RtspServer,
    pub shards: Arc<Shards>,
    pub runtime: tokio::runtime::Runtime,
    published: u64,
}

impl Studio {
    pub fn open(change: impl FnOnce(&mut RtspOptions)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        let telemetry = Arc::new(Telemetry::default());
        let stream = Stream::new("gate".into(), StreamLimits { gop_cache_bytes: 16 << 20 }, telemetry.clone());
        let door = Arc::new_cyclic(|this| OneCamera {
            stream,
            sinks: Mutex::default(),
            admissions: Arc::default(),
            first_pictures: Arc::default(),
            carried: Mutex::default(),
            this: this.clone(),
        });
        let shards = Shards::start(1).expect("shards");
        let mut options = RtspOptions::new("127.0.0.1:0".parse().expect("address"));
        change(&mut options);
        let server = RtspServer::start(runtime.handle(), options, door.clone(), shards.clone(), telemetry.clone())
            .expect("server");
        Self { door, telemetry, address: server.address(), server, shards, runtime, published: 0 }
    }

    /// With the tracks described and half a group of pictures published.
    pub fn on_air() -> Self {
        Self::on_air_with(|_| {})
    }

    pub fn on_air_with(change: impl FnOnce(&mut RtspOptions)) -> Self {
        let mut studio = Self::open(change);
        studio.door.stream.describe(vec![video_track(), sound_track()]);
        (0..GOP / 2).for_each(|_| studio.publish(3_000));
        studio
    }

    /// One picture of that many octets, and the sound that belongs to it.
    pub fn publish(&mut self, picture_bytes: usize) {
        let number = self.published;
        self.published += 1;
        self.door.stream.publish(picture(number, picture_bytes));
        self.door.stream.publish(sound(number));
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn url(&self, rest: &str) -> String {
        format!("rtsp://{}/{rest}", self.address)
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        self.runtime.block_on(self.server.stop());
        self.shards.stop("HUB_DRAINING");
    }
}

pub fn video_track() -> Track {
    Track {
        codec: Codec::H264,
        clock_rate_hz: 90_000,
        parameters: CodecParameters::H264 {
            sps: Bytes::from_static(&[0x67, 0x42, 0xc0, 0x1e, 0xd9]),
            pps: Bytes::from_static(&[0x68, 0xce, 0x3c, 0x80]),
            width: 640,
            height: 360,
            has_b_frames: false,
        },
    }
}

pub fn sound_track() -> Track {
    Track { codec: Codec::Pcma, clock_rate_hz: 8_000, parameters: CodecParameters::G711 { channels: 1 } }
}

/// Waits until `is_so`, which another thread brings about.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What no decoder would take, but every packetiser does.
fn picture(number: u64, bytes: usize) -> AccessUnit {
    let keyframe = number.is_multiple_of(GOP);
    let slice: Vec<u8> = [if keyframe { 0x65 } else { 0x41 }, 0x88]
        .into_iter()
        .chain((0..bytes).map(|place| (place as u64 * 31 + number) as u8 | 1))
        .collect();
    let mut nals: Vec<&[u8]> = Vec::new();
    if keyframe {
        nals.extend([&[0x67, 0x42, 0xc0, 0x1e, 0xd9][..], &[0x68, 0xce, 0x3c, 0x80]]);
    }
    nals.push(&slice);
    annex_b(&nals, number as i64 * 3_600, keyframe)
}

pub fn annex_b(nals: &[&[u8]], pts: i64, keyframe: bool) -> AccessUnit {
    let mut data = Vec::new();
    let mut ranges = SmallVec::new();
    for nal in nals {
        data.extend_from_slice(&[0, 0, 0, 1]);
        let start = data.len() as u32;
        data.extend_from_slice(nal);
        ranges.push(start..data.len() as u32);
    }
    AccessUnit { track: 0, pts, dts: pts, keyframe, data: data.into(), nals: ranges }
}

fn sound(number: u64) -> AccessUnit {
    sound_at(40 + number as i64 * 320, 320)
}

/// Silence.
pub fn sound_at(pts: i64, samples: usize) -> AccessUnit {
    let data = Bytes::from(vec![0xd5; samples]);
    AccessUnit { track: 1, pts, dts: pts, keyframe: true, data, nals: SmallVec::new() }
}

/// What came over the wire.
#[derive(Debug)]
pub enum Heard {
    Answer(Answer),
    /// A request of the server's.
    Request(Answer),
    Frame {
        channel: u8,
        data: Vec<u8>,
    },
    Closed,
}

#[derive(Debug)]
pub struct Answer {
    pub first_line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("status line")
    }

    pub fn header(&self, name: &str) -> &str {
        self.all(name).first().copied().unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
    }
}

/// Speaks RTSP by hand, with nothing of the server's own parser.
pub struct Client {
    pub socket: TcpStream,
    buffer: Vec<u8>,
    cseq: u32,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("connect");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("time-out");
        Self { socket, buffer: Vec::new(), cseq: 0 }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("send");
    }

    /// Whether the server still takes what is written.
    pub fn takes(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// Writes a request without waiting.
    pub fn say(&mut self, method: &str, uri: &str, headers: &[(&str, &str)]) -> u32 {
        self.cseq += 1;
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.send(format!("{method} {uri} RTSP/1.0\r\nCSeq: {}\r\n{lines}\r\n", self.cseq).as_bytes());
        self.cseq
    }

    /// A request and its answer; frames in between are passed over.
    pub fn ask(&mut self, method: &str, uri: &str, headers: &[(&str, &str)]) -> Answer {
        let cseq = self.say(method, uri, headers);
        let answer = self.answer();
        assert_eq!(answer.header("CSeq"), cseq.to_string());
        answer
    }

    pub fn answer(&mut self) -> Answer {
        loop {
            match self.hear() {
                Heard::Answer(answer) => return answer,
                Heard::Frame { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub fn hear(&mut self) -> Heard {
        self.hear_if_any().expect("the server says something")
    }

    /// None when nothing comes within the socket's time-out.
    pub fn hear_if_any(&mut self) -> Option<Heard> {
        loop {
            if let Some(heard) = self.next() {
                return Some(heard);
            }
            let mut chunk = [0; 65536];
            match self.socket.read(&mut chunk) {
                Ok(0) => return Some(Heard::Closed),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Some(Heard::Closed),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn next(&mut self) -> Option<Heard> {
        if let [b'$', channel, high, low, ..] = self.buffer[..] {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if self.buffer.len() < 4 + length {
                return None;
            }
            let data = self.buffer[4..4 + length].to_vec();
            self.buffer.drain(..4 + length);
            return Some(Heard::Frame { channel, data });
        }
        let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(self.buffer[..end].to_vec()).expect("text");
        let mut lines = head.lines();
        let first_line = lines.next().expect("first line").to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "Content-Length");
        let length: usize = length.map_or(0, |(_, value)| value.parse().expect("length"));
        if self.buffer.len() < end + length {
            return None;
        }
        let body = String::from_utf8(self.buffer[end..end + length].to_vec()).expect("text");
        self.buffer.drain(..end + length);
        let is_answer = first_line.starts_with("RTSP/1.0 ");
        let answer = Answer { first_line, headers, body };
        Some(if is_answer { Heard::Answer(answer) } else { Heard::Request(answer) })
    }

    /// DESCRIBE and SETUP of the tracks; gives the session and the answer to PLAY.
    pub fn play(&mut self, base: &str, tracks: &[usize]) -> (String, Answer) {
        let described = self.ask("DESCRIBE", &format!("{base}?ticket=good"), &[]);
        assert_eq!(described.status(), 200, "{described:?}");
        let mut session = String::new();
        for track in tracks {
            let mut headers = vec![("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")];
            if !session.is_empty() {
                headers.push(("Session", &session));
            }
            let answer = self.ask("SETUP", &format!("{base}/trackID={track}"), &headers);
            assert_eq!(answer.status(), 200, "{answer:?}");
            session = answer.header("Session").split(';').next().expect("id").to_owned();
        }
        let answer = self.ask("PLAY", base, &[("Session", &session), ("Range", "npt=0.000-")]);
        assert_eq!(answer.status(), 200, "{answer:?}");
        (session, answer)
    }

    /// The next RTP packet; sender reports are passed over.
    pub fn rtp(&mut self) -> Rtp {
        self.rtp_if_any().expect("a packet comes")
    }

    pub fn rtp_if_any(&mut self) -> Option<Rtp> {
        loop {
            match self.hear_if_any()? {
                Heard::Frame { channel, data } if channel % 2 == 0 => return Some(Rtp::read(channel, &data)),
                Heard::Frame { .. } | Heard::Answer(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[derive(Debug)]
pub struct Rtp {
    pub channel: u8,
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub payload: Vec<u8>,
}

impl Rtp {
    pub fn read(channel: u8, data: &[u8]) -> Self {
        assert_eq!(data[0], 0x80);
        let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().expect("word"));
        Self {
            channel,
            marker: data[1] & 0x80 != 0,
            payload_type: data[1] & 0x7f,
            sequence: u16::from_be_bytes([data[2], data[3]]),
            timestamp: word(4),
            payload: data[12..].to_vec(),
        }
    }
}
