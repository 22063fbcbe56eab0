//! What a hub that takes nothing costs the one that pushes to it. Counts every octet that is allocated, so it stands alone.

#[path = "relay/hubs.rs"]
mod hubs;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use _core::media::{AccessUnit, Codec, CodecParameters, Track};
use _core::sink::rtsp::{self, Relay};
use _core::stream::{Shards, Stream, StreamLimits};
use _core::telemetry::{Direction, DropReason, Telemetry};
use bytes::Bytes;
use hubs::{CAMERA, deaf_upper, until};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands everything to the system's allocator, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A picture of 20,000 octets; a keyframe each tenth.
fn picture(number: i64) -> AccessUnit {
    let mut data = vec![0x5a; 20_000];
    data[..5].copy_from_slice(&[0, 0, 0, 1, if number % 10 == 0 { 0x65 } else { 0x41 }]);
    let nals = std::iter::once(4..data.len() as u32).collect();
    let pts = number * 3600;
    AccessUnit { track: 0, pts, dts: pts, keyframe: number % 10 == 0, data: data.into(), nals }
}

#[test]
fn an_upper_that_takes_nothing_costs_a_mebibyte_at_most() {
    let telemetry = Arc::new(Telemetry::default());
    let stream = Stream::new("c/main".into(), StreamLimits { gop_cache_bytes: 1 << 20 }, telemetry.clone());
    let (sps, pps) = (Bytes::from_static(&[0x67]), Bytes::from_static(&[0x68]));
    let parameters = CodecParameters::H264 { sps, pps, width: 640, height: 360, has_b_frames: false };
    stream.describe(vec![Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }]);
    (0..10).for_each(|number| stream.publish(picture(number)));
    let (peer, hold, upper) = deaf_upper();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let description = stream.description().unwrap();
    let recorded = runtime
        .block_on(async { rtsp::record(peer.dial().await.unwrap(), &peer, CAMERA, &description).await })
        .unwrap();
    let link = telemetry.link("upper", Direction::Out);
    let shards = Shards::start(1).unwrap();
    let before = HELD.load(Relaxed);
    let (relay, mut closed) =
        Relay::new(recorded, stream.clone(), description, 1 << 20, link, telemetry.clone(), Instant::now());
    shards.attach(stream.clone(), Box::new(relay), true);
    let dropped = || telemetry.dropped(DropReason::SlowViewer).load(Relaxed);
    // The kernel takes the first; then 20 MB more.
    let (mut number, start) = (10, Instant::now());
    while dropped() == 0 {
        stream.publish(picture(number));
        number += 1;
        assert!(start.elapsed() < Duration::from_secs(30), "it was to be full");
        // The shard has a turn, also where this is not its only neighbour.
        std::thread::sleep(Duration::from_millis(1));
    }
    (number..number + 1_000).for_each(|number| stream.publish(picture(number)));
    until("no more is held", || HELD.load(Relaxed) < before + (1 << 20));
    assert!(closed.try_recv().is_err() && shards.len() == 1, "it is still there");
    shards.stop("HUB_DRAINING");
    assert_eq!(closed.try_recv(), Ok("HUB_DRAINING"));
    drop(hold);
    upper.join().unwrap();
}
