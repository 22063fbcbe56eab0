//! H.264 NAL units (ITU-T H.264): their kinds, what a sequence parameter set says, where slices begin, RTP payloads
//! (RFC 6184: single NAL units, STAP-A, FU-A).

use bytes::Bytes;
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::nal::{Nal, RefNal};

use super::bits::Bits;
use super::nal::{NalFormat, Payload, Picture, Role, Slice};
use crate::media::CodecParameters;

const SINGLE_TIME_AGGREGATION: u8 = 24;
const FRAGMENTATION: u8 = 28;
const FILLER: u8 = 12;

/// ITU-T H.264 as a format of NAL units.
#[derive(Clone, Copy, Debug, Default)]
pub struct H264;

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
        let mut bits = Bits::<16>::new(nal.get(1..)?);
        let first_macroblock = bits.exp_golomb()?;
        let slice_type = bits.exp_golomb()?;
        (slice_type < 10).then_some(Self { first_macroblock, is_b: slice_type % 5 == 1 })
    }
}

impl NalFormat for H264 {
    type Sps = SpsSummary;
    const HEADER: usize = 1;
    const HAS_VPS: bool = false;

    fn role(nal: &[u8]) -> Role {
        match nal.first().map_or(NalKind::Invalid, |header| NalKind::of(*header)) {
            NalKind::Idr => Role::Picture(Picture::RandomAccess),
            NalKind::Slice | NalKind::Partition => Role::Picture(Picture::Other),
            NalKind::Sps => Role::Sps,
            NalKind::Pps => Role::Pps,
            NalKind::AccessUnitDelimiter => Role::Delimiter,
            NalKind::Other if nal.first().is_some_and(|header| header & 0x1f == FILLER) => Role::LeftOut,
            NalKind::Sei | NalKind::Other => Role::Side,
            NalKind::Invalid => Role::Invalid,
        }
    }

    fn slice(nal: &[u8]) -> Option<Slice> {
        match NalKind::of(*nal.first()?) {
            NalKind::Slice | NalKind::Idr => {
                SliceStart::read(nal).map(|slice| Slice { is_first: slice.first_macroblock == 0, is_b: slice.is_b })
            }
            _ => None,
        }
    }

    fn payload(payload: &[u8]) -> Option<Payload<'_>> {
        let (header, rest) = payload.split_first()?;
        if header & 0x80 != 0 {
            return None;
        }
        match header & 0x1f {
            1..=23 => Some(Payload::Single(payload)),
            SINGLE_TIME_AGGREGATION => Some(Payload::Aggregate(rest)),
            FRAGMENTATION => {
                let (fragment, part) = rest.split_first()?;
                let header = [header & 0xe0 | fragment & 0x1f, 0];
                Some(Payload::Fragment { header, starts: fragment & 0x80 != 0, ends: fragment & 0x40 != 0, part })
            }
            // Modes that nobody negotiated, or no RFC 6184 at all.
            _ => None,
        }
    }

    fn read_sps(nal: &[u8]) -> Option<SpsSummary> {
        read_sps(nal)
    }

    fn pps_id(nal: &[u8]) -> Option<u32> {
        Bits::<16>::new(nal.get(1..)?).exp_golomb().filter(|id| *id < 256)
    }

    fn reorder_depth(sps: &SpsSummary, b_slices_seen: bool) -> u32 {
        sps.reorder_depth.unwrap_or(if b_slices_seen { sps.assumed_depth } else { 0 })
    }

    fn parameters(
        _vps: Option<&Bytes>,
        (sps, summary): (&Bytes, &SpsSummary),
        pps: &Bytes,
        has_b_frames: bool,
    ) -> Option<CodecParameters> {
        Some(CodecParameters::H264 {
            sps: sps.clone(),
            pps: pps.clone(),
            width: summary.width,
            height: summary.height,
            has_b_frames,
        })
    }
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

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(data in prop::collection::vec(any::<u8>(), 0..200), head in 0u8..=255) {
            let _ = read_sps(&data);
            let mut sps = data.clone();
            sps.insert(0, 0x67);
            let _ = read_sps(&sps);
            let _ = SliceStart::read(&data);
            let _ = (H264::pps_id(&data), H264::role(&data), H264::slice(&data), H264::payload(&data));
            let _ = NalKind::of(head);
        }
    }
}
