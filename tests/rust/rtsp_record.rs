//! The RTSP server's recording side over loopback, spoken to by hand.

#[path = "rtsp/support.rs"]
mod support;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use _core::error::{Error, ErrorKind, Result};
use _core::gate::{Admission, BoxFuture, Door, Ender, Proof, Publication};
use _core::server::rtsp::{RtspOptions, RtspServer};
use _core::stream::{Shards, SourceState, Stream, StreamLimits};
use _core::telemetry::{Direction, DropReason, Protocol, SourceKind, Telemetry};
use support::{Answer, Client, Heard};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
    m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;sprop-parameter-sets=Z0LAHtkDxWhAAAADAEAAAAwDxYuS,aMuMsg==\r\na=control:streamid=0\r\n\
    m=audio 0 RTP/AVP 8\r\na=control:streamid=1\r\n";
const MJPEG: &str = "v=0\r\nm=video 0 RTP/AVP 26\r\n";
const KEYFRAME: [u8; 6] = [0x65, 0x88, 0x84, 0x21, 0xa0, 0x11];
const PICTURE: [u8; 6] = [0x41, 0x9a, 0x24, 0x6c, 0x41, 0x11];

/// Lets the ticket `push` push to `gate`.
struct Gateway {
    stream: Arc<Stream>,
    publications: Arc<AtomicUsize>,
    enders: Arc<Mutex<Vec<Ender>>>,
}

struct Pushed {
    stream: Arc<Stream>,
    publications: Arc<AtomicUsize>,
    enders: Arc<Mutex<Vec<Ender>>>,
}

impl Door for Gateway {
    fn admit(&self, _: &str, _: Option<Proof<'_>>, _: Protocol, _: SocketAddr) -> Result<Arc<dyn Admission>> {
        Err(Error::new(ErrorKind::PermissionDenied, "TICKET_OTHER_OPERATION", "refused by the test"))
    }

    fn publish(
        &self,
        camera: &str,
        proof: Option<Proof<'_>>,
        _protocol: Protocol,
        _peer: SocketAddr,
    ) -> Result<Arc<dyn Publication>> {
        let refuse = |kind, reason| Err(Error::new(kind, reason, "refused by the test"));
        match proof {
            _ if camera != "gate" => return refuse(ErrorKind::PermissionDenied, "TICKET_OTHER_CAMERA"),
            None => return refuse(ErrorKind::Unauthenticated, "TICKET_MISSING"),
            Some(Proof::Ticket("push")) => {}
            Some(_) => return refuse(ErrorKind::PermissionDenied, "TICKET_OTHER_OPERATION"),
        }
        self.publications.fetch_add(1, SeqCst);
        let Self { stream, publications, enders } = self;
        Ok(Arc::new(Pushed { stream: stream.clone(), publications: publications.clone(), enders: enders.clone() }))
    }

    fn session_of(&self, _ticket: &str) -> Result<String> {
        Ok("session".into())
    }

    fn rtsp_password(&self, _rtsp_user: &str) -> Option<String> {
        None
    }
}

impl Publication for Pushed {
    fn session_id(&self) -> &str {
        "session"
    }

    fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    fn begin(&self, ender: Ender) -> BoxFuture<'_, Result<()>> {
        self.enders.lock().expect("lock").push(ender);
        Box::pin(async { Ok(()) })
    }
}

impl Drop for Pushed {
    fn drop(&mut self) {
        self.publications.fetch_sub(1, SeqCst);
    }
}

struct Studio {
    door: Arc<Gateway>,
    telemetry: Arc<Telemetry>,
    address: SocketAddr,
    server: RtspServer,
    runtime: tokio::runtime::Runtime,
}

impl Studio {
    fn open() -> Self {
        Self::open_with(|_| {})
    }

    fn open_with(change: impl FnOnce(&mut RtspOptions)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        let telemetry = Arc::new(Telemetry::default());
        let stream = Stream::new("gate".into(), StreamLimits { gop_cache_bytes: 16 << 20 }, telemetry.clone());
        let door = Arc::new(Gateway { stream, publications: Arc::default(), enders: Arc::default() });
        let mut options = RtspOptions::new("127.0.0.1:0".parse().expect("address"));
        options.stall_timeout = Duration::from_secs(60);
        change(&mut options);
        let shards = Shards::start(1).expect("shards");
        let server =
            RtspServer::start(runtime.handle(), options, door.clone(), shards, telemetry.clone()).expect("server");
        Self { door, telemetry, address: server.address(), server, runtime }
    }

    fn client(&self) -> Client {
        Client::connect(self.address)
    }

    fn url(&self) -> String {
        format!("rtsp://{}/gate?ticket=push", self.address)
    }

