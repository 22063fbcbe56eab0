//! WHEP: which stream a viewer is given and what it hears, and what it is told of that.

mod camera;
mod port;
mod whep_client;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use _core::media::{AccessUnit, Codec, CodecParameters, Profile, Track};
use _core::stream::{Stream, StreamLimits};
use bytes::Bytes;
use camera::{CAMERA, Other, PPS, Publisher, SPS, access_unit, h265, h265_picture, sound, video};
use port::Port;
use whep_client::{Answer, WhepClient, post_offer, post_offer_of_page, run};

/// A browser without a decoder for H.265.
fn plain_offer() -> (WhepClient, String) {
    let (client, offer) = WhepClient::offer(true);
    (client, offer.replace("H265/90000", "H263/90000"))
}

fn ask(port: &Port, offer: &str) -> Answer {
    post_offer(port.address, CAMERA, "good", offer).unwrap()
}

fn sub(port: &Port, tracks: Option<Vec<Track>>) -> Arc<Stream> {
    let limits = StreamLimits { gop_cache_bytes: 16 << 20 };
    let stream = Stream::new("sub".into(), limits, port.telemetry.clone());
    if let Some(tracks) = tracks {
        stream.describe(tracks);
    }
    *port.door.other.lock() = Other::Sub(stream.clone());
    stream
}

/// Plays H.265 on the main stream while it lives.
fn h265_camera(port: &Port) -> impl Drop + use<> {
    struct Playing(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);
    impl Drop for Playing {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
            let _ = self.1.take().map(|thread| thread.join());
        }
    }
    let (stop, stream) = (Arc::new(AtomicBool::new(false)), port.door.stream.clone());
    stream.describe(vec![h265()]);
    stream.publish(h265_picture(0));
    let stopped = stop.clone();
    let play = move || {
        for number in 1.. {
            if stopped.load(SeqCst) {
                return;
            }
            stream.publish(h265_picture(number));
            // The camera's own clock.
            std::thread::sleep(Duration::from_millis(40));
        }
    };
    Playing(stop, Some(std::thread::spawn(play)))
}

#[test]
fn a_browser_without_h265_gets_the_sub_stream_and_is_told_why() {
    let port = Port::usual();
    let _camera = h265_camera(&port);
    let _sub = Publisher::start(sub(&port, None), vec![video(false), sound()]);
    let (mut client, offer) = plain_offer();
    let answer = ask(&port, &offer);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.header("x-vidhub-profile"), Some("sub"));
    assert_eq!(answer.header("x-vidhub-reason"), Some("CODEC_NOT_OFFERED"));
    assert_eq!(answer.header("x-vidhub-audio"), Some("pcma"));
    client.accept(&answer.body);
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > 25 && c[0].seen.audio_packets > 10));
    assert_eq!(clients[0].seen.lost, 0);
    assert_eq!(*port.door.switched.lock(), [Profile::Sub], "the main stream is let go");
}

#[test]
fn b_frames_lead_to_the_sub_stream_too() {
    let port = Port::usual();
    port.door.stream.describe(vec![video(true)]);
    let _sub = Publisher::start(sub(&port, None), vec![video(false)]);
    let answer = ask(&port, &plain_offer().1);
    let told = |name| answer.header(name).unwrap_or_default();
    assert_eq!((told("x-vidhub-profile"), told("x-vidhub-reason")), ("sub", "B_FRAMES"), "{answer:?}");
    assert_eq!(told("x-vidhub-audio"), "none; reason=NO_SOUND");
}

#[test]
fn where_no_stream_can_be_played_the_answer_says_why_the_other_is_no_help() {
    let port = Port::usual();
    let _camera = h265_camera(&port);
    let offer = plain_offer().1;
    let refused = |word: &str| {
        let answer = ask(&port, &offer);
        assert_eq!((answer.status, answer.reason().as_str()), (406, "CODEC_NOT_OFFERED"), "{answer:?}");
        assert!(answer.body.contains("H.265") && answer.body.contains(word), "{word}: {}", answer.body);
    };
    refused("No other stream of this camera is registered");
    *port.door.other.lock() = Other::Fixed;
    refused("profile AUTO");
    sub(&port, None);
    refused("can't be had: the sub stream says nothing");
    sub(&port, Some(vec![h265()]));
    refused("is no help: the camera sends H.265");
    sub(&port, Some(vec![video(true)]));
    refused("is no help: the camera sends B-frames");
    assert!(port.door.switched.lock().is_empty() && port.webrtc.viewers() == 0);
}

