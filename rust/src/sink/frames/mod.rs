//! Encoded access units for a reader inside the process: Python, which inspects and derives, and looks at stills.
//!
//! The shard puts units into a bounded queue and never waits for who takes them out; an eventfd says that there are some.

mod queue;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

pub use queue::FrameQueue;

use crate::error::{Error, ErrorKind};
use crate::media::{AccessUnit, CodecParameters, Track};
use crate::stream::{Description, Flow, Sink, Stream, WireUnit};
use crate::telemetry::{SinkKind, Telemetry};

/// What a reader wants of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Every unit, from a keyframe on.
    Everything,
    /// Keyframes alone, and of those only the newest; of a stream without video each piece of sound.
    Keyframes,
    /// The newest keyframe once, for a still.
    OneKeyframe,
}

/// One access unit as a reader gets it.
#[derive(Clone, Debug)]
pub struct Frame {
    pub unit: AccessUnit,
    pub description: Arc<Description>,
    /// Decoding may start here.
    pub starts_gop: bool,
    /// Units of those wanted that were dropped right before this one, as the reader or its shard was too slow.
    pub dropped_before: u64,
}

impl Frame {
    pub fn track(&self) -> Option<&Track> {
        self.description.tracks.get(self.unit.track)
    }

    /// What a decoder must know beforehand: parameter sets in Annex B (they stand in front of each keyframe as well), an
    /// AudioSpecificConfig (ISO 14496-3 §1.6.2.1), or nothing.
    pub fn parameters(&self) -> Vec<u8> {
        let annex_b = |sets: &[&[u8]]| sets.iter().flat_map(|set| [&[0, 0, 0, 1], *set].concat()).collect();
        match self.track().map(|track| &track.parameters) {
            Some(CodecParameters::H264 { sps, pps, .. }) => annex_b(&[sps, pps]),
            Some(CodecParameters::H265 { vps, sps, pps, .. }) => annex_b(&[vps, sps, pps]),
            Some(CodecParameters::Aac { config, .. }) => config.to_vec(),
            Some(CodecParameters::G711 { .. } | CodecParameters::Opus { .. }) | None => Vec::new(),
        }
    }
}

pub struct FramesSink {
    queue: Arc<FrameQueue>,
    stream: Arc<Stream>,
    description: Arc<Description>,
    /// Of the unit after the last that went into the queue.
    next_index: Option<u64>,
    first_picture: Option<Box<dyn FnOnce() + Send>>,
    telemetry: Arc<Telemetry>,
    /// Kept for as long as the sink lives: the admission.
    _keep: Box<dyn Any + Send>,
}

impl FramesSink {
    pub fn new(
        queue: Arc<FrameQueue>,
        stream: Arc<Stream>,
        description: Arc<Description>,
        first_picture: Box<dyn FnOnce() + Send>,
        telemetry: Arc<Telemetry>,
        keep: Box<dyn Any + Send>,
    ) -> Self {
        telemetry.sinks(SinkKind::Frames).fetch_add(1, Relaxed);
        let first_picture = Some(first_picture);
        Self { queue, stream, description, next_index: None, first_picture, telemetry, _keep: keep }
    }

    /// The description that the unit belongs to; false when a newer one has replaced it already.
    fn follows(&mut self, generation: u32) -> bool {
        if self.description.generation != generation
            && let Some(description) = self.stream.description()
        {
            self.description = description;
        }
        self.description.generation == generation
    }
}

impl Sink for FramesSink {
    fn socket(&mut self) -> Option<&mut dyn mio::event::Source> {
        None
    }

    fn on_start(&mut self, _now: Instant) -> Flow {
        Flow::Continue
    }

    fn on_unit(&mut self, unit: &Arc<WireUnit>, _now: Instant) -> Flow {
        let wanted = self.queue.wanted();
        // A unit of parameters that have gone is followed by a keyframe of the new ones, and shows as a gap there.
        if (wanted != Wanted::Everything && !unit.starts_gop()) || !self.follows(unit.generation) {
            return Flow::Continue;
        }
        let missing = match (wanted, self.next_index) {
            (Wanted::Everything, Some(next)) => unit.index.saturating_sub(next),
            _ => 0,
        };
        let frame = Frame {
            unit: unit.unit.clone(),
            description: self.description.clone(),
            starts_gop: unit.starts_gop(),
            dropped_before: missing,
        };
        if self.queue.push(frame) {
            self.next_index = Some(unit.index + 1);
            if let Some(first_picture) = self.first_picture.take() {
                first_picture();
            }
        }
        if wanted == Wanted::OneKeyframe { Flow::Close("STILL_TAKEN") } else { Flow::Continue }
    }

    fn on_flush(&mut self, _now: Instant) -> Flow {
        Flow::Continue
    }

    fn on_ready(&mut self, _readable: bool, _writable: bool, _now: Instant) -> Flow {
        Flow::Continue
    }

    fn on_datagram(&mut self, _from: SocketAddr, _to: SocketAddr, _data: &[u8], _now: Instant) -> Flow {
        Flow::Continue
    }

