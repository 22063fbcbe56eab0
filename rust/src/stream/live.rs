//! The stream itself: state, description, GOP cache, subscriptions.

use std::sync::Arc;

use tokio::sync::watch;

use super::{ShardInbox, WireUnit};
use crate::media::{AccessUnit, Track};
use crate::telemetry::Telemetry;

/// What is known of the stream's media. A new generation replaces it when parameters change in mid-stream.
#[derive(Debug)]
pub struct Description {
    pub generation: u32,
    pub tracks: Vec<Track>,
    /// RTP synchronisation source per track, stable for the life of the stream.
    pub ssrcs: Vec<u32>,
}

/// How the source is.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceState {
    /// Not asked for yet.
    Idle,
    Connecting,
    /// Media flows and a keyframe is cached.
    Live,
    /// The last attempt failed; the source tries again by itself for as long as there are viewers.
    Failed {
        reason: &'static str,
        message: String,
    },
}

#[derive(Clone, Debug)]
pub struct StreamLimits {
    pub gop_cache_bytes: usize,
}

/// One camera's live media inside the hub.
pub struct Stream {}

/// A shard's place in the stream. Units with `index < next_index` are in `cached`: the shard skips them in its inbox.
pub struct Subscription {
    /// The GOP cache from its keyframe on.
    pub cached: Vec<Arc<WireUnit>>,
    pub next_index: u64,
}

impl Stream {
    /// `name` is for logs: camera id and profile.
    pub fn new(_name: Arc<str>, _limits: StreamLimits, _telemetry: Arc<Telemetry>) -> Arc<Self> {
        unimplemented!()
    }

    // For the source.

    /// Says what the media is. Called before the first `publish` and whenever the parameters change.
    pub fn describe(&self, _tracks: Vec<Track>) {
        unimplemented!()
    }

    /// Caches one access unit and sends it to every subscribed shard. Never blocks.
    pub fn publish(&self, _unit: AccessUnit) {
        unimplemented!()
    }

    pub fn report(&self, _state: SourceState) {
        unimplemented!()
    }

    // For sinks and the gate.

    pub fn state(&self) -> watch::Receiver<SourceState> {
        unimplemented!()
    }

    pub fn description(&self) -> Option<Arc<Description>> {
        unimplemented!()
    }

    /// Takes the cache and, in the same breath, subscribes the shard to what follows. One `subscribe` per sink; the
    /// stream counts them per shard.
    pub fn subscribe(self: &Arc<Self>, _shard: &Arc<ShardInbox>) -> Subscription {
        unimplemented!()
    }

    pub fn unsubscribe(&self, _shard: &Arc<ShardInbox>) {
        unimplemented!()
    }
}
