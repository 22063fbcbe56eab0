//! The public HTTP port on loopback: each refusal of the contract, limits, the proxy, and WHEP from offer to end.

mod camera;
mod whep_client;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use _core::server::http::{HttpOptions, PROTOCOLS, serve};
use _core::server::limits::{MAX_API_BODY, MAX_SDP_BODY};
use _core::server::tls::server_config_from_pem;
use _core::server::webrtc::{Webrtc, WebrtcOptions};
use _core::stream::Shards;
use _core::telemetry::{Direction, Protocol, SinkKind, Telemetry};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::{any, post};
use bytes::Bytes;
use camera::{CAMERA, Mood, OneDoor, Publisher, access_unit, sound, video};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use whep_client::{Answer, WhepClient, post_offer, raw, request, run};

/// A port with everything behind it.
struct Port {
    address: SocketAddr,
    door: Arc<OneDoor>,
    webrtc: Arc<Webrtc>,
    shards: Arc<Shards>,
    telemetry: Arc<Telemetry>,
    shutdown: CancellationToken,
    serving: Option<tokio::task::JoinHandle<_core::error::Result<()>>>,
    runtime: Runtime,
    /// Of the application's socket.
    folder: PathBuf,
}

impl Port {
    fn open(change: impl FnOnce(&mut HttpOptions, &mut WebrtcOptions)) -> Self {
        Self::open_on("127.0.0.1:0".parse().unwrap(), change)
    }

    fn open_on(udp: SocketAddr, change: impl FnOnce(&mut HttpOptions, &mut WebrtcOptions)) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let folder =
            std::env::temp_dir().join(format!("vidhub-http-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst)));
        std::fs::create_dir_all(&folder).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let telemetry = Arc::new(Telemetry::default());
        let shards = Shards::start(2).unwrap();
        let door = OneDoor::new(&telemetry);
        let (mut http, mut webrtc) =
            (HttpOptions { backend: folder.join("app.sock"), ..HttpOptions::default() }, WebrtcOptions::default());
        change(&mut http, &mut webrtc);
        let webrtc = Webrtc::start(udp, webrtc, Arc::clone(&shards), Arc::clone(&telemetry)).unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let gate: Arc<dyn _core::gate::Door> = Arc::clone(&door) as _;
        let serving = runtime.spawn(serve(listener, http, gate, Some(Arc::clone(&webrtc)), shutdown.clone()));
        Self { address, door, webrtc, shards, telemetry, shutdown, serving: Some(serving), runtime, folder }
    }

    fn usual() -> Self {
        Self::open(|_, _| {})
    }

    fn publish(&self) -> Publisher {
        Publisher::start(Arc::clone(&self.door.stream), vec![video(false), sound()])
    }

    /// The Python application's stand-in.
    fn backend(&self, router: Router) {
        let _guard = self.runtime.enter();
        let listener = tokio::net::UnixListener::bind(self.folder.join("app.sock")).unwrap();
        self.runtime.spawn(async move { axum::serve(listener, router).await });
    }

    fn view(&self, ticket: &str) -> (WhepClient, Answer) {
        let (mut client, offer) = WhepClient::offer(true);
        let answer = post_offer(self.address, CAMERA, ticket, &offer).unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        client.accept(&answer.body);
        (client, answer)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(serving) = self.serving.take() {
            let ended = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), serving).await });
            assert!(ended.is_ok() || std::thread::panicking(), "the server did not end");
        }
        self.shards.stop("HUB_DRAINING");
        self.webrtc.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn offer() -> String {
    WhepClient::offer(true).1
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::yield_now();
    }
}

