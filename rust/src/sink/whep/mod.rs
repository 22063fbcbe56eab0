//! WHEP (draft-ietf-wish-whep): one WebRTC viewer as a sink. str0m speaks ICE and DTLS and reads session descriptions; what
//! is sealed and sent, and what is heard of it, is ours (docs/adr/0010-media-of-our-own.md).

mod answer;
mod batch;
mod clock;
mod connection;
mod crossing;
mod crowd;
mod history;
mod keys;
mod link;
mod media;
mod offer;
mod outgoing;
mod pace;
mod probe;
mod rate;
mod replays;
mod restart;
mod viewer;
#[cfg(test)]
mod viewer_paths;
mod waiting;
mod way;

pub use answer::{Chosen, Fit, Formats, Local, Negotiated, Sound, fit, negotiate};
pub use connection::Place;
pub use crowd::Crowd;
pub use offer::Offer;
pub use restart::{Restart, Restarted, Restarts};
pub use viewer::WhepSink;
pub use way::{Carrier, Remote, Remotes, Room, Way};
