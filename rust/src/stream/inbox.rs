//! A shard's mailbox, and the handle by which any thread reaches one sink.
//!
//! Three queues, each with its bound and its rule for when it is full:
//!
//! - units of all streams: 4,096 messages and 64 MiB; one too many is dropped, and the shard's sinks of that stream
//!   notice the gap in `WireUnit::index` and skip to the next keyframe;
//! - datagrams: 1,024, of which 128 for one sink; one too many is dropped, as the network might have;
//! - control: attach and end, once per sink each, and one stop. Never dropped; as many as there are sinks;
//! - messages to sinks: 16 for one sink, and one too many is given back to who sent it.

use std::any::Any;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::Instant;

use parking_lot::Mutex;

use super::WireUnit;
use super::worker::Entry;

pub(super) const MAX_UNITS: usize = 4096;
pub(super) const MAX_UNIT_BYTES: usize = 64 << 20;
pub(super) const MAX_DATAGRAMS: usize = 1024;
pub(super) const MAX_DATAGRAMS_PER_SINK: usize = 128;
pub(super) const MAX_MESSAGES_PER_SINK: usize = 16;
/// Datagrams that may wait wait until there are so many, of all sinks or of one.
const MANY_DATAGRAMS: usize = 256;
const MANY_DATAGRAMS_OF_A_SINK: usize = 64;

/// What `Sink::on_message` takes: one of the sink's own types.
pub type Message = Box<dyn Any + Send>;

/// Messages of each kind that a shard takes at once, so that neither sockets nor timers wait for a long queue.
const BATCH: usize = 256;

/// A shard's mailbox: bounded; a full one drops units, and its sinks skip to the next keyframe.
pub struct ShardInbox {
    queues: Mutex<Queues>,
    waker: mio::Waker,
    /// Sinks attached, whether or not the shard has taken them up yet.
    sinks: AtomicUsize,
}

#[derive(Default)]
struct Queues {
    control: VecDeque<Control>,
    units: VecDeque<(u64, Arc<WireUnit>)>,
    unit_bytes: usize,
    datagrams: VecDeque<Datagram>,
    /// The shard will look again before it sleeps: no need to wake it.
    is_awake: bool,
    /// The shard has gone.
    is_closed: bool,
}

pub(super) enum Control {
    Attach { entry: Box<Entry>, subscribe: bool },
    Message { sink: Arc<SinkShared>, message: Message },
    End { sink: u64, reason: &'static str },
    Stop { reason: &'static str },
}

pub(super) struct Datagram {
    pub(super) sink: Arc<SinkShared>,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) data: Vec<u8>,
    /// It came in a frame of a TCP connection (RFC 4571).
    pub(super) is_framed: bool,
    /// When it came, if it could wait.
    pub(super) came: Option<Instant>,
}

/// What a shard takes from its inbox in one go; the vectors are reused.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) control: Vec<Control>,
    pub(super) units: Vec<(u64, Arc<WireUnit>)>,
    pub(super) datagrams: Vec<Datagram>,
}

/// What the handle and the shard share of one sink.
pub(super) struct SinkShared {
    /// Never given twice, so that a stale handle reaches nobody.
    pub(super) id: u64,
    shard: Arc<ShardInbox>,
    is_gone: AtomicBool,
    is_ending: AtomicBool,
    datagrams: AtomicUsize,
    messages: AtomicUsize,
}

/// Reaches one sink on its shard from any thread.
#[derive(Clone)]
pub struct SinkHandle {
    shared: Arc<SinkShared>,
}

impl ShardInbox {
    pub(super) fn new(waker: mio::Waker) -> Arc<Self> {
        Arc::new(Self { queues: Mutex::default(), waker, sinks: AtomicUsize::new(0) })
    }

