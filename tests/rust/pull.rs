//! A hub's pull of one camera, and cameras to pull: gst-rtsp-server as a process, and one that follows a script.

#![allow(dead_code)] // Each program that includes this file uses a part of it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use _core::source::{Networks, Options, Target, supervise};
use _core::stream::{SourceState, Stream, StreamLimits};
use _core::telemetry::{SourceKind, Telemetry};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(30);

/// `tests/integration/gst_camera.py` as a process; it dies with this value.
pub struct Gst {
    pub process: Child,
    pub url: String,
    pub port: u16,
    /// What it said of its connections: all so far, open now.
    pub connections: Arc<Mutex<(usize, usize)>>,
}

impl Gst {
    pub fn start(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/gst_camera.py");
        let mut process = Command::new("/usr/bin/python3")
            .arg(script)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the system's Python runs");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let first = lines.next().expect("gst-rtsp-server is installed (apt: gir1.2-gst-rtsp-server-1.0)").unwrap();
        let first: serde_json::Value = serde_json::from_str(&first).unwrap();
        let connections = Arc::new(Mutex::new((0, 0)));
        let heard = connections.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                let count = |name: &str| line[name].as_u64().unwrap() as usize;
                *heard.lock().unwrap() = (count("connections"), count("open"));
            }
        });
        Self {
            process,
            url: first["url"].as_str().unwrap().to_owned(),
            port: first["port"].as_u64().unwrap() as u16,
            connections,
        }
    }

    pub fn connections(&self) -> (usize, usize) {
        *self.connections.lock().unwrap()
    }
}

impl Drop for Gst {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

pub struct Pull {
    pub stream: Arc<Stream>,
    pub telemetry: Arc<Telemetry>,
    pub cancel: CancellationToken,
    pub task: JoinHandle<()>,
}

pub fn options() -> Options {
    Options {
        connect_timeout: Duration::from_secs(2),
        stall_timeout: Duration::from_secs(2),
        keyframe_timeout: Duration::from_secs(2),
        retry: (Duration::from_millis(100), Duration::from_millis(500)),
        retry_refused: (Duration::from_millis(100), Duration::from_millis(500)),
        networks: Arc::new(Networks::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new())),
        ..Options::default()
    }
}

pub fn target(url: &str, username: &str, password: &str) -> Target {
    Target {
        camera: "camera".into(),
        url: url.to_owned(),
        username: username.to_owned(),
        password: password.to_owned(),
        transport: 0,
        peer: None,
    }
}

impl Pull {
    pub fn start(target: Target, options: Options) -> Self {
        let telemetry = Arc::new(Telemetry::default());
        let stream = Stream::new("camera/main".into(), StreamLimits { gop_cache_bytes: 16 << 20 }, telemetry.clone());
        let cancel = CancellationToken::new();
        let task =
            tokio::spawn(supervise(target, stream.clone(), Arc::new(options), telemetry.clone(), cancel.clone()));
        Self { stream, telemetry, cancel, task }
    }

    pub async fn state(&self, wanted: impl Fn(&SourceState) -> bool) -> SourceState {
        let mut state = self.stream.state();
        let found = tokio::time::timeout(PATIENCE, state.wait_for(|state| wanted(state))).await;
        found.expect("the state comes in time").unwrap().clone()
    }

    pub async fn live(&self) {
        self.state(|state| *state == SourceState::Live).await;
    }

    /// The next failure: reason and message.
    pub async fn failed(&self) -> (&'static str, String) {
        match self.state(|state| matches!(state, SourceState::Failed { .. })).await {
            SourceState::Failed { reason, message, .. } => (reason, message),
            _ => unreachable!(),
        }
    }

    pub fn last_index(&self) -> u64 {
        self.stream.cached().last().map_or(0, |unit| unit.index)
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the task hears the stop").unwrap();
        assert_eq!(*self.stream.state().borrow(), SourceState::Idle);
        assert_eq!(self.telemetry.streams(SourceKind::RtspPull).load(SeqCst), 0);
    }
}

