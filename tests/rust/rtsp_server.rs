//! The RTSP server over loopback, spoken to by hand.

#[path = "rtsp/support.rs"]
mod support;

use std::io::Read;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use _core::telemetry::{Direction, DropReason, Protocol, SinkKind};
use support::{GOP, Heard, PASSWORD, Studio, USER, until};

const TCP: (&str, &str) = ("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1");

#[test]
fn a_refusal_says_why_and_what_would_do() {
    let studio = Studio::on_air();
    for (rest, status, reason) in [
        ("gate", 401, "TICKET_MISSING"),
        ("gate?ticket=forged", 401, "TICKET_INVALID"),
        ("gate?ticket=old", 401, "TICKET_EXPIRED"),
        ("gate?ticket=other", 403, "TICKET_OTHER_CAMERA"),
        ("nowhere?ticket=good", 404, "CAMERA_NOT_FOUND"),
        ("gate?ticket=many", 453, "LIMIT_SESSIONS"),
        ("dark?ticket=good", 503, "CAMERA_SILENT"),
    ] {
        let answer = studio.client().ask("DESCRIBE", &studio.url(rest), &[]);
        assert_eq!(answer.status(), status, "{rest}");
        assert_eq!(answer.header("X-Vidhub-Reason"), reason, "{rest}");
        assert!(answer.first_line.ends_with(reason), "{rest}");
        let challenges = answer.all("WWW-Authenticate");
        assert_eq!(challenges.len(), if status == 401 { 2 } else { 0 }, "{rest}");
        assert!(challenges.iter().all(|challenge| challenge.starts_with("Digest ")), "Basic has no place here");
        assert_eq!(answer.all("Retry-After").len(), usize::from(status == 503), "{rest}");
    }
    until("admissions are given back", || studio.door.admissions.load(SeqCst) == 0);
}

#[test]
fn a_bearer_ticket_is_as_good_as_one_in_the_address() {
    let studio = Studio::on_air();
    let answer = studio.client().ask("DESCRIBE", &studio.url("gate"), &[("Authorization", "Bearer good")]);
    assert_eq!(answer.status(), 200);
    let answer = studio.client().ask("DESCRIBE", &studio.url("gate"), &[("Authorization", "Basic dmlld2VyOng=")]);
    assert_eq!(answer.header("X-Vidhub-Reason"), "TICKET_MISSING", "Basic counts for nothing without TLS");
}

/// What a client computes, with nothing of the server's own code.
fn digest(tool: &str, text: &str) -> String {
    use std::io::Write;
    let mut child = std::process::Command::new(tool)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("coreutils");
    child.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("write");
    let output = child.wait_with_output().expect("output");
    String::from_utf8(output.stdout).expect("text").split(' ').next().expect("sum").to_owned()
}

#[test]
fn digest_admits_with_either_algorithm_with_and_without_qop() {
    let studio = Studio::on_air();
    let uri = studio.url("gate");
    for (algorithm, tool) in [("SHA-256", "sha256sum"), ("MD5", "md5sum")] {
        for (with_qop, password, status) in [(true, PASSWORD, 200), (false, PASSWORD, 200), (true, "wrong", 401)] {
            let mut client = studio.client();
            let challenge = client.ask("DESCRIBE", &uri, &[]);
            let challenges = challenge.all("WWW-Authenticate");
            let offer = challenges.iter().find(|offer| offer.contains(algorithm)).expect("offered");
            let nonce = offer.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("nonce");
            let secret = digest(tool, &format!("{USER}:vidhub:{password}"));
            let action = digest(tool, &format!("DESCRIBE:{uri}"));
            let (middle, extra) = match with_qop {
                true => (format!("{nonce}:00000001:abc:auth"), ", qop=auth, nc=00000001, cnonce=\"abc\""),
                false => (nonce.to_owned(), ""),
            };
            let response = digest(tool, &format!("{secret}:{middle}:{action}"));
            let proof = format!(
                "Digest username=\"{USER}\", realm=\"vidhub\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm={algorithm}, response=\"{response}\"{extra}"
            );
            let answer = client.ask("DESCRIBE", &uri, &[("Authorization", &proof)]);
            assert_eq!(answer.status(), status, "{algorithm} {with_qop} {answer:?}");
            let elsewhere = client.ask("DESCRIBE", &studio.url("dark"), &[("Authorization", &proof)]);
            assert!(matches!(elsewhere.status(), 401 | 403), "a proof holds for its own camera");
        }
    }
}