#[test]
fn every_refusal_of_whep_has_its_status_and_reason() {
    let port = Port::open(|http, _| http.ready_timeout = Duration::from_millis(200));
    let _publisher = port.publish();
    let good = offer();
    let large = format!("{good}{}", "a=x\r\n".repeat(MAX_SDP_BODY / 4));
    let no_h264 = good.replace("H264/90000", "H263/90000");
    let cases = [
        ("forged", CAMERA, good.as_str(), 401, "TICKET_INVALID"),
        ("expired", CAMERA, &good, 401, "TICKET_EXPIRED"),
        ("unknown", CAMERA, &good, 401, "SESSION_UNKNOWN"),
        ("elsewhere", CAMERA, &good, 403, "TICKET_OTHER_CAMERA"),
        ("good", "36060200001320000002", &good, 404, "CAMERA_NOT_FOUND"),
        ("good", CAMERA, "hello", 400, "SDP_INVALID"),
        ("good", CAMERA, "", 400, "SDP_INVALID"),
        ("good", CAMERA, &large, 413, "TOO_LARGE"),
        ("good", CAMERA, &no_h264, 406, "CODEC_NOT_OFFERED"),
    ];
    for (ticket, camera, sdp, status, reason) in cases {
        let answer = post_offer(port.address, camera, ticket, sdp).unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(problem["status"], status);
        assert!(["type", "title", "detail"].iter().all(|key| problem[key].is_string()), "{problem}");
    }
    let path = format!("/whep/{CAMERA}");
    let missing = request(port.address, "POST", &path, &[("Content-Type", "application/sdp")], &good).unwrap();
    assert_eq!((missing.status, missing.reason().as_str()), (401, "TICKET_MISSING"));
    assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
    let twice =
        [("Authorization", "Bearer good"), ("Authorization", "Bearer good"), ("Content-Type", "application/sdp")];
    assert_eq!(request(port.address, "POST", &path, &twice, &good).unwrap().reason(), "TICKET_INVALID");
    let text = [("Authorization", "Bearer good"), ("Content-Type", "text/plain")];
    let answer = request(port.address, "POST", &path, &text, &good).unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (415, "CONTENT_TYPE"));

    for reason in ["CAMERA_REFUSED_LOGIN", "CAMERA_SILENT", "CAMERA_UNREACHABLE", "CAMERA_NO_KEYFRAME"] {
        *port.door.mood.lock() = Mood::Broken(reason);
        let answer = post_offer(port.address, CAMERA, "good", &good).unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (503, reason));
        assert!(answer.header("retry-after").is_some());
    }
    *port.door.mood.lock() = Mood::Silent;
    let answer = post_offer(port.address, CAMERA, "good", &good).unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (503, "CAMERA_NO_KEYFRAME"));
    until("every refused attempt gives its place back", || port.door.admitted.load(SeqCst) == 0);
    assert_eq!(port.webrtc.viewers(), 0);
}

#[test]
fn b_frames_are_named_as_the_reason() {
    let port = Port::usual();
    port.door.stream.describe(vec![video(true)]);
    let answer = post_offer(port.address, CAMERA, "good", &offer()).unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (406, "B_FRAMES"));
}

#[test]
fn a_chunked_body_is_counted_too() {
    let port = Port::usual();
    let mut bytes = format!(
        "POST /whep/{CAMERA} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: Bearer good\r\n\
         Content-Type: application/sdp\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    for _ in 0..20 {
        bytes += &format!("1000\r\n{}\r\n", "x".repeat(4096));
    }
    bytes += "0\r\n\r\n";
    let answer = raw(port.address, bytes.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (413, "TOO_LARGE"));
}