#[test]
fn a_viewer_goes_over_to_the_sub_stream_when_the_camera_is_set_to_h265() {
    let port = Port::usual();
    let main = port.door.stream.clone();
    let publisher = Publisher::start(main.clone(), vec![video(false)]);
    let _sub = Publisher::start(sub(&port, None), vec![video(false)]);
    let (mut client, offer) = plain_offer();
    let answer = ask(&port, &offer);
    assert_eq!(answer.header("x-vidhub-profile"), Some("main"), "{answer:?}");
    client.accept(&answer.body);
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > 20), "{:?}", clients[0].seen);
    drop(publisher);
    main.describe(vec![h265()]);
    main.publish(h265_picture(0));
    let before = clients[0].seen.frames;
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > before + 30), "{:?}", clients[0].seen);
    let seen = &clients[0].seen;
    assert_eq!((seen.lost, seen.backwards, seen.closed), (0, 0, None), "{seen:?}");
    assert_eq!(*port.door.switched.lock(), [Profile::Sub]);
    assert_eq!(port.webrtc.viewers(), 1);
}

#[test]
fn without_a_stream_to_go_over_to_the_viewer_is_told_the_end() {
    for is_there in [false, true] {
        let port = Port::usual();
        let main = port.door.stream.clone();
        let publisher = Publisher::start(main.clone(), vec![video(false)]);
        if is_there {
            // It can't be played either.
            sub(&port, Some(vec![h265()])).publish(h265_picture(0));
        }
        let (mut client, offer) = plain_offer();
        client.accept(&ask(&port, &offer).body);
        let mut clients = [client];
        assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > 5), "{:?}", clients[0].seen);
        drop(publisher);
        main.describe(vec![h265()]);
        main.publish(h265_picture(0));
        assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.closed.is_some()), "{:?}", clients[0].seen);
        assert!(port.door.switched.lock().is_empty());
    }
}

#[test]
fn a_client_that_takes_h265_gets_the_main_stream_as_it_is() {
    let port = Port::usual();
    let _camera = h265_camera(&port);
    let _sub = Publisher::start(sub(&port, None), vec![video(false)]);
    let (mut client, offer) = WhepClient::offer(false);
    let answer = ask(&port, &offer);
    assert_eq!((answer.status, answer.header("x-vidhub-profile")), (201, Some("main")), "{answer:?}");
    assert_eq!(answer.header("x-vidhub-reason"), None);
    // The first format of the section is what a browser makes its decoder for.
    let section = answer.body.lines().find(|line| line.starts_with("m=video")).unwrap();
    let first = section.split(' ').nth(3).unwrap();
    assert!(answer.body.contains(&format!("a=rtpmap:{first} H265/90000")), "{}", answer.body);
    client.accept(&answer.body);
    // RFC 7798 §4.4: the types of payload; 48 aggregates the parameter sets, 49 is a fragment.
    let kinds = Rc::new(RefCell::new(BTreeSet::new()));
    let seen = kinds.clone();
    client.tap = Some(Box::new(move |payload: &[u8]| {
        seen.borrow_mut().insert(payload[0] >> 1 & 0x3f);
    }));
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > 30), "{:?}", clients[0].seen);
    assert_eq!((clients[0].seen.lost, clients[0].seen.backwards), (0, 0));
    assert_eq!(*kinds.borrow(), BTreeSet::from([48, 49]));
}

/// A keyframe of about 2,170 packets.
fn huge_keyframe(number: i64) -> AccessUnit {
    access_unit(0, number * 3600, true, &[SPS, PPS, &vec![0x65; 2_600_000]])
}

