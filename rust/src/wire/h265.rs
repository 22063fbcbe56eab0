//! H.265 NAL units (ITU-T H.265): their kinds, what a sequence parameter set says, where slices begin, RTP payloads
//! (RFC 7798 without DONL).

use bytes::Bytes;

use super::bits::Bits;
use super::nal::{NalFormat, Payload, Picture, Role, Slice};
use crate::media::CodecParameters;

/// Two octets: F, type, layer id, temporal id plus one (§7.3.1.2).
const HEADER: usize = 2;
/// Aggregation packet and fragmentation unit (RFC 7798 §4.4.2, §4.4.3).
const AGGREGATE: u8 = 48;
const FRAGMENT: u8 = 49;
/// `MaxDpbSize` never exceeds it (§A.4.2).
const MAX_REORDER_DEPTH: u32 = 16;
/// Beyond the greatest width and height of the highest level (§A.4.1, level 6.2).
const MAX_SIDE: u32 = 16_888;

/// ITU-T H.265 as a format of NAL units.
#[derive(Clone, Copy, Debug, Default)]
pub struct H265;

/// What a sequence parameter set says: the picture, and what `hvcC` repeats of it (ISO 14496-15 §8.3.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpsSummary {
    pub width: u32,
    pub height: u32,
    /// Pictures that may precede another in decoding order and follow it in output order: `sps_max_num_reorder_pics` of
    /// all temporal layers.
    pub reorder_depth: u32,
    pub profile: Profile,
    /// 0 grey, 1 4:2:0, 2 4:2:2, 3 4:4:4.
    pub chroma_format: u8,
    /// Of brightness and of colour.
    pub bit_depths: (u8, u8),
    /// Temporal layers, 1 to 7, and whether each picture may switch up (`sps_temporal_id_nesting_flag`).
    pub temporal_layers: u8,
    pub is_temporally_nested: bool,
}

/// The general part of `profile_tier_level` (§7.3.3), as it stands in the SPS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    pub space: u8,
    pub is_high_tier: bool,
    pub idc: u8,
    /// First flag in the highest bit.
    pub compatibility: u32,
    pub constraints: [u8; 6],
    /// 30 times the level.
    pub level_idc: u8,
}

impl SpsSummary {
    /// Reads an SPS NAL unit of the base layer, header included. None when it is none.
    pub fn read(nal: &[u8]) -> Option<Self> {
        if H265::role(nal) != Role::Sps {
            return None;
        }
        // 128 octets hold the fields up to the picture orders with seven temporal layers.
        let mut bits = Bits::<128>::new(nal.get(HEADER..)?);
        bits.skip(4)?;
        let max_sub_layers = bits.bits(3).filter(|count| *count < 7)?;
        let is_temporally_nested = bits.flag()?;
        let profile = Profile::read(&mut bits, max_sub_layers)?;
        bits.exp_golomb().filter(|id| *id < 16)?;
        let chroma_format = bits.exp_golomb().filter(|format| *format <= 3)?;
        if chroma_format == 3 {
            bits.skip(1)?;
        }
        let mut side = || bits.exp_golomb().filter(|side| (1..=MAX_SIDE).contains(side));
        let (mut width, mut height) = (side()?, side()?);
        if bits.flag()? {
            // Table 6-1: the window counts in units of colour samples.
            let (wide, high) = match chroma_format {
                1 => (2, 2),
                2 => (2, 1),
                _ => (1, 1),
            };
            let mut cut = |length: u32, unit: u64| -> Option<u32> {
                let edges = u64::from(bits.exp_golomb()?) + u64::from(bits.exp_golomb()?);
                length.checked_sub(u32::try_from(edges * unit).ok()?).filter(|rest| *rest > 0)
            };
            width = cut(width, wide)?;
            height = cut(height, high)?;
        }
        let mut depth = || bits.exp_golomb().filter(|depth| *depth <= 8).map(|depth| 8 + depth as u8);
        let bit_depths = (depth()?, depth()?);
        bits.exp_golomb().filter(|length| *length <= 12)?;
        let orders = if bits.flag()? { max_sub_layers + 1 } else { 1 };
        let mut reorder_depth = 0;
        for _ in 0..orders {
            bits.exp_golomb()?;
            reorder_depth = bits.exp_golomb()?.min(MAX_REORDER_DEPTH);
            bits.exp_golomb()?;
        }
        Some(Self {
            width,
            height,
            reorder_depth,
            profile,
            chroma_format: chroma_format as u8,
            bit_depths,
            temporal_layers: max_sub_layers as u8 + 1,
            is_temporally_nested,
        })
    }
}

