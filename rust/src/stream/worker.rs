//! The shard's thread: waits for sockets, timers and messages, and calls its sinks.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};
use tracing::{debug, error, warn};

use super::inbox::{Batch, Control, Datagram, SinkShared};
use super::live::Subscription;
use super::shard::{Flow, Sink};
use super::timers::Timers;
use super::{ShardInbox, Stream, WireUnit};
use crate::telemetry::DropReason;

/// Sinks are numbered from 0 and never get here.
const WAKER: Token = Token(usize::MAX);

/// Batches of messages between two looks at the sockets.
const ROUNDS: usize = 4;

/// A sink whose deadline has passed already is not called more often than this.
const TIMER_FLOOR: Duration = Duration::from_millis(1);

/// One sink and its place in its stream.
pub(super) struct Entry {
    sink: Box<dyn Sink>,
    stream: Arc<Stream>,
    is_subscribed: bool,
    delivery: Delivery,
    next_index: u64,
    /// Called in this batch: its deadline is asked for at the end.
    is_touched: bool,
    /// Given units or datagrams in this batch.
    needs_flush: bool,
    wants_subscription: bool,
    wants_switch: bool,
    /// Its valid entry in the timers.
    armed: Option<Instant>,
    last_timer: Option<Instant>,
    /// Last, so that the sink counts as gone when all else of it is.
    presence: Presence,
}

struct Presence(Arc<SinkShared>);

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.gone();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// Nothing was cached when it joined: it starts at the next keyframe.
    Joining,
    Flowing,
    /// Units were lost: it goes on at the next keyframe.
    Skipping,
}

impl Entry {
    pub(super) fn new(sink: Box<dyn Sink>, stream: Arc<Stream>, shared: Arc<SinkShared>) -> Self {
        Self {
            sink,
            stream,
            is_subscribed: false,
            delivery: Delivery::Joining,
            next_index: 0,
            is_touched: false,
            needs_flush: false,
            wants_subscription: false,
            wants_switch: false,
            armed: None,
            last_timer: None,
            presence: Presence(shared),
        }
    }

    /// Calls the sink; one that panics is to be dropped.
    fn call<T>(&mut self, call: impl FnOnce(&mut dyn Sink) -> T) -> Option<T> {
        let answer = catch_unwind(AssertUnwindSafe(|| call(&mut *self.sink)));
        if answer.is_err() {
            error!(stream = self.stream.name(), "a sink has panicked");
        }
        answer.ok()
    }

    fn flow(&mut self, call: impl FnOnce(&mut dyn Sink) -> Flow) -> Flow {
        self.call(call).unwrap_or(Flow::Close("SINK_PANICKED"))
    }

    /// Whether the sink is to have this unit, which came through the inbox.
    fn accepts(&mut self, unit: &WireUnit) -> bool {
        // What the sink was given from the cache comes a second time through the inbox.
        let Some(missed) = unit.index.checked_sub(self.next_index) else { return false };
        self.next_index = unit.index + 1;
        let mut lost = missed;
        if missed > 0 && self.delivery == Delivery::Flowing {
            self.delivery = Delivery::Skipping;
        }
        if self.delivery == Delivery::Joining {
            lost = 0;
        }
        let is_accepted = self.delivery == Delivery::Flowing || unit.starts_gop();
        if is_accepted {
            self.delivery = Delivery::Flowing;
        } else if self.delivery == Delivery::Skipping {
            lost += 1;
        }
        if lost > 0 {
            self.stream.telemetry().dropped(DropReason::SlowViewer).fetch_add(lost, Relaxed);
        }
        is_accepted
    }
}

pub(super) struct Worker {
    poll: Poll,
    inbox: Arc<ShardInbox>,
    sinks: HashMap<u64, Entry>,
    /// The subscribed sinks of each stream.
    streams: HashMap<u64, Vec<u64>>,
    touched: Vec<u64>,
    /// Room for those of the batch that is being settled.
    settling: Vec<u64>,
    timers: Timers,
}