#[test]
fn the_description_never_repeats_the_ticket() {
    let studio = Studio::on_air();
    let answer = studio.client().ask("DESCRIBE", &studio.url("gate?ticket=good"), &[("Accept", "application/sdp")]);
    assert_eq!(answer.header("Content-Base"), studio.url("gate/"));
    assert_eq!(answer.header("Content-Type"), "application/sdp");
    assert!(answer.body.contains("a=control:trackID=1\r\n"));
    assert!(answer.body.contains("a=rtpmap:8 PCMA/8000\r\n"));
    assert!(!format!("{answer:?}").contains("good"));
}

#[test]
fn playing_starts_at_the_cached_keyframe_with_the_numbers_that_were_announced() {
    let mut studio = Studio::on_air();
    let mut client = studio.client();
    let base = studio.url("gate");
    let (session, answer) = client.play(&base, &[0, 1]);
    assert_eq!(answer.header("Range"), "npt=0.000-");
    assert!(answer.header("Session").starts_with(&session));
    // Both at the keyframe's instant, which is never 0: players take that for unknown.
    let expected = format!("url={base}/trackID=0;seq=0;rtptime=90000,url={base}/trackID=1;seq=0;rtptime=8000");
    assert_eq!(answer.header("RTP-Info"), expected);
    studio.publish(3_000);
    let mut next = [0_u16; 2];
    let mut pictures = 0;
    while pictures <= GOP / 2 {
        let packet = client.rtp();
        let track = usize::from(packet.channel / 2);
        assert_eq!(packet.sequence, next[track]);
        assert_eq!(packet.payload_type, [96, 8][track]);
        assert!(packet.payload.len() <= 1_200);
        next[track] = next[track].wrapping_add(1);
        if track == 0 {
            assert_eq!(u64::from(packet.timestamp), 90_000 + pictures * 3_600);
            pictures += u64::from(packet.marker);
        }
    }
    assert_eq!(studio.door.first_pictures.load(SeqCst), 1);
    assert_eq!(studio.telemetry.sinks(SinkKind::Rtsp).load(SeqCst), 1);
    until("octets are counted", || {
        studio.telemetry.flow(Direction::Out, Protocol::RtspTcp).packets.load(SeqCst) >= u64::from(next[0] + next[1])
    });
}

#[test]
fn sender_reports_name_one_instant_for_all_tracks() {
    let studio = Studio::on_air();
    let mut client = studio.client();
    client.play(&studio.url("gate"), &[0, 1]);
    let mut reports = Vec::new();
    while reports.len() < 2 {
        if let Heard::Frame { channel, data } = client.hear()
            && channel % 2 == 1
        {
            assert_eq!(data[1], 200);
            let word = |at: usize| u32::from_be_bytes(data[at..at + 4].try_into().expect("word"));
            reports.push((channel, u64::from(word(8)) << 32 | u64::from(word(12)), word(16), word(20)));
        }
    }
    let [(1, ntp, video, _), (3, same, sound, _)] = reports[..] else { panic!("{reports:?}") };
    assert_eq!(ntp, same);
    assert!((i64::from(video) * 8 - i64::from(sound) * 90).abs() <= 90, "{video} {sound}");
}

