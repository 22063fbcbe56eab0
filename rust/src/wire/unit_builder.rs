//! Putting NAL units together to one access unit in Annex B, with the parameter sets that a keyframe needs.

use std::marker::PhantomData;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::annex_b::{START_CODE, find_start_code, trim_zeros};
use super::nal::{NalFormat, Picture, Role};
use super::parameter_sets::ParameterSets;

/// More than any picture of a camera: 8K intra at the highest quality stays below.
pub const MAX_UNIT_BYTES: usize = 8 << 20;
/// Slices and side information of one access unit.
const MAX_NALS: usize = 512;

/// A complete access unit, not yet on the stream's timeline.
#[derive(Clone, Debug)]
pub struct PictureUnit {
    /// RTP timestamp, 90 kHz.
    pub timestamp: u32,
    /// A random access point with its parameter sets in front.
    pub keyframe: bool,
    /// Refers to what was before the last keyframe (`Picture::Leaning`).
    pub is_leaning: bool,
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
pub struct UnitBuilder<F> {
    pub timestamp: u32,
    data: BytesMut,
    nals: SmallVec<[Range<u32>; 8]>,
    /// Where the NAL unit that comes in fragments begins.
    fragment: Option<usize>,
    has_picture: bool,
    has_random_access: bool,
    is_leaning: bool,
    has_vps: bool,
    has_sps: bool,
    has_pps: bool,
    has_b: bool,
    /// Whether the first slice is the first of a picture.
    begins_picture: Option<bool>,
    /// The camera passes off several NAL units as one, pictures among them: those are looked through as well. Others' are
    /// not, which would cost a look at every octet.
    pub packs_many: bool,
    format: PhantomData<F>,
}

impl<F: NalFormat> UnitBuilder<F> {
    pub fn new(timestamp: u32, capacity: usize) -> Self {
        Self {
            timestamp,
            data: BytesMut::with_capacity(capacity),
            nals: SmallVec::new(),
            fragment: None,
            has_picture: false,
            has_random_access: false,
            is_leaning: false,
            has_vps: false,
            has_sps: false,
            has_pps: false,
            has_b: false,
            begins_picture: None,
            packs_many: false,
            format: PhantomData,
        }
    }

    pub fn has_picture(&self) -> bool {
        self.has_picture
    }

    pub fn in_fragment(&self) -> bool {
        self.fragment.is_some()
    }

    /// Whether its first slice is the first of a picture; None before there is one.
    pub fn begins_picture(&self) -> Option<bool> {
        self.begins_picture
    }

    pub fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// Adds a whole NAL unit.
    pub fn push(&mut self, nal: &[u8], sets: &mut ParameterSets<F>) -> Result<(), TooLarge> {
        if self.holds_many(nal) { self.push_many(nal, sets) } else { self.push_one(nal, sets) }
    }

    /// Some cameras pass off a whole byte stream, "SPS 00 00 00 01 PPS 00 00 00 01 IDR …", as one NAL unit, in one packet or
    /// in fragments. No NAL unit may hold a start code (H.264 §7.4.1, H.265 §7.4.2), so cutting there is safe.
    fn holds_many(&self, nal: &[u8]) -> bool {
        (self.packs_many || matches!(F::role(nal), Role::Vps | Role::Sps | Role::Pps | Role::Side | Role::Delimiter))
            && find_start_code(nal, 0).is_some()
    }

    fn push_many(&mut self, mut rest: &[u8], sets: &mut ParameterSets<F>) -> Result<(), TooLarge> {
        while let Some(cut) = find_start_code(rest, 0) {
            self.push_part(trim_zeros(rest.get(..cut).unwrap_or_default()), sets)?;
            rest = rest.get(cut + 3..).unwrap_or_default();
        }
        self.push_part(rest, sets)
    }

    fn push_part(&mut self, nal: &[u8], sets: &mut ParameterSets<F>) -> Result<(), TooLarge> {
        self.packs_many |= matches!(F::role(nal), Role::Picture(_));
        self.push_one(nal, sets)
    }

    fn push_one(&mut self, nal: &[u8], sets: &mut ParameterSets<F>) -> Result<(), TooLarge> {
        if nal.is_empty() {
            return Ok(());
        }
        let start = self.open(nal.len())?;
        self.data.extend_from_slice(nal);
        self.close(start, sets);
        Ok(())
    }