#[test]
fn a_viewer_sees_pictures_at_once_hears_sound_and_is_ended() {
    let port = Port::usual();
    let _publisher = port.publish();
    let asked = Instant::now();
    let (client, answer) = port.view("good");
    assert_eq!(answer.header("content-type"), Some("application/sdp"));
    let location = answer.header("location").unwrap().to_owned();
    assert!(location.starts_with(&format!("/whep/{CAMERA}/")) && location.len() > 50, "{location}");
    assert!(answer.header("etag").is_some_and(|etag| etag.starts_with('"') && etag.ends_with('"')));
    assert!(answer.body.contains("a=ice-lite") && !answer.body.contains("a=sendrecv"), "{}", answer.body);

    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames >= 60 && c[0].seen.audio_packets > 20));
    let seen = clients[0].seen.clone();
    let first = seen.first_keyframe.unwrap() - asked;
    assert!(first < Duration::from_secs(1), "the GOP cache gives the first picture: {first:?}");
    assert_eq!((seen.lost, seen.backwards, seen.error.as_deref()), (0, 0, None), "{seen:?}");
    assert!(seen.keyframes >= 2);
    assert_eq!(port.door.pictured.load(SeqCst), 1);
    assert_eq!(port.telemetry.sinks(SinkKind::Whep).load(SeqCst), 1);
    let sent = port.telemetry.flow(Direction::Out, Protocol::WebrtcUdp).packets.load(SeqCst);
    assert!(sent >= seen.video_packets + seen.audio_packets);

    // The session ends: the viewer hears it in DTLS.
    let revoked = Instant::now();
    port.door.sinks.lock()[0].end("GRANT_REVOKED");
    assert!(run(&mut clients, Duration::from_secs(5), |c| c[0].seen.closed.is_some()));
    assert!(clients[0].seen.closed.unwrap() - revoked < Duration::from_secs(1));
    until("the place is given back", || port.door.admitted.load(SeqCst) == 0 && port.webrtc.viewers() == 0);
    assert_eq!(port.telemetry.sinks(SinkKind::Whep).load(SeqCst), 0);
    let gone = request(port.address, "DELETE", &location, &[("Authorization", "Bearer good")], "").unwrap();
    assert_eq!((gone.status, gone.reason().as_str()), (404, "RESOURCE_NOT_FOUND"));
}

#[test]
fn viewers_come_by_ipv6_and_by_ipv4_on_an_ipv6_socket() {
    for (udp, own) in [("[::1]:0", "[::1]:0"), ("[::ffff:127.0.0.1]:0", "127.0.0.1:0")] {
        let port = Port::open_on(udp.parse().unwrap(), |_, _| {});
        let _publisher = port.publish();
        let (mut client, offer) = WhepClient::offer_from(own.parse().unwrap(), false);
        client.accept(&post_offer(port.address, CAMERA, "good", &offer).unwrap().body);
        let mut clients = [client];
        assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames >= 15), "{udp}: {:?}", clients[0].seen);
        assert_eq!(clients[0].seen.lost, 0);
    }
}

#[test]
fn only_its_own_session_may_end_a_viewer() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, answer) = port.view("mine");
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > 5));
    let location = answer.header("location").unwrap();
    let end = |fields: &[(&str, &str)]| request(port.address, "DELETE", location, fields, "").unwrap();
    for (fields, status, reason) in [
        (&[][..], 401, "TICKET_MISSING"),
        (&[("Authorization", "Bearer forged")], 401, "TICKET_INVALID"),
        (&[("Authorization", "Bearer theirs")], 403, "TICKET_OTHER_SESSION"),
    ] {
        let answer = end(fields);
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason));
    }
    assert_eq!(end(&[("Authorization", "Bearer mine")]).status, 200);
    assert!(run(&mut clients, Duration::from_secs(5), |c| c[0].seen.closed.is_some()));
}

#[test]
fn patch_takes_candidates_and_refuses_a_restart() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, offer) = WhepClient::offer(false);
    let answer = post_offer(port.address, CAMERA, "mine", &offer).unwrap();
    let location = answer.header("location").unwrap();
    let etag = answer.header("etag").unwrap();
    let ufrag = offer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap();
    let kind = ("Content-Type", "application/trickle-ice-sdpfrag");
    let patch = |ticket: &str, ufrag: &str, etag: &str, kind: (&str, &str)| {
        let fields = [("Authorization", ticket), ("If-Match", etag), kind];
        request(port.address, "PATCH", location, &fields, &format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:x\r\n")).unwrap()
    };
    assert_eq!(patch("Bearer mine", ufrag, etag, kind).status, 204);
    assert_eq!(patch("Bearer theirs", ufrag, etag, kind).status, 403);
    assert_eq!(patch("Bearer mine", ufrag, "\"other\"", kind).status, 412);
    assert_eq!(patch("Bearer mine", "other", "*", kind).reason(), "ICE_RESTART");
    assert_eq!(patch("Bearer mine", ufrag, etag, ("Content-Type", "application/sdp")).status, 415);
    drop(client);
}

