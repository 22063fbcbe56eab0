//! Putting NAL units together to one access unit in Annex B, with the parameter sets that a keyframe needs.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::h264::{NalKind, SliceStart, SpsSummary, find_start_code, pps_id, read_sps};
use crate::media::CodecParameters;

/// More than any picture of a camera: 8K intra at the highest quality stays below.
pub const MAX_UNIT_BYTES: usize = 8 << 20;
/// Slices and side information of one access unit.
const MAX_NALS: usize = 512;
const MAX_PPS: usize = 8;
/// Real sets have some dozen octets, a few hundred with scaling lists. They are kept, put before keyframes and written
/// into descriptions, so one of megabytes would cost many times its size.
const MAX_SET_BYTES: usize = 4096;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The parameter sets learned so far, in band or from SDP.
#[derive(Clone, Debug, Default)]
pub struct ParameterSets {
    sps: Option<(Bytes, SpsSummary)>,
    pps: SmallVec<[(u32, Bytes); 2]>,
    b_slices_seen: bool,
}

impl ParameterSets {
    /// Takes over an SPS or PPS; anything else, and what can't be read, is left out.
    pub fn learn(&mut self, nal: &[u8]) {
        if nal.len() > MAX_SET_BYTES {
            return;
        }
        match nal.first().map(|header| NalKind::of(*header)) {
            Some(NalKind::Sps) => {
                if self.sps.as_ref().is_some_and(|(known, _)| known == nal) {
                    return;
                }
                if let Some(summary) = read_sps(nal) {
                    // Picture parameter sets belong to the SPS they came after.
                    self.pps.clear();
                    self.b_slices_seen = false;
                    self.sps = Some((Bytes::copy_from_slice(nal), summary));
                }
            }
            Some(NalKind::Pps) => {
                let Some(id) = pps_id(nal) else { return };
                if let Some((_, known)) = self.pps.iter_mut().find(|(known, _)| *known == id) {
                    if known != nal {
                        *known = Bytes::copy_from_slice(nal);
                    }
                } else if self.pps.len() < MAX_PPS {
                    self.pps.push((id, Bytes::copy_from_slice(nal)));
                }
            }
            _ => {}
        }
    }

    pub fn is_complete(&self) -> bool {
        self.sps.is_some() && !self.pps.is_empty()
    }

    pub fn has_b_slices(&self) -> bool {
        self.b_slices_seen
    }

    /// How many pictures may be out of order between decoding and output.
    pub fn reorder_depth(&self) -> u32 {
        match &self.sps {
            Some((_, SpsSummary { reorder_depth: Some(depth), .. })) => *depth,
            Some((_, summary)) if self.b_slices_seen => summary.assumed_depth,
            _ => 0,
        }
    }

    /// What the stream is described by; None while a set is missing.
    pub fn parameters(&self) -> Option<CodecParameters> {
        let (sps, summary) = self.sps.as_ref()?;
        let (_, pps) = self.pps.first()?;
        Some(CodecParameters::H264 {
            sps: sps.clone(),
            pps: pps.clone(),
            width: summary.width,
            height: summary.height,
            has_b_frames: self.reorder_depth() > 0,
        })
    }
}

/// A complete H.264 access unit, not yet on the stream's timeline.
#[derive(Clone, Debug)]
pub struct H264Unit {
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// An IDR picture with its parameter sets in front.
    pub keyframe: bool,
    /// Annex B with four-byte start codes.
    pub data: Bytes,
    /// Where the NAL units stand in `data`.
    pub nals: SmallVec<[Range<u32>; 8]>,
}

/// The unit has outgrown its bound.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// An access unit in progress. Delimiters and filler are left out: they tell a decoder nothing.
#[derive(Debug)]
pub struct UnitBuilder {
    pub timestamp: u32,
    data: BytesMut,
    nals: SmallVec<[Range<u32>; 8]>,
    /// Where the NAL unit that comes in fragments begins.
    fragment: Option<usize>,
    has_picture: bool,
    has_idr: bool,
    has_sps: bool,
    has_pps: bool,
    has_b: bool,
    /// First macroblock of the first slice: a picture begins with 0.
    first_macroblock: Option<u32>,
}

impl UnitBuilder {
    pub fn new(timestamp: u32, capacity: usize) -> Self {
        Self {
            timestamp,
            data: BytesMut::with_capacity(capacity),
            nals: SmallVec::new(),
            fragment: None,
            has_picture: false,
            has_idr: false,
            has_sps: false,
            has_pps: false,
            has_b: false,
            first_macroblock: None,
        }
    }

    pub fn has_picture(&self) -> bool {
        self.has_picture
    }

    pub fn in_fragment(&self) -> bool {
        self.fragment.is_some()
    }

    pub fn first_macroblock(&self) -> Option<u32> {
        self.first_macroblock
    }