    fn is_live(&self) -> bool {
        *self.door.stream.state().borrow() == SourceState::Live
    }

    fn pushes(&self) -> usize {
        self.door.publications.load(SeqCst)
    }

    /// A client that pushes on the channels 0 to 3.
    fn recording(&self) -> (Client, String) {
        let mut client = self.client();
        assert_eq!(announce(&mut client, &self.url(), SDP).status(), 200);
        let mut session = String::new();
        for (track, channels) in ["0-1", "2-3"].iter().enumerate() {
            let transport = format!("RTP/AVP/TCP;unicast;interleaved={channels};mode=record");
            let url = format!("{}/streamid={track}", self.url());
            let answer = client.ask("SETUP", &url, &[("Transport", &transport)]);
            assert_eq!(answer.status(), 200, "{answer:?}");
            session = answer.header("Session").split(';').next().expect("id").to_owned();
        }
        let answer = client.ask("RECORD", &self.url(), &[("Session", &session), ("Range", "npt=0.000-")]);
        assert_eq!(answer.status(), 200, "{answer:?}");
        (client, session)
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        self.runtime.block_on(self.server.stop());
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

fn announce(client: &mut Client, url: &str, sdp: &str) -> Answer {
    announce_as(client, url, sdp, "application/sdp")
}

fn announce_as(client: &mut Client, url: &str, sdp: &str, kind: &str) -> Answer {
    let length = sdp.len();
    client.send(
        format!("ANNOUNCE {url} RTSP/1.0\r\nCSeq: 9\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{sdp}")
            .as_bytes(),
    );
    client.answer()
}

fn packet(sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0x80 | 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(&7u32.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn framed(channel: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![b'$', channel];
    frame.extend_from_slice(&(data.len() as u16).to_be_bytes());
    frame.extend_from_slice(data);
    frame
}

/// Up to the server's TEARDOWN and the end of the connection; its reason.
fn told(client: &mut Client) -> String {
    let reason = loop {
        match client.hear() {
            Heard::Request(request) if request.first_line.starts_with("TEARDOWN") => {
                break request.header("X-Vidhub-Reason").to_owned();
            }
            Heard::Frame { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(client.hear(), Heard::Closed));
    reason
}

#[test]
fn what_is_pushed_becomes_the_stream_however_it_is_cut() {
    let studio = Studio::open();
    let (mut client, session) = studio.recording();
    let mut bytes = Vec::new();
    for number in 0..20u16 {
        let nal = if number.is_multiple_of(10) { &KEYFRAME } else { &PICTURE };
        bytes.extend(framed(0, &packet(number, u32::from(number) * 3600, nal)));
        // Nobody's channel, and an empty packet of the sound's.
        bytes.extend(framed(77, b"?"));
    }
    bytes.extend(b"GET_PARAMETER * RTSP/1.0\r\nCSeq: 40\r\n\r\n");
    for piece in bytes.chunks(7) {
        client.send(piece);
    }
    assert_eq!(client.answer().status(), 200);
    assert!(studio.is_live());
    assert_eq!(studio.door.stream.cached().len(), 10);
    assert_eq!(studio.telemetry.streams(SourceKind::RtspPush).load(SeqCst), 1);
    let answer = client.ask("TEARDOWN", &studio.url(), &[("Session", &session)]);
    assert_eq!((answer.status(), answer.header("Connection")), (200, "close"));
    assert!(matches!(client.hear(), Heard::Closed));
    until("the place is given back", || studio.pushes() == 0);
    assert_eq!(studio.telemetry.streams(SourceKind::RtspPush).load(SeqCst), 0);
    assert_eq!(studio.telemetry.flow(Direction::In, Protocol::RtspTcp).packets.load(SeqCst), 20);
}

#[test]
fn an_announce_that_can_not_be_served_says_why() {
    let studio = Studio::open();
    let own = studio.url();
    let other = own.replace("gate", "yard");
    let bare = own.replace("?ticket=push", "");
    let watch = own.replace("=push", "=play");
    let large = format!("{SDP}{}", "a=x\r\n".repeat(8_000));
    for (url, sdp, kind, status, reason) in [
        (&bare, SDP, "application/sdp", 401, "TICKET_MISSING"),
        (&watch, SDP, "application/sdp", 403, "TICKET_OTHER_OPERATION"),
        (&other, SDP, "application/sdp", 403, "TICKET_OTHER_CAMERA"),
        (&own, SDP, "text/plain", 415, "CONTENT_TYPE"),
        (&own, "", "application/sdp", 400, "SDP_INVALID"),
        (&own, "hello", "application/sdp", 400, "SDP_INVALID"),
        (&own, MJPEG, "application/sdp", 415, "CODEC_NOT_CARRIED"),
        (&own, "v=0\r\nm=audio 0 RTP/AVP 8\r\n", "application/sdp", 415, "CODEC_NOT_CARRIED"),
        (&own, &large, "application/sdp", 400, "TOO_LARGE"),
    ] {
        let answer = announce_as(&mut studio.client(), url, sdp, kind);
        assert_eq!((answer.status(), answer.header("X-Vidhub-Reason")), (status, reason), "{sdp:.20}");
    }
    let told = announce(&mut studio.client(), &own, MJPEG);
    assert!(told.body.contains("jpeg"), "{told:?}");
    until("places are given back", || studio.pushes() == 0);
}

#[test]
fn each_step_has_its_place_and_its_track() {
    let studio = Studio::open();
    let mut client = studio.client();
    let url = studio.url();
    let mut refused = |method: &str, uri: &str, transport: &str| {
        let answer = client.ask(method, uri, &[("Transport", transport)]);
        (answer.status(), answer.header("X-Vidhub-Reason").to_owned())
    };
    const TCP: &str = "RTP/AVP/TCP;interleaved=4-5;mode=record";
    assert_eq!(refused("RECORD", &url, TCP), (455, "SETUP_MISSING".into()));
    assert_eq!(announce(&mut client, &url, SDP).status(), 200);
    assert_eq!(announce(&mut client, &url, SDP).status(), 455, "once");
    let mut refused = |method: &str, uri: &str, transport: &str| {
        let answer = client.ask(method, uri, &[("Transport", transport)]);
        (answer.status(), answer.header("X-Vidhub-Reason").to_owned())
    };
    assert_eq!(refused("DESCRIBE", &url, TCP), (455, "ANNOUNCED".into()));
    assert_eq!(refused("RECORD", &url, TCP), (455, "SETUP_MISSING".into()));
    assert_eq!(refused("SETUP", &url, TCP), (459, "TRACK_MISSING".into()));
    assert_eq!(refused("SETUP", &format!("{url}/trackID=7"), TCP), (404, "TRACK_NOT_FOUND".into()));
    let sub = url.replace("gate", "gate/attic");
    assert_eq!(refused("SETUP", &sub, TCP), (404, "TRACK_NOT_FOUND".into()));
    let other = url.replace("gate", "yard");
    assert_eq!(refused("SETUP", &format!("{other}/streamid=0"), TCP), (403, "TICKET_OTHER_CAMERA".into()));
    let first = format!("{url}/streamid=0");
    for transport in ["", "RTP/AVP;multicast;mode=record", "RTP/AVP;unicast;mode=record", "RTP/SAVP;client_port=4-5"] {
        assert_eq!(refused("SETUP", &first, transport), (461, "TRANSPORT_UNKNOWN".into()), "{transport}");
    }
    // The query in the middle, none at all, and by number.
    for (uri, channels, told) in [
        (&first, ";interleaved=4-5", "interleaved=4-5"),
        (&format!("{}/streamid=1", url.replace("?ticket=push", "")), ";interleaved=200-100", "interleaved=200-100"),
        (&format!("{url}/trackID=1"), "", "interleaved=2-3"),
    ] {
        let transport = format!("RTP/AVP/TCP;unicast{channels};mode=record");
        let answer = client.ask("SETUP", uri, &[("Transport", &transport)]);
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert!(answer.header("Transport").contains(told), "{answer:?}");
    }
    let answer = client.ask("SETUP", &format!("{url}/streamid=1"), &[("Transport", TCP)]);
    assert_eq!((answer.status(), answer.header("X-Vidhub-Reason")), (461, "CHANNEL_TAKEN"));
}

#[test]
fn datagrams_are_put_in_order_and_strangers_are_not_heard() {
    let studio = Studio::open();
    let mut client = studio.client();
    assert_eq!(announce(&mut client, &studio.url(), SDP).status(), 200);
    let (rtp, rtcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let ports = [&rtp, &rtcp].map(|socket| socket.local_addr().unwrap().port());
    let transport = format!("RTP/AVP/UDP;unicast;client_port={}-{};mode=record", ports[0], ports[1]);
    let answer = client.ask("SETUP", &format!("{}/streamid=0", studio.url()), &[("Transport", &transport)]);
    let told = answer.header("Transport").to_owned();
    let server: Vec<u16> = told
        .split("server_port=")
        .nth(1)
        .and_then(|ports| ports.split(';').next())
        .map(|ports| ports.split('-').map(|port| port.parse().unwrap()).collect())
        .expect(&told);
    assert_eq!((server[0] % 2, server[1]), (0, server[0] + 1));
    let session = answer.header("Session").split(';').next().unwrap().to_owned();
    assert_eq!(client.ask("RECORD", &studio.url(), &[("Session", &session)]).status(), 200);
    let there = SocketAddr::new(studio.address.ip(), server[0]);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..50u16 {
        // Two packets each change places, and a stranger sends what would break the picture.
        let number = number ^ 1;
        let nal = if number == 0 { &KEYFRAME } else { &PICTURE };
        stranger.send_to(&packet(number, 1, &KEYFRAME), there).unwrap();
        if number != 1 {
            rtp.send_to(&packet(number, u32::from(number) * 3600, nal), there).unwrap();
        }
        if number == 0 {
            until("the keyframe has come", || studio.is_live());
            rtp.send_to(&packet(1, 3600, &PICTURE), there).unwrap();
        }
    }
    until("all have come", || studio.door.stream.cached().len() == 50);
    assert_eq!(studio.telemetry.dropped(DropReason::SourceGap).load(SeqCst), 0);
    until("the kernel's word", || studio.telemetry.flow(Direction::In, Protocol::RtspUdp).packets.load(SeqCst) == 50);
    // How they arrived is told.
    rtcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut report = [0; 200];
    let (length, from) = rtcp.recv_from(&mut report).unwrap();
    assert_eq!((report[1], from.port()), (201, server[1]));
    assert!(length >= 32);
    assert_eq!(u16::from_be_bytes([report[18], report[19]]), 49, "the highest sequence number");
    client.ask("TEARDOWN", &studio.url(), &[("Session", &session)]);
    until("the place is given back", || studio.pushes() == 0);
    until("and the ports", || UdpSocket::bind(there).is_ok());
}

#[test]
fn garbage_is_counted_and_brings_the_end_when_nothing_else_comes() {
    let studio = Studio::open_with(|options| options.stall_timeout = Duration::from_secs(1));
    let (mut client, _) = studio.recording();
    for number in 0..100u8 {
        client.send(&framed(0, &[number; 40]));
    }
    client.send(&framed(1, b"no RTCP"));
    assert_eq!(told(&mut client), "CAMERA_SILENT");
    assert!(studio.telemetry.dropped(DropReason::Malformed).load(SeqCst) > 50);
    assert!(!studio.is_live());
    until("the place is given back", || studio.pushes() == 0);
}

#[test]
fn what_is_no_rtsp_ends_the_push() {
    let studio = Studio::open();
    let (mut client, _) = studio.recording();
    client.send(b"\x16\x03\x01\x02\x00");
    assert_eq!(client.answer().header("X-Vidhub-Reason"), "MALFORMED_REQUEST");
    assert_eq!(told(&mut client), "MALFORMED_REQUEST");
    until("the place is given back", || studio.pushes() == 0);
}

#[test]
fn who_is_ended_is_told_why_and_gives_its_place_back_first() {
    let studio = Studio::open();
    let (mut client, _) = studio.recording();
    client.send(&framed(0, &packet(0, 0, &KEYFRAME)));
    until("it is live", || studio.is_live());
    studio.door.enders.lock().unwrap()[0].end("CONNECTION_REPLACED");
    until("the place is given back", || studio.pushes() == 0);
    assert_eq!(told(&mut client), "CONNECTION_REPLACED");
}

#[test]
fn who_reads_no_answer_is_ended_as_soon_as_any_other() {
    let studio = Studio::open_with(|options| options.request_timeout = Duration::from_secs(300));
    let (mut client, session) = studio.recording();
    let questions = format!("OPTIONS * RTSP/1.0\r\nCSeq: 5\r\nSession: {session}\r\n\r\n").repeat(1_000);
    client.socket.set_write_timeout(Some(Duration::from_millis(500))).expect("timeout");
    while client.takes(questions.as_bytes()) {}
    let ended = Instant::now();
    studio.door.enders.lock().unwrap()[0].end("SESSION_CLOSED");
    until("the place is given back", || studio.pushes() == 0);
    assert!(ended.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_stops_says_so() {
    let studio = Studio::open();
    let (mut client, _) = studio.recording();
    studio.runtime.block_on(studio.server.stop());
    assert_eq!(told(&mut client), "HUB_DRAINING");
    assert_eq!(studio.pushes(), 0);
}

#[test]
fn a_client_that_vanishes_gives_its_place_back() {
    let studio = Studio::open();
    let (client, _) = studio.recording();
    let mut announced = studio.client();
    assert_eq!(announce(&mut announced, &studio.url(), SDP).status(), 200);
    assert_eq!(studio.pushes(), 2);
    drop((client, announced));
    until("the places are given back", || studio.pushes() == 0);
}
