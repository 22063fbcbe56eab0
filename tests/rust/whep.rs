//! WHEP on loopback: each refusal of the contract, and viewers from offer to end.

mod camera;
mod port;
mod whep_client;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use _core::media::Profile;
use _core::server::limits::MAX_SDP_BODY;
use _core::stream::{Stream, StreamLimits};
use _core::telemetry::{Direction, DropReason, Protocol, SinkKind};
use camera::{CAMERA, Mood, Other, Publisher, access_unit, sound, video};
use port::{Port, until};
use whep_client::{WhepClient, post_offer, raw, request, run};

/// A busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(30);

fn offer() -> String {
    WhepClient::offer(true).1
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
    let (client, answer) = port.view("good");
    assert_eq!(answer.header("content-type"), Some("application/sdp"));
    let location = answer.header("location").unwrap().to_owned();
    assert!(location.starts_with(&format!("/whep/{CAMERA}/")) && location.len() > 50, "{location}");
    assert!(answer.header("etag").is_some_and(|etag| etag.starts_with('"') && etag.ends_with('"')));
    assert!(answer.body.contains("a=ice-lite") && !answer.body.contains("a=sendrecv"), "{}", answer.body);

    let mut clients = [client];
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames >= 60 && c[0].seen.audio_packets > 20));
    let seen = clients[0].seen.clone();
    assert_eq!((seen.lost, seen.backwards, seen.error.as_deref()), (0, 0, None), "{seen:?}");
    assert!(seen.keyframes >= 2);
    assert_eq!(port.door.pictured.load(SeqCst), 1);
    assert_eq!(port.telemetry.sinks(SinkKind::Whep).load(SeqCst), 1);
    let sent = port.telemetry.flow(Direction::Out, Protocol::WebrtcUdp).packets.load(SeqCst);
    assert!(sent >= seen.video_packets + seen.audio_packets);

    // The session ends: the viewer hears it in DTLS.
    port.door.sinks.lock()[0].end("GRANT_REVOKED");
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.closed.is_some()));
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
        assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames >= 15), "{udp}: {:?}", clients[0].seen);
        assert_eq!(clients[0].seen.lost, 0);
    }
}

#[test]
fn only_its_own_session_may_end_a_viewer() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, answer) = port.view("mine");
    let mut clients = [client];
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames > 5));
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
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.closed.is_some()));
}

#[test]
fn patch_takes_candidates_of_the_session_that_is_there() {
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
    assert_eq!(patch("Bearer mine", ufrag, &format!("\"other\", {etag}"), kind).status, 204, "one of a list");
    assert_eq!(patch("Bearer mine", ufrag, &format!("W/{etag}"), kind).status, 412, "a weak one is no match");
    let ended = request(port.address, "PATCH", &format!("{location}x"), &[("Authorization", "Bearer mine"), kind], "");
    assert_eq!(ended.unwrap().reason(), "RESOURCE_NOT_FOUND");
    let short = patch("Bearer mine", "other", "*", kind);
    assert_eq!((short.status, short.reason().as_str()), (400, "SDP_INVALID"), "no password to restart with");
    assert_eq!(patch("Bearer mine", ufrag, etag, ("Content-Type", "application/sdp")).status, 415);
    drop(client);
}