impl Worker {
    pub(super) fn new() -> std::io::Result<(Self, Arc<ShardInbox>)> {
        let poll = Poll::new()?;
        let inbox = ShardInbox::new(Waker::new(poll.registry(), WAKER)?);
        let worker = Self {
            poll,
            inbox: inbox.clone(),
            sinks: HashMap::new(),
            streams: HashMap::new(),
            touched: Vec::new(),
            settling: Vec::new(),
            timers: Timers::default(),
        };
        Ok((worker, inbox))
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut batch = Batch::default();
        let mut has_more = false;
        let reason = 'running: loop {
            let timeout = if has_more || !self.touched.is_empty() {
                Some(Duration::ZERO)
            } else {
                self.timers.next().map(|deadline| deadline.saturating_duration_since(Instant::now()))
            };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(interrupted) if interrupted.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    error!(%error, "a shard can't wait for its sockets and ends");
                    break 'running "SHARD_FAILED";
                }
            }
            let now = Instant::now();
            for event in events.iter().filter(|event| event.token() != WAKER) {
                let is_broken = event.is_error();
                let is_readable = event.is_readable() || event.is_read_closed() || is_broken;
                let is_writable = event.is_writable() || event.is_write_closed() || is_broken;
                self.with(event.token().0 as u64, |sink| sink.on_ready(is_readable, is_writable, now));
            }
            self.fire(now);
            self.settle(now);
            for _ in 0..ROUNDS {
                has_more = self.inbox.take(&mut batch);
                if !has_more {
                    break;
                }
                let now = Instant::now();
                if let Some(reason) = self.work(&mut batch, now) {
                    break 'running reason;
                }
                self.settle(now);
            }
        };
        self.finish(reason);
    }

    /// One batch of messages; the reason when it holds a stop.
    fn work(&mut self, batch: &mut Batch, now: Instant) -> Option<&'static str> {
        let mut stop = None;
        for control in batch.control.drain(..) {
            match control {
                Control::Attach { entry, subscribe } => self.attach(*entry, subscribe, now),
                Control::Message { sink, message } => {
                    sink.message_taken();
                    self.with(sink.id, |sink| sink.on_message(message, now));
                    if let Some(entry) = self.sinks.get_mut(&sink.id) {
                        entry.needs_flush = true;
                    }
                }
                Control::End { sink, reason } => self.end(sink, reason, now),
                Control::Stop { reason } => stop = Some(reason),
            }
        }
        for (stream, unit) in batch.units.drain(..) {
            self.deliver(stream, &unit, now);
        }
        for datagram in batch.datagrams.drain(..) {
            datagram.sink.datagram_taken();
            let Datagram { sink, from, to, data, is_framed, came } = &datagram;
            let now = came.unwrap_or(now);
            self.with(sink.id, |sink| match is_framed {
                false => sink.on_datagram(*from, *to, data, now),
                true => sink.on_framed(*from, *to, data, now),
            });
            if let Some(entry) = self.sinks.get_mut(&datagram.sink.id) {
                entry.needs_flush = true;
            }
        }
        stop
    }

    fn attach(&mut self, mut entry: Entry, subscribe: bool, now: Instant) {
        let id = entry.presence.0.id;
        let token = Token(id as usize);
        let registry = self.poll.registry();
        let registered = entry.call(|sink| match sink.socket() {
            Some(socket) => registry.register(socket, token, Interest::READABLE | Interest::WRITABLE),
            None => Ok(()),
        });
        entry.wants_subscription = subscribe;
        let stream = entry.stream.clone();
        self.sinks.insert(id, entry);
        match registered {
            Some(Ok(())) => self.with(id, |sink| sink.on_start(now)),
            Some(Err(error)) => {
                warn!(stream = stream.name(), %error, "a viewer's socket can't be waited for");
                self.remove(id, "SOCKET_FAILED");
            }
            None => self.remove(id, "SINK_PANICKED"),
        }
        if self.sinks.get(&id).is_some_and(|entry| entry.wants_subscription) {
            self.subscribe(id, now);
        }
    }

    fn end(&mut self, id: u64, reason: &'static str, now: Instant) {
        if let Some(entry) = self.sinks.get_mut(&id) {
            entry.call(|sink| sink.on_end(reason, now));
            self.remove(id, reason);
        }
    }

    /// Hands a unit to the stream's sinks.
    fn deliver(&mut self, stream: u64, unit: &Arc<WireUnit>, now: Instant) {
        // Nobody left: the unit was on its way when the last one unsubscribed.
        let Some(ids) = self.streams.get_mut(&stream).map(std::mem::take) else { return };
        let mut closing = Vec::new();
        for &id in &ids {
            let Some(entry) = self.sinks.get_mut(&id) else { continue };
            if !entry.accepts(unit) {
                continue;
            }
            entry.needs_flush = true;
            if !std::mem::replace(&mut entry.is_touched, true) {
                self.touched.push(id);
            }
            match entry.flow(|sink| sink.on_unit(unit, now)) {
                Flow::Continue => {}
                Flow::Subscribe => entry.wants_subscription = true,
                Flow::Switch => entry.wants_switch = true,
                Flow::Close(reason) => closing.push((id, reason)),
            }
        }
        if let Some(place) = self.streams.get_mut(&stream) {
            *place = ids;
        }
        for (id, reason) in closing {
            self.remove(id, reason);
        }
    }

    /// Subscribes the sink, or subscribes it anew, and hands it the cache.
    fn subscribe(&mut self, id: u64, now: Instant) {
        let Some(entry) = self.sinks.get_mut(&id) else { return };
        let Subscription { cached, next_index } = entry.stream.subscribe(&self.inbox);
        entry.wants_subscription = false;
        if std::mem::replace(&mut entry.is_subscribed, true) {
            entry.stream.unsubscribe(&self.inbox);
        } else {
            self.streams.entry(entry.stream.id()).or_default().push(id);
        }
        entry.next_index = next_index;
        entry.delivery = if cached.is_empty() { Delivery::Joining } else { Delivery::Flowing };
        entry.needs_flush |= !cached.is_empty();
        for unit in &cached {
            if let Flow::Close(reason) = entry.flow(|sink| sink.on_unit(unit, now)) {
                self.remove(id, reason);
                return;
            }
        }
    }

    /// Takes the sink from its stream to another.
    fn switch(&mut self, id: u64, now: Instant) {
        let Some(entry) = self.sinks.get_mut(&id) else { return };
        let Some(stream) = entry.call(|sink| sink.next_stream()) else { return self.remove(id, "SINK_PANICKED") };
        let Some(stream) = stream else { return };
        if std::mem::take(&mut entry.is_subscribed) {
            entry.stream.unsubscribe(&self.inbox);
            forget(&mut self.streams, entry.stream.id(), id);
        }
        entry.stream = stream;
        self.subscribe(id, now);
    }

    /// Calls one sink and does what it wants.
    fn with(&mut self, id: u64, call: impl FnOnce(&mut dyn Sink) -> Flow) {
        let Some(entry) = self.sinks.get_mut(&id) else { return };
        if !std::mem::replace(&mut entry.is_touched, true) {
            self.touched.push(id);
        }
        match entry.flow(call) {
            Flow::Continue => {}
            Flow::Subscribe => entry.wants_subscription = true,
            Flow::Switch => entry.wants_switch = true,
            Flow::Close(reason) => self.remove(id, reason),
        }
    }

    /// Calls the sinks whose time has come.
    fn fire(&mut self, now: Instant) {
        while let Some((deadline, id)) = self.timers.due(now) {
            let Some(entry) = self.sinks.get_mut(&id).filter(|entry| entry.armed == Some(deadline)) else { continue };
            entry.armed = None;
            match entry.call(|sink| sink.deadline()) {
                Some(Some(wanted)) if wanted <= now => {
                    entry.last_timer = Some(now);
                    self.with(id, |sink| sink.on_timer(now));
                }
                // It has moved meanwhile.
                Some(_) => self.arm(id),
                None => self.remove(id, "SINK_PANICKED"),
            }
        }
        if self.timers.is_crowded(self.sinks.len()) {
            self.timers.rebuild(self.sinks.iter().filter_map(|(id, entry)| Some((entry.armed?, *id))));
        }
    }

    /// The end of a batch: subscriptions asked for, flushes, deadlines. What a flush asks for is done next time.
    fn settle(&mut self, now: Instant) {
        // The two vectors take turns, so that neither is allocated anew.
        let mut settling = std::mem::replace(&mut self.touched, std::mem::take(&mut self.settling));
        for id in settling.drain(..) {
            let Some(entry) = self.sinks.get_mut(&id) else { continue };
            entry.is_touched = false;
            if std::mem::take(&mut entry.wants_switch) {
                self.switch(id, now);
            } else if entry.wants_subscription {
                self.subscribe(id, now);
            }
            let Some(entry) = self.sinks.get_mut(&id) else { continue };
            if std::mem::take(&mut entry.needs_flush) {
                let flow = entry.flow(|sink| sink.on_flush(now));
                match flow {
                    Flow::Continue => {}
                    Flow::Subscribe | Flow::Switch => {
                        entry.wants_switch |= flow == Flow::Switch;
                        entry.wants_subscription |= flow == Flow::Subscribe;
                        entry.is_touched = true;
                        self.touched.push(id);
                    }
                    Flow::Close(reason) => self.remove(id, reason),
                }
            }
            self.arm(id);
        }
        self.settling = settling;
    }

    /// Asks the sink for its deadline. A later one than is armed waits until that has passed: deadlines that move away
    /// with each packet cost nothing.
    fn arm(&mut self, id: u64) {
        let Some(entry) = self.sinks.get_mut(&id) else { return };
        let Some(deadline) = entry.call(|sink| sink.deadline()) else { return self.remove(id, "SINK_PANICKED") };
        let Some(mut deadline) = deadline else {
            entry.armed = None;
            return;
        };
        if let Some(last) = entry.last_timer {
            deadline = deadline.max(last + TIMER_FLOOR);
        }
        if entry.armed.is_none_or(|armed| deadline < armed) {
            entry.armed = Some(deadline);
            self.timers.arm(deadline, id);
        }
    }

    fn remove(&mut self, id: u64, reason: &'static str) {
        let Some(mut entry) = self.sinks.remove(&id) else { return };
        if entry.is_subscribed {
            forget(&mut self.streams, entry.stream.id(), id);
            entry.stream.unsubscribe(&self.inbox);
        }
        debug!(stream = entry.stream.name(), reason, "a sink is dropped");
        let registry = self.poll.registry();
        // One that was never registered is not known to the registry, which is as well.
        entry.call(|sink| sink.socket().map(|socket| registry.deregister(socket)));
        if catch_unwind(AssertUnwindSafe(|| drop(entry))).is_err() {
            error!("a sink has panicked while being dropped");
        }
    }

    /// Ends all sinks; what still comes in is refused.
    fn finish(mut self, reason: &'static str) {
        let now = Instant::now();
        for id in self.sinks.keys().copied().collect::<Vec<_>>() {
            self.end(id, reason, now);
        }
        // Sinks that came too late have never been called; they are dropped.
        if catch_unwind(AssertUnwindSafe(|| drop(self.inbox.close()))).is_err() {
            error!("a sink has panicked while being dropped");
        }
    }
}

fn forget(streams: &mut HashMap<u64, Vec<u64>>, stream: u64, id: u64) {
    let Some(ids) = streams.get_mut(&stream) else { return };
    if let Some(place) = ids.iter().position(|known| *known == id) {
        ids.swap_remove(place);
    }
    if ids.is_empty() {
        streams.remove(&stream);
    }
}