    /// Begins a NAL unit that comes in fragments.
    pub fn begin_fragment(&mut self, header: &[u8], part: &[u8]) -> Result<(), TooLarge> {
        let start = self.open(header.len() + part.len())?;
        self.data.extend_from_slice(header);
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

    pub fn end_fragment(&mut self, sets: &mut ParameterSets<F>) -> Result<(), TooLarge> {
        let Some(start) = self.fragment.take() else { return Ok(()) };
        if self.holds_many(self.data.get(start..).unwrap_or_default()) {
            let whole = self.data.split_off(start);
            self.data.truncate(start - START_CODE.len());
            return self.push_many(&whole, sets);
        }
        self.close(start, sets);
        Ok(())
    }

    /// Writes a start code; the answer is where the NAL unit begins.
    fn open(&mut self, len: usize) -> Result<usize, TooLarge> {
        if self.data.len() + START_CODE.len() + len > MAX_UNIT_BYTES || self.nals.len() >= MAX_NALS {
            return Err(TooLarge);
        }
        self.data.extend_from_slice(&START_CODE);
        Ok(self.data.len())
    }

    fn close(&mut self, start: usize, sets: &mut ParameterSets<F>) {
        let Some(nal) = self.data.get(start..) else { return };
        let role = F::role(nal);
        match role {
            Role::Vps | Role::Sps | Role::Pps => {
                // Trailing zeros are not part of a NAL unit; they would end up in avcC, hvcC and sprop.
                let end = start + trim_zeros(nal).len();
                self.data.truncate(end);
                let Some(nal) = self.data.get(start..) else { return };
                sets.learn(nal);
                self.has_vps |= role == Role::Vps;
                self.has_sps |= role == Role::Sps;
                self.has_pps |= role == Role::Pps;
            }
            Role::Picture(picture) => {
                self.has_picture = true;
                self.has_random_access |= picture == Picture::RandomAccess;
                self.is_leaning |= picture == Picture::Leaning;
                if let Some(slice) = F::slice(nal) {
                    self.begins_picture.get_or_insert(slice.is_first);
                    self.has_b |= slice.is_b;
                }
            }
            Role::Side => {}
            Role::Delimiter | Role::LeftOut | Role::Invalid => {
                self.data.truncate(start - START_CODE.len());
                return;
            }
        }
        self.nals.push(start as u32..self.data.len() as u32);
    }

    /// The finished unit; None when it holds no picture.
    pub fn finish(self, sets: &mut ParameterSets<F>) -> Option<PictureUnit> {
        if !self.has_picture {
            return None;
        }
        if self.has_b {
            sets.saw_b_slices();
        }
        let (timestamp, is_leaning) = (self.timestamp, self.is_leaning);
        let keyframe = self.has_random_access && sets.is_complete();
        let has_sets = (self.has_vps || !F::HAS_VPS) && self.has_sps && self.has_pps;
        if !keyframe || has_sets {
            return Some(PictureUnit { timestamp, keyframe, is_leaning, data: self.data.freeze(), nals: self.nals });
        }
        let mut complete = Self::new(timestamp, self.data.len() + 256);
        let mut put = |nal: &[u8]| {
            complete.data.extend_from_slice(&START_CODE);
            let start = complete.data.len() as u32;
            complete.data.extend_from_slice(nal);
            complete.nals.push(start..complete.data.len() as u32);
        };
        sets.known().for_each(|set| put(set));
        for range in &self.nals {
            let nal = self.data.get(range.start as usize..range.end as usize).unwrap_or_default();
            if !matches!(F::role(nal), Role::Vps | Role::Sps | Role::Pps) {
                put(nal);
            }
        }
        Some(PictureUnit { timestamp, keyframe, is_leaning, data: complete.data.freeze(), nals: complete.nals })
    }
}

#[cfg(test)]
mod tests {
    use super::super::h264::H264;
    use super::super::h264::samples::{PPS, SPS};
    use super::super::h265::{H265, samples};
    use super::*;

    fn nals(unit: &PictureUnit) -> Vec<&[u8]> {
        unit.nals.iter().map(|range| &unit.data[range.start as usize..range.end as usize]).collect()
    }