#[test]
fn a_restart_of_ice_goes_on_from_a_new_path_without_a_new_offer() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, answer) = port.view("mine");
    let mut clients = [client];
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames > 5));
    let location = answer.header("location").unwrap();
    let patch = |etag: &str, ufrag: &str, pass: &str| {
        let kind = ("Content-Type", "application/trickle-ice-sdpfrag");
        let fields = [("Authorization", "Bearer mine"), ("If-Match", etag), kind];
        let body = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{pass}\r\n");
        request(port.address, "PATCH", location, &fields, &body).unwrap()
    };
    let (ufrag, pass) = clients[0].restart();
    assert_eq!(patch("\"other\"", &ufrag, &pass).status, 412);
    let restarted = patch("*", &ufrag, &pass);
    assert_eq!(restarted.status, 200, "{restarted:?}");
    assert_eq!(restarted.header("content-type"), Some("application/trickle-ice-sdpfrag"));
    let etag = restarted.header("etag").unwrap();
    assert_ne!(Some(etag), answer.header("etag"));
    assert!(
        restarted.body.contains("a=ice-lite") && restarted.body.contains(" udp ") && restarted.body.contains(" tcp ")
    );
    clients[0].restarted(&answer.body, &restarted.body);
    let before = clients[0].seen.frames;
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames > before + 50), "{:?}", clients[0].seen);
    assert_eq!((clients[0].seen.backwards, clients[0].seen.error.as_deref(), port.webrtc.viewers()), (0, None, 1));
    // The new session takes candidates under its own ETag, and no second restart at once.
    assert_eq!(patch(answer.header("etag").unwrap(), &ufrag, &pass).status, 412);
    assert_eq!(patch(etag, &ufrag, &pass).status, 204);
    assert_eq!(patch(etag, "elsewhere", &pass).status, 200);
    let soon = patch("*", "andagain", &pass);
    assert_eq!((soon.status, soon.reason().as_str()), (429, "LIMIT_RESTARTS"));
    // Nobody checks with what was agreed last: the viewer has left.
    assert!(run(&mut clients, PATIENCE, |_| port.webrtc.viewers() == 0), "{:?}", clients[0].seen);
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
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames == 20), "{:?}", clients[0].seen);
    clients[0].ask_for_keyframe();
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames == 40), "{:?}", clients[0].seen);
    // What is new comes after the replay in time too.
    stream.publish(camera::picture(20));
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames == 41), "{:?}", clients[0].seen);
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
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames == 1));
    stream.describe(vec![sound(), video(false)]);
    stream.publish(access_unit(1, 3600, true, &[camera::SPS, camera::PPS, &[0x65; 900]]));
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames == 2), "{:?}", clients[0].seen);
    stream.describe(vec![video(true)]);
    stream.publish(access_unit(0, 7200, true, &[camera::SPS, camera::PPS, &[0x65; 900]]));
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.closed.is_some()), "{:?}", clients[0].seen);
}

#[test]
fn sound_that_was_gone_for_a_while_is_heard_again() {
    let port = Port::usual();
    let publisher = port.publish();
    let (client, _) = port.view("good");
    let mut clients = [client];
    let hears = |clients: &mut [WhepClient]| {
        let before = clients[0].seen.audio_packets;
        run(clients, PATIENCE, |c| c[0].seen.audio_packets > before + 5)
    };
    assert!(hears(&mut clients));
    drop(publisher);
    let mute = Publisher::start(Arc::clone(&port.door.stream), vec![video(false)]);
    let before = clients[0].seen.keyframes;
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.keyframes > before), "{:?}", clients[0].seen);
    drop(mute);
    let _publisher = port.publish();
    assert!(hears(&mut clients), "{:?}", clients[0].seen);
    assert_eq!((clients[0].seen.backwards, clients[0].seen.closed), (0, None));
}

#[test]
fn datagrams_of_strangers_are_dropped_and_change_nothing() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, _) = port.view("good");
    let mut clients = [client];
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames > 2));
    let stranger = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in [0, 1, 19, 20, 500, 1999, 3000] {
        for first in [0, 1, 22, 63, 128, 200, 255] {
            stranger.send_to(&vec![first; length], port.webrtc.local_address()).unwrap();
        }
    }
    let before = clients[0].seen.frames;
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames > before + 25));
    assert_eq!(clients[0].seen.lost, 0);
}

