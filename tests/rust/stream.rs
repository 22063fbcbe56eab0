//! The stream as sources and sinks see it: joining, falling behind, ending. Nothing here waits by the clock: every wait
//! is for a message, with a bound.

#[path = "stream/harness.rs"]
mod harness;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use _core::stream::{Flow, Shards, SourceState};
use _core::telemetry::DropReason;
use harness::*;

#[test]
fn whoever_joins_gets_the_group_so_far_and_then_all_that_follows_without_gap_or_double() {
    // Fewer units than an inbox holds: nobody is lost to overload here, however slow the machine.
    const UNITS: u64 = 4_000;
    let (stream, _) = live();
    let shards = Shards::start(2).unwrap();
    let publisher = std::thread::spawn({
        let stream = stream.clone();
        move || (0..UNITS).for_each(|place| stream.publish(unit(place % 50 == 0, 40)))
    });
    let viewers: Vec<_> = (0..100)
        .map(|_| {
            let (sink, viewer) = sink();
            shards.attach(stream.clone(), Box::new(sink), true);
            viewer
        })
        .collect();
    publisher.join().unwrap();
    for viewer in &viewers {
        let seen = viewer.units_until(UNITS - 1);
        assert!(seen[0].starts_gop(), "a picture that can be decoded comes first");
        for pair in seen.windows(2) {
            assert_eq!(pair[1].index, pair[0].index + 1);
            assert_eq!(pair[1].first_sequence(), pair[0].first_sequence() + pair[0].packet_count() as u64);
        }
    }
    shards.stop("DONE");
}

#[test]
fn a_shard_that_falls_behind_drops_units_and_resumes_at_a_keyframe() {
    let (stream, telemetry) = live();
    let shards = Shards::start(1).unwrap();
    let (mut stuck, viewer) = sink();
    let gate = stuck.hold_first_unit();
    viewer.subscribed(&shards.attach(stream.clone(), Box::new(stuck), true));
    stream.publish(unit(true, 40));
    viewer.expect(|event| matches!(event, Event::Unit(_)));
    // The shard stands still in this sink: 4,096 units wait for it, the rest is dropped; `publish` does not care.
    (1..5_000).for_each(|place| stream.publish(unit(place % 50 == 0, 40)));
    gate.send(()).unwrap();
    assert_eq!(viewer.units_until(4_096).len(), 4_096);
    (5_000..5_060).for_each(|place| stream.publish(unit(place % 50 == 20, 40)));
    let after = viewer.units_until(5_059);
    assert_eq!((after[0].index, after[0].starts_gop()), (5_020, true));
    assert_eq!(after.len(), 40);
    assert_eq!(telemetry.dropped(DropReason::SlowViewer).load(Relaxed), 5_020 - 4_097);
    shards.stop("DONE");
}

#[test]
fn who_joins_where_nothing_is_cached_waits_for_the_next_keyframe() {
    let (stream, telemetry) = live_with_cache(10_000);
    let shards = Shards::start(1).unwrap();
    let (first, early) = sink();
    early.subscribed(&shards.attach(stream.clone(), Box::new(first), true));
    (0..4).for_each(|place| stream.publish(unit(place == 0, 4_000)));
    early.units_until(3);
    assert!(stream.cached().is_empty());
    assert_eq!(telemetry.dropped(DropReason::OverBudget).load(Relaxed), 1);
    let (second, late) = sink();
    late.subscribed(&shards.attach(stream.clone(), Box::new(second), true));
    stream.publish(unit(false, 100));
    stream.publish(unit(true, 100));
    assert_eq!(late.units_until(5).iter().map(|unit| unit.index).collect::<Vec<_>>(), [5]);
    assert_eq!(early.units_until(5).len(), 2);
    assert_eq!(telemetry.dropped(DropReason::SlowViewer).load(Relaxed), 0, "waiting to join is no loss");
    shards.stop("DONE");
}