    #[test]
    fn a_keyframe_without_parameter_sets_gets_the_learned_ones_in_front() {
        let mut sets = ParameterSets::default();
        sets.learn(SPS);
        sets.learn(PPS);
        let mut unit = UnitBuilder::<H264>::new(7, 0);
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
        let mut unit = UnitBuilder::<H264>::new(7, 0);
        unit.push(&[0x65, 0x88, 1, 2], &mut sets).unwrap();
        assert!(!unit.finish(&mut sets).unwrap().keyframe);
    }

    #[test]
    fn delimiters_and_filler_are_left_out_and_packed_sets_are_cut_apart() {
        let mut sets = ParameterSets::default();
        let mut unit = UnitBuilder::<H264>::new(7, 0);
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
    fn a_byte_stream_that_comes_in_fragments_as_one_nal_unit_is_cut_apart() {
        let mut sets = ParameterSets::<H265>::default();
        let mut unit = UnitBuilder::<H265>::new(7, 0);
        let slices = [&[19 << 1, 1, 0xaf, 9][..], &[19 << 1, 1, 0x2f, 9]];
        let parts = [samples::VPS, samples::SPS, samples::PPS, slices[0], slices[1]];
        let whole = parts.join(&[0, 0, 0, 1][..]);
        let (header, rest) = whole.split_at(2);
        let (first, last) = rest.split_at(samples::VPS.len());
        unit.begin_fragment(header, first).unwrap();
        unit.add_fragment(last).unwrap();
        unit.end_fragment(&mut sets).unwrap();
        assert!(unit.packs_many);
        let unit = unit.finish(&mut sets).unwrap();
        assert!(unit.keyframe);
        assert_eq!(nals(&unit), parts);
        // What the parts are is bounded as ever.
        let mut unit = UnitBuilder::<H264>::new(7, 0);
        unit.begin_fragment(&[9], &[0xf0, 0, 0, 1, 0x41, 0x9a].repeat(MAX_NALS + 1)).unwrap();
        assert_eq!(unit.end_fragment(&mut ParameterSets::default()), Err(TooLarge));
    }

    #[test]
    fn a_packet_of_nothing_but_start_codes_costs_no_stack() {
        let (mut sets, mut unit) = (ParameterSets::default(), UnitBuilder::<H264>::new(7, 0));
        let packed = [9, 0, 0, 1].repeat(400_000);
        std::thread::scope(|scope| {
            let small = std::thread::Builder::new().stack_size(64 << 10);
            small.spawn_scoped(scope, || unit.push(&packed, &mut sets).unwrap()).unwrap();
        });
        assert!(!unit.has_picture());
    }

    #[test]
    fn an_h265_keyframe_gets_all_three_sets_and_leaning_pictures_are_told() {
        let mut sets = ParameterSets::<H265>::default();
        [samples::VPS, samples::SPS, samples::PPS].iter().for_each(|set| sets.learn(set));
        let build = |nals: &[&[u8]], sets: &mut ParameterSets<H265>| {
            let mut unit = UnitBuilder::<H265>::new(7, 0);
            nals.iter().for_each(|nal| unit.push(nal, sets).unwrap());
            unit.finish(sets).unwrap()
        };
        let clean = [21 << 1, 1, 0xaf, 9];
        // An SPS alone is no full set: it is replaced together with the others.
        let unit = build(&[samples::SPS, &[35 << 1, 1, 0x50], &clean], &mut sets);
        assert!(unit.keyframe && !unit.is_leaning);
        assert_eq!(nals(&unit), [samples::VPS, samples::SPS, samples::PPS, &clean]);
        let unit = build(&[&[8 << 1, 1, 0xaf, 9]], &mut sets);
        assert!(!unit.keyframe && unit.is_leaning);
    }

    #[test]
    fn a_unit_is_bounded_in_bytes_and_in_nal_units() {
        let mut sets = ParameterSets::default();
        let mut unit = UnitBuilder::<H264>::new(7, 0);
        let big = vec![0x41; MAX_UNIT_BYTES / 2];
        unit.push(&big, &mut sets).unwrap();
        assert_eq!(unit.push(&big, &mut sets), Err(TooLarge));
        let mut unit = UnitBuilder::<H264>::new(7, 0);
        let pushed = (0..10_000).take_while(|_| unit.push(&[0x41, 0x9a], &mut sets).is_ok()).count();
        assert_eq!(pushed, MAX_NALS);
    }
}
