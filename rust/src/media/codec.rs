//! Which codecs the hub carries.

/// A codec that the hub carries. No `match` on it has a `_` arm, so that the compiler names every place a new one touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// ITU-T H.264.
    H264,
    /// ITU-T H.265.
    H265,
    /// MPEG-4 AAC (ISO 14496-3), carried as RFC 3640 AAC-hbr.
    Aac,
    /// G.711 A-law.
    Pcma,
    /// G.711 µ-law.
    Pcmu,
    /// Opus (RFC 6716), carried as RFC 7587.
    Opus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Video,
    Audio,
}

impl Codec {
    pub const fn kind(self) -> MediaKind {
        match self {
            Self::H264 | Self::H265 => MediaKind::Video,
            Self::Aac | Self::Pcma | Self::Pcmu | Self::Opus => MediaKind::Audio,
        }
    }

    /// The word used in the API, metrics and the console.
    pub const fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Aac => "aac",
            Self::Pcma => "pcma",
            Self::Pcmu => "pcmu",
            Self::Opus => "opus",
        }
    }
}
