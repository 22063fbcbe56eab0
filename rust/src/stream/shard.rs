//! Fan-out by shards: one thread owns many sinks' sockets and hands each a whole access unit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::Mutex;

use super::inbox::{Control, Message};
use super::worker::{Entry, Worker};
use super::{ShardInbox, SinkHandle, Stream, WireUnit};

/// What a sink wants after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Start (or restart) delivery: the shard subscribes the sink and hands it the GOP cache first. A restart may
    /// repeat units that were delivered before; while the cache is being handed over it means no more than `Continue`.
    Subscribe,
    /// Go over to the stream that `Sink::next_stream` gives, cache first: the picture goes on at its keyframe.
    Switch,
    /// Drop the sink; the reason is for the log.
    Close(&'static str),
}

/// What a shard drives. Every call comes from the shard's own thread and must not block.
///
/// A sink that panics is dropped; the others of its shard go on.
pub trait Sink: Send + 'static {
    /// The sink's own socket; the shard registers it (edge-triggered, readable and writable). None: datagrams come by `on_datagram`.
    fn socket(&mut self) -> Option<&mut dyn mio::event::Source>;
    /// First call, on the shard.
    fn on_start(&mut self, now: Instant) -> Flow;
    /// A complete access unit, in order, starting at a keyframe (`WireUnit::starts_gop`). Where `index` jumps, units
    /// were lost to overload, and this one is a keyframe again.
    fn on_unit(&mut self, unit: &Arc<WireUnit>, now: Instant) -> Flow;
    /// End of a batch in which the sink was given units or datagrams: flush what was gathered.
    fn on_flush(&mut self, now: Instant) -> Flow;
    fn on_ready(&mut self, readable: bool, writable: bool, now: Instant) -> Flow;
    fn on_datagram(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8], now: Instant) -> Flow;
    /// A datagram that came in a frame of a TCP connection (RFC 4571), for sinks whose server keeps such connections.
    fn on_framed(&mut self, _from: SocketAddr, _to: SocketAddr, _data: &[u8], _now: Instant) -> Flow {
        Flow::Continue
    }
    fn on_timer(&mut self, now: Instant) -> Flow;
    /// When `on_timer` wants to be called next. Asked after every batch in which the sink was called.
    fn deadline(&self) -> Option<Instant>;
    /// What `SinkHandle::message` was given.
    fn on_message(&mut self, _message: Message, _now: Instant) -> Flow {
        Flow::Continue
    }
    /// Where `Flow::Switch` leads; asked once for each. None: stay.
    fn next_stream(&mut self) -> Option<Arc<Stream>> {
        None
    }
    /// The session has ended (`GRANT_REVOKED`, …): tell the client in its protocol; the sink is dropped afterwards.
    fn on_end(&mut self, reason: &'static str, now: Instant);
}

/// The shard threads.
pub struct Shards {
    inboxes: Vec<Arc<ShardInbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    next_sink: AtomicU64,
}

impl Shards {
    /// Starts `count` threads named `vidhub-shard-N`, at least one.
    pub fn start(count: usize) -> std::io::Result<Arc<Self>> {
        let mut shards = Self { inboxes: Vec::new(), threads: Mutex::default(), next_sink: AtomicU64::new(0) };
        for number in 0..count.max(1) {
            // On failure `shards` is dropped, which stops those that run.
            let (worker, inbox) = Worker::new()?;
            let thread = std::thread::Builder::new().name(format!("vidhub-shard-{number}"));
            shards.threads.get_mut().push(thread.spawn(move || worker.run())?);
            shards.inboxes.push(inbox);
        }
        Ok(Arc::new(shards))
    }

    /// Gives the sink to the shard with the fewest sinks. `subscribe`: deliver at once; else when the sink says
    /// `Flow::Subscribe`. After `stop` the sink is dropped.
    pub fn attach(&self, stream: Arc<Stream>, sink: Box<dyn Sink>, subscribe: bool) -> SinkHandle {
        let id = self.next_sink.fetch_add(1, Relaxed);
        let open = self.inboxes.iter().filter(|inbox| !inbox.is_closed()).min_by_key(|inbox| inbox.sinks());
        let Some(inbox) = open.or(self.inboxes.first()) else { unreachable!("there is at least one shard") };
        let shared = inbox.admit(id);
        let entry = Box::new(Entry::new(sink, stream, shared.clone()));
        if inbox.control(Control::Attach { entry, subscribe }).is_err() {
            shared.gone();
        }
        SinkHandle::new(shared)
    }

    /// Sinks on all shards.
    pub fn len(&self) -> usize {
        self.inboxes.iter().map(|inbox| inbox.sinks()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every sink with `reason`, then the threads, and waits for them.
    pub fn stop(&self, reason: &'static str) {
        for inbox in &self.inboxes {
            // One that has gone needs no telling.
            let _ = inbox.control(Control::Stop { reason });
        }
        let me = std::thread::current().id();
        let threads = std::mem::take(&mut *self.threads.lock());
        // A sink may hold the last reference and so get here on its shard, which can't wait for itself.
        for thread in threads.into_iter().filter(|thread| thread.thread().id() != me) {
            if thread.join().is_err() {
                tracing::error!("a shard has panicked");
            }
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.stop("HUB_DRAINING");
    }
}
