//! What H.264 and H.265 have in common: NAL units that carry slices, parameter sets and side information. The
//! depacketiser and the builder of access units are written once, over this.

use std::fmt::Debug;

use bytes::Bytes;

use crate::media::CodecParameters;

/// A codec made of NAL units, and how RTP carries them.
pub trait NalFormat: Clone + Debug + Default + 'static {
    /// What its sequence parameter set says.
    type Sps: Clone + Debug;
    /// Octets of a NAL unit header.
    const HEADER: usize;
    /// Whether pictures need a video parameter set.
    const HAS_VPS: bool;

    /// What a NAL unit, header included, is for. Of one that is cut off, its header is enough.
    fn role(nal: &[u8]) -> Role;

    /// Reads the beginning of a slice, header included; None for anything else. 24 octets are enough.
    fn slice(nal: &[u8]) -> Option<Slice>;

    /// What an RTP payload, which is not empty, holds. None when it is of a mode that nobody negotiated, or no payload
    /// of this codec at all.
    fn payload(payload: &[u8]) -> Option<Payload<'_>>;

    /// Reads an SPS NAL unit, header included.
    fn read_sps(nal: &[u8]) -> Option<Self::Sps>;

    /// The id of a picture parameter set.
    fn pps_id(nal: &[u8]) -> Option<u32>;

    /// How many pictures may be out of order between decoding and output.
    fn reorder_depth(sps: &Self::Sps, b_slices_seen: bool) -> u32;

    fn parameters(
        vps: Option<&Bytes>,
        sps: (&Bytes, &Self::Sps),
        pps: &Bytes,
        has_b_frames: bool,
    ) -> Option<CodecParameters>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Part of a coded picture.
    Picture(Picture),
    Vps,
    Sps,
    Pps,
    /// SEI, end of sequence and the like: carried along.
    Side,
    /// Begins an access unit; not carried.
    Delimiter,
    /// Filler, and what decoders have to ignore: not carried.
    LeftOut,
    /// No NAL unit.
    Invalid,
}

/// How a picture stands to others in decoding order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Decoding may start here.
    RandomAccess,
    /// Follows a random access point and refers to what was before it (H.265 RASL): can't be decoded where decoding
    /// started there.
    Leaning,
    Other,
}

/// The first fields of a slice header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The first of its picture.
    pub is_first: bool,
    pub is_b: bool,
}

/// What an RTP payload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    Single(&'a [u8]),
    /// NAL units, each behind its size in two octets.
    Aggregate(&'a [u8]),
    Fragment {
        /// The NAL unit's header, put together; the first `NalFormat::HEADER` octets count.
        header: [u8; 2],
        starts: bool,
        ends: bool,
        part: &'a [u8],
    },
}
