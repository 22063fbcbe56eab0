//! An access unit with its wire forms, each derived once and shared by all sinks.

use std::sync::Arc;

use bytes::Bytes;

use crate::media::AccessUnit;

/// One RTP packet's variable part (RFC 3550 §5.1). Payload at most 1,200 octets, shared by every viewer.
#[derive(Clone, Debug)]
pub struct RtpPacket {
    pub marker: bool,
    /// Low 16 bits go on the wire; counts from 0 at the start of the stream, per track.
    pub sequence: u64,
    pub payload: Arc<[u8]>,
}

/// One access unit on its way to the viewers.
pub struct WireUnit {
    /// Counts every unit of the stream, all tracks together, without gaps.
    pub index: u64,
    /// Changes when the tracks or their parameters change: a sink that can't follow ends.
    pub generation: u32,
    pub unit: AccessUnit,
}

impl WireUnit {
    /// RTP packets of this unit, derived on first use (H.264: RFC 6184 mode 1; AAC: RFC 3640; G.711: RFC 3551).
    pub fn packets(&self) -> &[RtpPacket] {
        unimplemented!()
    }

    /// The same packets framed for RTSP interleaved transport (RFC 2326 §10.12), one contiguous buffer:
    /// RTP of track n goes on channel 2n; SSRC from the stream's description.
    pub fn interleaved(&self) -> &Bytes {
        unimplemented!()
    }
}
