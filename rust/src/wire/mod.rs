//! Formats: bytes to values and back. No sockets, no clock, no policy.

pub mod digest;
pub mod rtsp;
pub mod sdp;
