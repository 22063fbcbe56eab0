//! Listening ports: connections become sessions at the door, and sinks on the shards.

mod choice;
mod connection;
pub mod http;
pub mod limits;
pub mod mse;
mod problem;
mod proxy;
mod request_body;
pub mod rtsp;
mod socket;
pub mod tls;
mod udp;
pub mod webrtc;
mod whep;
mod whip;