#[test]
fn methods_and_options_are_answered() {
    let port = Port::usual();
    let endpoint = format!("/whep/{CAMERA}");
    let options = request(port.address, "OPTIONS", &endpoint, &[], "").unwrap();
    assert_eq!((options.status, options.header("accept-post")), (204, Some("application/sdp")));
    assert_eq!(options.header("allow"), Some("OPTIONS, POST"));
    for method in ["GET", "PUT", "DELETE", "PATCH", "HEAD", "BREW"] {
        let answer = request(port.address, method, &endpoint, &[], "").unwrap();
        assert_eq!((answer.status, answer.header("allow")), (405, Some("OPTIONS, POST")), "{method}");
    }
    let answer = request(port.address, "GET", &format!("{endpoint}/x"), &[], "").unwrap();
    assert_eq!((answer.status, answer.header("allow")), (405, Some("DELETE, OPTIONS, PATCH")));
}

#[test]
fn viewers_are_bounded_in_all_and_per_address() {
    let port = Port::open(|_, webrtc| webrtc.max_viewers = 1);
    let _publisher = port.publish();
    let (client, _) = port.view("a");
    let answer = post_offer(port.address, CAMERA, "b", &offer()).unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (503, "LIMIT_VIEWERS"));
    assert!(answer.header("retry-after").is_some());
    drop(client);

    let port = Port::open(|_, webrtc| webrtc.max_viewers_per_address = 1);
    let _publisher = port.publish();
    let (_client, _) = port.view("a");
    let answer = post_offer(port.address, CAMERA, "b", &offer()).unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (429, "LIMIT_VIEWERS_PER_ADDRESS"));
}

#[test]
fn a_lost_picture_is_answered_from_the_cache_and_time_never_runs_backwards() {
    let port = Port::usual();
    let stream = &port.door.stream;
    stream.describe(vec![video(false)]);
    for number in 0..20 {
        stream.publish(camera::picture(number));
    }
    let (client, _) = port.view("good");
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames == 20), "{:?}", clients[0].seen);
    let asked = Instant::now();
    clients[0].ask_for_keyframe();
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames == 40), "{:?}", clients[0].seen);
    assert!(asked.elapsed() < Duration::from_secs(3));
    // What is new comes after the replay in time too.
    stream.publish(camera::picture(20));
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames == 41), "{:?}", clients[0].seen);
    let seen = &clients[0].seen;
    assert_eq!((seen.keyframes, seen.backwards, seen.lost), (2, 0, 0), "{seen:?}");
}

#[test]
fn a_viewer_follows_new_parameters_and_leaves_when_b_frames_come() {
    let port = Port::usual();
    let stream = &port.door.stream;
    stream.describe(vec![video(false)]);
    stream.publish(camera::picture(0));
    let (client, _) = port.view("good");
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames == 1));
    stream.describe(vec![sound(), video(false)]);
    stream.publish(access_unit(1, 3600, true, &[camera::SPS, camera::PPS, &[0x65; 900]]));
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames == 2), "{:?}", clients[0].seen);
    stream.describe(vec![video(true)]);
    stream.publish(access_unit(0, 7200, true, &[camera::SPS, camera::PPS, &[0x65; 900]]));
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.closed.is_some()), "{:?}", clients[0].seen);
}

#[test]
fn datagrams_of_strangers_are_dropped_and_change_nothing() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, _) = port.view("good");
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > 2));
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0, 1, 19, 20, 500, 1999, 3000] {
        for first in [0, 1, 22, 63, 128, 200, 255] {
            stranger.send_to(&vec![first; length], port.webrtc.local_address()).unwrap();
        }
    }
    let before = clients[0].seen.frames;
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > before + 25));
    assert_eq!(clients[0].seen.lost, 0);
}

#[test]
fn a_viewer_that_never_comes_is_dropped() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, _) = port.view("good");
    assert_eq!(port.webrtc.viewers(), 1);
    let start = Instant::now();
    while port.webrtc.viewers() > 0 {
        assert!(start.elapsed() < Duration::from_secs(14), "still there");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(start.elapsed() > Duration::from_secs(9));
    drop(client);
}

