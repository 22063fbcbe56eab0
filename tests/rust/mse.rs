//! fMP4 over WebSocket against another implementation of WebSocket: what a viewer is told and given, and what it is refused.

mod camera;
mod port;
mod whep_client;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use _core::media::{AccessUnit, Codec, CodecParameters, Track};
use _core::server::mse::MseOptions;
use _core::stream::{Stream, StreamLimits};
use _core::telemetry::{Direction, DropReason, Protocol, SinkKind};
use bytes::Bytes;
use camera::{CAMERA, Mood, Other, PPS, SPS, access_unit, picture, video};
use mp4_atom::{Any, DecodeMaybe, Moof, Moov};
use port::{Port, until};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};
use whep_client::request;

const H264: &str = "video/mp4; codecs=\"avc1.640033\"";
const H265: &str = "video/mp4; codecs=\"hvc1.1.6.L153.B0\"";
const AAC: &str = "video/mp4; codecs=\"mp4a.40.2\"";

struct Viewer(WebSocket<TcpStream>);

/// How a connection ended: status and reason.
type End = (u16, String);

impl Viewer {
    /// Before the first message.
    fn connect(port: &Port, camera: &str) -> Self {
        let stream = TcpStream::connect(port.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let request = format!("ws://{}/mse/{camera}", port.address).into_client_request().unwrap();
        Self(client(request, stream).unwrap().0)
    }

    fn hello(port: &Port, camera: &str, ticket: &str, mimes: &[&str]) -> Self {
        let mut viewer = Self::connect(port, camera);
        let hello = serde_json::json!({ "ticket": ticket, "mimes": mimes });
        viewer.0.send(Message::text(hello.to_string())).unwrap();
        viewer
    }

    fn watch(port: &Port) -> Self {
        Self::hello(port, CAMERA, "ticket", &[H264])
    }

    fn next(&mut self) -> Result<Message, End> {
        loop {
            return match self.0.read() {
                Ok(Message::Ping(_) | Message::Pong(_)) => continue,
                Ok(Message::Close(frame)) => {
                    let frame = frame.expect("a status");
                    Err((frame.code.into(), frame.reason.to_string()))
                }
                Ok(message) => Ok(message),
                Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_) | Error::Protocol(_)) => {
                    Err((0, String::new()))
                }
                Err(other) => panic!("{other}"),
            };
        }
    }

    fn answer(&mut self) -> serde_json::Value {
        match self.next() {
            Ok(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("no answer: {other:?}"),
        }
    }

    fn init(&mut self) -> Moov {
        match &atoms(&self.binary())[..] {
            [Any::Ftyp(_), Any::Moov(moov)] => moov.clone(),
            other => panic!("no initialisation segment: {other:?}"),
        }
    }

    fn fragment(&mut self) -> Moof {
        match &atoms(&self.binary())[..] {
            [Any::Moof(moof), Any::Mdat(_)] => moof.clone(),
            other => panic!("no fragment: {other:?}"),
        }
    }

    fn binary(&mut self) -> Bytes {
        match self.next() {
            Ok(Message::Binary(bytes)) => bytes,
            other => panic!("no media: {other:?}"),
        }
    }

    fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.next() {
                return end;
            }
        }
    }
}

fn atoms(mut bytes: &[u8]) -> Vec<Any> {
    std::iter::from_fn(|| Any::decode_maybe(&mut bytes).unwrap()).collect()
}

fn is_sync(moof: &Moof) -> bool {
    moof.traf[0].trun[0].samples.get(0).unwrap().flags == Some(0x0200_0000)
}

fn decode_time(moof: &Moof) -> u64 {
    moof.traf[0].tfdt.as_ref().unwrap().base_media_decode_time
}

fn end(code: u16, reason: &str) -> End {
    (code, reason.to_owned())
}

