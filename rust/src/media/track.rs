//! What a stream consists of: its tracks and their parameters.

use bytes::Bytes;

use super::{Codec, MediaKind};

/// Which of a camera's streams: its main or its sub stream (主/子码流).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    Main,
    Sub,
}

/// One track of a stream. Tracks are numbered by their place in the stream's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    pub codec: Codec,
    /// Ticks a second of the RTP clock; 90,000 for video.
    pub clock_rate_hz: u32,
    pub parameters: CodecParameters,
}

impl CodecParameters {
    /// Width and height in pixels, and whether pictures are sent in another order than they are shown; None for sound.
    pub fn picture(&self) -> Option<(u32, u32, bool)> {
        match *self {
            Self::H264 { width, height, has_b_frames, .. } | Self::H265 { width, height, has_b_frames, .. } => {
                Some((width, height, has_b_frames))
            }
            Self::Aac { .. } | Self::G711 { .. } | Self::Opus { .. } => None,
        }
    }
}

impl Track {
    pub fn kind(&self) -> MediaKind {
        self.codec.kind()
    }
}

/// What a decoder must know before the first access unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodecParameters {
    /// Parameter sets without start codes, and what the SPS says (ITU-T H.264 §7.3.2.1).
    H264 {
        sps: Bytes,
        pps: Bytes,
        width: u32,
        height: u32,
        has_b_frames: bool,
    },
    /// Parameter sets without start codes, and what the SPS says (ITU-T H.265 §7.3.2).
    H265 {
        vps: Bytes,
        sps: Bytes,
        pps: Bytes,
        width: u32,
        height: u32,
        has_b_frames: bool,
    },
    /// AudioSpecificConfig (ISO 14496-3 §1.6.2.1) and the channel count it states.
    Aac {
        config: Bytes,
        channels: u8,
    },
    G711 {
        channels: u8,
    },
    /// The clock is 48 kHz whatever was sampled (RFC 7587 §4.1).
    Opus {
        channels: u8,
    },
}
