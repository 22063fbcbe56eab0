//! WebRTC over TCP on loopback: viewers without UDP, and what a port that is open to everybody must bear.

mod camera;
mod port;
mod whep_client;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use _core::stream::Stream;
use _core::telemetry::{Direction, DropReason, Protocol};
use camera::{CAMERA, access_unit, video};
use port::{Port, until};
use whep_client::{Answer, WhepClient, post_offer, run, tcp_candidates};

fn view(port: &Port, ticket: &str) -> (WhepClient, Answer) {
    let (mut client, offer) = WhepClient::offer_by_tcp(true);
    let answer = post_offer(port.address, CAMERA, ticket, &offer).unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    client.accept(&answer.body);
    (client, answer)
}

fn sent(port: &Port, protocol: Protocol) -> u64 {
    port.telemetry.flow(Direction::Out, protocol).packets.load(SeqCst)
}

fn slow(port: &Port) -> u64 {
    port.telemetry.dropped(DropReason::SlowViewer).load(SeqCst)
}

/// Publishes a picture of 40 kB, a keyframe every tenth.
fn picture(stream: &Stream, number: i64) {
    let is_key = number % 10 == 0;
    let mut slice = vec![0x5a; 40_000];
    slice[0] = if is_key { 0x65 } else { 0x41 };
    let nals: &[&[u8]] = if is_key { &[camera::SPS, camera::PPS, &slice] } else { &[&slice] };
    stream.publish(access_unit(0, number * 3600, is_key, nals));
}

#[test]
fn a_viewer_without_udp_watches_by_tcp() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, answer) = view(&port, "good");
    let lines: Vec<&str> = answer.body.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line.split(' ').nth(2).unwrap()).collect();
    assert!(kinds.starts_with(&["udp"]) && kinds.contains(&"tcp"), "{lines:?}");
    let priority = |line: &str| line.split(' ').nth(3).unwrap().parse::<u32>().unwrap();
    assert!(priority(lines[0]) > priority(lines[1]), "UDP is preferred: {lines:?}");
    assert_eq!(tcp_candidates(&answer.body)[0], port.webrtc.local_address(), "the same number");
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(20), |c| c[0].seen.frames >= 60 && c[0].seen.audio_packets > 20));
    let seen = clients[0].seen.clone();
    assert_eq!((seen.lost, seen.backwards, seen.error.as_deref()), (0, 0, None), "{seen:?}");
    assert!(sent(&port, Protocol::WebrtcTcp) >= seen.video_packets, "counted under its label");
    assert_eq!(sent(&port, Protocol::WebrtcUdp), 0);
    port.door.sinks.lock()[0].end("GRANT_REVOKED");
    assert!(run(&mut clients, Duration::from_secs(30), |c| c[0].seen.closed.is_some()), "the end is told");
    until("the place is given back", || port.webrtc.viewers() == 0);
}

#[test]
fn a_lost_connection_is_followed_by_another_without_a_new_offer() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, answer) = view(&port, "good");
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(20), |c| c[0].seen.frames >= 10));
    clients[0].reconnect(&answer.body);
    let before = clients[0].seen.frames;
    let lost = Instant::now();
    assert!(run(&mut clients, Duration::from_secs(20), |c| c[0].seen.frames >= before + 30), "{:?}", clients[0].seen);
    assert!(lost.elapsed() < Duration::from_secs(8), "{:?}", lost.elapsed());
    assert_eq!(port.webrtc.viewers(), 1);
}

#[test]
fn a_slow_viewer_goes_on_at_a_keyframe_and_a_stalled_one_is_closed() {
    let port = Port::open(|_, webrtc| webrtc.sink_queue_bytes = 200_000);
    let stream = port.door.stream.clone();
    stream.describe(vec![video(false)]);
    picture(&stream, 0);
    let (client, _) = view(&port, "slow");
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(20), |c| c[0].seen.frames >= 1));

    // Reads nothing while pictures come: what does not fit waits, then is left out.
    clients[0].is_deaf = true;
    let mut number = 1;
    let begun = Instant::now();
    while slow(&port) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(9), "nothing is ever too much");
        picture(&stream, number);
        number += 1;
        run(&mut clients, Duration::from_millis(5), |_| false);
    }
    clients[0].is_deaf = false;
    let before = clients[0].seen.clone();
    let end = Instant::now() + Duration::from_secs(20);
    while clients[0].seen.keyframes < before.keyframes + 3 {
        assert!(Instant::now() < end, "{:?}", clients[0].seen);
        picture(&stream, number);
        number += 1;
        run(&mut clients, Duration::from_millis(20), |_| false);
    }
    let seen = &clients[0].seen;
    assert_eq!(
        (seen.lost, seen.backwards, seen.error.as_deref()),
        (0, 0, None),
        "whole pictures were left out: {seen:?}"
    );

    // Reads nothing ever again.
    clients[0].is_deaf = true;
    let stalled = Instant::now();
    while port.webrtc.viewers() > 0 {
        assert!(stalled.elapsed() < Duration::from_secs(40), "still there");
        picture(&stream, number);
        number += 1;
        run(&mut clients, Duration::from_millis(40), |_| false);
    }
    assert!(stalled.elapsed() > Duration::from_secs(8), "{:?}", stalled.elapsed());
}