#[test]
fn a_viewer_is_told_what_comes_and_gets_it_from_the_keyframe_on() {
    let port = Port::usual();
    let publisher = port.publish();
    let mut viewer = Viewer::hello(&port, CAMERA, "ticket", &[H265, H264, AAC]);
    let answer = viewer.answer();
    let told = serde_json::json!({
        "mime": "video/mp4; codecs=\"avc1.42c01e\"", "profile": "main", "reason": "",
        "audio": "none; reason=G711_NOT_IN_MP4",
    });
    assert_eq!(answer, told);
    assert_eq!(viewer.init().trak.len(), 1, "G.711 has no place in it");
    let fragments: Vec<Moof> = (0..40).map(|_| viewer.fragment()).collect();
    assert!(is_sync(&fragments[0]) && !is_sync(&fragments[1]));
    for pair in fragments.windows(2) {
        assert_eq!(decode_time(&pair[1]) - decode_time(&pair[0]), 3600, "without a gap");
    }
    assert_eq!(port.telemetry.sinks(SinkKind::Mse).load(Relaxed), 1);
    until("they are counted", || port.telemetry.flow(Direction::Out, Protocol::Mse).packets.load(Relaxed) >= 40);
    until("the first picture is told of", || port.door.pictured.load(SeqCst) == 1);
    viewer.0.close(None).unwrap();
    assert_eq!(viewer.end(), end(1000, "CLIENT_CLOSED"));
    until("its place comes back", || port.door.admitted.load(SeqCst) == 0);
    assert_eq!(port.telemetry.sinks(SinkKind::Mse).load(Relaxed), 0);
    drop(publisher);
}

#[test]
fn all_viewers_get_the_same_octets_wherever_they_join() {
    let port = Port::usual();
    let _publisher = port.publish();
    let collect = |viewer: &mut Viewer| -> Vec<Bytes> {
        viewer.answer();
        viewer.init();
        (0..60).map(|_| viewer.binary()).collect()
    };
    let first = collect(&mut Viewer::watch(&port));
    let second = collect(&mut Viewer::watch(&port));
    let number = |bytes: &Bytes| bytes.slice(20..24);
    let shared = first.iter().filter_map(|one| Some((one, second.iter().find(|other| number(one) == number(other))?)));
    let (mut count, mut same) = (0, 0);
    for (one, other) in shared {
        count += 1;
        same += usize::from(one == other);
    }
    assert!(count > 0 && same == count, "{same} of {count} are the same");
}

#[test]
fn a_refusal_closes_with_its_status_and_reason() {
    let port = Port::open(|http, _| http.ready_timeout = Duration::from_millis(200));
    let _publisher = port.publish();
    let other = "36060200001320000002";
    for (camera, ticket, mimes, expected) in [
        (CAMERA, "", &[H264][..], end(4401, "TICKET_MISSING")),
        (CAMERA, "forged", &[H264], end(4401, "TICKET_INVALID")),
        (CAMERA, "expired", &[H264], end(4401, "TICKET_EXPIRED")),
        (CAMERA, "unknown", &[H264], end(4401, "SESSION_UNKNOWN")),
        (CAMERA, "elsewhere", &[H264], end(4403, "TICKET_OTHER_CAMERA")),
        (other, "ticket", &[H264], end(4404, "CAMERA_NOT_FOUND")),
        (CAMERA, "ticket", &[H265], end(4406, "CODEC_NOT_OFFERED")),
        (CAMERA, "ticket", &["video/mp4; codecs=\"avc1.42e01d\""], end(4406, "CODEC_NOT_OFFERED")),
        (CAMERA, "ticket", &[], end(4406, "CODEC_NOT_OFFERED")),
        (CAMERA, "ticket", &[H264; 65], end(4400, "MESSAGE_INVALID")),
    ] {
        assert_eq!(Viewer::hello(&port, camera, ticket, mimes).end(), expected, "{camera} {ticket} {mimes:?}");
    }
    for (mood, expected) in [
        (Mood::Broken("CAMERA_UNREACHABLE"), end(4503, "CAMERA_UNREACHABLE")),
        (Mood::Silent, end(4503, "CAMERA_NO_KEYFRAME")),
    ] {
        *port.door.mood.lock() = mood;
        assert_eq!(Viewer::watch(&port).end(), expected);
    }
    until("the places come back", || port.door.admitted.load(SeqCst) == 0);
}