#[test]
fn who_goes_over_to_another_stream_goes_on_at_its_keyframe_and_hears_no_more_of_the_first() {
    let ((main, _), (sub, _)) = (live(), live());
    let shards = Shards::start(1).unwrap();
    let (mut sink, viewer) = sink();
    sink.other = Some(sub.clone());
    sink.answer = Box::new(|event| match event {
        Event::Datagram(data) if data == b"over" => Flow::Switch,
        _ => Flow::Continue,
    });
    let handle = shards.attach(main.clone(), Box::new(sink), true);
    viewer.subscribed(&handle);
    (0..7).for_each(|place| sub.publish(unit(place == 5, 40)));
    main.publish(unit(true, 40));
    viewer.units_until(0);
    // The second time there is nowhere to go: it stays where it is.
    (0..2).for_each(|_| assert!(handle.datagram(PEER, PEER, b"over".to_vec())));
    let cached = viewer.units_until(1);
    assert_eq!(cached.iter().map(|unit| (unit.index, unit.starts_gop())).collect::<Vec<_>>(), [(0, true), (1, false)]);
    main.publish(unit(false, 40));
    sub.publish(unit(false, 40));
    assert_eq!(viewer.units_until(2).len(), 1, "nothing of the first stream");
    shards.stop("DONE");
}

#[test]
fn viewers_stay_through_an_outage_and_through_new_parameters() {
    let (stream, _) = live();
    let shards = Shards::start(1).unwrap();
    let (sink, viewer) = sink();
    viewer.subscribed(&shards.attach(stream.clone(), Box::new(sink), true));
    stream.publish(unit(true, 3_000));
    stream.report(SourceState::Failed {
        reason: "CAMERA_SILENT",
        cause: "CAMERA_SILENT",
        message: "nothing came for 5 s".into(),
    });
    stream.report(SourceState::Connecting);
    stream.publish(unit(false, 3_000));
    stream.publish(unit(true, 3_000));
    stream.describe(vec![video(&[0x68, 1])]);
    stream.publish(unit(false, 3_000));
    stream.publish(unit(true, 3_000));
    let seen = viewer.units_until(2);
    assert_eq!(seen.iter().map(|unit| (unit.index, unit.generation)).collect::<Vec<_>>(), [(0, 0), (1, 0), (2, 1)]);
    let sequences: Vec<_> = seen.iter().flat_map(|unit| unit.packets()).map(|packet| packet.sequence).collect();
    assert_eq!(sequences, (0..9).collect::<Vec<_>>());
    shards.stop("DONE");
}

#[test]
fn three_shards_share_the_sinks_and_every_sink_the_same_unit() {
    let (stream, _) = live();
    let shards = Shards::start(3).unwrap();
    let viewers: Vec<_> = (0..6)
        .map(|_| {
            let (sink, viewer) = sink();
            shards.attach(stream.clone(), Box::new(sink), true);
            viewer
        })
        .collect();
    (0..100).for_each(|place| stream.publish(unit(place == 0, 40)));
    let mut threads = HashMap::<_, usize>::new();
    let mut last = HashSet::new();
    for viewer in &viewers {
        let Event::Started(thread) = viewer.expect(|event| matches!(event, Event::Started(_))) else { panic!() };
        *threads.entry(thread).or_default() += 1;
        let seen = viewer.units_until(99);
        assert_eq!(seen.len(), 100);
        last.insert(seen[99].interleaved().as_ptr());
    }
    let mut threads: Vec<_> = threads.into_iter().collect();
    threads.sort();
    let named = |number: usize| (format!("vidhub-shard-{number}"), 2);
    assert_eq!(threads, [named(0), named(1), named(2)]);
    assert_eq!(last.len(), 1, "one buffer for all");
    shards.stop("DONE");
}

#[test]
fn the_reason_of_the_end_reaches_the_sink_and_a_stale_handle_nobody() {
    let (stream, _) = live();
    let shards = Shards::start(1).unwrap();
    let (first, ended) = sink();
    let stale = shards.attach(stream.clone(), Box::new(first), true);
    stale.end("GRANT_REVOKED");
    assert_eq!(ended.ends(), ["GRANT_REVOKED"]);
    until(|| stale.is_gone() && shards.is_empty());
    let (second, viewer) = sink();
    let handle = shards.attach(stream.clone(), Box::new(second), true);
    stale.end("SESSION_CLOSED");
    assert!(!stale.datagram(PEER, PEER, vec![1]));
    stream.publish(unit(true, 40));
    viewer.units_until(0);
    handle.end("SESSION_EXPIRED");
    handle.end("SESSION_CLOSED");
    assert_eq!(viewer.ends(), ["SESSION_EXPIRED"]);
    shards.stop("DONE");
}