#[test]
fn keyframes_that_browsers_have_no_room_for_lead_to_the_sub_stream_or_are_refused_with_the_reason() {
    let port = Port::usual();
    let main = &port.door.stream;
    main.describe(vec![video(false)]);
    main.publish(huge_keyframe(0));
    let of_page = || post_offer_of_page(port.address, CAMERA, "good", &plain_offer().1).unwrap();
    let refused = of_page();
    assert_eq!((refused.status, refused.reason().as_str()), (406, "KEYFRAME_TOO_LARGE"), "{refused:?}");
    assert!(refused.body.contains("over WebSocket"), "{}", refused.body);
    let program = ask(&port, &plain_offer().1);
    assert_eq!((program.status, program.header("x-vidhub-profile")), (201, Some("main")), "a program has its own room");
    let sub = sub(&port, Some(vec![video(false)]));
    sub.publish(camera::picture(0));
    let answer = of_page();
    let told = |name| answer.header(name).unwrap_or_default();
    assert_eq!((told("x-vidhub-profile"), told("x-vidhub-reason")), ("sub", "KEYFRAME_TOO_LARGE"), "{answer:?}");
    // It is the last keyframe that counts.
    main.publish(camera::picture(25));
    let answer = of_page();
    assert_eq!((answer.status, answer.header("x-vidhub-profile")), (201, Some("main")), "{answer:?}");
}

#[test]
fn a_browser_whose_camera_begins_to_send_keyframes_too_large_goes_over_or_is_told_the_end() {
    for has_sub in [true, false] {
        let port = Port::usual();
        let main = port.door.stream.clone();
        let publisher = Publisher::start(main.clone(), vec![video(false)]);
        let _sub = has_sub.then(|| Publisher::start(sub(&port, None), vec![video(false)]));
        let (mut client, offer) = plain_offer();
        let answer = post_offer_of_page(port.address, CAMERA, "good", &offer).unwrap();
        assert_eq!(answer.header("x-vidhub-profile"), Some("main"), "{answer:?}");
        client.accept(&answer.body);
        let mut clients = [client];
        assert!(run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > 20), "{:?}", clients[0].seen);
        drop(publisher);
        let packets = clients[0].seen.video_packets;
        main.publish(huge_keyframe(1_000_000));
        // What leans on it is of no more use.
        (1..5).for_each(|number| main.publish(camera::picture(1_000_000 + number)));
        if has_sub {
            let before = clients[0].seen.frames;
            let goes_on = run(&mut clients, Duration::from_secs(10), |c| c[0].seen.frames > before + 30);
            assert!(goes_on, "{:?}", clients[0].seen);
            assert_eq!(*port.door.switched.lock(), [Profile::Sub]);
            assert_eq!((clients[0].seen.backwards, clients[0].seen.closed), (0, None), "{:?}", clients[0].seen);
        } else {
            let ends = run(&mut clients, Duration::from_secs(10), |c| c[0].seen.closed.is_some());
            assert!(ends, "{:?}", clients[0].seen);
        }
        assert!(clients[0].seen.video_packets < packets + 2_000, "none of it is sent");
    }
}

#[test]
fn sound_that_a_browser_cannot_play_is_silent_with_the_reason() {
    let aac = CodecParameters::Aac { config: Bytes::from_static(&[0x12, 0x10]), channels: 2 };
    let g711 = |channels| CodecParameters::G711 { channels };
    let track = |codec, clock_rate_hz, parameters| Track { codec, clock_rate_hz, parameters };
    let cases = [
        (Some(track(Codec::Aac, 44_100, aac)), "none; reason=AAC_NOT_IN_WEBRTC"),
        (Some(track(Codec::Pcma, 16_000, g711(1))), "none; reason=G711_NOT_8_KHZ_MONO"),
        (Some(track(Codec::Pcmu, 8_000, g711(2))), "none; reason=G711_NOT_8_KHZ_MONO"),
        (None, "none; reason=NO_SOUND"),
        (Some(track(Codec::Pcmu, 8_000, g711(1))), "pcmu"),
        (Some(track(Codec::Opus, 48_000, CodecParameters::Opus { channels: 2 })), "opus"),
    ];
    for (sound, told) in cases {
        let port = Port::usual();
        port.door.stream.describe([video(false)].into_iter().chain(sound).collect::<Vec<_>>());
        let answer = ask(&port, &WhepClient::offer(true).1);
        assert_eq!((answer.status, answer.header("x-vidhub-audio")), (201, Some(told)), "{answer:?}");
        let is_silent = told.starts_with("none");
        assert_eq!(answer.body.contains("a=inactive"), is_silent, "{}", answer.body);
        let unwanted = ask(&port, &WhepClient::offer(false).1);
        if !is_silent {
            assert_eq!(unwanted.header("x-vidhub-audio"), Some("none; reason=SOUND_NOT_OFFERED"));
        }
    }
}