#[test]
fn a_first_message_that_is_none_is_refused() {
    let port = Port::usual();
    let _publisher = port.publish();
    let cases = [
        (Message::text("hello"), end(4400, "MESSAGE_INVALID")),
        (Message::text("{\"ticket\": 7}"), end(4400, "MESSAGE_INVALID")),
        (Message::binary(vec![0; 10]), end(4400, "MESSAGE_INVALID")),
        (Message::text("x".repeat(17 << 10)), end(1009, "TOO_LARGE")),
    ];
    for (message, expected) in cases {
        let mut viewer = Viewer::connect(&port, CAMERA);
        viewer.0.send(message.clone()).unwrap();
        assert_eq!(viewer.end(), expected, "{message:?}");
    }
    let mut garbage = Viewer::connect(&port, CAMERA);
    garbage.0.get_mut().write_all(&[0xff; 64]).unwrap();
    assert_eq!(garbage.end(), end(1002, "MESSAGE_INVALID"));
    let mut silent = Viewer::connect(&port, CAMERA);
    let begun = Instant::now();
    assert_eq!(silent.end(), end(4504, "MESSAGE_TIMEOUT"));
    assert!(begun.elapsed() > Duration::from_secs(9));
    assert_eq!(port.door.admitted.load(SeqCst), 0);
}

#[test]
fn what_is_no_websocket_or_comes_from_another_page_is_refused_in_http() {
    let port = Port::usual();
    let path = format!("/mse/{CAMERA}");
    let address = port.address;
    let plain = request(address, "GET", &path, &[], "").unwrap();
    assert_eq!((plain.status, plain.reason().as_str()), (426, "UPGRADE_REQUIRED"));
    assert_eq!(plain.header("sec-websocket-version"), Some("13"));
    assert_eq!(request(address, "POST", &path, &[], "").unwrap().status, 405);
    assert_eq!(request(address, "GET", "/mse/..%2fx", &[], "").unwrap().status, 400);
    // A WebSocket stays open: the head alone is read.
    let ask = |key: &str, more: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{more}\r\n"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let lines = BufReader::new(stream).lines().map(|line| line.unwrap());
        lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    assert!(ask(key, "Origin: https://evil.example\r\n")[0].contains(" 403 "));
    assert!(ask("short", "")[0].contains(" 400 "));
    let own = ask(key, &format!("Origin: http://{address}\r\n"));
    assert!(own[0].contains(" 101 ") && own.contains(&"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".into()));
}

fn h265() -> Track {
    let sps = Bytes::from_static(&[
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3f,
        0xa0, 0x05, 0x02, 0x01, 0x71, 0xf2, 0xe5, 0xba, 0x4a, 0x4c, 0x2f, 0x01, 0x68, 0x08, 0x00, 0x00, 0x03, 0x00,
        0x08, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x40,
    ]);
    let (vps, pps) = (Bytes::from_static(&[0x40, 0x01, 0x0c]), Bytes::from_static(&[0x44, 0x01, 0xc0]));
    let parameters = CodecParameters::H265 { vps, sps, pps, width: 640, height: 360, has_b_frames: false };
    Track { codec: Codec::H265, clock_rate_hz: 90_000, parameters }
}

fn aac() -> Track {
    let parameters = CodecParameters::Aac { config: Bytes::from_static(&[0x14, 0x08]), channels: 1 };
    Track { codec: Codec::Aac, clock_rate_hz: 16_000, parameters }
}