#[test]
fn stopping_ends_every_sink_and_refuses_those_that_come_after() {
    let (stream, _) = live();
    let shards = Shards::start(2).unwrap();
    let viewers: Vec<_> = (0..10)
        .map(|_| {
            let (sink, viewer) = sink();
            shards.attach(stream.clone(), Box::new(sink), true);
            viewer
        })
        .collect();
    shards.stop("HUB_DRAINING");
    for viewer in &viewers {
        assert_eq!(viewer.ends(), ["HUB_DRAINING"]);
    }
    let (sink, late) = sink();
    assert!(shards.attach(stream.clone(), Box::new(sink), true).is_gone());
    assert!(late.ends().is_empty() && shards.is_empty());
    stream.publish(unit(true, 40));
    shards.stop("AGAIN");
    assert_eq!(Arc::strong_count(&stream), 1);
}

#[test]
fn a_thousand_that_come_and_go_leave_nothing_behind() {
    let (stream, _) = live();
    let shards = Shards::start(3).unwrap();
    stream.publish(unit(true, 3_000));
    let mut peers = Vec::new();
    for round in 0..1_000 {
        let (ours, theirs) = mio::net::UnixStream::pair().unwrap();
        let (mut sink, viewer) = sink();
        sink.socket = Some(ours);
        let handle = shards.attach(stream.clone(), Box::new(sink), round % 3 != 0);
        if round % 2 == 0 {
            stream.publish(unit(false, 40));
        }
        handle.end("SESSION_CLOSED");
        peers.push((viewer, theirs));
    }
    for (viewer, mut peer) in peers {
        assert_eq!(viewer.ends(), ["SESSION_CLOSED"]);
        assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0, "the socket is closed");
    }
    until(|| shards.is_empty());
    let last = Arc::downgrade(&stream.cached()[0]);
    stream.publish(unit(true, 40));
    // Units on their way to shards that nobody watches on any more go as well.
    shards.stop("DONE");
    assert!(last.upgrade().is_none());
    assert_eq!(Arc::strong_count(&stream), 1);
}

#[test]
fn a_sink_that_panics_is_dropped_and_the_others_go_on() {
    let (stream, _) = live();
    let shards = Shards::start(1).unwrap();
    let (mut bad, lost) = sink();
    bad.answer = Box::new(|_| panic!("on purpose"));
    let (good, viewer) = sink();
    let handle = shards.attach(stream.clone(), Box::new(bad), true);
    viewer.subscribed(&shards.attach(stream.clone(), Box::new(good), true));
    (0..10).for_each(|place| stream.publish(unit(place == 0, 40)));
    assert_eq!(viewer.units_until(9).len(), 10);
    assert!(lost.ends().is_empty());
    until(|| handle.is_gone() && shards.len() == 1);
    shards.stop("DONE");
}

#[test]
fn a_sink_starts_when_it_asks_to_and_is_dropped_when_it_asks_to() {
    let (stream, _) = live();
    let shards = Shards::start(1).unwrap();
    (0..3).for_each(|place| stream.publish(unit(place == 0, 40)));
    let (mut sink, viewer) = sink();
    sink.answer = Box::new(|event| match event {
        Event::Datagram(data) if data == b"play" => Flow::Subscribe,
        Event::Unit(unit) if unit.index == 6 => Flow::Close("ENOUGH"),
        _ => Flow::Continue,
    });
    let handle = shards.attach(stream.clone(), Box::new(sink), false);
    stream.publish(unit(false, 40));
    assert!(handle.datagram(PEER, PEER, b"setup".to_vec()));
    viewer.expect(|event| matches!(event, Event::Datagram(_)));
    assert!(handle.datagram(PEER, PEER, b"play".to_vec()));
    assert_eq!(viewer.units_until(3).len(), 4, "the cache, and nothing before it was asked for");
    // Asked again, it begins again.
    assert!(handle.datagram(PEER, PEER, b"play".to_vec()));
    assert_eq!(viewer.units_until(3).len(), 4);
    (4..9).for_each(|_| stream.publish(unit(false, 40)));
    assert_eq!(viewer.units_until(6).len(), 3, "once, though subscribed twice");
    assert!(viewer.ends().is_empty());
    until(|| handle.is_gone());
    assert!(!handle.datagram(PEER, PEER, vec![]));
    shards.stop("DONE");
    assert_eq!(Arc::strong_count(&stream), 1);
}