/// Looks again and again until it holds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub type Answer = Arc<dyn Fn(&str, usize) -> Vec<u8> + Send + Sync>;

/// Answers each request by the script, which is given the request and its number on this connection.
pub struct Scripted {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    pub requests: Arc<Mutex<Vec<String>>>,
    pub task: JoinHandle<()>,
}

impl Scripted {
    pub async fn start(answer: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (count, log, answer) = (connections.clone(), requests.clone(), Arc::new(answer) as Answer);
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(serve(socket, answer.clone(), log.clone()));
            }
        });
        Self { address, connections, requests, task }
    }

    pub fn url(&self) -> String {
        format!("rtsp://{}/live", self.address)
    }

    pub fn requests(&self, method: &str) -> usize {
        self.requests.lock().unwrap().iter().filter(|request| request.starts_with(method)).count()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a camera answers that cuts the connection.
pub const CUT: &[u8] = b"cut";

pub async fn serve(mut socket: TcpStream, answer: Answer, log: Arc<Mutex<Vec<String>>>) {
    let (mut pending, mut number) = (Vec::new(), 0);
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = socket.read(&mut buffer).await {
        pending.extend_from_slice(&buffer[..count]);
        while let Some(end) = pending.windows(4).position(|window| window == b"\r\n\r\n") {
            let request = String::from_utf8_lossy(&pending[..end]).into_owned();
            pending.drain(..end + 4);
            let reply = answer(&request, number);
            log.lock().unwrap().push(request);
            number += 1;
            if reply == CUT {
                return;
            }
            if socket.write_all(&reply).await.is_err() {
                return;
            }
        }
    }
}

pub fn reply(request: &str, status: &str, headers: &str, body: &str) -> Vec<u8> {
    let cseq = request.lines().find_map(|line| line.strip_prefix("CSeq: ")).unwrap_or("0");
    let length = body.len();
    format!("RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

pub const SDP: &str = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=control:track1\r\n";

pub fn described(request: &str, headers: &str, sdp: &str) -> Vec<u8> {
    reply(request, "200 OK", &format!("Content-Type: application/sdp\r\n{headers}"), sdp)
}

/// A session as it should go, up to PLAY; after which `media` flows.
pub fn well_behaved(request: &str, media: &[u8]) -> Vec<u8> {
    match request.split(' ').next().unwrap_or_default() {
        "DESCRIBE" => described(request, "", SDP),
        "SETUP" => reply(request, "200 OK", "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n", ""),
        "PLAY" => [reply(request, "200 OK", "Session: 1\r\n", ""), media.to_vec()].concat(),
        _ => reply(request, "200 OK", "Session: 1\r\n", ""),
    }
}

/// One interleaved RTP packet of the video track.
pub fn interleaved(sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![b'$', 0];
    packet.extend((12 + payload.len() as u16).to_be_bytes());
    packet.extend([0x80, 0x80 | 96]);
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([1, 2, 3, 4]);
    packet.extend(payload);
    packet
}

const SPS: &[u8] = &[
    0x67, 0x64, 0x00, 0x1e, 0xac, 0xb2, 0x01, 0x40, 0x5f, 0xf2, 0xe0, 0x22, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00, 0x00,
    0x03, 0x00, 0x65, 0x1e, 0x2c, 0x5c, 0x90,
];

/// A payload that is a whole keyframe: STAP-A of SPS, PPS and an IDR slice.
pub fn keyframe() -> Vec<u8> {
    let mut aggregate = vec![24];
    for nal in [SPS, &[0x68, 0xeb, 0xc3, 0xcb, 0x22, 0xc0], &[0x65, 0x88, 0x84, 1]] {
        aggregate.extend((nal.len() as u16).to_be_bytes());
        aggregate.extend(nal);
    }
    aggregate
}

/// A payload that is a whole picture, which refers to others.
pub fn picture(number: u16) -> Vec<u8> {
    vec![0x41, 0x9a, number as u8 | 1]
}
