//! The one error type: a kind for machines, a reason that never changes, a sentence for people, the cause kept.

use std::collections::BTreeSet;
use std::fmt;

use parking_lot::Mutex;

/// Reasons that came from outside and are kept for ever, and the longest of them.
const MAX_WORDS: usize = 1024;
const MAX_WORD: usize = 64;

/// What kind of failure it is: the canonical gRPC codes (`google.rpc.Code`), without `OK`, `UNKNOWN` and `DATA_LOSS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    InvalidArgument,
    FailedPrecondition,
    Unauthenticated,
    PermissionDenied,
    NotFound,
    AlreadyExists,
    Aborted,
    OutOfRange,
    ResourceExhausted,
    Unavailable,
    DeadlineExceeded,
    Unimplemented,
    Cancelled,
    Internal,
}

impl ErrorKind {
    /// Every kind, for the tests that hold the tables to be complete.
    pub const ALL: [ErrorKind; 14] = [
        Self::InvalidArgument,
        Self::FailedPrecondition,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::AlreadyExists,
        Self::Aborted,
        Self::OutOfRange,
        Self::ResourceExhausted,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Unimplemented,
        Self::Cancelled,
        Self::Internal,
    ];

    /// The HTTP status published with `google.rpc.Code`.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::ResourceExhausted => 429,
            Self::Cancelled => 499,
            Self::Internal => 500,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }

    /// The name in Python (`VidhubError.code`) and, in capitals, in gRPC.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::FailedPrecondition => "failed_precondition",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Aborted => "aborted",
            Self::OutOfRange => "out_of_range",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Unimplemented => "unimplemented",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }
}

/// An error that we raise on purpose.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    reason: &'static str,
    message: String,
    cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// `reason` is a stable word in capitals; `message` a sentence for people that says what to do.
    pub fn new(kind: ErrorKind, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, reason, message: message.into(), cause: None }
    }

    /// Keeps what caused it, for the log; callers never see the cause.
    pub fn because(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub fn reason(&self) -> &'static str {
        self.reason
    }

    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// A reason that comes from outside, from another hub or the control plane, as the word that it is. None for what is no
/// reason, and where too many different ones have come.
pub fn reason_word(text: &str) -> Option<&'static str> {
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let is_word = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    if text.is_empty() || text.len() > MAX_WORD || !text.bytes().all(is_word) {
        return None;
    }
    let mut words = WORDS.lock();
    if let Some(known) = words.get(text) {
        return Some(known);
    }
    if words.len() >= MAX_WORDS {
        return None;
    }
    let word: &'static str = Box::leak(text.into());
    words.insert(word);
    Some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_and_an_http_error_status() {
        let names: std::collections::HashSet<_> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), ErrorKind::ALL.len());
        assert!(ErrorKind::ALL.iter().all(|kind| (400..600).contains(&kind.http_status())));
    }

    #[test]
    fn a_reason_from_outside_is_a_word_or_nothing_and_what_is_kept_of_them_is_bounded() {
        assert_eq!(reason_word("LINK_DOWN"), Some("LINK_DOWN"));
        for text in ["", "no word", "lower", "A\r\nB", &"A".repeat(MAX_WORD + 1)] {
            assert_eq!(reason_word(text), None, "{text}");
        }
        let kept = (0..2 * MAX_WORDS).filter(|number| reason_word(&format!("WORD_{number}")).is_some()).count();
        assert!(kept < MAX_WORDS);
        assert_eq!(reason_word("LINK_DOWN"), Some("LINK_DOWN"), "what is known stays known");
    }

    #[test]
    fn the_cause_is_kept_but_not_shown() {
        let error = Error::new(ErrorKind::Unavailable, "CAMERA_UNREACHABLE", "the camera does not answer")
            .because(std::io::Error::other("connection refused by 192.0.2.7"));
        assert_eq!(error.to_string(), "CAMERA_UNREACHABLE: the camera does not answer");
        assert!(std::error::Error::source(&error).is_some());
    }
}
