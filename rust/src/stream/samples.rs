//! Units for tests of sinks.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::smallvec;

use super::WireUnit;
use super::wire_unit::Shape;
use crate::media::{AccessUnit, Codec, CodecParameters, Track};

/// One picture of so many RTP packets, 40 ms after the one before it; every 50th is a keyframe.
pub(crate) fn unit(index: u64, packets: usize) -> Arc<WireUnit> {
    let parameters =
        CodecParameters::H264 { sps: Bytes::new(), pps: Bytes::new(), width: 640, height: 360, has_b_frames: false };
    let shape = Shape::new(&Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }, 96, 1);
    let keyframe = index.is_multiple_of(50);
    let mut data = vec![0, 0, 0, 1, if keyframe { 0x65 } else { 0x41 }];
    data.resize(4 + packets * 1190, 0x5a);
    let (end, pts) = (data.len() as u32, index as i64 * 3600);
    let unit = AccessUnit { track: 0, pts, dts: pts, keyframe, data: data.into(), nals: smallvec![4..end] };
    assert_eq!(shape.count(&unit), packets);
    let first = index * packets as u64;
    Arc::new(WireUnit::new(index, 0, unit, keyframe, shape, 3600, first..first + packets as u64))
}