    pub(super) fn sinks(&self) -> usize {
        self.sinks.load(Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queues.lock().is_closed
    }

    /// Counts one more sink, until its `SinkShared` says that it is gone.
    pub(super) fn admit(self: &Arc<Self>, id: u64) -> Arc<SinkShared> {
        self.sinks.fetch_add(1, Relaxed);
        Arc::new(SinkShared {
            id,
            shard: self.clone(),
            is_gone: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            datagrams: AtomicUsize::new(0),
            messages: AtomicUsize::new(0),
        })
    }

    /// Queues a unit; a full inbox drops it.
    pub(super) fn unit(&self, stream: u64, unit: &Arc<WireUnit>) {
        let mut queues = self.queues.lock();
        let size = unit.unit.data.len();
        let is_full = queues.units.len() >= MAX_UNITS
            || queues.unit_bytes.saturating_add(size) > MAX_UNIT_BYTES && !queues.units.is_empty();
        if is_full || queues.is_closed {
            return;
        }
        queues.unit_bytes += size;
        queues.units.push_back((stream, unit.clone()));
        self.wake(queues);
    }

    /// Queues a command; gives it back when the shard has gone.
    pub(super) fn control(&self, control: Control) -> Result<(), Control> {
        let mut queues = self.queues.lock();
        if queues.is_closed {
            return Err(control);
        }
        queues.control.push_back(control);
        self.wake(queues);
        Ok(())
    }

    fn datagram(&self, datagram: Datagram, may_wait: bool) -> bool {
        let mut queues = self.queues.lock();
        if queues.is_closed || queues.datagrams.len() >= MAX_DATAGRAMS {
            return false;
        }
        queues.datagrams.push_back(datagram);
        if !may_wait || queues.datagrams.len() >= MANY_DATAGRAMS {
            self.wake(queues);
        }
        true
    }

    /// Wakes the shard unless it is going to look anyway: one system call for however many messages.
    fn wake(&self, mut queues: parking_lot::MutexGuard<'_, Queues>) {
        if std::mem::replace(&mut queues.is_awake, true) {
            return;
        }
        drop(queues);
        if let Err(error) = self.waker.wake() {
            // An eventfd takes 2^64 - 2 wakes; mio resets it before that.
            tracing::error!(%error, "a shard could not be woken");
        }
    }

    /// Moves what has come into `batch`, which the caller has emptied. False when there was nothing: the next message will wake the shard.
    pub(super) fn take(&self, batch: &mut Batch) -> bool {
        let mut queues = self.queues.lock();
        let queues = &mut *queues;
        batch.control.extend(queues.control.drain(..));
        let units = queues.units.len().min(BATCH);
        for (stream, unit) in queues.units.drain(..units) {
            queues.unit_bytes -= unit.unit.data.len();
            batch.units.push((stream, unit));
        }
        let datagrams = queues.datagrams.len().min(BATCH);
        batch.datagrams.extend(queues.datagrams.drain(..datagrams));
        queues.is_awake = !(batch.control.is_empty() && batch.units.is_empty() && batch.datagrams.is_empty());
        queues.is_awake
    }

    /// Nothing is taken in from now on; gives back what was still there.
    pub(super) fn close(&self) -> Batch {
        let mut queues = self.queues.lock();
        queues.is_closed = true;
        queues.unit_bytes = 0;
        Batch {
            control: queues.control.drain(..).collect(),
            units: queues.units.drain(..).collect(),
            datagrams: queues.datagrams.drain(..).collect(),
        }
    }
}

impl SinkShared {
    /// The sink has been dropped.
    pub(super) fn gone(&self) {
        if !self.is_gone.swap(true, AcqRel) {
            self.shard.sinks.fetch_sub(1, Relaxed);
        }
    }

    /// One of its messages has left the inbox.
    pub(super) fn message_taken(&self) {
        self.messages.fetch_sub(1, Relaxed);
    }

    /// One of its datagrams has left the inbox.
    pub(super) fn datagram_taken(&self) {
        self.datagrams.fetch_sub(1, Relaxed);
    }
}

impl SinkHandle {
    pub(super) fn new(shared: Arc<SinkShared>) -> Self {
        Self { shared }
    }

    /// Ends the sink with a reason; nothing happens when it is gone.
    pub fn end(&self, reason: &'static str) {
        let SinkShared { id, shard, is_gone, is_ending, .. } = &*self.shared;
        if !is_gone.load(Acquire) && !is_ending.swap(true, AcqRel) {
            // A shard that has gone has ended its sinks.
            let _ = shard.control(Control::End { sink: *id, reason });
        }
    }

    /// Hands a datagram to the sink; false when its inbox is full (the datagram is dropped) or it is gone.
    pub fn datagram(&self, from: SocketAddr, to: SocketAddr, data: Vec<u8>) -> bool {
        self.hand_over(from, to, data, false, None)
    }

    /// The same for one that may wait until the shard has something else to do, such as the next unit: a call of the shard
    /// costs more than it. `came`: what the sink is told as the present.
    pub fn datagram_that_waits(&self, from: SocketAddr, to: SocketAddr, data: Vec<u8>, came: Instant) -> bool {
        self.hand_over(from, to, data, false, Some(came))
    }