impl Profile {
    fn read(bits: &mut Bits<128>, max_sub_layers: u32) -> Option<Self> {
        let space = bits.bits(2)? as u8;
        let is_high_tier = bits.flag()?;
        let idc = bits.bits(5)? as u8;
        let compatibility = bits.bits(32)?;
        let mut constraints = [0; 6];
        for octet in &mut constraints {
            *octet = bits.bits(8)? as u8;
        }
        let level_idc = bits.bits(8)? as u8;
        let mut skipped = 0;
        for _ in 0..max_sub_layers {
            skipped += if bits.flag()? { 88 } else { 0 };
            skipped += if bits.flag()? { 8 } else { 0 };
        }
        if max_sub_layers > 0 {
            skipped += 2 * (8 - max_sub_layers as usize);
        }
        bits.skip(skipped)?;
        Some(Self { space, is_high_tier, idc, compatibility, constraints, level_idc })
    }
}

impl NalFormat for H265 {
    type Sps = SpsSummary;
    const HEADER: usize = HEADER;
    const HAS_VPS: bool = true;

    /// Tables 7-1 and F.1. Layers above the base are left out: nobody whom we serve decodes them.
    fn role(nal: &[u8]) -> Role {
        let &[first, second, ..] = nal else { return Role::Invalid };
        let (kind, layer, temporal) = (first >> 1, (first & 1) << 5 | second >> 3, second & 7);
        if first & 0x80 != 0 || temporal == 0 {
            return Role::Invalid;
        }
        match kind {
            48.. => Role::Invalid,
            _ if layer > 0 => Role::LeftOut,
            8 | 9 => Role::Picture(Picture::Leaning),
            0..=7 => Role::Picture(Picture::Other),
            // BLA, IDR, CRA.
            16..=21 => Role::Picture(Picture::RandomAccess),
            32 => Role::Vps,
            33 => Role::Sps,
            34 => Role::Pps,
            35 => Role::Delimiter,
            // End of sequence, end of bitstream, SEI.
            36 | 37 | 39 | 40 => Role::Side,
            // Reserved, and filler.
            10..=15 | 22..=31 | 38 | 41..=47 => Role::LeftOut,
        }
    }

    fn slice(nal: &[u8]) -> Option<Slice> {
        if !matches!(Self::role(nal), Role::Picture(_)) {
            return None;
        }
        // `first_slice_segment_in_pic_flag` (§7.3.6.1). Whether B slices come the SPS has told.
        nal.get(HEADER).map(|octet| Slice { is_first: octet & 0x80 != 0, is_b: false })
    }

