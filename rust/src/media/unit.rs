//! The access unit: one picture or one piece of sound, whatever protocol brought it.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

/// One access unit (ISO 14496-1): all NAL units of one picture, or one audio frame.
#[derive(Clone, Debug)]
pub struct AccessUnit {
    /// Place of its track in the stream's list of tracks.
    pub track: usize,
    /// Presentation and decoding time in ticks of the track's clock, on the stream's own timeline: it starts near
    /// zero, never jumps back and survives reconnects.
    pub pts: i64,
    pub dts: i64,
    /// An IDR picture with its parameter sets in front: decoding may start here. Always true for audio.
    pub keyframe: bool,
    /// Annex B with four-byte start codes for video (ITU-T H.264 Annex B), the bare frame for audio.
    pub data: Bytes,
    /// Where the NAL units stand in `data`, start codes excluded; empty for audio.
    pub nals: SmallVec<[Range<u32>; 8]>,
}

impl AccessUnit {
    /// The NAL units, without start codes.
    pub fn nal_units(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.nals.iter().map(|range| self.data.slice(range.start as usize..range.end as usize))
    }
}