    fn on_timer(&mut self, _now: Instant) -> Flow {
        Flow::Continue
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn on_end(&mut self, reason: &'static str, _now: Instant) {
        self.queue.end(&ended(reason));
    }
}

impl Drop for FramesSink {
    fn drop(&mut self) {
        self.telemetry.sinks(SinkKind::Frames).fetch_sub(1, Relaxed);
        self.queue.end(&ended("HUB_DRAINING"));
    }
}

/// Why a reader gets no more.
pub fn ended(reason: &'static str) -> Error {
    let (kind, message) = match reason {
        "HUB_DRAINING" => (ErrorKind::Unavailable, "the hub is stopping: read again when it is back"),
        "STREAM_CHANGED" => (ErrorKind::Unavailable, "the camera is pulled from elsewhere now: read again"),
        "CONNECTION_REPLACED" => (ErrorKind::FailedPrecondition, "another reader has taken this session's place"),
        "READER_CLOSED" => (ErrorKind::FailedPrecondition, "the reader was closed: open another"),
        _ => (ErrorKind::FailedPrecondition, "the session has ended: open a new one"),
    };
    Error::new(kind, reason, message)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use bytes::Bytes;

    use super::*;
    use crate::media::Codec;
    use crate::stream::StreamLimits;

    fn video(pps: &'static [u8]) -> Track {
        let (sps, pps) = (Bytes::from_static(&[0x67, 1]), Bytes::from_static(pps));
        let parameters = CodecParameters::H264 { sps, pps, width: 640, height: 480, has_b_frames: false };
        Track { codec: Codec::H264, clock_rate_hz: 90_000, parameters }
    }

    struct Bench {
        stream: Arc<Stream>,
        telemetry: Arc<Telemetry>,
        queue: Arc<FrameQueue>,
        sink: FramesSink,
        pictures: Arc<AtomicU64>,
    }

    fn bench(wanted: Wanted) -> Bench {
        let telemetry = Arc::new(Telemetry::default());
        let stream = Stream::new("c/main".into(), StreamLimits { gop_cache_bytes: 1 << 20 }, telemetry.clone());
        stream.describe(vec![video(&[0x68, 1])]);
        let queue = FrameQueue::new(wanted, 1 << 20, telemetry.clone()).unwrap();
        let pictures = Arc::new(AtomicU64::new(0));
        let counted = pictures.clone();
        let first = Box::new(move || _ = counted.fetch_add(1, Relaxed));
        let description = stream.description().unwrap();
        let sink = FramesSink::new(queue.clone(), stream.clone(), description, first, telemetry.clone(), Box::new(()));
        Bench { stream, telemetry, queue, sink, pictures }
    }

    /// Publishes a picture; the unit that the shards would get.
    fn published(stream: &Stream, keyframe: bool) -> Arc<WireUnit> {
        let data = Bytes::from_static(&[0, 0, 0, 1, 0x65, 1, 2, 3]);
        let nals = std::iter::once(4..8).collect();
        stream.publish(AccessUnit { track: 0, pts: 0, dts: 0, keyframe, data, nals });
        stream.cached().pop().unwrap()
    }

    #[test]
    fn every_unit_is_read_with_its_octets_shared_and_gaps_told() {
        let Bench { stream, queue, mut sink, telemetry, pictures } = bench(Wanted::Everything);
        let units: Vec<_> = [true, false, false, true, false].map(|keyframe| published(&stream, keyframe)).into();
        for unit in [&units[0], &units[1], &units[3], &units[4]] {
            assert_eq!(sink.on_unit(unit, Instant::now()), Flow::Continue);
        }
        let got = queue.take(10).unwrap();
        assert_eq!(got.iter().map(|frame| frame.dropped_before).collect::<Vec<_>>(), [0, 0, 1, 0]);
        assert_eq!(got[0].unit.data.as_ptr(), units[0].unit.data.as_ptr());
        assert_eq!(got[0].parameters(), [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 1]);
        assert_eq!(pictures.load(Relaxed), 1);
        assert_eq!(telemetry.sinks(SinkKind::Frames).load(Relaxed), 1);
        sink.on_end("GRANT_REVOKED", Instant::now());
        drop(sink);
        assert_eq!(queue.take(1).unwrap_err().reason(), "GRANT_REVOKED");
        assert_eq!(telemetry.sinks(SinkKind::Frames).load(Relaxed), 0);
    }

    #[test]
    fn a_unit_comes_with_the_parameters_it_was_made_with_or_not_at_all() {
        let Bench { stream, queue, mut sink, .. } = bench(Wanted::Everything);
        let first = published(&stream, true);
        stream.describe(vec![video(&[0x68, 2])]);
        let second = published(&stream, true);
        stream.describe(vec![video(&[0x68, 3])]);
        let third = published(&stream, true);
        for unit in [&first, &second, &third] {
            sink.on_unit(unit, Instant::now());
        }
        let got = queue.take(10).unwrap();
        let told: Vec<_> = got.iter().map(|frame| (frame.description.generation, frame.dropped_before)).collect();
        assert_eq!(told, [(0, 0), (2, 1)]);
        assert_eq!(got[1].parameters().last(), Some(&3));
    }

    #[test]
    fn keyframes_alone_and_one_for_a_still() {
        let Bench { stream, queue, mut sink, .. } = bench(Wanted::Keyframes);
        for keyframe in [true, false, true, false] {
            sink.on_unit(&published(&stream, keyframe), Instant::now());
        }
        let got = queue.take(10).unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!((got[0].starts_gop, got[0].dropped_before), (true, 1));
        let Bench { stream, queue, mut sink, .. } = bench(Wanted::OneKeyframe);
        assert_eq!(sink.on_unit(&published(&stream, true), Instant::now()), Flow::Close("STILL_TAKEN"));
        drop(sink);
        assert_eq!(queue.take(10).unwrap().len(), 1);
        assert!(queue.take(10).is_err());
    }
}
