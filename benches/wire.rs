//! What it costs to derive the wire forms of one access unit: a picture of 20 kB, as in 4 Mbit/s at 25 a second.
//!
//! `cargo bench --bench wire` prints CPU time of this thread in nanoseconds a unit; best of nine rounds.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use _core::media::{AccessUnit, Codec, CodecParameters, Track};
use _core::stream::{Stream, StreamLimits, WireUnit};
use _core::telemetry::Telemetry;
use bytes::Bytes;

const UNITS: usize = 500;
const PICTURE: usize = 20_000;

/// A stream of one group with `UNITS` units, none of which has been packetised yet.
fn group() -> (Vec<Arc<WireUnit>>, Duration) {
    let limits = StreamLimits { gop_cache_bytes: UNITS * (PICTURE + 1024) };
    let stream = Stream::new("bench".into(), limits, Arc::new(Telemetry::default()));
    let (sps, pps) = (Bytes::from_static(&[0x67]), Bytes::from_static(&[0x68]));
    let parameters = CodecParameters::H264 { sps, pps, width: 1920, height: 1080, has_b_frames: false };
    stream.describe(vec![Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }]);
    let mut picture = vec![0x41; PICTURE];
    picture[..4].copy_from_slice(&[0, 0, 0, 1]);
    let data = Bytes::from(picture);
    let start = thread_time();
    for place in 0..UNITS {
        let pts = place as i64 * 3600;
        let nals = std::iter::once(4..PICTURE as u32).collect();
        stream.publish(AccessUnit { track: 0, pts, dts: pts, keyframe: place == 0, data: data.clone(), nals });
    }
    let spent = thread_time() - start;
    (stream.cached(), spent)
}

fn thread_time() -> Duration {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that the call fills in.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn measure(derive: impl Fn(&WireUnit)) -> Duration {
    let (units, _) = group();
    let start = thread_time();
    // Each is freed before the next, as in a running hub: otherwise this would measure the page faults of fresh memory.
    units.into_iter().for_each(|unit| derive(&unit));
    thread_time() - start
}

fn report(what: &str, mut round: impl FnMut() -> Duration) {
    let best = (0..9).map(|_| round()).min().unwrap_or_default();
    println!("{what:<28} {:>8.0} ns/unit", best.as_nanos() as f64 / UNITS as f64);
}

fn main() {
    report("publish, nobody watches", || group().1);
    report("RTP packets", || measure(|unit| _ = black_box(unit.packets().len())));
    report("interleaved buffer", || measure(|unit| _ = black_box(unit.interleaved().len())));
    report("interleaved, second reader", || {
        let (units, _) = group();
        units.iter().for_each(|unit| drop(black_box(unit.interleaved())));
        let start = thread_time();
        units.iter().for_each(|unit| drop(black_box(unit.interleaved())));
        thread_time() - start
    });
}