#[test]
fn requests_that_come_at_once_are_answered_in_turn() {
    let studio = Studio::on_air();
    let base = studio.url("gate");
    let mut client = studio.client();
    client.say("OPTIONS", &base, &[]);
    client.say("DESCRIBE", &format!("{base}?ticket=good"), &[]);
    client.say("SETUP", &format!("{base}?ticket=good/trackID=0"), &[TCP]);
    assert_eq!(client.answer().header("Public").split(", ").count(), 9);
    assert_eq!(client.answer().status(), 200);
    let session = client.answer().header("Session").split(';').next().expect("id").to_owned();
    let cseq = client.say("PLAY", &base, &[("Session", &session)]);
    client.say("GET_PARAMETER", &base, &[("Session", &session)]);
    client.send(b"$\x01\x00\x04\x80\xc9\x00\x00");
    client.say("OPTIONS", &base, &[("Session", &session)]);
    for expected in cseq..cseq + 3 {
        let answer = client.answer();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("CSeq"), expected.to_string());
    }
}

#[test]
fn one_track_alone_can_be_had() {
    let mut studio = Studio::on_air();
    let (mut video, mut sound) = (studio.client(), studio.client());
    video.play(&studio.url("gate"), &[0]);
    sound.play(&studio.url("gate"), &[1]);
    (0..GOP).for_each(|_| studio.publish(3_000));
    for number in 0..50 {
        let packet = sound.rtp();
        assert_eq!((packet.channel, packet.sequence), (2, number));
        let packet = video.rtp();
        assert_eq!((packet.channel, packet.sequence), (0, number));
        if number == 14 {
            (0..GOP * 4).for_each(|_| studio.publish(3_000));
        }
    }
}

#[test]
fn wrong_requests_get_their_own_answer_and_the_connection_lives_on() {
    let studio = Studio::on_air();
    let base = studio.url("gate");
    let mut client = studio.client();
    assert_eq!(client.ask("REDIRECT", &base, &[]).status(), 405);
    assert!(client.ask("FLY", &base, &[]).header("Allow").contains("DESCRIBE"));
    assert_eq!(client.ask("DESCRIBE", "http://example.org/gate", &[]).status(), 400);
    assert_eq!(client.ask("OPTIONS", "*", &[("Require", "www.onvif.org/ver20/backchannel")]).status(), 551);
    assert_eq!(client.ask("SETUP", &format!("{base}/trackID=0"), &[TCP]).status(), 401, "no proof yet");
    assert_eq!(client.ask("PLAY", &base, &[]).status(), 455);
    assert_eq!(client.ask("DESCRIBE", &format!("{base}?ticket=good"), &[]).status(), 200);
    assert_eq!(client.ask("PLAY", &base, &[]).status(), 455);
    let udp = ("Transport", "RTP/AVP;unicast;client_port=5000-5001");
    let track = format!("{base}/trackID=0");
    assert_eq!(client.ask("SETUP", &track, &[udp]).header("X-Vidhub-Reason"), "TRANSPORT_TCP_ONLY");
    assert_eq!(client.ask("SETUP", &track, &[]).status(), 461);
    assert_eq!(client.ask("SETUP", &format!("{base}/trackID=7"), &[TCP]).status(), 404);
    assert_eq!(client.ask("SETUP", &base, &[TCP]).status(), 459);
    assert_eq!(client.ask("SETUP", &studio.url("dark/trackID=0"), &[TCP]).status(), 403);
    assert_eq!(client.ask("GET_PARAMETER", &base, &[("Session", "0000")]).status(), 454);
    let answer = client.ask("SETUP", &track, &[("Transport", "rtp/avp/tcp;UNICAST;interleaved=6-7")]);
    assert!(answer.header("Transport").contains("interleaved=0-1"), "the channels are the server's to choose");
    let session = answer.header("Session").split(';').next().expect("id").to_owned();
    assert_eq!(client.ask("PLAY", &base, &[("Session", "f00")]).status(), 454);
    assert_eq!(client.ask("PLAY", &base, &[]).status(), 454);
    assert_eq!(client.ask("PAUSE", &base, &[("Session", &session)]).status(), 455);
    client.send(b"OPTIONS * RTSP/1.0\r\n\r\n");
    assert_eq!(client.answer().status(), 400);
    assert_eq!(client.ask("PLAY", &base, &[("Session", &session)]).status(), 200);
    assert_eq!(client.ask("PAUSE", &base, &[("Session", &session)]).status(), 501);
    assert_eq!(client.ask("SETUP", &track, &[("Session", &session), TCP]).status(), 455);
    assert_eq!(client.ask("OPTIONS", &base, &[("Session", "f00")]).status(), 454);
    assert_eq!(client.ask("TEARDOWN", &base, &[("Session", &session)]).status(), 200);
    assert!(matches!(client.hear(), Heard::Closed));
    until("the sink is gone", || studio.telemetry.sinks(SinkKind::Rtsp).load(SeqCst) == 0);
}

