//! Fan-out by shards: one thread owns many sinks' sockets and hands each a whole access unit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::{Stream, WireUnit};

/// What a sink wants after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Start (or restart) delivery: the shard subscribes the sink and hands it the GOP cache first.
    Subscribe,
    /// Drop the sink; the reason is for the log.
    Close(&'static str),
}

/// What a shard drives. Every call comes from the shard's own thread and must not block.
pub trait Sink: Send + 'static {
    /// The sink's own socket; the shard registers it (edge-triggered, readable and writable). None: datagrams come by `on_datagram`.
    fn socket(&mut self) -> Option<&mut dyn mio::event::Source>;
    /// First call, on the shard.
    fn on_start(&mut self, now: Instant) -> Flow;
    /// A complete access unit, in order, starting at a keyframe.
    fn on_unit(&mut self, unit: &Arc<WireUnit>, now: Instant) -> Flow;
    /// End of a batch of units: flush what was gathered.
    fn on_flush(&mut self, now: Instant) -> Flow;
    fn on_ready(&mut self, readable: bool, writable: bool, now: Instant) -> Flow;
    fn on_datagram(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8], now: Instant) -> Flow;
    fn on_timer(&mut self, now: Instant) -> Flow;
    /// When `on_timer` wants to be called next.
    fn deadline(&self) -> Option<Instant>;
    /// The session has ended (`GRANT_REVOKED`, …): tell the client in its protocol; the sink is dropped afterwards.
    fn on_end(&mut self, reason: &'static str, now: Instant);
}

/// A shard's mailbox: bounded; a full one drops units, and its sinks skip to the next keyframe.
pub struct ShardInbox {}

/// The shard threads.
pub struct Shards {}

/// Reaches one sink on its shard from any thread.
#[derive(Clone)]
pub struct SinkHandle {}

impl Shards {
    /// Starts `count` threads named `vidhub-shard-N`.
    pub fn start(_count: usize) -> std::io::Result<Arc<Self>> {
        unimplemented!()
    }

    /// Gives the sink to the shard with the fewest sinks. `subscribe`: deliver at once; else when the sink says `Flow::Subscribe`.
    pub fn attach(&self, _stream: Arc<Stream>, _sink: Box<dyn Sink>, _subscribe: bool) -> SinkHandle {
        unimplemented!()
    }

    /// Sinks on all shards.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every sink with `reason`, then the threads, and waits for them.
    pub fn stop(&self, _reason: &'static str) {
        unimplemented!()
    }
}

impl SinkHandle {
    /// Ends the sink with a reason; nothing happens when it is gone.
    pub fn end(&self, _reason: &'static str) {
        unimplemented!()
    }

    /// Hands a datagram to the sink; false when its inbox is full (the datagram is dropped) or it is gone.
    pub fn datagram(&self, _from: SocketAddr, _to: SocketAddr, _data: Vec<u8>) -> bool {
        unimplemented!()
    }
}