#[test]
fn requests_that_name_their_goal_twice_or_in_disguise_are_refused() {
    let port = Port::usual();
    port.backend(Router::new().fallback(any(async || "application")));
    let tail = "Connection: close\r\n\r\n";
    let cases = [
        (format!("GET http://other/whep/{CAMERA} HTTP/1.1\r\nHost: other\r\n{tail}"), 400),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n{tail}"), 400),
        (format!("GET / HTTP/1.1\r\n{tail}"), 400),
        (format!("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n{tail}"), 400),
        (format!("POST /whep/..%2f{CAMERA} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{tail}"), 400),
        (format!("POST /whep/a%2fb HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{tail}"), 400),
        (format!("POST /whep/../x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{tail}"), 400),
        (format!("POST /whep//{CAMERA} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{tail}"), 400),
    ];
    for (text, status) in cases {
        assert_eq!(raw(port.address, text.as_bytes()).unwrap().status, status, "{text}");
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(request(port.address, "GET", path, &[], "").unwrap().status, 404, "{path}");
    }
    assert_eq!(request(port.address, "GET", "/", &[], "").unwrap().body, "application");
}

#[test]
fn headers_are_bounded_in_number_size_and_time() {
    let port = Port::usual();
    port.backend(Router::new().fallback(any(async || "application")));
    let names: Vec<String> = (0..120).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    assert_eq!(request(port.address, "GET", "/", &many[..90], "").unwrap().status, 200);
    assert_eq!(request(port.address, "GET", "/", &many, "").unwrap().status, 431);
    let long = "y".repeat(17 << 10);
    assert_eq!(request(port.address, "GET", "/", &[("x-long", &long)], "").unwrap().status, 431);

    // A client that says a little and then nothing is closed after ten seconds, whatever it began with.
    let start = Instant::now();
    let slow: Vec<_> = ["", "P", "PRI * HT", "GET / HTTP/1.1\r\nHo"]
        .into_iter()
        .map(|words| {
            let address = port.address;
            port.runtime.spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                stream.write_all(words.as_bytes()).await.unwrap();
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            })
        })
        .collect();
    for task in slow {
        port.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(15), task).await }).unwrap().unwrap();
    }
    assert!(start.elapsed() > Duration::from_secs(9));
}

#[test]
fn connections_are_bounded_per_address() {
    let port = Port::open(|http, _| http.max_connections_per_address = 2);
    port.backend(Router::new().fallback(any(async || "application")));
    let open: Vec<_> = (0..2)
        .map(|_| {
            port.runtime.block_on(async {
                let mut stream = tokio::net::TcpStream::connect(port.address).await.unwrap();
                stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
                let mut some = [0; 12];
                stream.read_exact(&mut some).await.unwrap();
                assert_eq!(&some, b"HTTP/1.1 200");
                stream
            })
        })
        .collect();
    let answer = request(port.address, "GET", "/", &[], "").unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (503, "LIMIT_CONNECTIONS"));
    drop(open);
    until("the places come back", || request(port.address, "GET", "/", &[], "").unwrap().status == 200);
}

#[test]
fn grpc_is_told_where_to_go() {
    let port = Port::open(|http, _| http.grpc_port = 50999);
    let answer = port.runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(port.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(format!("http://{}/vidhub.v1.CameraService/GetCamera", port.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from_static(&[0, 0, 0, 0, 0])))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        (response.status(), response.into_body().collect().await.unwrap().to_bytes())
    });
    assert_eq!(answer.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let text = String::from_utf8_lossy(&answer.1).into_owned();
    assert!(text.contains("50999") && text.contains("CONTENT_TYPE"), "{text}");
}

