//! What takes media out: one module per protocol.

pub mod frames;
mod line;
pub mod mse;
mod outbox;
pub mod rtsp;
mod transport;
pub mod whep;

pub use transport::Transport;