#[test]
fn what_a_viewer_loses_is_sent_again_and_little_more() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (mut client, _) = port.view("good");
    let lost = Rc::new(Cell::new(0u64));
    let (count, mut came) = (Rc::clone(&lost), 0u64);
    // Every 20th packet of media, also of those that come again.
    client.loses = Some(Box::new(move |datagram| {
        let is_media = matches!(datagram, [128..=191, second, ..] if !(192..=223).contains(second));
        came += u64::from(is_media);
        let is_lost = is_media && came % 20 == 0;
        count.set(count.get() + u64::from(is_lost));
        is_lost
    }));
    let mut clients = [client];
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.video_packets > 1000 && c[0].seen.lost == 0));
    let (seen, lost) = (&clients[0].seen, lost.get());
    assert_eq!((seen.backwards, seen.error.as_deref()), (0, None), "{seen:?}");
    let sent = port.telemetry.flow(Direction::Out, Protocol::WebrtcUdp).packets.load(SeqCst);
    let extra = sent - seen.video_packets - seen.audio_packets;
    assert!(lost > 40 && extra <= lost * 3 / 2 + 60, "{extra} beside what came, {lost} lost");
}

/// A link that lets so many octets a second through and has no queue, in front of a client.
fn narrow(client: &mut WhepClient, octets_per_s: f64) {
    let (mut level, mut filled) = (octets_per_s / 10.0, Instant::now());
    client.loses = Some(Box::new(move |datagram| {
        let now = Instant::now();
        level = (level + octets_per_s * (now - filled).as_secs_f64()).min(octets_per_s / 10.0);
        filled = now;
        let is_media = matches!(datagram, [128..=191, second, ..] if !(192..=223).contains(second));
        let is_lost = is_media && level < datagram.len() as f64;
        level -= if is_media && !is_lost { datagram.len() as f64 } else { 0.0 };
        is_lost
    }));
}

#[test]
fn a_link_that_takes_half_of_a_stream_is_given_keyframes_at_its_pace() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, _) = port.view("good");
    let mut clients = [client];
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames > 25));
    // The camera has 116 kB a second, of which its keyframe is 20.
    narrow(&mut clients[0], 60e3);
    let dropped = port.telemetry.dropped(DropReason::SlowViewer);
    assert!(run(&mut clients, PATIENCE, |_| dropped.load(SeqCst) > 0), "it is never seen");
    let bytes = || port.telemetry.flow(Direction::Out, Protocol::WebrtcUdp).bytes.load(SeqCst);
    // What was on its way has come, and the next keyframe has.
    assert!(!run(&mut clients, Duration::from_millis(1500), |_| false));
    let (start, from, before) = (Instant::now(), bytes(), clients[0].seen.keyframes);
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.keyframes >= before + 3));
    let per_s = (bytes() - from) as f64 / start.elapsed().as_secs_f64();
    assert!(per_s < 60e3, "{per_s} octets a second");
    assert_eq!((clients[0].seen.backwards, clients[0].seen.closed), (0, None));
}

#[test]
fn a_link_that_takes_half_of_a_stream_gets_the_sub_stream_where_there_is_one() {
    let port = Port::usual();
    let _publisher = port.publish();
    let limits = StreamLimits { gop_cache_bytes: 16 << 20 };
    let sub = Stream::new("sub".into(), limits, Arc::clone(&port.telemetry));
    *port.door.other.lock() = Other::Sub(sub.clone());
    let (client, _) = port.view("good");
    let mut clients = [client];
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames > 25));
    narrow(&mut clients[0], 60e3);
    // 27 kB a second, on a timeline of its own; it comes when it is wanted.
    sub.describe(vec![video(false)]);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let camera = std::thread::spawn(move || {
        for number in 0.. {
            if stopped.load(SeqCst) {
                return;
            }
            let slice = [[if number % 25 == 0 { 0x65 } else { 0x41 }].as_slice(), &[0x5a; 1000]].concat();
            let nals: &[&[u8]] = if number % 25 == 0 { &[camera::SPS, camera::PPS, &slice] } else { &[&slice] };
            sub.publish(access_unit(0, number * 3600, number % 25 == 0, nals));
            std::thread::sleep(Duration::from_millis(40));
        }
    });
    let over = || port.door.switched.lock().first().copied() == Some(Profile::Sub);
    assert!(run(&mut clients, PATIENCE, |_| over()), "it stays");
    let from = clients[0].seen.frames;
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames >= from + 50));
    assert_eq!((clients[0].seen.backwards, clients[0].seen.closed), (0, None));
    stop.store(true, SeqCst);
    camera.join().unwrap();
}