#[test]
fn over_tls_both_versions_of_http_are_spoken() {
    let certificate = str0m::crypto::from_feature_flags().dtls_provider.generate_certificate().unwrap();
    let pem = |kind: &str, der: &[u8]| {
        use base64::prelude::{BASE64_STANDARD, Engine};
        format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64_STANDARD.encode(der))
    };
    let chain = pem("CERTIFICATE", &certificate.certificate);
    let key = pem("PRIVATE KEY", &certificate.private_key);
    let tls = server_config_from_pem(chain.as_bytes(), key.as_bytes(), &PROTOCOLS).unwrap();
    let port = Port::open(|http, _| http.tls = Some(tls));
    port.backend(Router::new().fallback(any(async |headers: HeaderMap, request: Request<Body>| {
        format!("{} {:?}", request.uri(), headers.get("x-forwarded-proto"))
    })));
    port.runtime.block_on(async {
        for protocol in PROTOCOLS {
            let stream = tls_connect(port.address, protocol).await;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
            let request =
                Request::get(format!("https://{}/where", port.address)).body(Full::new(Bytes::new())).unwrap();
            let body = if protocol == b"h2" {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
            } else {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                let request = Request::get("/where").header("host", "a").body(Full::new(Bytes::new())).unwrap();
                sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
            };
            assert_eq!(body, "/where Some(\"https\")");
        }
        // Cleartext on the TLS port ends the connection and nothing else.
        let mut stream = tokio::net::TcpStream::connect(port.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.unwrap();
        assert!(!rest.starts_with(b"HTTP"));
    });
}

async fn tls_connect(address: SocketAddr, protocol: &[u8]) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect("localhost".try_into().unwrap(), stream).await.unwrap()
}

/// The test's certificate names nobody; what is tested here is the port.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn the_proxy_passes_requests_on_and_says_who_asked() {
    let port = Port::usual();
    let echo = |headers: HeaderMap, request: Request<Body>| async move {
        let mut fields: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        fields.sort();
        format!("{} {}\n{}", request.method(), request.uri(), fields.join("\n"))
    };
    port.backend(Router::new().fallback(any(echo)));
    let fields = [
        ("X-Forwarded-For", "198.51.100.7"),
        ("X-Forwarded-Host", "evil"),
        ("Forwarded", "for=198.51.100.7"),
        ("X-Real-IP", "198.51.100.7"),
        ("X-Vidhub-Principal", "root"),
        ("Authorization", "Bearer access"),
        ("TE", "trailers"),
    ];
    let answer = request(port.address, "GET", "/vidhub.v1.AuthService/WhoAmI?a=%2F", &fields, "").unwrap();
    let body = &answer.body;
    assert!(body.starts_with("GET /vidhub.v1.AuthService/WhoAmI?a=%2F\n"), "{body}");
    assert!(body.contains("x-forwarded-for: 127.0.0.1\nx-forwarded-proto: http"), "{body}");
    assert!(body.contains(&format!("host: {}", port.address)) && body.contains("authorization: Bearer access"));
    for gone in ["198.51.100.7", "evil", "x-real-ip", "root", "te:", "connection"] {
        assert!(!body.contains(gone), "{gone} in {body}");
    }

    let trusting = Port::open(|http, _| http.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    trusting.backend(Router::new().fallback(any(echo)));
    let fields = [("X-Forwarded-For", "192.0.2.1, 198.51.100.7, 127.0.0.9"), ("X-Forwarded-Proto", "https")];
    let body = request(trusting.address, "GET", "/", &fields, "").unwrap().body;
    assert!(body.contains("x-forwarded-for: 198.51.100.7\nx-forwarded-proto: https"), "{body}");
    // The door hears of the same client.
    let fields = [fields[0], fields[1], ("Authorization", "Bearer good"), ("Content-Type", "application/sdp")];
    request(trusting.address, "POST", &format!("/whep/{CAMERA}"), &fields, "x").unwrap();
    assert_eq!(trusting.door.peers.lock()[0].ip().to_string(), "198.51.100.7");
}

