//! The core of vidhub: which cameras exist, who may watch them, and the media itself.
//!
//! No Python, no database, no configuration file and no environment: what the core needs is handed
//! to it. Modules are listed from the ground up; nothing imports upward (`tests/unit/test_layers.py`).

pub mod bell;
pub mod error;
pub mod media;
pub mod telemetry;
pub mod wire;

pub mod peer;
pub mod policy;
pub mod registry;
pub mod stream;
pub mod ticket;

pub mod sink;
pub mod source;

pub mod gate;

pub mod server;

pub mod hub;

pub mod camera_sim;

#[cfg(feature = "python")]
mod py;
