//! The ways by which cameras send (TCP, UDP, TLS), how they want a login, and how they mistreat the protocol.

mod pull;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use _core::source::{Certificates, Options, Target};
use _core::stream::SourceState;
use _core::telemetry::{Direction, DropReason, Protocol};
use _core::wire::digest::{Credentials, challenges};
use _core::wire::rtcp::{self, Report};
use base64::Engine as _;

use pull::{
    Gst, Pull, SDP, Scripted, described, eventually, interleaved, keyframe, options, picture, reply, target,
    well_behaved,
};

const TCP: u8 = 1;
const UDP: u8 = 2;

fn by(transport: u8, url: &str) -> Target {
    Target { transport, ..target(url, "", "") }
}

fn header<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Pictures from a keyframe on, as interleaved packets.
fn pictures(count: u16) -> Vec<u8> {
    (0..count)
        .flat_map(|number| {
            let payload = if number == 0 { keyframe() } else { picture(number) };
            interleaved(number, u32::from(number) * 3600, &payload)
        })
        .collect()
}

/// Units that have come through.
fn units(pull: &Pull) -> usize {
    pull.stream.cached().len()
}

// --- UDP.

#[tokio::test(flavor = "multi_thread")]
async fn a_real_camera_that_sends_by_udp_only_is_found_out_and_pulled() {
    let camera = Gst::start(&["--protocols", "udp", "--audio", "pcma", "--bitrate", "4000"]);
    for transport in [0, UDP] {
        let pull = Pull::start(by(transport, &camera.url), options());
        pull.live().await;
        eventually("fifty units", || pull.last_index() >= 50).await;
        assert!(pull.telemetry.flow(Direction::In, Protocol::RtspUdp).packets.load(SeqCst) > 50);
        assert_eq!(pull.telemetry.flow(Direction::In, Protocol::RtspTcp).packets.load(SeqCst), 0);
        assert_eq!(pull.telemetry.dropped(DropReason::SourceGap).load(SeqCst), 0);
        assert_eq!(pull.stream.description().unwrap().tracks.len(), 2);
        pull.stop().await;
        eventually("the camera is let go", || camera.connections().1 == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_the_camera_does_not_go_is_told_with_the_other() {
    for (protocols, transport, word) in [("udp", TCP, "transport UDP"), ("tcp", UDP, "transport TCP")] {
        let camera = Gst::start(&["--protocols", protocols]);
        let pull = Pull::start(by(transport, &camera.url), options());
        let (reason, message) = pull.failed().await;
        assert_eq!(reason, "CAMERA_UNREACHABLE");
        assert!(message.contains(word), "{message}");
        pull.stop().await;
    }
}

/// A camera that takes UDP and sends nothing by itself: the test does, from its sockets.
struct Sender {
    camera: Scripted,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    hub: Arc<Mutex<Option<(u16, u16)>>>,
}

impl Sender {
    async fn start(more: &'static str) -> Self {
        let [rtp, rtcp] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        rtcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ports = [&rtp, &rtcp].map(|socket| socket.local_addr().unwrap().port());
        let hub: Arc<Mutex<Option<(u16, u16)>>> = Arc::default();
        let told = hub.clone();
        let camera = Scripted::start(move |request, _| {
            if !request.starts_with("SETUP") {
                return well_behaved(request, &[]);
            }
            let asked = header(request, "Transport").unwrap_or_default();
            let (first, second) = asked.rsplit_once("client_port=").and_then(|(_, pair)| pair.split_once('-')).unwrap();
            *told.lock().unwrap() = Some((first.parse().unwrap(), second.parse().unwrap()));
            let transport = format!("{asked};server_port={}-{}{more}", ports[0], ports[1]);
            reply(request, "200 OK", &format!("Session: 1\r\nTransport: {transport}\r\n"), "")
        })
        .await;
        Self { camera, rtp, rtcp, hub }
    }

    fn send(&self, to: SocketAddr, sequence: u16) {
        let payload = if sequence.is_multiple_of(100) { keyframe() } else { picture(sequence) };
        let framed = interleaved(sequence, u32::from(sequence) * 3600, &payload);
        self.rtp.send_to(&framed[4..], to).unwrap();
    }

    async fn address(&self) -> SocketAddr {
        eventually("PLAY", || self.camera.requests("PLAY") > 0).await;
        SocketAddr::new(IpAddr::from([127, 0, 0, 1]), self.hub.lock().unwrap().unwrap().0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_out_of_order_are_mended_and_losses_are_reported_to_the_camera() {
    let sender = Sender::start("").await;
    let patient =
        Options { stall_timeout: Duration::from_secs(60), keyframe_timeout: Duration::from_secs(60), ..options() };
    let pull = Pull::start(by(UDP, &sender.camera.url()), patient);
    let hub = sender.address().await;
    // Each four turned about, some twice; none is missing. The first comes first: it says where counting begins.
    sender.send(hub, 0);
    for first in (1..97u16).step_by(4) {
        for sequence in [first + 1, first, first + 3, first + 2, first + 1] {
            sender.send(hub, sequence);
        }
    }
    pull.live().await;
    eventually("every picture", || units(&pull) == 97).await;
    assert_eq!(pull.telemetry.dropped(DropReason::SourceGap).load(SeqCst), 0);
    let stamps: Vec<i64> = pull.stream.cached().iter().map(|unit| unit.unit.dts).collect();
    assert!(stamps.windows(2).all(|pair| pair[1] > pair[0]));

    // 97 and 98 never come; 99 waits for them in vain, and 100 is the next keyframe.
    for sequence in [99, 100, 101] {
        sender.send(hub, sequence);
    }
    eventually("the gap is seen", || pull.telemetry.dropped(DropReason::SourceGap).load(SeqCst) > 0).await;
    eventually("the next keyframe", || units(&pull) == 2).await;
    let report = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 1500];
        loop {
            let (length, _) = sender.rtcp.recv_from(&mut buffer).expect("a receiver report");
            if let Some(Report::Receiver { blocks, .. }) = rtcp::parse(&buffer[..length]).next()
                && let Some(block) = blocks.first()
            {
                return (*block, sender);
            }
        }
    });
    let (block, sender) = report.await.unwrap();
    assert_eq!((block.ssrc, block.highest_sequence), (0x0102_0304, 101));
    // 102 expected, 100 numbers came, and 24 of them twice.
    assert_eq!(block.cumulative_lost, 2 - 24);
    pull.stop().await;
    let mut buffer = [0; 1500];
    let said_bye =
        std::iter::from_fn(|| sender.rtcp.recv_from(&mut buffer).ok().map(|(length, _)| buffer[..length].to_vec()))
            .any(|compound| rtcp::parse(&compound).any(|report| matches!(report, Report::Bye { .. })));
    assert!(said_bye);
    assert_eq!(sender.camera.requests("TEARDOWN"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_from_elsewhere_are_nobodys_and_udp_that_does_not_get_through_is_said_so() {
    let sender = Sender::start("").await;
    let short = Options { stall_timeout: Duration::from_millis(500), ..options() };
    let pull = Pull::start(by(UDP, &sender.camera.url()), short);
    let (reason, message) = pull.failed().await;
    assert_eq!(reason, "CAMERA_SILENT");
    assert!(message.contains("UDP") && message.contains("transport TCP"), "{message}");

    let stranger = UdpSocket::bind("127.0.0.2:0").unwrap();
    let hub = sender.hub.clone();
    let floods = tokio::task::spawn_blocking(move || {
        for number in 0..400 {
            let Some((port, _)) = *hub.lock().unwrap() else { continue };
            let framed = interleaved(number, u32::from(number) * 3600, &keyframe());
            stranger.send_to(&framed[4..], ("127.0.0.1", port)).ok();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let told = |state: &SourceState| matches!(state, SourceState::Failed { message, .. } if message.contains("another address or port"));
    pull.state(told).await;
    assert!(pull.stream.description().is_none());
    floods.await.unwrap();
    pull.stop().await;
}

#[tokio::test]
async fn a_camera_that_would_send_from_elsewhere_or_to_a_group_is_refused() {
    for (more, word) in [(";source=127.0.0.9", "127.0.0.9"), (";multicast;destination=239.0.0.1", "multicast")] {
        let sender = Sender::start(more).await;
        let pull = Pull::start(by(UDP, &sender.camera.url()), options());
        let (_, message) = pull.failed().await;
        assert!(message.contains(word), "{message}");
        assert_eq!(sender.camera.requests("PLAY"), 0);
        pull.stop().await;
    }
}

// --- TLS.

/// A certificate for this name, in a file with its key as gst-rtsp-server wants it, and in one without.
struct Certificate {
    directory: std::path::PathBuf,
}

impl Certificate {
    fn new(name: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, SeqCst);
        let directory = std::env::temp_dir().join(format!("vidhub-source-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let pem = |what: &str, der: &[u8]| {
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            let lines: Vec<String> =
                text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into()).collect();
            format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
        };
        let certificate = pem("CERTIFICATE", made.cert.der());
        let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
        std::fs::write(directory.join("ca.pem"), &certificate).unwrap();
        std::fs::write(directory.join("both.pem"), certificate + &key).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_is_pulled_over_tls_and_its_first_certificate_is_remembered() {
    let [first, second] = [(); 2].map(|()| Certificate::new("camera.local"));
    let camera = Gst::start(&["--tls", &first.path("both.pem"), "--user", "admin", "--password", "pw"]);
    let port = camera.port.to_string();
    let certificates = Arc::new(Certificates::remembering());
    let with = || Options { certificates: certificates.clone(), ..options() };
    let login = Target { username: "admin".into(), password: "pw".into(), ..by(0, &camera.url) };
    let pull = Pull::start(login.clone(), with());
    pull.live().await;
    eventually("thirty units", || pull.last_index() >= 30).await;
    assert!(pull.telemetry.flow(Direction::In, Protocol::Rtsps).packets.load(SeqCst) > 30);
    drop(camera);
    // Somebody else at the same address; the login is not for them.
    let other = Gst::start(&["--tls", &second.path("both.pem"), "--port", &port]);
    let changed = |state: &SourceState| matches!(state, SourceState::Failed { message, .. } if message.contains("another certificate"));
    pull.state(changed).await;
    certificates.forget(&other.url);
    pull.live().await;
    pull.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_authorities_of_ones_own_only_their_cameras_are_believed() {
    let [fits, misnamed] = ["127.0.0.1", "camera.local"].map(Certificate::new);
    let issued_by = |certificate: &Certificate| {
        let certificates = Certificates::issued_by(certificate.path("ca.pem").as_ref()).unwrap();
        Options { certificates: Arc::new(certificates), ..options() }
    };
    let camera = Gst::start(&["--tls", &fits.path("both.pem")]);
    let pull = Pull::start(by(0, &camera.url), issued_by(&fits));
    pull.live().await;
    pull.stop().await;
    let stranger = Pull::start(by(0, &camera.url), issued_by(&misnamed));
    assert!(stranger.failed().await.1.contains("source.tls_ca"));
    stranger.stop().await;
    let other = Gst::start(&["--tls", &misnamed.path("both.pem")]);
    let pull = Pull::start(by(0, &other.url), issued_by(&misnamed));
    assert!(pull.failed().await.1.contains("does not name"));
    pull.stop().await;
}

#[tokio::test]
async fn tls_where_there_is_none_and_udp_under_tls_are_told() {
    let camera = Scripted::start(|request, _| well_behaved(request, &pictures(9))).await;
    let pull = Pull::start(by(0, &camera.url().replace("rtsp://", "rtsps://")), options());
    let (reason, message) = pull.failed().await;
    assert_eq!(reason, "CAMERA_SILENT");
    assert!(message.contains("TLS"), "{message}");
    pull.stop().await;
    let certificate = Certificate::new("camera.local");
    let camera = Gst::start(&["--tls", &certificate.path("both.pem")]);
    let pull = Pull::start(by(UDP, &camera.url), options());
    assert!(pull.failed().await.1.contains("inside the TLS connection"));
    pull.stop().await;
}

// --- Logins.

#[tokio::test]
async fn the_strongest_login_is_given_and_a_nonce_that_grows_old_is_no_refusal() {
    const PASSWORD: &str = "p:w#€ \"1\\";
    for algorithm in [0, 1] {
        // Each nonce serves two requests; each other time the camera does not even say that it was stale.
        let served = Arc::new(AtomicUsize::new(0));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let camera = Scripted::start(move |request, number| {
            let nonce = served.load(SeqCst) / 2;
            let ask = |stale: bool| {
                let digests = challenges("IP Camera", &format!("n{nonce}"), stale);
                let digest = &digests[algorithm];
                let headers = format!("WWW-Authenticate: Basic realm=\"IP Camera\"\r\nWWW-Authenticate: {digest}\r\n");
                reply(request, "401 Unauthorized", &headers, "")
            };
            let Some(given) = header(request, "Authorization").and_then(|given| given.strip_prefix("Digest ")) else {
                return ask(false);
            };
            let credentials = Credentials::parse(given).expect("readable");
            if credentials.nonce != format!("n{nonce}") {
                return ask(nonce.is_multiple_of(2));
            }
            let method = request.split(' ').next().unwrap();
            assert!(credentials.verify(method, PASSWORD), "{number}: {given}");
            kept.lock().unwrap().push(given.to_owned());
            served.fetch_add(1, SeqCst);
            well_behaved(request, &pictures(9))
        })
        .await;
        let pull = Pull::start(target(&camera.url(), "ad\"min", PASSWORD), options());
        pull.live().await;
        eventually("nine pictures", || units(&pull) == 9).await;
        let word = ["algorithm=SHA-256", "algorithm=MD5"][algorithm];
        assert!(seen.lock().unwrap().iter().all(|given| given.contains(word) && !given.contains(PASSWORD)));
        assert_eq!(camera.connections.load(SeqCst), 1);
        pull.stop().await;
    }
}

#[tokio::test]
async fn basic_is_given_where_nothing_else_is_asked_for() {
    let camera = Scripted::start(|request, _| match header(request, "Authorization") {
        Some("Basic YWRtaW46cHc=") => well_behaved(request, &pictures(3)),
        _ => reply(request, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n", ""),
    })
    .await;
    let pull = Pull::start(target(&camera.url(), "admin", "pw"), options());
    pull.live().await;
    pull.stop().await;
}

// --- Manners.

#[tokio::test]
async fn what_cameras_do_to_the_protocol_is_lived_with() {
    type Manner = Box<dyn Fn(&str) -> Vec<u8> + Send + Sync>;
    let on = |method: &'static str, answer: fn(&str) -> Vec<u8>| -> Manner {
        Box::new(
            move |request| {
                if request.starts_with(method) { answer(request) } else { well_behaved(request, &pictures(9)) }
            },
        )
    };
    let without_cseq = |answer: Vec<u8>, cseq: &str| {
        let text = String::from_utf8_lossy(&answer).into_owned();
        let head: Vec<&str> = text.split("\r\n").filter(|line| !line.starts_with("CSeq")).collect();
        head.join("\r\n").replacen("\r\n", cseq, 1).into_bytes()
    };
    let manners: Vec<(&str, Manner)> = vec![
        (
            "no CSeq at all",
            Box::new(move |request| {
                let media = if request.starts_with("PLAY") { pictures(9) } else { Vec::new() };
                [without_cseq(well_behaved(request, &[]), "\r\n"), media].concat()
            }),
        ),
        (
            "always the same CSeq",
            Box::new(move |request| {
                let media = if request.starts_with("PLAY") { pictures(9) } else { Vec::new() };
                [without_cseq(well_behaved(request, &[]), "\r\nCSeq: 1\r\n"), media].concat()
            }),
        ),
        (
            "packets before PLAY is answered",
            on("PLAY", |request| [pictures(9), reply(request, "200 OK", "Session: 1\r\n", "")].concat()),
        ),
        ("PLAY never answered", on("PLAY", |_| pictures(9))),
        (
            "packets between the lines of an answer",
            on("PLAY", |request| {
                let answer = reply(request, "200 OK", "Session: 1\r\n", "");
                let line = answer.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
                [&answer[..line], &pictures(9)[..], &answer[line..]].concat()
            }),
        ),
        (
            "channels of its own choice, and packets on others",
            on("SETUP", |request| {
                reply(
                    request,
                    "200 OK",
                    "Session: 1;timeout=60\r\ntransport: rtp/avp/tcp;Unicast;INTERLEAVED=0-1;mode=play\r\n$\x05\x00\x02hi",
                    "",
                )
            }),
        ),
        (
            "no Transport in the answer",
            on("SETUP", |request| reply(request, "200 OK", "Session: 1 ; timeout = 30\r\n", "")),
        ),
        (
            "a session that is another after SETUP",
            Box::new(|request| {
                let session = header(request, "Session");
                match request.split(' ').next().unwrap() {
                    "SETUP" if session.is_none() && request.contains("track1") => {
                        reply(request, "200 OK", "Session: first\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n", "")
                    }
                    "SETUP" => {
                        reply(request, "200 OK", "Session: second\r\nTransport: RTP/AVP/TCP;interleaved=2-3\r\n", "")
                    }
                    "PLAY" if session == Some("first") => reply(request, "454 Session Not Found", "", ""),
                    "DESCRIBE" => described(request, "", &format!("{SDP}m=audio 0 RTP/AVP 8\r\na=control:track2\r\n")),
                    _ => well_behaved(request, &pictures(9)),
                }
            }),
        ),
        (
            "sound that it does not give",
            Box::new(|request| match request.split(' ').next().unwrap() {
                "SETUP" if request.contains("track2") => reply(request, "500 No", "", ""),
                "DESCRIBE" => described(request, "", &format!("{SDP}m=audio 0 RTP/AVP 8\r\na=control:track2\r\n")),
                _ => well_behaved(request, &pictures(9)),
            }),
        ),
        (
            "requests of its own",
            on("PLAY", |request| {
                let own = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\nANNOUNCE * RTSP/1.0\r\nCSeq: 2\r\nContent-Length: 2\r\n\r\nhi";
                [&own[..], &reply(request, "200 OK", "", ""), &pictures(9)].concat()
            }),
        ),
        (
            "a 100 before each answer",
            Box::new(|request| {
                [b"RTSP/1.0 100 Continue\r\n\r\n".to_vec(), well_behaved(request, &pictures(9))].concat()
            }),
        ),
    ];
    for (name, manner) in manners {
        let camera = Scripted::start(move |request, _| manner(request)).await;
        let short = Options { connect_timeout: Duration::from_millis(700), ..options() };
        let pull = Pull::start(by(0, &camera.url()), short);
        pull.live().await;
        eventually(name, || units(&pull) == 9).await;
        assert_eq!(camera.connections.load(SeqCst), 1, "{name}");
        pull.stop().await;
        assert_eq!(camera.requests("TEARDOWN"), 1, "{name}");
    }
}

#[tokio::test]
async fn the_session_is_kept_alive_by_what_the_camera_understands() {
    let camera = Scripted::start(|request, _| match request.split(' ').next().unwrap() {
        "SETUP" => reply(request, "200 OK", "Session: 1;timeout=2\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n", ""),
        "OPTIONS" => reply(request, "200 OK", "Public: DESCRIBE, SETUP, GET_PARAMETER\r\n", ""),
        // Media goes on with each keep-alive, as with a camera that is alive.
        "GET_PARAMETER" => [reply(request, "200 OK", "", ""), pictures(3)].concat(),
        _ => well_behaved(request, &pictures(3)),
    })
    .await;
    let patient = Options { stall_timeout: Duration::from_secs(30), ..options() };
    let pull = Pull::start(by(0, &camera.url()), patient);
    pull.live().await;
    eventually("it is kept alive", || camera.requests("GET_PARAMETER") >= 2).await;
    assert_eq!((camera.requests("OPTIONS"), camera.connections.load(SeqCst)), (1, 1));
    let requests = camera.requests.lock().unwrap().clone();
    let kept = requests.iter().find(|request| request.starts_with("GET_PARAMETER")).unwrap();
    assert_eq!(header(kept, "Session"), Some("1"));
    pull.stop().await;
}

#[tokio::test]
async fn a_session_that_the_camera_has_forgotten_is_dialled_anew_after_leave_was_taken() {
    let camera = Scripted::start(|request, _| match request.split(' ').next().unwrap() {
        "SETUP" => reply(request, "200 OK", "Session: 1;timeout=2\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n", ""),
        "OPTIONS" => reply(request, "454 Session Not Found", "", ""),
        _ => well_behaved(request, &pictures(3)),
    })
    .await;
    let patient = Options { stall_timeout: Duration::from_secs(30), ..options() };
    let pull = Pull::start(by(0, &camera.url()), patient);
    let forgotten =
        |state: &SourceState| matches!(state, SourceState::Failed { message, .. } if message.contains("forgotten"));
    pull.state(forgotten).await;
    eventually("dialled anew", || camera.connections.load(SeqCst) >= 2).await;
    let requests = camera.requests.lock().unwrap().clone();
    let place = |method: &str, from: usize| {
        from + requests[from..].iter().position(|request| request.starts_with(method)).expect("there")
    };
    assert!(place("TEARDOWN", 0) < place("DESCRIBE", place("PLAY", 0)), "{requests:?}");
    pull.stop().await;
}
