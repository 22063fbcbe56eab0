//! Why a camera brings no pictures, in words for people that hold no credentials.

use crate::error::Error;
use crate::stream::SourceState;

/// What to do where pictures come, but nothing that decoding could start from.
pub const NO_KEYFRAME_REMEDY: &str =
    "shorten its keyframe interval, and switch intra refresh and open groups of pictures off";

/// What went wrong with a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// A sentence with the remedy.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It answers, but refuses our login.
    RefusedLogin,
    /// No connection: no such name, no route, refused.
    Unreachable,
    /// It answers that it has no room for us, or cuts the connection, which is how others say so.
    Busy,
    /// Its address lies where this hub does not dial.
    Denied,
    /// Its TLS certificate is not the one that is expected, or there is no TLS.
    Certificate,
    /// Connected, but no answer or no media.
    Silent,
    /// Media, but nothing that decoding could start from.
    NoKeyframe,
    /// It has no picture, or none that the hub carries: sound alone, MJPEG.
    NoPicture,
    /// It answers, but not with a usable stream.
    Invalid,
    /// The hub that was to give it does not, for its own reason.
    Hub(&'static str),
}

impl From<Error> for Failure {
    /// The other hub's media port can't be used.
    fn from(error: Error) -> Self {
        Self::new(FailureKind::Hub(error.reason()), error.message())
    }
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// How a stream shows it.
    pub fn into_state(self) -> SourceState {
        SourceState::Failed { reason: self.kind.reason(), cause: self.kind.probe_reason(), message: self.message }
    }
}

impl FailureKind {
    /// The word that media clients see.
    pub fn reason(self) -> &'static str {
        for_viewers(self.probe_reason())
    }

    /// The word that the catalogue shows, which tells more.
    pub const fn probe_reason(self) -> &'static str {
        match self {
            Self::RefusedLogin => "CAMERA_REFUSED_LOGIN",
            Self::Unreachable | Self::Busy => "CAMERA_UNREACHABLE",
            Self::Denied => "CAMERA_ADDRESS_DENIED",
            Self::Certificate => "CAMERA_CERTIFICATE_REFUSED",
            Self::Silent => "CAMERA_SILENT",
            Self::NoKeyframe => "CAMERA_NO_KEYFRAME",
            Self::NoPicture => "CAMERA_NO_PICTURE",
            Self::Invalid => "CAMERA_INVALID",
            Self::Hub(reason) => reason,
        }
    }
}

/// What media clients are told of a cause (CONTRACT: four words; a stream that is no use counts as unreachable). Other hubs are
/// told the cause itself.
pub fn for_viewers(cause: &'static str) -> &'static str {
    match cause {
        "CAMERA_ADDRESS_DENIED" | "CAMERA_CERTIFICATE_REFUSED" | "CAMERA_NO_PICTURE" | "CAMERA_INVALID" => {
            "CAMERA_UNREACHABLE"
        }
        other => other,
    }
}