    pub fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// Adds a whole NAL unit.
    pub fn push(&mut self, mut nal: &[u8], sets: &mut ParameterSets) -> Result<(), TooLarge> {
        // Some cameras put "SPS 00 00 00 01 PPS 00 00 00 01 SEI …" into one packet. No NAL unit may hold a start code
        // (§7.4.1), so cutting there is safe.
        while let Some(header) = nal.first()
            && matches!(NalKind::of(*header), NalKind::Sps | NalKind::Pps | NalKind::Sei | NalKind::AccessUnitDelimiter)
            && let Some(cut) = find_start_code(nal, 0)
        {
            self.push_one(trim_zeros(nal.get(..cut).unwrap_or_default()), sets)?;
            nal = nal.get(cut + 3..).unwrap_or_default();
        }
        self.push_one(nal, sets)
    }

    fn push_one(&mut self, nal: &[u8], sets: &mut ParameterSets) -> Result<(), TooLarge> {
        if nal.is_empty() {
            return Ok(());
        }
        let start = self.open(nal.len())?;
        self.data.extend_from_slice(nal);
        self.close(start, sets);
        Ok(())
    }

    /// Begins a NAL unit that comes in fragments.
    pub fn begin_fragment(&mut self, header: u8, part: &[u8]) -> Result<(), TooLarge> {
        let start = self.open(part.len() + 1)?;
        self.data.extend_from_slice(&[header]);
        self.data.extend_from_slice(part);
        self.fragment = Some(start);
        Ok(())
    }

    pub fn add_fragment(&mut self, part: &[u8]) -> Result<(), TooLarge> {
        if self.data.len() + part.len() > MAX_UNIT_BYTES {
            return Err(TooLarge);
        }
        self.data.extend_from_slice(part);
        Ok(())
    }

    pub fn end_fragment(&mut self, sets: &mut ParameterSets) {
        if let Some(start) = self.fragment.take() {
            self.close(start, sets);
        }
    }

    /// Writes a start code; the answer is where the NAL unit begins.
    fn open(&mut self, len: usize) -> Result<usize, TooLarge> {
        if self.data.len() + START_CODE.len() + len > MAX_UNIT_BYTES || self.nals.len() >= MAX_NALS {
            return Err(TooLarge);
        }
        self.data.extend_from_slice(&START_CODE);
        Ok(self.data.len())
    }

    fn close(&mut self, start: usize, sets: &mut ParameterSets) {
        let Some(nal) = self.data.get(start..) else { return };
        let kind = nal.first().map_or(NalKind::Invalid, |header| NalKind::of(*header));
        match kind {
            NalKind::Sps | NalKind::Pps => {
                // Trailing zeros are not part of a NAL unit; they would end up in avcC and sprop.
                let end = start + trim_zeros(nal).len();
                self.data.truncate(end);
                let Some(nal) = self.data.get(start..) else { return };
                sets.learn(nal);
                self.has_sps |= kind == NalKind::Sps;
                self.has_pps |= kind == NalKind::Pps;
            }
            NalKind::Slice | NalKind::Idr | NalKind::Partition => {
                self.has_picture = true;
                self.has_idr |= kind == NalKind::Idr;
                if kind != NalKind::Partition
                    && let Some(slice) = SliceStart::read(nal)
                {
                    self.first_macroblock.get_or_insert(slice.first_macroblock);
                    self.has_b |= slice.is_b;
                }
            }
            NalKind::Sei => {}
            NalKind::Other if nal.first().is_some_and(|header| header & 0x1f != FILLER) => {}
            NalKind::AccessUnitDelimiter | NalKind::Other | NalKind::Invalid => {
                self.data.truncate(start - START_CODE.len());
                return;
            }
        }
        self.nals.push(start as u32..self.data.len() as u32);
    }

    /// The finished unit; None when it holds no picture.
    pub fn finish(self, sets: &mut ParameterSets) -> Option<H264Unit> {
        if !self.has_picture {
            return None;
        }
        sets.b_slices_seen |= self.has_b;
        let keyframe = self.has_idr && sets.is_complete();
        if !keyframe || (self.has_sps && self.has_pps) {
            return Some(H264Unit { timestamp: self.timestamp, keyframe, data: self.data.freeze(), nals: self.nals });
        }
        let mut complete = Self::new(self.timestamp, self.data.len() + 256);
        let mut put = |nal: &[u8]| {
            complete.data.extend_from_slice(&START_CODE);
            let start = complete.data.len() as u32;
            complete.data.extend_from_slice(nal);
            complete.nals.push(start..complete.data.len() as u32);
        };
        let known = sets.sps.iter().map(|(sps, _)| sps).chain(sets.pps.iter().map(|(_, pps)| pps));
        known.for_each(|set| put(set));
        for range in &self.nals {
            let nal = self.data.get(range.start as usize..range.end as usize).unwrap_or_default();
            let kind = nal.first().map_or(NalKind::Invalid, |header| NalKind::of(*header));
            if !matches!(kind, NalKind::Sps | NalKind::Pps) {
                put(nal);
            }
        }
        Some(H264Unit { timestamp: self.timestamp, keyframe, data: complete.data.freeze(), nals: complete.nals })
    }
}

