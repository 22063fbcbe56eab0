//! WHEP (draft-ietf-wish-whep): one WebRTC viewer as a sink.

mod answer;
mod offer;
mod viewer;

pub use answer::{Chosen, Local, Negotiated, check, negotiate};
pub use viewer::{Place, WhepSink};