#[test]
fn where_the_browser_does_not_play_the_main_stream_it_gets_the_sub_stream() {
    let port = Port::usual();
    port.door.stream.describe(vec![h265(), aac()]);
    port.door.stream.publish(picture(0));
    let sub = Stream::new("sub".into(), StreamLimits { gop_cache_bytes: 1 << 20 }, port.telemetry.clone());
    sub.describe(vec![video(false)]);
    sub.publish(picture(0));
    *port.door.other.lock() = Other::Sub(sub);
    let mut old = Viewer::watch(&port);
    let answer = old.answer();
    assert_eq!((&answer["profile"], &answer["reason"]), (&"sub".into(), &"CODEC_NOT_OFFERED".into()));
    assert!(is_sync(&{
        old.init();
        old.fragment()
    }));
    let mut new = Viewer::hello(&port, CAMERA, "ticket", &[H264, H265, AAC]);
    let answer = new.answer();
    assert_eq!(answer["mime"], "video/mp4; codecs=\"hvc1.1.6.L63.90,mp4a.40.2\"");
    assert_eq!((&answer["profile"], &answer["reason"], &answer["audio"]), (&"main".into(), &"".into(), &"aac".into()));
    assert_eq!(new.init().trak.len(), 2);
    *port.door.other.lock() = Other::Missing;
    assert_eq!(Viewer::watch(&port).end(), end(4406, "CODEC_NOT_OFFERED"), "there is no other");
}

#[test]
fn new_parameters_bring_a_new_segment_and_another_codec_a_new_answer() {
    let port = Port::usual();
    let stream = &port.door.stream;
    let keyframe = |number: i64| {
        let slice = [0x65; 100];
        stream.publish(access_unit(0, number * 3600, true, &[SPS, PPS, &slice]));
    };
    let level = |level: u8, width: u32| {
        let mut sps = SPS.to_vec();
        sps[3] = level;
        let (sps, pps) = (Bytes::from(sps), Bytes::from_static(PPS));
        let parameters = CodecParameters::H264 { sps, pps, width, height: 360, has_b_frames: false };
        vec![Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }]
    };
    stream.describe(level(0x1e, 640));
    keyframe(0);
    let mut viewer = Viewer::watch(&port);
    viewer.answer();
    assert_eq!(viewer.init().trak[0].tkhd.width.integer(), 640);
    viewer.fragment();
    stream.describe(level(0x1e, 320));
    keyframe(1);
    assert_eq!(viewer.init().trak[0].tkhd.width.integer(), 320, "the same codec string");
    viewer.fragment();
    stream.describe(level(0x28, 320));
    keyframe(2);
    assert_eq!(viewer.answer()["mime"], "video/mp4; codecs=\"avc1.42c028\"");
    viewer.init();
    viewer.fragment();
    stream.describe(level(0x3c, 320));
    keyframe(3);
    assert_eq!(viewer.end(), end(4503, "CODEC_CHANGED"), "beyond what the browser plays");
}

#[test]
fn sound_goes_along_and_its_frames_follow_each_other() {
    let port = Port::usual();
    let stream = &port.door.stream;
    stream.describe(vec![video(false), aac()]);
    for number in 0..4 {
        stream.publish(picture(number));
        // One frame in four is lost.
        if number != 2 {
            let pts = number * 1024;
            let data = Bytes::from_static(&[0x21; 50]);
            stream.publish(AccessUnit { track: 1, pts, dts: pts, keyframe: true, data, nals: Default::default() });
        }
    }
    let mut viewer = Viewer::hello(&port, CAMERA, "ticket", &[H264, AAC]);
    assert_eq!(viewer.answer()["audio"], "aac");
    viewer.init();
    let fragments: Vec<Moof> = (0..7).map(|_| viewer.fragment()).collect();
    let of_sound = fragments.iter().filter(|moof| moof.traf[0].tfhd.track_id == 2);
    let mut expected = 16_000;
    for moof in of_sound {
        assert_eq!(decode_time(moof), expected);
        expected += u64::from(moof.traf[0].trun[0].samples.get(0).unwrap().duration.unwrap());
    }
    assert_eq!(expected, 16_000 + 4 * 1024);
}

