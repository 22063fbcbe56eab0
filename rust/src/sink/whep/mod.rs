//! WHEP (draft-ietf-wish-whep): one WebRTC viewer as a sink.

mod answer;
mod offer;
mod viewer;
mod waiting;
mod way;

pub use answer::{Chosen, Local, Negotiated, check, negotiate};
pub use viewer::{Place, WhepSink};
pub use way::{Carrier, Remote, Room, Way};
