//! Formats: bytes to values and back. No sockets, no clock, no policy.

pub mod aac;
pub mod annex_b;
pub mod bits;
pub mod depay;
pub mod digest;
pub mod fmp4;
pub mod framed;
pub mod g711;
pub mod h264;
pub mod h264_pay;
pub mod h265;
pub mod h265_pay;
pub mod mp4_codecs;
pub mod nal;
pub mod opus;
pub mod parameter_sets;
pub mod reception;
pub mod reorder;
pub mod rtcp;
pub mod rtp;
pub mod rtsp;
pub mod sdp;
pub mod sprop;
pub mod stun;
pub mod unit_builder;
pub mod websocket;