#[test]
fn what_is_forged_in_a_viewers_name_changes_nothing() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, _) = port.view("good");
    let mut clients = [client];
    let to = port.webrtc.local_address();
    let forge = |client: &mut WhepClient| {
        // DTLS: alerts in clear, fatal and close_notify; handshakes, records that can't be opened, nonsense.
        for alert in [[2u8, 40], [1, 0], [2, 10]] {
            for epoch in [0, 1] {
                let mut record = vec![21, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 9, 0, 2];
                record.extend(alert);
                client.forge(to, &record);
                record[12] = 40;
                record.resize(13 + 40, 7);
                client.forge(to, &record);
            }
        }
        for kind in 20..=63 {
            for length in [0u8, 1, 12, 40] {
                let mut record = vec![kind, 0xfe, 0xfd, 0, length & 1, 0, 0, 0, 0, 1, 0, 0, length];
                record.resize(13 + usize::from(length), kind);
                client.forge(to, &record);
                client.forge(to, &record[..1 + usize::from(length) % 13]);
            }
        }
        // SRTCP that is not the viewer's: BYE, NACK and PLI, of all lengths. Media, which viewers do not send.
        for kind in 192..=223 {
            for length in [2usize, 8, 12, 24, 28, 60, 1400, 1999] {
                let mut report = vec![0x81, kind, 0, (length / 4) as u8, 0, 0, 0, 1];
                report.resize(length.max(2), 0xff);
                client.forge(to, &report);
            }
        }
        client.forge(to, &[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 2, 3]);
    };
    // While it shakes hands, and while it watches.
    forge(&mut clients[0]);
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames > 2), "{:?}", clients[0].seen);
    for _ in 0..20 {
        forge(&mut clients[0]);
        let before = clients[0].seen.frames;
        assert!(run(&mut clients, PATIENCE, |c| c[0].seen.frames > before), "{:?}", clients[0].seen);
    }
    assert!(run(&mut clients, PATIENCE, |c| c[0].seen.lost == 0));
    assert_eq!((clients[0].seen.closed, clients[0].seen.error.as_deref()), (None, None));
    assert_eq!(port.webrtc.viewers(), 1);
}

#[test]
fn a_viewer_that_floods_is_cut_to_its_budget_and_the_others_feel_nothing() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (loud, good) = (port.view("good").0, port.view("other").0);
    let mut clients = [loud, good];
    assert!(run(&mut clients, PATIENCE, |c| c.iter().all(|client| client.seen.frames > 2)));
    let to = port.webrtc.local_address();
    let sent = |reason| port.telemetry.dropped(reason).load(SeqCst);
    let before = (sent(DropReason::OverBudget), sent(DropReason::Malformed));
    let report = [[0x81u8, 201, 0, 1, 0, 0, 0, 1].as_slice(), &[0xff; 40]].concat();
    // Until some were cut, and for thirty pictures of the other viewer's at least.
    let (start, frames) = (Instant::now(), clients[1].seen.frames);
    let over = || port.telemetry.dropped(DropReason::OverBudget).load(SeqCst) - before.0;
    while clients[1].seen.frames < frames + 30 || over() == 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "nothing was cut");
        (0..200).for_each(|_| clients[0].forge(to, &report));
        run(&mut clients, Duration::from_millis(10), |_| false);
    }
    // A second's worth was there, and another came with each second.
    let looked_at = sent(DropReason::Malformed) - before.1;
    assert!(looked_at as f64 <= 1_000.0 * (start.elapsed().as_secs_f64() + 1.0), "{looked_at}");
    assert_eq!((clients[1].seen.lost, clients[1].seen.closed, clients[0].seen.closed), (0, None, None));
}

#[test]
fn a_viewer_that_never_comes_is_dropped() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, _) = port.view("good");
    assert_eq!(port.webrtc.viewers(), 1);
    let start = Instant::now();
    while port.webrtc.viewers() > 0 {
        assert!(start.elapsed() < PATIENCE, "still there");
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert!(start.elapsed() > Duration::from_secs(9));
    drop(client);
}