#[test]
fn a_viewer_that_reads_nothing_skips_and_is_closed_and_costs_the_others_nothing() {
    let port = Port::usual();
    let stream = port.door.stream.clone();
    stream.describe(vec![video(false)]);
    stream.publish(picture(0));
    let mut good = Viewer::watch(&port);
    good.answer();
    good.init();
    good.fragment();
    let mut slow = Viewer::watch(&port);
    let mut stalled = Viewer::watch(&port);
    for viewer in [&mut slow, &mut stalled] {
        viewer.answer();
    }
    let begun = Instant::now();
    let dropped = || port.telemetry.dropped(DropReason::SlowViewer).load(Relaxed);
    let mut number = 1;
    let mut more = |good: &mut Viewer| {
        let slice = vec![if number % 10 == 0 { 0x65 } else { 0x41 }; 40_000];
        let nals: &[&[u8]] = if number % 10 == 0 { &[SPS, PPS, &slice] } else { &[&slice] };
        stream.publish(access_unit(0, number * 3600, number % 10 == 0, nals));
        number += 1;
        good.fragment();
    };
    // 16 MB: both have a backlog of 1 MiB, and the kernel some more.
    (0..400).for_each(|_| more(&mut good));
    assert!(dropped() > 400, "{} are dropped", dropped());
    // One of them reads on: what it gets after the gap begins with a keyframe.
    slow.init();
    let mut last = slow.fragment();
    let mut gaps = 0;
    for round in 0..400 {
        if round % 10 == 0 {
            more(&mut good);
        }
        let fragment = slow.fragment();
        if decode_time(&fragment) > decode_time(&last) + 3600 {
            gaps += 1;
            assert!(is_sync(&fragment));
        }
        last = fragment;
        if gaps > 0 && is_sync(&last) {
            break;
        }
    }
    assert!(gaps > 0);
    let sinks = || port.telemetry.sinks(SinkKind::Mse).load(Relaxed);
    slow.0.get_ref().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    while sinks() > 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "the stalled one is not closed");
        more(&mut good);
        // The slow one takes what comes; the time for that paces the rest.
        let pause = Instant::now();
        while pause.elapsed() < Duration::from_millis(20) {
            let _ = slow.0.read();
        }
    }
    assert_eq!(sinks(), 2, "the stalled one alone");
    assert!(begun.elapsed() > Duration::from_secs(9), "not before its time");
}

#[test]
fn an_end_is_told_with_its_reason() {
    let port = Port::usual();
    let _publisher = port.publish();
    let watch = || {
        let mut viewer = Viewer::watch(&port);
        viewer.answer();
        viewer.init();
        viewer.fragment();
        viewer
    };
    for (reason, code) in [("GRANT_REVOKED", 4410), ("CONNECTION_REPLACED", 4409), ("STREAM_CHANGED", 4503)] {
        let mut viewer = watch();
        until("it is told of", || !port.door.sinks.lock().is_empty());
        port.door.sinks.lock().pop().unwrap().end(reason);
        assert_eq!(viewer.end(), end(code, reason));
    }
    let mut playing = watch();
    *port.door.mood.lock() = Mood::Silent;
    let mut waiting = Viewer::watch(&port);
    until("it waits for its camera", || port.door.admitted.load(SeqCst) == 2);
    let mut before = Viewer::connect(&port, CAMERA);
    port.shutdown.cancel();
    for viewer in [&mut waiting, &mut before] {
        assert_eq!(viewer.end(), end(4503, "HUB_DRAINING"));
    }
    port.shards.stop("HUB_DRAINING");
    assert_eq!(playing.end(), end(4503, "HUB_DRAINING"));
}

