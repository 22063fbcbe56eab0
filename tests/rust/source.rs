//! Sources against real cameras: gst-rtsp-server for what works, a scripted TCP peer for what no server does on purpose.

mod pull;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use _core::media::{Codec, CodecParameters};
use _core::source::{Networks, Options, ProbeOptions, ProbeResult, ProbeSink, ProbeState, Prober, Target};
use _core::stream::SourceState;
use _core::telemetry::{Direction, DropReason, Protocol, SourceKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use pull::{
    CUT, Gst, PATIENCE, Pull, SDP, Scripted, described, eventually, interleaved, keyframe, options, picture, reply,
    target, well_behaved,
};

// --- Real cameras.

#[tokio::test(flavor = "multi_thread")]
async fn picture_and_sound_of_a_real_camera_come_through_one_connection() {
    let camera = Gst::start(&["--audio", "pcma", "--key-interval", "50"]);
    let pull = Pull::start(target(&camera.url, "", ""), options());
    pull.live().await;
    let description = pull.stream.description().unwrap();
    assert_eq!(description.tracks.iter().map(|track| track.codec).collect::<Vec<_>>(), [Codec::H264, Codec::Pcma]);
    assert!(matches!(
        description.tracks[0].parameters,
        CodecParameters::H264 { width: 640, height: 360, has_b_frames: false, .. }
    ));
    eventually("forty units", || pull.last_index() >= 40).await;
    let cached = pull.stream.cached();
    assert!(cached[0].unit.keyframe && cached[0].unit.track == 0);
    let kinds: Vec<u8> = cached[0].unit.nal_units().map(|nal| nal[0] & 0x1f).collect();
    assert!(kinds.starts_with(&[7, 8]) && kinds.contains(&5), "{kinds:?}");
    for track in 0..2 {
        let dts: Vec<i64> = cached.iter().filter(|unit| unit.unit.track == track).map(|unit| unit.unit.dts).collect();
        assert!(dts.windows(2).all(|pair| pair[1] > pair[0]), "{dts:?}");
    }
    let last = |track| cached.iter().rev().find(|unit| unit.unit.track == track).unwrap().unit.pts;
    let apart_ms = last(0) / 90 - last(1) / 8;
    assert!(apart_ms.abs() < 500, "picture and sound are {apart_ms} ms apart");
    assert_eq!(pull.telemetry.streams(SourceKind::RtspPull).load(SeqCst), 1);
    assert!(pull.telemetry.flow(Direction::In, Protocol::RtspTcp).packets.load(SeqCst) > 40);
    assert_eq!(pull.telemetry.dropped(DropReason::SourceGap).load(SeqCst), 0);
    assert_eq!(camera.connections(), (1, 1));
    pull.stop().await;
    eventually("the camera is let go", || camera.connections() == (1, 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aac_is_carried_with_its_configuration() {
    let camera = Gst::start(&["--audio", "aac"]);
    let pull = Pull::start(target(&camera.url, "", ""), options());
    pull.live().await;
    let tracks = pull.stream.description().unwrap().tracks.clone();
    assert!(matches!(&tracks[1].parameters, CodecParameters::Aac { config, channels: 2 } if config.len() >= 2));
    assert_eq!(tracks[1].clock_rate_hz, 48_000);
    let frames = || -> Vec<i64> {
        pull.stream.cached().iter().filter(|unit| unit.unit.track == 1).map(|unit| unit.unit.pts).collect()
    };
    eventually("ten frames", || frames().len() >= 10).await;
    assert!(frames().windows(2).all(|pair| pair[1] - pair[0] == 1024), "{:?}", frames());
    pull.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b_frames_are_noticed_and_keep_their_order() {
    let camera = Gst::start(&["--b-frames", "2", "--key-interval", "50"]);
    let pull = Pull::start(target(&camera.url, "", ""), options());
    pull.live().await;
    eventually("thirty units", || pull.last_index() >= 30).await;
    let tracks = pull.stream.description().unwrap().tracks.clone();
    assert!(matches!(tracks[0].parameters, CodecParameters::H264 { has_b_frames: true, .. }));
    let stamps: Vec<(i64, i64)> = pull.stream.cached().iter().map(|unit| (unit.unit.dts, unit.unit.pts)).collect();
    assert!(stamps.windows(2).all(|pair| pair[1].0 > pair[0].0), "{stamps:?}");
    assert!(stamps.iter().all(|(dts, pts)| pts >= dts));
    assert!(stamps.windows(2).any(|pair| pair[1].1 < pair[0].1), "they are out of order in presentation");
    pull.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_login_is_answered_and_a_wrong_one_is_told_without_it() {
    let camera = Gst::start(&["--user", "admin", "--password", "p:w#€ 1"]);
    let right = Pull::start(target(&camera.url, "admin", "p:w#€ 1"), options());
    right.live().await;
    right.stop().await;
    for (username, password) in [("admin", "wr0ng-secret"), ("", "")] {
        let pull = Pull::start(target(&camera.url, username, password), options());
        let (reason, message) = pull.failed().await;
        assert_eq!(reason, "CAMERA_REFUSED_LOGIN");
        assert!(!message.contains("wr0ng-secret") && !message.contains("admin"), "{message}");
        pull.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_there_is_told() {
    let camera = Gst::start(&[]);
    let pull = Pull::start(target(&camera.url.replace("/live", "/other"), "", ""), options());
    let (reason, message) = pull.failed().await;
    assert_eq!(reason, "CAMERA_UNREACHABLE");
    assert!(message.contains("path"), "{message}");
    pull.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_dies_and_comes_back_is_live_again_by_itself() {
    let camera = Gst::start(&[]);
    let (url, port) = (camera.url.clone(), camera.port.to_string());
    let pull = Pull::start(target(&url, "", ""), options());
    let mut last_dts = i64::MIN;
    let mut camera = Some(camera);
    for round in 0..3 {
        pull.live().await;
        eventually("ten units", || pull.stream.cached().len() >= 10).await;
        let cached = pull.stream.cached();
        assert!(cached[0].unit.dts > last_dts, "the timeline goes on");
        assert_eq!(cached[0].generation, 0, "the same camera is the same stream");
        last_dts = cached[cached.len() - 1].unit.dts;
        drop(camera.take());
        let (reason, _) = pull.failed().await;
        assert!(reason == "CAMERA_UNREACHABLE" || reason == "CAMERA_SILENT", "{reason}");
        assert_eq!(pull.telemetry.streams(SourceKind::RtspPull).load(SeqCst), 0);
        if round < 2 {
            camera = Some(Gst::start(&["--port", &port]));
        }
    }
    assert!(pull.telemetry.source_reconnects.load(SeqCst) >= 2);
    pull.stop().await;
}

// --- Cameras as no server means to be.

#[tokio::test]
async fn loopback_is_not_dialled_unless_allowed() {
    let camera = Scripted::start(|_, _| Vec::new()).await;
    let pull = Pull::start(target(&camera.url(), "", ""), Options { networks: Arc::default(), ..options() });
    let (reason, message) = pull.failed().await;
    assert_eq!(reason, "CAMERA_UNREACHABLE");
    assert!(message.contains("source.allow"), "{message}");
    let name = Pull::start(
        target(&camera.url().replace("127.0.0.1", "localhost"), "", ""),
        Options { networks: Arc::default(), ..options() },
    );
    assert!(name.failed().await.1.contains("source.allow"));
    let own = Arc::new(Networks::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new()));
    own.set_own_listeners(vec![camera.address]);
    let itself = Pull::start(target(&camera.url(), "", ""), Options { networks: own, ..options() });
    assert!(itself.failed().await.1.contains("own port"));
    assert_eq!(camera.connections.load(SeqCst), 0);
    pull.stop().await;
    name.stop().await;
    itself.stop().await;
}

#[tokio::test]
async fn nobody_at_the_port_and_no_such_name_are_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("rtsp://{}/live", listener.local_addr().unwrap());
    drop(listener);
    for url in [url.as_str(), "rtsp://no-such-camera.invalid/live"] {
        let pull = Pull::start(target(url, "", ""), options());
        assert_eq!(pull.failed().await.0, "CAMERA_UNREACHABLE");
        pull.stop().await;
    }
}

#[tokio::test]
async fn a_camera_that_says_nothing_is_silent_at_every_step() {
    let options = || Options {
        connect_timeout: Duration::from_millis(300),
        stall_timeout: Duration::from_millis(300),
        ..options()
    };
    for silent in ["DESCRIBE", "SETUP", "PLAY", "media"] {
        let camera = Scripted::start(
            move |request, _| {
                if request.starts_with(silent) { Vec::new() } else { well_behaved(request, &[]) }
            },
        )
        .await;
        let began = Instant::now();
        let pull = Pull::start(target(&camera.url(), "", ""), options());
        let (reason, message) = pull.failed().await;
        assert_eq!(reason, "CAMERA_SILENT", "{silent}: {message}");
        assert!(began.elapsed() < Duration::from_secs(5));
        // And it is tried again.
        eventually("another connection", || camera.requests("DESCRIBE") >= 2).await;
        pull.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_has_no_room_yet_is_asked_again_before_it_counts_as_failed() {
    for (method, status) in [("DESCRIBE", "503 Service Unavailable"), ("SETUP", "453 Not Enough Bandwidth")] {
        let (media, asked) = (interleaved(0, 0, &keyframe()), AtomicUsize::new(0));
        let camera = Scripted::start(move |request, _| {
            if request.starts_with(method) && asked.fetch_add(1, SeqCst) < 3 {
                reply(request, status, "", "")
            } else {
                well_behaved(request, &media)
            }
        })
        .await;
        let pull = Pull::start(target(&camera.url(), "", ""), options());
        let settled = pull.state(|state| !matches!(state, SourceState::Connecting | SourceState::Idle)).await;
        assert_eq!(settled, SourceState::Live, "{method}");
        assert_eq!(camera.requests(method), 4);
        pull.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_cuts_the_connection_while_it_is_asked_is_dialled_again_before_it_counts_as_failed() {
    for method in ["DESCRIBE", "SETUP"] {
        let (media, asked) = (interleaved(0, 0, &keyframe()), AtomicUsize::new(0));
        let camera = Scripted::start(move |request, _| {
            if request.starts_with(method) && asked.fetch_add(1, SeqCst) < 2 {
                CUT.to_vec()
            } else {
                well_behaved(request, &media)
            }
        })
        .await;
        let pull = Pull::start(target(&camera.url(), "", ""), options());
        let settled = pull.state(|state| !matches!(state, SourceState::Connecting | SourceState::Idle)).await;
        assert_eq!(settled, SourceState::Live, "{method}");
        assert_eq!((camera.requests(method), camera.connections.load(SeqCst)), (3, 3));
        pull.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_stays_full_is_told_and_then_asked_once_at_a_time() {
    let camera = Scripted::start(|request, _| reply(request, "453 Not Enough Bandwidth", "", "")).await;
    let pause = Duration::from_secs(1);
    let pull = Pull::start(target(&camera.url(), "", ""), Options { retry: (pause, pause), ..options() });
    let mut told = 0;
    let mut state = pull.stream.state();
    while told < 2 {
        state.changed().await.unwrap();
        if matches!(*state.borrow_and_update(), SourceState::Failed { reason: "CAMERA_UNREACHABLE", .. }) {
            told += 1;
        }
    }
    pull.stop().await;
    assert_eq!(camera.requests("DESCRIBE"), 4 + 1, "the second time, nobody waits for the first picture any more");
}

#[tokio::test]
async fn garbage_is_no_camera() {
    let garbage: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: 9\r\n\r\nno sdp :)",
        b"\x00\xff\xfe$$$$\r\n\r\n\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 77\r\n\r\n",
    ];
    for bytes in garbage {
        let camera = Scripted::start(move |_, _| bytes.to_vec()).await;
        let pull = Pull::start(
            target(&camera.url(), "", ""),
            Options { connect_timeout: Duration::from_millis(500), ..options() },
        );
        let (reason, message) = pull.failed().await;
        assert!(reason == "CAMERA_UNREACHABLE" || reason == "CAMERA_SILENT", "{reason}");
        assert!(message.lines().count() == 1, "{message}");
        pull.stop().await;
    }
}

#[tokio::test]
async fn a_camera_that_talks_without_end_costs_no_memory() {
    // What fits into the sockets of both sides on its way, and no more, can be sent before the connection is closed.
    const MOST: usize = 32 << 20;
    let heads: [&[u8]; 3] = [
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: 999999999999\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nX-Endless: ",
        b"",
    ];
    for head in heads {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("rtsp://{}/live", listener.local_addr().unwrap());
        let pull = Pull::start(
            target(&url, "", ""),
            Options { connect_timeout: PATIENCE, retry: (PATIENCE, PATIENCE), ..options() },
        );
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.read_exact(&mut [0; 16]).await.unwrap();
        socket.write_all(head).await.unwrap();
        let (chunk, mut sent) = (vec![b'x'; 64 << 10], 0);
        while sent < MOST && socket.write_all(&chunk).await.is_ok() {
            sent += chunk.len();
        }
        assert!(sent < MOST, "the hub goes on reading");
        assert_eq!(pull.failed().await.0, "CAMERA_UNREACHABLE");
        pull.stop().await;
    }
}

#[tokio::test]
async fn a_description_of_ten_thousand_tracks_is_refused_at_once() {
    let track = |number| format!("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:track{number}\r\n");
    for tracks in [40, 10_000] {
        let head = "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
        let sdp = head.to_owned() + &(0..tracks).map(track).collect::<String>();
        let camera = Scripted::start(move |request, _| match request.starts_with("DESCRIBE") {
            true => described(request, "", &sdp),
            false => well_behaved(request, &[]),
        })
        .await;
        let pull = Pull::start(target(&camera.url(), "", ""), options());
        assert_eq!(pull.failed().await.0, "CAMERA_UNREACHABLE");
        assert_eq!(camera.requests("SETUP"), 0);
        pull.stop().await;
    }
}

#[tokio::test]
async fn no_picture_that_we_carry_is_told_with_what_there_is() {
    for (encoding, words) in [("VP8", ["video/vp8", "H.265"]), ("JPEG", ["MJPEG", "H.264"])] {
        let sdp = SDP.replace("H264", encoding);
        let camera = Scripted::start(move |request, _| described(request, "", &sdp)).await;
        let pull = Pull::start(target(&camera.url(), "", ""), options());
        let (reason, message) = pull.failed().await;
        assert_eq!(reason, "CAMERA_UNREACHABLE");
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
        assert_eq!(camera.requests("SETUP"), 0);
        pull.stop().await;
    }
}

#[tokio::test]
async fn a_camera_that_asks_for_the_login_for_ever_is_answered_once_a_connection() {
    let camera = Scripted::start(|request, _| {
        reply(request, "401 Unauthorized", "WWW-Authenticate: Digest realm=\"x\", nonce=\"1\"\r\n", "")
    })
    .await;
    let options = Options { retry_refused: (Duration::from_secs(60), Duration::from_secs(60)), ..options() };
    let pull = Pull::start(target(&camera.url(), "admin", "hunter22"), options);
    let (reason, message) = pull.failed().await;
    assert_eq!(reason, "CAMERA_REFUSED_LOGIN");
    assert!(!message.contains("hunter22"));
    assert_eq!((camera.connections.load(SeqCst), camera.requests("DESCRIBE")), (1, 2));
    assert!(!camera.requests.lock().unwrap().iter().any(|request| request.contains("hunter22")));
    pull.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_a_redirect_nor_a_foreign_description_leads_us_elsewhere() {
    let elsewhere = Scripted::start(|_, _| Vec::new()).await;
    let there = elsewhere.address.to_string().replace("127.0.0.1", "127.0.0.2");
    let other = TcpListener::bind(("127.0.0.2", elsewhere.address.port())).await.unwrap();
    let location = format!("Location: rtsp://{there}/live\r\n");
    let redirecting = Scripted::start(move |request, _| reply(request, "302 Moved", &location, "")).await;
    let pull = Pull::start(target(&redirecting.url(), "admin", "pw"), options());
    let (reason, message) = pull.failed().await;
    assert_eq!(reason, "CAMERA_UNREACHABLE");
    assert!(message.contains("elsewhere"), "{message}");
    assert_eq!(redirecting.requests("SETUP"), 0);
    pull.stop().await;

    // Behind a translator a camera names the address that it has inside; it is asked where it is registered.
    let base = format!("Content-Base: rtsp://{there}/live/\r\n");
    let absolute = SDP.replace("track1", &format!("rtsp://{there}/live/track1"));
    for (headers, sdp) in [(base.as_str(), SDP), ("", absolute.as_str()), (base.as_str(), absolute.as_str())] {
        let (media, headers, sdp) = (interleaved(0, 0, &keyframe()), headers.to_owned(), sdp.to_owned());
        let camera = Scripted::start(move |request, _| match request.starts_with("DESCRIBE") {
            true => described(request, &headers, &sdp),
            false => well_behaved(request, &media),
        })
        .await;
        let pull = Pull::start(target(&camera.url(), "admin", "pw"), options());
        let settled = pull.state(|state| !matches!(state, SourceState::Connecting | SourceState::Idle)).await;
        assert_eq!(settled, SourceState::Live);
        pull.stop().await;
        let here = format!(" {}/", camera.url());
        assert!(camera.requests.lock().unwrap().iter().any(|request| request.contains(&format!("SETUP{here}track1"))));
        assert!(!camera.requests.lock().unwrap().iter().any(|request| request.contains(&there)));
    }
    assert_eq!(elsewhere.connections.load(SeqCst), 0);
    let dialled = tokio::time::timeout(Duration::from_millis(100), other.accept()).await;
    assert!(dialled.is_err(), "the other host was dialled");
}

#[tokio::test]
async fn pictures_without_a_keyframe_are_told_and_not_shown() {
    let media: Vec<u8> = (0..100u16)
        .flat_map(|number| interleaved(number, u32::from(number) * 3600, &[0x41, 0x9a, number as u8 | 1]))
        .collect();
    let camera = Scripted::start(move |request, _| well_behaved(request, &media)).await;
    let options =
        Options { keyframe_timeout: Duration::from_millis(200), stall_timeout: Duration::from_secs(20), ..options() };
    let pull = Pull::start(target(&camera.url(), "", ""), options);
    assert_eq!(pull.failed().await.0, "CAMERA_NO_KEYFRAME");
    assert!(pull.stream.description().is_none() && pull.stream.cached().is_empty());
    assert_eq!(camera.connections.load(SeqCst), 1, "told, but not cut off at once");
    eventually("dialled anew", || camera.connections.load(SeqCst) >= 2).await;
    pull.stop().await;
}

#[tokio::test]
async fn after_a_loss_nothing_is_shown_until_the_next_keyframe_and_the_camera_is_made_to_send_one() {
    let mut media = interleaved(10, 0, &keyframe());
    // 11 follows; 12 is missing; 13 and what follows refer to it.
    for sequence in [11u16, 13, 14, 15] {
        media.extend(interleaved(sequence, u32::from(sequence) * 3600, &picture(sequence)));
    }
    let camera = Scripted::start(move |request, _| well_behaved(request, &media)).await;
    let options =
        Options { keyframe_timeout: Duration::from_millis(500), stall_timeout: Duration::from_secs(20), ..options() };
    let pull = Pull::start(target(&camera.url(), "", ""), options);
    pull.live().await;
    eventually("the loss is seen", || pull.telemetry.dropped(DropReason::SourceGap).load(SeqCst) == 4).await;
    let shown: Vec<bool> = pull.stream.cached().iter().map(|unit| unit.unit.keyframe).collect();
    assert_eq!(shown, [true, false]);
    assert_eq!(pull.failed().await.0, "CAMERA_NO_KEYFRAME");
    eventually("dialled anew", || camera.connections.load(SeqCst) >= 2).await;
    pull.live().await;
    pull.stop().await;
}

#[tokio::test]
async fn a_flood_that_holds_no_picture_counts_as_silence() {
    let media: Vec<u8> = (0..2000u16).flat_map(|number| interleaved(number, 7, &[0x7c, 0x05, 1, 2, 3])).collect();
    let camera = Scripted::start(move |request, _| well_behaved(request, &media)).await;
    let pull =
        Pull::start(target(&camera.url(), "", ""), Options { stall_timeout: Duration::from_millis(300), ..options() });
    assert_eq!(pull.failed().await.0, "CAMERA_SILENT");
    pull.stop().await;
}

// --- The prober.

fn prober(options: ProbeOptions) -> (Prober, tokio::sync::mpsc::UnboundedReceiver<ProbeResult>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    let sink: ProbeSink = Arc::new(move |result| drop(sender.send(result)));
    (Prober::new(options, sink, &tokio::runtime::Handle::current()), receiver)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_prober_tells_online_refused_invalid_and_offline_apart() {
    let open = Gst::start(&["--audio", "pcmu"]);
    let closed = Gst::start(&["--user", "admin", "--password", "pw"]);
    let silent = Scripted::start(|_, _| Vec::new()).await;
    let cases = [
        ("online", open.url.clone(), ProbeState::Online, ""),
        ("refused", closed.url.clone(), ProbeState::Refused, "CAMERA_REFUSED_LOGIN"),
        ("invalid", open.url.replace("/live", "/none"), ProbeState::Invalid, "CAMERA_INVALID"),
        ("silent", silent.url(), ProbeState::Offline, "CAMERA_SILENT"),
        ("gone", "rtsp://127.0.0.1:9/live".to_owned(), ProbeState::Offline, "CAMERA_UNREACHABLE"),
    ];
    let (prober, mut results) = prober(ProbeOptions { dial: options(), ..ProbeOptions::default() });
    for (camera, url, ..) in &cases {
        prober.upsert(Arc::new(Target { camera: (*camera).into(), ..target(url, "", "") }));
    }
    for _ in 0..cases.len() {
        let result = tokio::time::timeout(PATIENCE, results.recv()).await.unwrap().unwrap();
        let (_, _, state, reason) = cases.iter().find(|(camera, ..)| *camera == &*result.camera).unwrap();
        assert_eq!((result.state, result.reason), (*state, *reason), "{result:?}");
        if result.state == ProbeState::Online {
            let seen = result.seen.unwrap();
            assert_eq!((seen.codec, seen.width, seen.height, seen.sound), (Codec::H264, 640, 360, Some(Codec::Pcmu)));
        }
    }
}

#[tokio::test]
async fn a_recorder_is_asked_one_channel_at_a_time() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (running, peak) = (now.clone(), most.clone());
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let (running, peak) = (running.clone(), peak.clone());
            tokio::spawn(async move {
                peak.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                let mut buffer = [0; 2048];
                let count = socket.read(&mut buffer).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&buffer[..count]).into_owned();
                tokio::time::sleep(Duration::from_millis(20)).await;
                running.fetch_sub(1, SeqCst);
                socket.write_all(&described(&request, "", SDP)).await.ok();
            });
        }
    });
    let (prober, mut results) = prober(ProbeOptions { dial: options(), per_second: 1000, ..ProbeOptions::default() });
    for channel in 0..16 {
        let url = format!("rtsp://{address}/{channel}");
        prober.upsert(Arc::new(Target { camera: format!("{channel}").into(), ..target(&url, "", "") }));
        prober.probe_now(&channel.to_string());
    }
    for _ in 0..16 {
        assert_eq!(results.recv().await.unwrap().state, ProbeState::Online);
    }
    assert_eq!(most.load(SeqCst), 1);
}