#[test]
fn the_proxy_streams_both_ways_and_a_hang_up_reaches_the_application() {
    let port = Port::usual();
    let (gone, mut left) = tokio::sync::mpsc::channel::<&str>(2);
    let gone_too = gone.clone();
    // Says back what it hears, word by word.
    let talk = async move |request: Request<Body>| {
        let mut incoming = request.into_body();
        let (sender, body) = channel_body();
        tokio::spawn(async move {
            while let Some(frame) = incoming.frame().await {
                let Ok(Ok(data)) = frame.map(|frame| frame.into_data()) else {
                    let _ = gone.send("talk").await;
                    return;
                };
                let _ = sender.send(Ok(data)).await;
            }
        });
        body
    };
    // Says one word and then waits for its listener to leave.
    let endless = async move || {
        let (sender, body) = channel_body();
        tokio::spawn(async move {
            let _ = sender.send(Ok(Bytes::from_static(b"endless"))).await;
            sender.closed().await;
            let _ = gone_too.send("endless").await;
        });
        body
    };
    port.backend(Router::new().route("/talk", post(talk)).route("/endless", any(endless)));
    port.runtime.block_on(async {
        let mut stream = tokio::net::TcpStream::connect(port.address).await.unwrap();
        stream.write_all(b"POST /talk HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        let mut text = String::new();
        // Each word comes back before the next is sent: nothing waits for the end.
        for word in ["alpha", "bravo", "delta"] {
            stream.write_all(format!("5\r\n{word}\r\n").as_bytes()).await.unwrap();
            hear(&mut stream, &mut text, word).await;
        }
        drop(stream);
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), left.recv()).await.unwrap(), Some("talk"));

        let mut stream = tokio::net::TcpStream::connect(port.address).await.unwrap();
        stream.write_all(b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        hear(&mut stream, &mut String::new(), "endless").await;
        drop(stream);
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), left.recv()).await.unwrap(), Some("endless"));
    });
}

type Piece = Result<Bytes, std::io::Error>;

fn channel_body() -> (tokio::sync::mpsc::Sender<Piece>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Piece>(1);
    let pieces = futures::stream::unfold(receiver, async |mut receiver| receiver.recv().await.map(|it| (it, receiver)));
    (sender, Body::from_stream(pieces))
}

async fn hear(stream: &mut tokio::net::TcpStream, text: &mut String, word: &str) {
    while !text.contains(word) {
        let mut room = [0; 1024];
        let count = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut room)).await.unwrap().unwrap();
        assert!(count > 0, "{text}");
        *text += &String::from_utf8_lossy(&room[..count]);
    }
}

#[test]
fn a_body_for_the_application_is_counted_while_it_streams() {
    let port = Port::usual();
    port.backend(Router::new().route(
        "/swallow",
        post(async |body: Body| match body.collect().await {
            Ok(body) => body.to_bytes().len().to_string(),
            Err(_) => "broken".to_owned(),
        }),
    ));
    let honest = format!(
        "POST /swallow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        MAX_API_BODY + 1
    );
    let answer = raw(port.address, honest.as_bytes()).unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (413, "TOO_LARGE"));
    let chunk = "x".repeat(1 << 16);
    for (chunks, status) in [(MAX_API_BODY >> 16, 200), ((MAX_API_BODY >> 16) + 1, 413)] {
        let mut text =
            "POST /swallow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for _ in 0..chunks {
            text += &format!("10000\r\n{chunk}\r\n");
        }
        let answer = raw(port.address, (text + "0\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[test]
fn an_application_that_is_not_there_is_said_to_be_so() {
    let port = Port::usual();
    let start = Instant::now();
    let answer = request(port.address, "GET", "/", &[], "").unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (503, "BACKEND_UNAVAILABLE"));
    assert!(answer.header("retry-after").is_some());
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn the_server_stops_in_bounded_time_whatever_clients_do() {
    let mut port = Port::open(|http, _| http.drain = Duration::from_millis(300));
    port.backend(Router::new().fallback(any(async || std::future::pending::<&str>().await)));
    let idle = std::net::TcpStream::connect(port.address).unwrap();
    let address = port.address;
    let waiting = std::thread::spawn(move || request(address, "GET", "/never", &[], ""));
    until("the request is with the application", || port.folder.join("app.sock").exists());
    port.shutdown.cancel();
    let start = Instant::now();
    let serving = port.serving.take().unwrap();
    port.runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(3), serving).await })
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(waiting.join().unwrap().map_or(true, |answer| answer.status == 0));
    assert!(std::net::TcpStream::connect(port.address).is_err());
    drop(idle);
}