    /// The same for a datagram that came in a frame of a TCP connection (RFC 4571).
    pub fn framed(&self, from: SocketAddr, to: SocketAddr, data: Vec<u8>) -> bool {
        self.hand_over(from, to, data, true, None)
    }

    fn hand_over(
        &self,
        from: SocketAddr,
        to: SocketAddr,
        data: Vec<u8>,
        is_framed: bool,
        came: Option<Instant>,
    ) -> bool {
        let SinkShared { shard, is_gone, datagrams, .. } = &*self.shared;
        if is_gone.load(Acquire) {
            return false;
        }
        let waiting = datagrams.fetch_add(1, Relaxed);
        let may_wait = came.is_some() && waiting < MANY_DATAGRAMS_OF_A_SINK;
        let datagram = Datagram { sink: self.shared.clone(), from, to, data, is_framed, came };
        if waiting >= MAX_DATAGRAMS_PER_SINK || !shard.datagram(datagram, may_wait) {
            datagrams.fetch_sub(1, Relaxed);
            return false;
        }
        true
    }

    /// Hands the sink something of its own, in order with other messages; gives it back when too many wait or the sink
    /// is gone.
    pub fn message(&self, message: Message) -> Result<(), Message> {
        let SinkShared { shard, is_gone, messages, .. } = &*self.shared;
        if is_gone.load(Acquire) {
            return Err(message);
        }
        if messages.fetch_add(1, Relaxed) >= MAX_MESSAGES_PER_SINK {
            messages.fetch_sub(1, Relaxed);
            return Err(message);
        }
        match shard.control(Control::Message { sink: self.shared.clone(), message }) {
            Err(Control::Message { message, .. }) => {
                messages.fetch_sub(1, Relaxed);
                Err(message)
            }
            _ => Ok(()),
        }
    }