    fn payload(payload: &[u8]) -> Option<Payload<'_>> {
        let (&[first, second], rest) = payload.split_first_chunk::<HEADER>()?;
        if first & 0x80 != 0 {
            return None;
        }
        match first >> 1 {
            0..AGGREGATE => Some(Payload::Single(payload)),
            AGGREGATE => Some(Payload::Aggregate(rest)),
            FRAGMENT => {
                let (fragment, part) = rest.split_first()?;
                let header = [first & 1 | (fragment & 0x3f) << 1, second];
                Some(Payload::Fragment { header, starts: fragment & 0x80 != 0, ends: fragment & 0x40 != 0, part })
            }
            // PACI (RFC 7798 §4.4.4) and what is not assigned.
            _ => None,
        }
    }

    fn read_sps(nal: &[u8]) -> Option<SpsSummary> {
        SpsSummary::read(nal)
    }

    fn pps_id(nal: &[u8]) -> Option<u32> {
        Bits::<16>::new(nal.get(HEADER..)?).exp_golomb().filter(|id| *id < 64)
    }

    fn reorder_depth(sps: &SpsSummary, _b_slices_seen: bool) -> u32 {
        sps.reorder_depth
    }

    fn parameters(
        vps: Option<&Bytes>,
        (sps, summary): (&Bytes, &SpsSummary),
        pps: &Bytes,
        has_b_frames: bool,
    ) -> Option<CodecParameters> {
        Some(CodecParameters::H265 {
            vps: vps?.clone(),
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
    /// 640×360, Main, level 2.1, x265 `bframes=0`.
    pub const VPS: &[u8] = &[
        0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
        0x03, 0x00, 0x3f, 0xba, 0x02, 0x40,
    ];
    pub const SPS: &[u8] = &[
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3f,
        0xa0, 0x05, 0x02, 0x01, 0x71, 0xf2, 0xe5, 0xba, 0x4a, 0x4c, 0x2f, 0x01, 0x68, 0x08, 0x00, 0x00, 0x03, 0x00,
        0x08, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x40,
    ];
    pub const PPS: &[u8] = &[0x44, 0x01, 0xc0, 0x73, 0xc1, 0x89];
    /// 1920×1080 out of 1920×1088, Main 10, level 4, x265 `bframes=3`.
    pub const SPS_1080P_10_BIT: &[u8] = &[
        0x42, 0x01, 0x01, 0x02, 0x20, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x78,
        0xa0, 0x03, 0xc0, 0x80, 0x11, 0x07, 0xca, 0xd9, 0x65, 0x65, 0x4a, 0x4c, 0x2f, 0x01, 0x68, 0x08, 0x00, 0x00,
        0x03, 0x00, 0x08, 0x00, 0x00, 0x03, 0x00, 0xc8, 0x40,
    ];
    /// 320×240 in two temporal layers, x265 `bframes=3:temporal-layers=1`.
    pub const SPS_TWO_LAYERS: &[u8] = &[
        0x42, 0x01, 0x02, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3c,
        0x00, 0x00, 0xa0, 0x0a, 0x08, 0x0f, 0x16, 0x59, 0x59, 0x4a, 0xca, 0x94, 0x98, 0x5e, 0x02, 0xd0, 0x10, 0x00,
        0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03, 0x01, 0x90, 0x80,
    ];
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_sps_tells_size_order_and_profile() {
        let sps = SpsSummary::read(samples::SPS).unwrap();
        assert_eq!((sps.width, sps.height, sps.reorder_depth), (640, 360, 0));
        let main = Profile {
            space: 0,
            is_high_tier: false,
            idc: 1,
            compatibility: 0x6000_0000,
            constraints: [0x90, 0, 0, 0, 0, 0],
            level_idc: 63,
        };
        assert_eq!(sps.profile, main);
        assert_eq!((sps.chroma_format, sps.bit_depths, sps.temporal_layers), (1, (8, 8), 1));
        assert!(sps.is_temporally_nested);
        let sps = SpsSummary::read(samples::SPS_1080P_10_BIT).unwrap();
        assert_eq!((sps.width, sps.height, sps.reorder_depth, sps.bit_depths), (1920, 1080, 2, (10, 10)));
        assert_eq!((sps.profile.idc, sps.profile.level_idc), (2, 120));
        let sps = SpsSummary::read(samples::SPS_TWO_LAYERS).unwrap();
        assert_eq!((sps.width, sps.height, sps.temporal_layers), (320, 240, 2));
        assert!(sps.reorder_depth > 0 && !sps.is_temporally_nested);
    }

    #[test]
    fn what_is_no_sps_is_not_read() {
        assert_eq!(SpsSummary::read(samples::PPS), None);
        assert_eq!(SpsSummary::read(samples::SPS.get(..20).unwrap_or_default()), None);
        let mut upper_layer = samples::SPS.to_vec();
        upper_layer[1] = 0x09;
        assert_eq!(SpsSummary::read(&upper_layer), None);
    }

    #[test]
    fn kinds_are_told_apart() {
        let role = |kind: u8| H265::role(&[kind << 1, 1, 0x80]);
        for kind in 16..=21 {
            assert_eq!(role(kind), Role::Picture(Picture::RandomAccess));
        }
        assert_eq!((role(1), role(8)), (Role::Picture(Picture::Other), Role::Picture(Picture::Leaning)));
        assert_eq!((role(35), role(39), role(38)), (Role::Delimiter, Role::Side, Role::LeftOut));
        assert_eq!((role(48), role(63)), (Role::Invalid, Role::Invalid));
        assert_eq!(H265::role(&[1 << 1, 0]), Role::Invalid, "a temporal id of -1");
        assert_eq!(H265::role(&[1 << 1, 9]), Role::LeftOut, "another layer");
        assert_eq!(H265::slice(&[19 << 1, 1, 0xaf]), Some(Slice { is_first: true, is_b: false }));
        assert_eq!(H265::slice(&[1 << 1, 1, 0x20]).map(|slice| slice.is_first), Some(false));
        assert_eq!(H265::slice(samples::PPS), None);
    }

    #[test]
    fn payloads_that_nobody_negotiated_are_refused() {
        assert_eq!(H265::payload(&[50 << 1, 1, 0, 0, 0]), None, "PACI");
        assert_eq!(H265::payload(&[0x82, 1, 0]), None, "forbidden bit");
        assert_eq!(H265::payload(&[2]), None);
        let part = Payload::Fragment { header: [19 << 1, 1], starts: true, ends: false, part: &[7] };
        assert_eq!(H265::payload(&[49 << 1, 1, 0x80 | 19, 7]), Some(part));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let sps = [samples::SPS.get(..2).unwrap_or_default(), &data].concat();
            if let Some(sps) = SpsSummary::read(&sps) {
                prop_assert!(sps.width > 0 && sps.width <= MAX_SIDE && sps.height > 0 && sps.height <= MAX_SIDE);
            }
            let _ = (H265::role(&data), H265::slice(&data), H265::payload(&data), H265::pps_id(&data));
        }

        /// One bit wrong in a real set: read or refused, never a panic.
        #[test]
        fn a_damaged_sps_is_read_or_refused(place in 16..SPS_BITS) {
            let mut sps = samples::SPS.to_vec();
            sps[place / 8] ^= 1 << (place % 8);
            let _ = SpsSummary::read(&sps);
        }
    }

    const SPS_BITS: usize = samples::SPS.len() * 8;
}
