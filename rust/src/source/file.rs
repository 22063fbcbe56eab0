//! A clip of H.264 (Annex B) played in a loop in real time: what `vidhub camera-sim` and tests show. Never reached through the API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::media::{AccessUnit, Codec, CodecParameters, Track};
use crate::stream::{SourceState, Stream};
use crate::wire::annex_b::split_annex_b;
use crate::wire::h264::{H264, NalKind, SliceStart};
use crate::wire::parameter_sets::ParameterSets;
use crate::wire::unit_builder::{PictureUnit, TooLarge, UnitBuilder};

/// A clip is held in memory whole.
const MAX_CLIP_BYTES: u64 = 256 << 20;
const CLOCK_HZ: u64 = 90_000;
/// So far behind (the machine slept, say) the missed pictures are let go.
const MAX_LAG: Duration = Duration::from_secs(1);

/// A clip, cut into access units; it begins with a keyframe.
#[derive(Debug)]
pub struct Clip {
    units: Vec<PictureUnit>,
    parameters: CodecParameters,
}

impl Clip {
    /// Errors: CLIP_UNREADABLE (NotFound), CLIP_INVALID (InvalidArgument).
    pub fn open(path: &Path) -> Result<Self> {
        let unreadable = |cause: std::io::Error| {
            Error::new(ErrorKind::NotFound, "CLIP_UNREADABLE", format!("the clip {} can't be read", path.display()))
                .because(cause)
        };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_CLIP_BYTES {
            return Err(invalid("the clip is larger than 256 MiB: cut it"));
        }
        Self::parse(&std::fs::read(path).map_err(unreadable)?)
    }

    pub fn parse(data: &[u8]) -> Result<Self> {
        let too_large = |TooLarge| invalid("a picture of the clip is larger than 8 MiB");
        let mut sets = ParameterSets::default();
        let mut units: Vec<PictureUnit> = Vec::new();
        let mut building = UnitBuilder::<H264>::new(0, 0);
        let mut keep = |unit: Option<PictureUnit>| {
            if let Some(unit) = unit
                && (unit.keyframe || !units.is_empty())
            {
                units.push(unit);
            }
        };
        for range in split_annex_b(data) {
            let nal = data.get(range).unwrap_or_default();
            if building.has_picture() && begins_unit(nal) {
                keep(std::mem::replace(&mut building, UnitBuilder::new(0, 0)).finish(&mut sets));
            }
            building.push(nal, &mut sets).map_err(too_large)?;
        }
        keep(building.finish(&mut sets));
        if sets.has_b_slices() {
            return Err(invalid(
                "the clip has B-frames, which browsers do not play: encode it without (x264: bframes=0)",
            ));
        }
        match sets.parameters() {
            Some(parameters) if !units.is_empty() => Ok(Self { units, parameters }),
            _ => Err(invalid(
                "the clip holds no H.264 keyframe in Annex B: make it with ffmpeg -c:v libx264 -bf 0 -f h264",
            )),
        }
    }

    pub fn len(&self) -> usize {
        self.units.len()
    }

    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }
}

fn begins_unit(nal: &[u8]) -> bool {
    match nal.first().map(|header| NalKind::of(*header)) {
        Some(NalKind::AccessUnitDelimiter | NalKind::Sps | NalKind::Pps | NalKind::Sei) => true,
        Some(NalKind::Slice | NalKind::Idr) => SliceStart::read(nal).is_some_and(|slice| slice.first_macroblock == 0),
        _ => false,
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "CLIP_INVALID", message)
}

/// Plays the clip into the stream, over and over, until `cancel`.
pub async fn play(clip: Arc<Clip>, frame_rate: f64, stream: Arc<Stream>, cancel: CancellationToken) {
    let frame_rate = if frame_rate.is_finite() { frame_rate.clamp(0.1, 240.0) } else { 25.0 };
    stream.report(SourceState::Connecting);
    stream.describe(vec![Track {
        codec: Codec::H264,
        clock_rate_hz: CLOCK_HZ as u32,
        parameters: clip.parameters.clone(),
    }]);
    let mut begin = Instant::now();
    for (number, unit) in (0u64..).zip(clip.units.iter().cycle()) {
        let due = Duration::from_secs_f64(number as f64 / frame_rate);
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            () = sleep_until(begin + due) => {}
        }
        if (begin + due).elapsed() > MAX_LAG {
            begin = Instant::now() - due;
        }
        let stamp = (number as f64 * CLOCK_HZ as f64 / frame_rate).round() as i64;
        stream.publish(AccessUnit {
            track: 0,
            pts: stamp,
            dts: stamp,
            keyframe: unit.keyframe,
            data: unit.data.clone(),
            nals: unit.nals.clone(),
        });
        if number == 0 {
            stream.report(SourceState::Live);
        }
    }
    stream.report(SourceState::Idle);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::StreamLimits;
    use crate::wire::h264::samples::{PPS, SPS};

    fn annex_b(nals: &[&[u8]]) -> Vec<u8> {
        nals.iter().flat_map(|nal| [&[0, 0, 0, 1], *nal].concat()).collect()
    }

    fn clip() -> Clip {
        let data = annex_b(&[
            &[0x41, 0x9a, 9],
            SPS,
            PPS,
            &[0x65, 0x88, 1],
            &[0x65, 0b0110_0000, 1],
            &[0x41, 0x9a, 2],
            &[9, 0xf0],
            &[0x41, 0x9a, 3],
        ]);
        Clip::parse(&data).unwrap()
    }

    #[test]
    fn a_clip_is_cut_into_pictures_from_its_first_keyframe_on() {
        let clip = clip();
        assert_eq!(clip.len(), 3);
        assert_eq!(
            clip.units.iter().map(|unit| (unit.keyframe, unit.nals.len())).collect::<Vec<_>>(),
            [(true, 4), (false, 1), (false, 1)]
        );
    }

    #[test]
    fn what_is_no_clip_is_refused() {
        for data in [&b""[..], b"RIFF....AVI ", &annex_b(&[&[0x65, 0x88, 1]]), &annex_b(&[SPS, PPS])] {
            assert_eq!(Clip::parse(data).unwrap_err().reason(), "CLIP_INVALID");
        }
        let with_b = annex_b(&[SPS, PPS, &[0x65, 0x88, 1], &[0x01, 0b1010_0000, 1]]);
        assert!(Clip::parse(&with_b).unwrap_err().message().contains("B-frames"));
        assert_eq!(Clip::open(Path::new("/nowhere")).unwrap_err().reason(), "CLIP_UNREADABLE");
    }

    #[tokio::test]
    async fn it_plays_in_real_time_and_its_stamps_go_on_over_the_loop() {
        let stream = Stream::new("clip".into(), StreamLimits { gop_cache_bytes: 1 << 20 }, Arc::default());
        let cancel = CancellationToken::new();
        let began = Instant::now();
        let task = tokio::spawn(play(Arc::new(clip()), 100.0, stream.clone(), cancel.clone()));
        let first = loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            match stream.cached().first() {
                Some(unit) if unit.index >= 6 => break unit.clone(),
                _ => assert!(began.elapsed() < Duration::from_secs(10)),
            }
        };
        assert!(began.elapsed() >= Duration::from_millis(60));
        assert!(first.unit.keyframe);
        assert_eq!(first.unit.dts, first.index as i64 * 900);
        cancel.cancel();
        task.await.unwrap();
        assert_eq!(*stream.state().borrow(), SourceState::Idle);
    }
}
