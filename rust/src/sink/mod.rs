//! What takes media out: one module per protocol.

pub mod rtsp;
pub mod whep;
