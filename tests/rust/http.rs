//! The public HTTP port on loopback: limits, TLS, the proxy, and what is refused whatever it is for.

mod camera;
mod port;
mod whep_client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use _core::server::http::PROTOCOLS;
use _core::server::limits::MAX_API_BODY;
use _core::server::tls::server_config_from_pem;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::{any, post};
use bytes::Bytes;
use camera::CAMERA;
use futures::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use port::{Port, until};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;
use whep_client::{raw, request};

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
        // A WebSocket becomes a sink with the TLS session that it came with.
        let _publisher = port.publish();
        let stream = tls_connect(port.address, b"http/1.1").await;
        let url = format!("wss://localhost/mse/{CAMERA}");
        let (mut viewer, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        let hello = r#"{"ticket": "ticket", "mimes": ["video/mp4; codecs=\"avc1.640033\""]}"#;
        viewer.send(Message::text(hello)).await.unwrap();
        let answer = viewer.next().await.unwrap().unwrap();
        assert!(answer.to_text().unwrap().contains("avc1.42c01e"), "{answer}");
        for _ in 0..20 {
            assert!(viewer.next().await.unwrap().unwrap().is_binary());
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
        ("Connection", "Host"),
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
    // A client that sends all of it before it reads is answered as well, not reset.
    let mut busy = std::net::TcpStream::connect(port.address).unwrap();
    std::io::Write::write_all(&mut busy, honest.replace("Connection: close\r\n", "").as_bytes()).unwrap();
    std::io::Write::write_all(&mut busy, &vec![b'x'; MAX_API_BODY + 1]).unwrap();
    let mut told = String::new();
    std::io::Read::read_to_string(&mut busy, &mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
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
    // What is not framed as its header says is the client's fault, and no word on the application.
    for body in ["5\r\nhello\r\nxyz\r\n", "5\r\nhelloXX\r\n0\r\n\r\n", "ffffffffffffffffff\r\n"] {
        let head = "POST /swallow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = raw(port.address, format!("{head}{body}").as_bytes()).unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (400, "REQUEST_INVALID"), "{body:?}");
    }
}

#[test]
fn methods_that_nobody_knows_are_refused_before_the_application() {
    let port = Port::usual();
    port.backend(Router::new().fallback(any(|request: Request<Body>| async move { request.method().to_string() })));
    for method in ["FOO", "post", "PURGE", "TRACE"] {
        let answer = request(port.address, method, "/vidhub.v1.AuthService/WhoAmI", &[], "").unwrap();
        assert_eq!((answer.status, answer.reason().as_str()), (405, "METHOD_NOT_ALLOWED"), "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, POST"));
    }
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        assert_eq!(request(port.address, method, "/", &[], "").unwrap().body, method);
    }
}

#[test]
fn an_application_that_is_not_there_is_said_to_be_so() {
    let port = Port::usual();
    let answer = request(port.address, "GET", "/", &[], "").unwrap();
    assert_eq!((answer.status, answer.reason().as_str()), (503, "BACKEND_UNAVAILABLE"));
    assert!(answer.header("retry-after").is_some());
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
    let serving = port.serving.take().unwrap();
    port.runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), serving).await })
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(waiting.join().unwrap().map_or(true, |answer| answer.status == 0));
    assert!(std::net::TcpStream::connect(port.address).is_err());
    drop(idle);
}
