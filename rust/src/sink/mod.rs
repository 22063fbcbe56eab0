//! What takes media out: one module per protocol.

mod outbox;
pub mod rtsp;
mod transport;
pub mod whep;

pub use transport::Transport;