#[test]
fn garbage_is_answered_and_closed() {
    let studio = Studio::on_air();
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00"[..], 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 505),
        (b"OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n", 505),
        (b"OPTIONS * RTSP/1.0\r\nContent-Length: 99999\r\n\r\n", 400),
        (&[b'A'; 17_000], 400),
    ] {
        let mut client = studio.client();
        client.send(bytes);
        assert_eq!(client.answer().status(), status);
        assert!(matches!(client.hear(), Heard::Closed));
    }
    let mut client = studio.client();
    client.play(&studio.url("gate"), &[0]);
    client.send(b"\x00\x01\x02");
    assert_eq!(client.answer().status(), 400);
}

#[test]
fn silence_and_crowds_have_a_limit() {
    let studio = Studio::on_air_with(|options| {
        options.request_timeout = Duration::from_secs(4);
        options.max_strangers_per_address = 2;
    });
    let (mut idle, mut slow) = (studio.client(), studio.client());
    // Both have their place when they have their answer.
    assert_eq!(idle.ask("OPTIONS", "*", &[]).status(), 200);
    assert_eq!(slow.ask("OPTIONS", "*", &[]).status(), 200);
    slow.send(b"OPTIONS * RTSP/1.0\r\n");
    let refused = studio.client().ask("OPTIONS", "*", &[]);
    assert_eq!(refused.status(), 453);
    assert_eq!(refused.header("X-Vidhub-Reason"), "LIMIT_CONNECTIONS_PER_ADDRESS");
    assert!(matches!(idle.hear(), Heard::Closed));
    assert!(matches!(slow.hear(), Heard::Closed));
}

