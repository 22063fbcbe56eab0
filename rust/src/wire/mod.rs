//! Formats: bytes to values and back. No sockets, no clock, no policy.

pub mod digest;
pub mod h264;
pub mod h264_depay;
pub mod h264_unit;
pub mod rtsp;
pub mod sdp;
