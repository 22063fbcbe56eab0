//! H.264 NAL units (ITU-T H.264): their kinds, what a sequence parameter set says, where slices begin, Annex B.

use std::ops::Range;

use bytes::Bytes;
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::nal::{Nal, RefNal};

/// `nal_unit_type` (ITU-T H.264 Table 7-1), as far as we tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalKind {
    Slice,
    /// Data partitions A to C: parts of slices (extended profile).
    Partition,
    Idr,
    Sei,
    Sps,
    Pps,
    AccessUnitDelimiter,
    /// End of sequence, filler, extensions: carried along.
    Other,
    /// No single NAL unit: types 0 and 24 to 31, or the forbidden bit is set.
    Invalid,
}

impl NalKind {
    pub fn of(header: u8) -> Self {
        if header & 0x80 != 0 {
            return Self::Invalid;
        }
        match header & 0x1f {
            1 => Self::Slice,
            2..=4 => Self::Partition,
            5 => Self::Idr,
            6 => Self::Sei,
            7 => Self::Sps,
            8 => Self::Pps,
            9 => Self::AccessUnitDelimiter,
            10..=23 => Self::Other,
            _ => Self::Invalid,
        }
    }

    /// Part of a coded picture.
    pub fn is_picture(self) -> bool {
        matches!(self, Self::Slice | Self::Partition | Self::Idr)
    }
}

/// What a sequence parameter set says of the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpsSummary {
    pub width: u32,
    pub height: u32,
    /// Pictures that may precede another in decoding order and follow it in output order. None: the SPS does not
    /// say, and only the slices tell.
    pub reorder_depth: Option<u32>,
    /// What to take for `reorder_depth` once B slices have been seen.
    pub assumed_depth: u32,
}

/// Reads an SPS NAL unit, header included. None when it is none.
pub fn read_sps(nal: &[u8]) -> Option<SpsSummary> {
    if nal.first().map(|header| NalKind::of(*header)) != Some(NalKind::Sps) {
        return None;
    }
    let sps = parse_sps(nal).or_else(|| {
        // Cameras understate their level (1080p under level 3.1), and the reader holds picture sizes against it.
        let mut raised = nal.to_vec();
        *raised.get_mut(3)? = HIGHEST_LEVEL_IDC;
        parse_sps(&raised)
    })?;
    let (width, height) = sps.pixel_dimensions().ok()?;
    let restriction = sps.vui_parameters.as_ref().and_then(|vui| vui.bitstream_restrictions.as_ref());
    let reorder_depth = match restriction {
        Some(restriction) => Some(restriction.max_num_reorder_frames.min(MAX_REORDER_DEPTH)),
        // Baseline has no B slices; with picture order count type 2 output order is decoding order (§8.2.1.3).
        None if nal.get(1) == Some(&BASELINE) => Some(0),
        None if matches!(sps.pic_order_cnt, h264_reader::nal::sps::PicOrderCntType::TypeTwo) => Some(0),
        None => None,
    };
    Some(SpsSummary { width, height, reorder_depth, assumed_depth: sps.max_num_ref_frames.clamp(1, 4) })
}

const BASELINE: u8 = 66;
const HIGHEST_LEVEL_IDC: u8 = 62;
/// `MaxDpbFrames` never exceeds it (ITU-T H.264 §A.3.1).
const MAX_REORDER_DEPTH: u32 = 16;

fn parse_sps(nal: &[u8]) -> Option<SeqParameterSet> {
    SeqParameterSet::from_bits(RefNal::new(nal, &[], true).rbsp_bits()).ok()
}

/// The first fields of a slice header (ITU-T H.264 §7.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceStart {
    pub first_macroblock: u32,
    pub is_b: bool,
}

impl SliceStart {
    /// Reads from the beginning of a slice's NAL unit, header included; the rest may be missing.
    pub fn read(nal: &[u8]) -> Option<Self> {
        let mut bits = Bits::new(nal.get(1..)?);
        let first_macroblock = bits.exp_golomb()?;
        let slice_type = bits.exp_golomb()?;
        (slice_type < 10).then_some(Self { first_macroblock, is_b: slice_type % 5 == 1 })
    }
}

/// The id of a picture parameter set.
pub fn pps_id(nal: &[u8]) -> Option<u32> {
    Bits::new(nal.get(1..)?).exp_golomb().filter(|id| *id < 256)
}

/// Bits of a NAL unit's first bytes, emulation prevention undone.
struct Bits {
    bytes: [u8; 16],
    len: usize,
    at: usize,
}