#[test]
fn viewers_are_bounded_in_all_and_per_address() {
    for (options, expected) in [
        (MseOptions { max_viewers: 1, ..MseOptions::default() }, end(4503, "LIMIT_VIEWERS")),
        (MseOptions { max_viewers_per_address: 1, ..MseOptions::default() }, end(4429, "LIMIT_VIEWERS_PER_ADDRESS")),
    ] {
        let port = Port::open_with("127.0.0.1:0".parse().unwrap(), options, |_, _| {});
        let _publisher = port.publish();
        let mut first = Viewer::watch(&port);
        first.answer();
        assert_eq!(Viewer::watch(&port).end(), expected);
        drop(first);
        let mut now = None;
        until("the place comes back", || {
            let mut viewer = Viewer::watch(&port);
            let is_in = matches!(viewer.next(), Ok(Message::Text(_)));
            now = is_in.then_some(viewer);
            is_in
        });
    }
}

#[test]
fn who_shows_no_ticket_takes_no_viewers_place() {
    let options = MseOptions { max_viewers: 1, ..MseOptions::default() };
    let port = Port::open_with("127.0.0.1:0".parse().unwrap(), options, |_, _| {});
    let _publisher = port.publish();
    let mut strangers: Vec<Viewer> = (0..256).map(|_| Viewer::connect(&port, CAMERA)).collect();
    assert_eq!(Viewer::connect(&port, CAMERA).end(), end(4429, "LIMIT_CONNECTIONS_PER_ADDRESS"));
    // One of them shows its ticket: it has a viewer's place, and another may come.
    let hello = serde_json::json!({ "ticket": "ticket", "mimes": [H264] }).to_string();
    strangers[7].0.send(Message::text(hello)).unwrap();
    strangers[7].answer();
    assert_eq!(Viewer::watch(&port).end(), end(4503, "LIMIT_VIEWERS"));
}

#[test]
fn pings_are_answered_and_a_flood_ends_the_connection() {
    let port = Port::usual();
    let _publisher = port.publish();
    *port.door.mood.lock() = Mood::Fine;
    let mut viewer = Viewer::watch(&port);
    viewer.0.send(Message::Ping(Bytes::from_static(b"there?"))).unwrap();
    let answered = (0..200).any(|_| matches!(viewer.0.read(), Ok(Message::Pong(payload)) if payload == "there?"));
    assert!(answered);
    viewer.0.send(Message::text("small talk")).unwrap();
    viewer.binary();
    for _ in 0..100 {
        if viewer.0.send(Message::text("x".repeat(1000))).is_err() {
            break;
        }
    }
    assert_eq!(viewer.end(), end(4429, "CLIENT_FLOODS"));
    let mut viewer = Viewer::watch(&port);
    viewer.answer();
    viewer.0.send(Message::text("x".repeat(2000))).unwrap();
    assert_eq!(viewer.end(), end(1009, "TOO_LARGE"));
}

#[test]
fn a_client_that_leaves_while_it_waits_gives_its_interest_back() {
    let port = Port::usual();
    *port.door.mood.lock() = Mood::Silent;
    let viewer = Viewer::watch(&port);
    until("it is admitted", || port.door.admitted.load(SeqCst) == 1);
    drop(viewer);
    until("it has left", || port.door.admitted.load(SeqCst) == 0);
    let mut polite = Viewer::watch(&port);
    until("it is admitted", || port.door.admitted.load(SeqCst) == 1);
    polite.0.close(None).unwrap();
    assert_eq!(polite.end().0, 1000);
    until("it has left", || port.door.admitted.load(SeqCst) == 0);
}

#[test]
fn a_hundred_viewers_come_and_go_without_a_trace() {
    let port = Port::usual();
    let _publisher = port.publish();
    for round in 0..4 {
        let mut viewers: Vec<Viewer> = (0..25).map(|_| Viewer::watch(&port)).collect();
        for viewer in &mut viewers {
            viewer.answer();
            viewer.init();
            assert!(is_sync(&viewer.fragment()));
        }
        if round % 2 == 0 {
            // Half a frame, then gone.
            viewers.iter_mut().for_each(|viewer| viewer.0.get_mut().write_all(&[0x81]).unwrap());
        }
        drop(viewers);
    }
    until("all are gone", || port.door.admitted.load(SeqCst) == 0 && port.shards.is_empty());
}