#[test]
fn units_of_one_batch_are_flushed_together() {
    let (stream, _) = live();
    let shards = Shards::start(1).unwrap();
    let (mut sink, viewer) = sink();
    let gate = sink.hold_first_unit();
    viewer.subscribed(&shards.attach(stream.clone(), Box::new(sink), true));
    stream.publish(unit(true, 40));
    viewer.expect(|event| matches!(event, Event::Unit(_)));
    (1..=100).for_each(|_| stream.publish(unit(false, 40)));
    gate.send(()).unwrap();
    viewer.expect(|event| matches!(event, Event::Flush));
    for _ in 1..=100 {
        assert!(matches!(viewer.next(), Event::Unit(_)));
    }
    assert!(matches!(viewer.next(), Event::Flush));
    shards.stop("DONE");
}

#[test]
fn a_socket_tells_when_it_can_be_read() {
    let (stream, _) = live();
    let shards = Shards::start(1).unwrap();
    let (ours, mut theirs) = mio::net::UnixStream::pair().unwrap();
    let (mut sink, viewer) = sink();
    sink.socket = Some(ours);
    shards.attach(stream, Box::new(sink), true);
    viewer.expect(|event| matches!(event, Event::Ready { writable: true, .. }));
    theirs.write_all(b"OPTIONS").unwrap();
    viewer.expect(|event| matches!(event, Event::Ready { readable: true, .. }));
    drop(theirs);
    viewer.expect(|event| matches!(event, Event::Ready { readable: true, .. }));
    shards.stop("DONE");
}

#[test]
fn timers_come_when_asked_for_and_follow_the_deadline() {
    let (stream, _) = live();
    let shards = Shards::start(1).unwrap();
    let start = Instant::now();
    let (mut idle, silent) = sink();
    idle.deadline = None;
    let (mut busy, viewer) = sink();
    busy.deadline = Some(start + Duration::from_secs(3600));
    shards.attach(stream.clone(), Box::new(idle), true);
    let handle = shards.attach(stream.clone(), Box::new(busy), true);
    // A datagram moves the deadline: the next timer is due at once, then every millisecond.
    assert!(handle.datagram(PEER, PEER, b"hurry".to_vec()));
    for _ in 0..5 {
        let Event::Timer(at) = viewer.expect(|event| matches!(event, Event::Timer(_))) else { panic!() };
        assert!(at >= start && at < start + Duration::from_secs(3600));
    }
    shards.stop("DONE");
    assert!(silent.all().iter().all(|event| !matches!(event, Event::Timer(_))));
}

#[test]
fn datagrams_to_a_sink_that_stands_still_are_bounded() {
    let (stream, _) = live();
    let shards = Shards::start(1).unwrap();
    let (mut stuck, viewer) = sink();
    let gate = stuck.hold_first_unit();
    let handle = shards.attach(stream.clone(), Box::new(stuck), true);
    stream.publish(unit(true, 40));
    viewer.expect(|event| matches!(event, Event::Unit(_)));
    let other: SocketAddr = "[::1]:9".parse().unwrap();
    assert_eq!((0..5_000).filter(|_| handle.datagram(other, PEER, vec![7])).count(), 128);
    gate.send(()).unwrap();
    for _ in 0..128 {
        viewer.expect(|event| matches!(event, Event::Datagram(_)));
    }
    assert!(handle.datagram(other, PEER, vec![7]));
    shards.stop("DONE");
}
