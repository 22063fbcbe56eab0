//! One camera live: what a source publishes, kept as a GOP cache and fanned out by shards to sinks.
//!
//! Sources and sinks never meet; between them is one `Stream`.

mod gop_cache;
mod inbox;
mod interest;
mod live;
#[cfg(test)]
pub(crate) mod samples;
mod shard;
mod timers;
mod wire_unit;
mod worker;

pub use inbox::{Message, ShardInbox, SinkHandle};
pub use interest::Interest;
pub use live::{Described, Description, MAX_TRACKS, SourceState, Stream, StreamLimits, Subscription};
pub use shard::{Flow, Shards, Sink};
pub use wire_unit::{Datagrams, RtpPacket, Run, WireUnit, rtp_timestamp};