const FILLER: u8 = 12;

fn trim_zeros(nal: &[u8]) -> &[u8] {
    let zeros = nal.iter().rev().take_while(|byte| **byte == 0).count();
    nal.get(..nal.len() - zeros).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::h264::samples::{PPS, SPS};
    use super::*;

    fn nals(unit: &H264Unit) -> Vec<&[u8]> {
        unit.nals.iter().map(|range| &unit.data[range.start as usize..range.end as usize]).collect()
    }

    #[test]
    fn a_keyframe_without_parameter_sets_gets_the_learned_ones_in_front() {
        let mut sets = ParameterSets::default();
        sets.learn(SPS);
        sets.learn(PPS);
        let mut unit = UnitBuilder::new(7, 0);
        unit.push(&[0x06, 5, 1, 0x80], &mut sets).unwrap();
        unit.push(&[0x65, 0x88, 1, 2], &mut sets).unwrap();
        let unit = unit.finish(&mut sets).unwrap();
        assert!(unit.keyframe);
        assert_eq!(nals(&unit), [SPS, PPS, &[0x06, 5, 1, 0x80], &[0x65, 0x88, 1, 2]]);
        assert_eq!(&unit.data[..5], &[0, 0, 0, 1, 0x67]);
    }

    #[test]
    fn an_idr_picture_that_nobody_can_decode_is_no_keyframe() {
        let mut sets = ParameterSets::default();
        let mut unit = UnitBuilder::new(7, 0);
        unit.push(&[0x65, 0x88, 1, 2], &mut sets).unwrap();
        assert!(!unit.finish(&mut sets).unwrap().keyframe);
    }

    #[test]
    fn delimiters_and_filler_are_left_out_and_packed_sets_are_cut_apart() {
        let mut sets = ParameterSets::default();
        let mut unit = UnitBuilder::new(7, 0);
        unit.push(&[9, 0xf0], &mut sets).unwrap();
        let packed = [SPS, &[0, 0, 0, 1], PPS, &[0, 0, 1, 0x06, 5, 1, 0x80]].concat();
        unit.push(&packed, &mut sets).unwrap();
        unit.push(&[12, 0xff, 0xff], &mut sets).unwrap();
        unit.push(&[0x65, 0x88, 1, 2], &mut sets).unwrap();
        let unit = unit.finish(&mut sets).unwrap();
        assert!(unit.keyframe);
        assert_eq!(nals(&unit), [SPS, PPS, &[0x06, 5, 1, 0x80], &[0x65, 0x88, 1, 2]]);
    }

    #[test]
    fn a_packet_of_nothing_but_start_codes_costs_no_stack() {
        let (mut sets, mut unit) = (ParameterSets::default(), UnitBuilder::new(7, 0));
        let packed = [9, 0, 0, 1].repeat(400_000);
        std::thread::scope(|scope| {
            let small = std::thread::Builder::new().stack_size(64 << 10);
            small.spawn_scoped(scope, || unit.push(&packed, &mut sets).unwrap()).unwrap();
        });
        assert!(!unit.has_picture());
    }

    #[test]
    fn a_parameter_set_of_megabytes_is_not_learned() {
        let mut sets = ParameterSets::default();
        sets.learn(SPS);
        sets.learn(&[PPS, &vec![0xff; MAX_SET_BYTES]].concat());
        assert!(!sets.is_complete());
        sets.learn(PPS);
        assert!(sets.is_complete());
    }

    #[test]
    fn b_slices_make_a_stream_reorder_when_the_sps_is_silent() {
        let mut sets = ParameterSets::default();
        sets.learn(SPS);
        sets.learn(PPS);
        if let Some((_, summary)) = &mut sets.sps {
            summary.reorder_depth = None;
        }
        assert_eq!(sets.reorder_depth(), 0);
        let mut unit = UnitBuilder::new(7, 0);
        unit.push(&[0x01, 0b1010_0000, 1], &mut sets).unwrap();
        unit.finish(&mut sets).unwrap();
        assert!(sets.reorder_depth() > 0);
        assert!(matches!(sets.parameters(), Some(CodecParameters::H264 { has_b_frames: true, .. })));
    }

    #[test]
    fn a_unit_is_bounded_in_bytes_and_in_nal_units() {
        let mut sets = ParameterSets::default();
        let mut unit = UnitBuilder::new(7, 0);
        let big = vec![0x41; MAX_UNIT_BYTES / 2];
        unit.push(&big, &mut sets).unwrap();
        assert_eq!(unit.push(&big, &mut sets), Err(TooLarge));
        let mut unit = UnitBuilder::new(7, 0);
        let pushed = (0..10_000).take_while(|_| unit.push(&[0x41, 0x9a], &mut sets).is_ok()).count();
        assert_eq!(pushed, MAX_NALS);
    }
}