    /// The sink has been dropped.
    pub fn is_gone(&self) -> bool {
        self.shared.is_gone.load(Acquire)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::wire_unit::Shape;
    use super::super::worker::Worker;
    use super::*;
    use crate::media::{AccessUnit, Codec, CodecParameters, Track};

    fn unit(size: usize) -> Arc<WireUnit> {
        let parameters = CodecParameters::G711 { channels: 1 };
        let shape = Shape::new(&Track { codec: Codec::Pcma, clock_rate_hz: 8_000, parameters }, 8, 0);
        let data = Bytes::from(vec![0; size]);
        let unit = AccessUnit { track: 0, pts: 0, dts: 0, keyframe: true, data, nals: Default::default() };
        Arc::new(WireUnit::new(0, 0, unit, true, shape, 1, 0..0))
    }

    fn drain(inbox: &ShardInbox) -> usize {
        let (mut batch, mut taken) = (Batch::default(), 0);
        while inbox.take(&mut batch) {
            assert!(batch.units.len() <= BATCH);
            taken += batch.units.drain(..).len();
        }
        taken
    }

    #[test]
    fn units_are_bounded_in_number_and_in_octets() {
        let (_worker, inbox) = Worker::new().unwrap();
        let small = unit(1);
        (0..MAX_UNITS + 10).for_each(|_| inbox.unit(0, &small));
        assert_eq!(inbox.queues.lock().units.len(), MAX_UNITS);
        let large = unit(MAX_UNIT_BYTES / 2);
        inbox.queues.lock().units.clear();
        inbox.queues.lock().unit_bytes = 0;
        (0..3).for_each(|_| inbox.unit(0, &large));
        assert_eq!(inbox.queues.lock().units.len(), 2);
        inbox.queues.lock().units.clear();
        inbox.queues.lock().unit_bytes = 0;
        inbox.unit(0, &unit(MAX_UNIT_BYTES + 1));
        assert_eq!(inbox.queues.lock().units.len(), 1, "one always fits");
    }

    #[test]
    fn control_passes_a_full_inbox_and_a_closed_one_gives_it_back() {
        let (_worker, inbox) = Worker::new().unwrap();
        let small = unit(1);
        (0..MAX_UNITS).for_each(|_| inbox.unit(0, &small));
        assert!(inbox.control(Control::Stop { reason: "X" }).is_ok());
        let rest = inbox.close();
        assert_eq!((rest.control.len(), rest.units.len()), (1, MAX_UNITS));
        assert!(inbox.control(Control::Stop { reason: "X" }).is_err());
        inbox.unit(0, &small);
        assert!(inbox.queues.lock().units.is_empty());
    }

    #[test]
    fn a_sink_is_ended_once_and_one_peer_cannot_fill_the_inbox() {
        let (_worker, inbox) = Worker::new().unwrap();
        let (loud, quiet) = (SinkHandle::new(inbox.admit(0)), SinkHandle::new(inbox.admit(1)));
        (0..5).for_each(|_| loud.end("X"));
        assert_eq!(inbox.queues.lock().control.len(), 1);
        let peer = SocketAddr::from(([127, 0, 0, 1], 9));
        let taken = (0..1000).filter(|_| loud.datagram(peer, peer, vec![1])).count();
        assert_eq!(taken, MAX_DATAGRAMS_PER_SINK);
        assert!(quiet.datagram(peer, peer, vec![1]));
        let mut batch = Batch::default();
        assert!(inbox.take(&mut batch));
        batch.datagrams.drain(..).for_each(|datagram| datagram.sink.datagram_taken());
        assert!(loud.datagram(peer, peer, vec![1]), "there is room again");
        quiet.shared.gone();
        quiet.shared.gone();
        assert!(!quiet.datagram(peer, peer, vec![1]) && inbox.sinks() == 1);
    }

    #[test]
    fn datagrams_that_may_wait_wake_nobody_until_there_are_many_and_keep_their_order() {
        let (_worker, inbox) = Worker::new().unwrap();
        let (peer, came) = (SocketAddr::from(([127, 0, 0, 1], 9)), Instant::now());
        let sinks: Vec<SinkHandle> = (0..7).map(|id| SinkHandle::new(inbox.admit(id))).collect();
        assert!(sinks[0].datagram_that_waits(peer, peer, vec![1], came));
        assert!(!inbox.queues.lock().is_awake);
        assert!(sinks[0].datagram(peer, peer, vec![2]));
        assert!(inbox.queues.lock().is_awake, "one that may not wait takes the other with it");
        let mut batch = Batch::default();
        assert!(inbox.take(&mut batch));
        let taken: Vec<_> = batch.datagrams.drain(..).map(|datagram| (datagram.data[0], datagram.came)).collect();
        assert_eq!(taken, [(1, Some(came)), (2, None)]);
        assert!(!inbox.take(&mut batch) && !inbox.queues.lock().is_awake);
        let mut waiting = (0..MANY_DATAGRAMS).map(|number| &sinks[2 + number / MANY_DATAGRAMS_OF_A_SINK]);
        let last = waiting.next_back().unwrap();
        waiting.for_each(|sink| assert!(sink.datagram_that_waits(peer, peer, vec![1], came)));
        assert!(!inbox.queues.lock().is_awake);
        assert!(last.datagram_that_waits(peer, peer, vec![1], came) && inbox.queues.lock().is_awake);
        // One sink's may not take all of its room asleep: what asks for something could not be taken.
        assert!(inbox.take(&mut batch));
        batch.datagrams.clear();
        assert!(!inbox.take(&mut batch));
        let greedy = &sinks[6];
        (0..MANY_DATAGRAMS_OF_A_SINK).for_each(|_| assert!(greedy.datagram_that_waits(peer, peer, vec![1], came)));
        assert!(!inbox.queues.lock().is_awake);
        assert!(greedy.datagram_that_waits(peer, peer, vec![1], came) && inbox.queues.lock().is_awake);
    }

    #[test]
    fn messages_are_bounded_per_sink_and_come_back_when_there_is_no_room() {
        let (_worker, inbox) = Worker::new().unwrap();
        let sink = SinkHandle::new(inbox.admit(0));
        (0..MAX_MESSAGES_PER_SINK).for_each(|number| assert!(sink.message(Box::new(number)).is_ok()));
        let back = sink.message(Box::new(99usize)).unwrap_err();
        assert_eq!(back.downcast_ref::<usize>(), Some(&99));
        let rest = inbox.close();
        rest.control.iter().for_each(|control| match control {
            Control::Message { sink, .. } => sink.message_taken(),
            _ => panic!("messages alone"),
        });
        assert!(sink.message(Box::new(1)).is_err(), "the shard has gone");
        assert_eq!(sink.shared.messages.load(Relaxed), 0);
    }

    #[test]
    fn the_shard_is_woken_once_for_however_many_messages() {
        let (_worker, inbox) = Worker::new().unwrap();
        assert!(!inbox.queues.lock().is_awake);
        let small = unit(1);
        (0..3 * BATCH).for_each(|_| inbox.unit(0, &small));
        assert!(inbox.queues.lock().is_awake);
        assert_eq!(drain(&inbox), 3 * BATCH);
        assert_eq!(inbox.queues.lock().unit_bytes, 0);
        assert!(!inbox.queues.lock().is_awake, "it sleeps when it has found nothing");
    }
}
