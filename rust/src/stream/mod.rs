//! One camera live: what a source publishes, kept as a GOP cache and fanned out by shards to sinks.
//!
//! Sources and sinks never meet; between them is one `Stream`.

mod live;
mod shard;
mod wire_unit;

pub use live::{Description, SourceState, Stream, StreamLimits, Subscription};
pub use shard::{Flow, ShardInbox, Shards, Sink, SinkHandle};
pub use wire_unit::{RtpPacket, WireUnit};
