//! Formats: bytes to values and back. No sockets, no clock, no policy.

pub mod aac;
pub mod digest;
pub mod fmp4;
pub mod g711;
pub mod h264;
pub mod h264_depay;
pub mod h264_pay;
pub mod h264_unit;
pub mod h265_pay;
pub mod mp4_codecs;
pub mod reception;
pub mod reorder;
pub mod rtcp;
pub mod rtp;
pub mod rtsp;
pub mod sdp;
pub mod stun;
pub mod websocket;