impl Bits {
    fn new(nal: &[u8]) -> Self {
        let mut bytes = [0; 16];
        let (mut len, mut zeros) = (0, 0);
        for byte in nal.iter().copied() {
            if zeros >= 2 && byte == 3 {
                zeros = 0;
                continue;
            }
            zeros = if byte == 0 { zeros + 1 } else { 0 };
            let Some(place) = bytes.get_mut(len) else { break };
            *place = byte;
            len += 1;
        }
        Self { bytes, len: len * 8, at: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        if self.at >= self.len {
            return None;
        }
        let bit = self.bytes.get(self.at / 8)? >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    /// ue(v), ITU-T H.264 §9.1.
    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let mut rest = 0u32;
        for _ in 0..zeros {
            rest = rest << 1 | self.bit()?;
        }
        Some((1u32 << zeros) - 1 + rest)
    }
}

/// Splits a byte stream (ITU-T H.264 Annex B) into its NAL units' places, start codes and padding zeros excluded.
pub fn split_annex_b(data: &[u8]) -> Vec<Range<usize>> {
    let mut units = Vec::new();
    let mut start = None;
    let mut at = 0;
    while let Some(found) = find_start_code(data, at) {
        if let Some(start) = start {
            push_trimmed(data, start..found, &mut units);
        }
        at = found + 3;
        start = Some(at);
    }
    if let Some(start) = start {
        push_trimmed(data, start..data.len(), &mut units);
    }
    units
}

/// The place of the next 00 00 01.
pub fn find_start_code(data: &[u8], from: usize) -> Option<usize> {
    let rest = data.get(from..)?;
    rest.windows(3).position(|window| window == [0, 0, 1]).map(|place| from + place)
}

fn push_trimmed(data: &[u8], range: Range<usize>, units: &mut Vec<Range<usize>>) {
    let zeros = data[range.clone()].iter().rev().take_while(|byte| **byte == 0).count();
    if range.end - zeros > range.start {
        units.push(range.start..range.end - zeros);
    }
}

/// Parameter sets of `sprop-parameter-sets` (RFC 6184 §8.1): Base64 NAL units with commas between. What can't be read is left out.
pub fn parameter_sets(sprop: &str) -> Vec<Bytes> {
    use base64::Engine;
    use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
    use base64::engine::{DecodePaddingMode, general_purpose::STANDARD};

    // Cameras leave the padding away.
    let lenient = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    sprop
        .split(',')
        .take(8)
        .filter_map(|set| STANDARD.decode(set.trim()).or_else(|_| lenient.decode(set.trim())).ok())
        // A start code in front is a quirk of some encoders.
        .map(|set| match split_annex_b(&set).first() {
            Some(range) if set.starts_with(&[0, 0]) => Bytes::copy_from_slice(&set[range.clone()]),
            _ => Bytes::from(set),
        })
        .filter(|set| !set.is_empty())
        .collect()
}

#[cfg(test)]
pub(crate) mod samples {
    /// 640×360, High, x264 `tune=zerolatency`: reorder depth 0 stated.
    pub const SPS: &[u8] = &[
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xb2, 0x01, 0x40, 0x5f, 0xf2, 0xe0, 0x22, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00,
        0x00, 0x03, 0x00, 0x65, 0x1e, 0x2c, 0x5c, 0x90,
    ];
    pub const PPS: &[u8] = &[0x68, 0xeb, 0xc3, 0xcb, 0x22, 0xc0];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_sps_says_the_size_and_the_reorder_depth() {
        let summary = read_sps(samples::SPS).unwrap();
        assert_eq!((summary.width, summary.height), (640, 360));
        assert!(read_sps(samples::PPS).is_none());
        assert!(read_sps(&samples::SPS[..5]).is_none());
        assert!(read_sps(&[]).is_none());
    }

    #[test]
    fn an_sps_that_understates_its_level_is_read_all_the_same() {
        let mut sps = samples::SPS.to_vec();
        sps[3] = 10;
        assert_eq!(read_sps(&sps).map(|sps| (sps.width, sps.height)), Some((640, 360)));
    }

    #[test]
    fn slices_tell_where_they_begin_and_whether_they_are_b() {
        // first_mb 0 (1), slice_type 7 (0001000): an IDR slice of x264.
        assert_eq!(SliceStart::read(&[0x65, 0x88]), Some(SliceStart { first_macroblock: 0, is_b: false }));
        // first_mb 0 (1), slice_type 1 (010).
        assert_eq!(SliceStart::read(&[0x01, 0b1010_0000]), Some(SliceStart { first_macroblock: 0, is_b: true }));
        // first_mb 2 (011), slice_type 0 (1).
        assert_eq!(SliceStart::read(&[0x41, 0b0111_0000]), Some(SliceStart { first_macroblock: 2, is_b: false }));
        assert_eq!(SliceStart::read(&[0x65]), None);
        assert_eq!(SliceStart::read(&[]), None);
    }

    #[test]
    fn annex_b_is_split_at_either_start_code() {
        let data = [0, 0, 0, 1, 9, 16, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 0, 1, 0x68, 3];
        let units: Vec<&[u8]> = split_annex_b(&data).into_iter().map(|range| &data[range]).collect();
        assert_eq!(units, [&[9u8, 16][..], &[0x67, 1, 2], &[0x68, 3]]);
        assert!(split_annex_b(&[1, 2, 3]).is_empty());
    }

    #[test]
    fn sprop_is_read_with_and_without_padding_and_start_codes() {
        assert_eq!(
            parameter_sets("Z2QAHg==,aOvDyyLA"),
            [Bytes::from_static(&[0x67, 0x64, 0, 0x1e]), Bytes::from_static(samples::PPS)]
        );
        assert_eq!(parameter_sets("Z2QAHg, aOvDyyLA").len(), 2);
        assert_eq!(parameter_sets("AAAAAWjrw8siwA=="), [Bytes::from_static(samples::PPS)]);
        assert!(parameter_sets("***").is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(data in prop::collection::vec(any::<u8>(), 0..200), head in 0u8..=255) {
            let _ = read_sps(&data);
            let mut sps = data.clone();
            sps.insert(0, 0x67);
            let _ = read_sps(&sps);
            let _ = SliceStart::read(&data);
            let _ = pps_id(&data);
            let _ = NalKind::of(head);
            for range in split_annex_b(&data) {
                prop_assert!(range.start < range.end && range.end <= data.len());
            }
        }

        #[test]
        fn no_text_makes_sprop_panic(text in ".{0,200}") {
            let _ = parameter_sets(&text);
        }
    }
}