/// Reads until the hub closes; how long that took.
fn closed(stream: &mut TcpStream, within: Duration) -> Duration {
    let start = Instant::now();
    stream.set_read_timeout(Some(within)).unwrap();
    let mut room = [0; 100];
    loop {
        match stream.read(&mut room) {
            Ok(0) => return start.elapsed(),
            Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionReset => return start.elapsed(),
            Ok(_) => {}
            Err(cause) => panic!("not closed after {:?}: {cause}", start.elapsed()),
        }
    }
}

fn framed(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u16).to_be_bytes(), payload].concat()
}

/// A Binding request (RFC 8489) for `username`, without proof.
fn check(username: &str) -> Vec<u8> {
    let mut attributes = [&[0, 6], &(username.len() as u16).to_be_bytes()[..], username.as_bytes()].concat();
    attributes.resize(attributes.len().next_multiple_of(4), 0);
    let length = (attributes.len() as u16).to_be_bytes();
    [&[0, 1], &length[..], &[0x21, 0x12, 0xa4, 0x42], &[7; 12], &attributes].concat()
}

#[test]
fn strangers_are_closed_soon_and_cost_the_viewers_nothing() {
    let port = Port::usual();
    let _publisher = port.publish();
    let (client, answer) = view(&port, "good");
    let mut clients = [client];
    assert!(run(&mut clients, Duration::from_secs(20), |c| c[0].seen.frames >= 5));
    let server = port.webrtc.local_address();
    let dial = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let at_once = [
        framed(b"hello"),
        framed(&[]),
        framed(&check("nobody:else")),
        framed(&[22, 254, 253, 0, 0]),
        vec![0xff; 4],
        vec![0x07, 0xd1],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [0, 4, 1, 1].iter().chain(&[9; 40]).copied().collect(),
    ];
    for bytes in &at_once {
        let took = closed(&mut dial(bytes), Duration::from_secs(9));
        assert!(took < Duration::from_secs(7), "{bytes:?} was borne for {took:?}");
    }
    // Half a frame, nothing at all, and the word of a viewer without its password.
    let ufrag = answer.body.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap();
    let mut slow = [dial(&[0, 100, 0, 1]), dial(&[]), dial(&framed(&check(&format!("{ufrag}:wrong"))))];
    let dialled = Instant::now();
    assert!(run(&mut clients, Duration::from_secs(40), |c| c[0].seen.frames > 200), "{:?}", clients[0].seen);
    for stream in &mut slow {
        closed(stream, Duration::from_secs(30));
    }
    assert!(dialled.elapsed() > Duration::from_secs(8));
    assert_eq!((clients[0].seen.lost, clients[0].seen.error.as_deref()), (0, None));
}

#[test]
fn connections_that_have_not_shown_who_they_are_are_bounded_per_address() {
    let port = Port::usual();
    let _publisher = port.publish();
    let server: SocketAddr = port.webrtc.local_address();
    let mut waiting: Vec<TcpStream> = (0..256).map(|_| TcpStream::connect(server).unwrap()).collect();
    let mut one_more = TcpStream::connect(server).unwrap();
    closed(&mut one_more, Duration::from_secs(7));
    // One that leaves makes room: a viewer comes through.
    drop(waiting.pop());
    let begun = Instant::now();
    loop {
        let (client, _) = view(&port, "good");
        let mut clients = [client];
        if run(&mut clients, Duration::from_secs(3), |c| c[0].seen.frames >= 5) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no room is ever made");
    }
}

#[test]
fn every_advertised_address_works_by_udp_and_by_tcp() {
    let told = ["127.0.0.1", "127.0.0.2", "::1"];
    let port = Port::open_on("[::]:0".parse().unwrap(), |_, webrtc| {
        webrtc.advertise = told.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
    });
    let _publisher = port.publish();
    for ip in told {
        for by_tcp in [false, true] {
            let own = if ip == "::1" { "[::1]:0" } else { "127.0.0.1:0" };
            let (mut client, offer) = if by_tcp {
                WhepClient::offer_by_tcp(false)
            } else {
                WhepClient::offer_from(own.parse().unwrap(), false)
            };
            let answer = post_offer(port.address, CAMERA, &format!("{ip}{by_tcp}"), &offer).unwrap().body;
            assert_eq!(answer.lines().filter(|line| line.starts_with("a=candidate:")).count(), 6, "{answer}");
            // A client that can reach the hub at this address alone.
            let only: String = answer
                .lines()
                .filter(|line| !line.starts_with("a=candidate:") || line.split(' ').nth(4) == Some(ip))
                .flat_map(|line| [line, "\r\n"])
                .collect();
            client.accept(&only);
            let mut clients = [client];
            assert!(
                run(&mut clients, Duration::from_secs(20), |c| c[0].seen.frames >= 15),
                "{ip}: {:?}",
                clients[0].seen
            );
            assert_eq!(clients[0].seen.lost, 0);
        }
    }
}