#[test]
fn the_end_of_a_session_is_told_with_its_reason() {
    let studio = Studio::on_air();
    let mut client = studio.client();
    let (session, _) = client.play(&studio.url("gate"), &[0, 1]);
    until("connected", || !studio.door.sinks.lock().expect("lock").is_empty());
    studio.door.sinks.lock().expect("lock")[0].end("GRANT_REVOKED");
    let notice = loop {
        match client.hear() {
            Heard::Request(notice) => break notice,
            Heard::Frame { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(notice.first_line.starts_with("TEARDOWN "));
    assert_eq!(notice.header("X-Vidhub-Reason"), "GRANT_REVOKED");
    assert_eq!(notice.header("Session"), session);
    assert!(matches!(client.hear(), Heard::Closed));
    until("the admission is given back", || studio.door.admissions.load(SeqCst) == 0);
}

#[test]
fn a_client_that_goes_away_takes_its_sink_with_it() {
    let studio = Studio::on_air();
    let mut client = studio.client();
    client.play(&studio.url("gate"), &[0, 1]);
    drop(client);
    until("the admission is given back", || studio.door.admissions.load(SeqCst) == 0);
    assert_eq!(studio.telemetry.sinks(SinkKind::Rtsp).load(SeqCst), 0);
}

/// Octets that the kernel holds for the server's side of a connection (proc(5), tx_queue).
fn kernel_holds(server_port: u16, client_port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("proc");
    let (local, remote) = (format!(":{server_port:04X}"), format!(":{client_port:04X}"));
    let row = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields.len() > 4 && fields[1].ends_with(&local) && fields[2].ends_with(&remote));
    row.map_or(0, |fields| usize::from_str_radix(fields[4].split(':').next().expect("queue"), 16).expect("number"))
}

#[test]
fn a_reader_that_stalls_hurts_only_itself() {
    const PICTURE_BYTES: usize = 30_000;
    let mut studio = Studio::on_air();
    let mut stalled = studio.client();
    stalled.play(&studio.url("gate"), &[0, 1]);
    let mut good: Vec<_> = (0..4)
        .map(|_| {
            let mut client = studio.client();
            client.play(&studio.url("gate"), &[0, 1]);
            (client, [0_u16; 2])
        })
        .collect();
    let ports = (studio.address.port(), stalled.socket.local_addr().expect("address").port());
    let mut pictures = GOP / 2;
    let begun = Instant::now();
    let (mut dropped_after, mut closed_after) = (None, None);
    while closed_after.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(40), "the stalled reader is never closed");
        studio.publish(PICTURE_BYTES);
        pictures += 1;
        // The next picture comes when all good readers have this one: they miss nothing.
        for (client, next) in &mut good {
            let mut has_picture = false;
            while !has_picture {
                let packet = client.rtp();
                let track = usize::from(packet.channel / 2);
                assert_eq!(packet.sequence, next[track], "a good reader missed a packet");
                next[track] = next[track].wrapping_add(1);
                has_picture =
                    track == 0 && packet.marker && u64::from(packet.timestamp) == 90_000 + (pictures - 1) * 3_600;
            }
        }
        assert!(kernel_holds(ports.0, ports.1) <= 512 * 1024);
        if dropped_after.is_none() && studio.telemetry.dropped(DropReason::SlowViewer).load(SeqCst) > 0 {
            dropped_after = Some(pictures);
        }
        if studio.telemetry.sinks(SinkKind::Rtsp).load(SeqCst) == 4 {
            closed_after = Some(begun.elapsed());
        }
    }
    let dropped_after = dropped_after.expect("the stalled reader's backlog has a bound");
    // One MiB of backlog, half a MiB in the kernel, and what the client's own socket took.
    assert!(dropped_after * (PICTURE_BYTES as u64) < 12 << 20, "{dropped_after}");
    assert!(closed_after.is_some_and(|after| after >= Duration::from_secs(9)), "{closed_after:?}");
    let mut rest = Vec::new();
    let _ = stalled.socket.read_to_end(&mut rest);
}

#[test]
fn a_slow_reader_goes_on_at_a_keyframe() {
    let mut studio = Studio::on_air_with(|options| options.sink_queue_bytes = 100_000);
    let mut client = studio.client();
    // A small one: else the reader's own kernel takes megabytes for it.
    socket2::SockRef::from(&client.socket).set_recv_buffer_size(64 * 1024).expect("receive buffer");
    client.play(&studio.url("gate"), &[0]);
    while studio.telemetry.dropped(DropReason::SlowViewer).load(SeqCst) < 100 {
        studio.publish(30_000);
    }
    client.socket.set_read_timeout(Some(Duration::from_millis(20))).expect("time-out");
    let mut expected = None;
    let mut jumps = 0;
    while jumps < 2 {
        let Some(packet) = client.rtp_if_any() else {
            (0..20).for_each(|_| studio.publish(30_000));
            continue;
        };
        if expected.is_some_and(|expected| expected != packet.sequence) {
            jumps += 1;
            // Aggregated parameter sets: a keyframe begins.
            assert_eq!(packet.payload[0] & 0x1f, 24, "what follows a gap is a keyframe");
        }
        expected = Some(packet.sequence.wrapping_add(1));
    }
}
