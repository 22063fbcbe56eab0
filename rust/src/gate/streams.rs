//! The streams that run: started by the first who asks, shared by all who follow, kept for a linger time, dropped after.
//!
//! What brings a stream's media is its supply: a pull from the camera's address, or whoever pushes it. A push goes before
//! the pull, a newer push before an older one; the stream and its viewers stay. What another hub is to bring is asked for
//! (`wanted.rs`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::door::BoxFuture;
use super::ender::Ender;
use super::events::Events;
use super::lease::Lease;
use super::wanted::{Asking, RELEASED, keep_asking};
use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::source::Target;
use crate::stream::{Description, SinkHandle, SourceState, Stream, StreamLimits};
use crate::telemetry::Telemetry;

/// Why a viewer is ended whose camera is to be pulled from elsewhere.
pub(super) const MOVED: &str = "STREAM_CHANGED";

/// Which stream: camera id and profile.
pub type Key = (String, Profile);

/// Where a stream's media may come from, beside who pushes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// From nowhere else.
    Pushed,
    /// From the camera.
    Camera(Target),
    /// From another hub, which brings it when it is asked for.
    Hub,
}

#[derive(Clone, Debug)]
pub struct StreamsOptions {
    pub linger: Duration,
    /// How long a caller waits for a picture: connecting and the first keyframe.
    pub patience: Duration,
    pub limits: StreamLimits,
    /// Streams that may run at once.
    pub max_streams: usize,
}

/// Pulls a camera into its stream until the token is cancelled.
pub type StartSource = Box<dyn Fn(Target, Arc<Stream>, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// Hears how each running stream is: a running stream counts as a probe.
pub type WatchStream = Box<dyn Fn(&Key, &SourceState, Option<&Description>) + Send + Sync>;

pub(super) struct Running {
    pub key: Key,
    pub stream: Arc<Stream>,
    /// Cancelled when it has left the map.
    pub stop: CancellationToken,
    pub supply: Mutex<Supply>,
    /// Held by what writes into the stream: one source at a time.
    pub turns: Arc<Semaphore>,
    pub interest: Mutex<usize>,
    pub idle: Notify,
    /// Rings when what is asked for may have changed.
    pub news: Notify,
    /// What plays from it, by lease.
    pub sinks: Mutex<HashMap<u64, SinkHandle>>,
}

/// What brings the media.
pub(super) struct Supply {
    pub origin: Origin,
    /// Where another hub gives it to be pulled.
    pub lent: Option<Target>,
    pub asking: Asking,
    /// Ends the pull that runs.
    pub pull: Option<CancellationToken>,
    /// The newest who pushes, by its lease.
    pub push: Option<(u64, Ender)>,
    /// How it was when the last push ended; told for as long as nothing else brings media.
    pub left: Option<SourceState>,
    pub viewers: usize,
}

impl Running {
    fn new(key: Key, stream: Arc<Stream>, origin: Origin) -> Arc<Self> {
        let asking = Asking::default();
        let supply = Supply { origin, lent: None, asking, pull: None, push: None, left: None, viewers: 0 };
        Arc::new(Self {
            key,
            stream,
            stop: CancellationToken::new(),
            supply: Mutex::new(supply),
            turns: Arc::new(Semaphore::new(1)),
            interest: Mutex::new(0),
            idle: Notify::new(),
            news: Notify::new(),
            sinks: Mutex::default(),
        })
    }

    fn lease(self: &Arc<Self>, streams: &Arc<Streams>, views: bool) -> Lease {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        *self.interest.lock() += 1;
        self.supply.lock().viewers += usize::from(views);
        Lease { running: self.clone(), streams: streams.clone(), views, number: NEXT.fetch_add(1, Relaxed) }
    }

    /// Nobody has an interest. Who pushes another hub's camera does so for those who watch it here, and has none of its own.
    fn is_idle(&self) -> bool {
        let supply = self.supply.lock();
        if supply.origin == Origin::Hub { supply.viewers == 0 } else { *self.interest.lock() == 0 }
    }

    /// Ends the source and whoever watches: nothing will come any more, and their session may be as good as ever.
    fn end(&self, reason: &'static str) {
        self.stop.cancel();
        if let Some((_, ender)) = &self.supply.lock().push {
            ender.end(reason);
        }
        let sinks = std::mem::take(&mut *self.sinks.lock());
        sinks.values().for_each(|sink| sink.end(reason));
    }
}

/// Starts, shares and drops streams.
pub struct Streams {
    running: Mutex<HashMap<Key, Arc<Running>>>,
    pub(super) options: StreamsOptions,
    start: StartSource,
    watch: WatchStream,
    pub(super) events: Arc<Events>,
    telemetry: Arc<Telemetry>,
    runtime: tokio::runtime::Handle,
}

impl Streams {
    pub fn new(
        options: StreamsOptions,
        start: StartSource,
        watch: WatchStream,
        events: Arc<Events>,
        telemetry: Arc<Telemetry>,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        Arc::new(Self { running: Mutex::default(), options, start, watch, events, telemetry, runtime })
    }

    /// Takes a viewer's interest in the stream; pulls it, or asks for it, when nothing else brings it.
    pub fn lease(self: &Arc<Self>, key: Key, origin: Origin) -> Result<Lease> {
        let lease = self.take(key, origin, true)?;
        self.pull(&lease.running);
        self.ask_anew(&lease.running);
        Ok(lease)
    }

    /// Takes the interest of somebody who is going to push it; `Lease::take_over` does.
    pub fn lease_to_push(self: &Arc<Self>, key: Key, origin: Origin) -> Result<Lease> {
        self.take(key, origin, false)
    }

    pub(super) fn find(&self, key: &Key) -> Option<Arc<Running>> {
        self.running.lock().get(key).cloned()
    }

    pub fn is_pushed(&self, key: &Key) -> bool {
        self.find(key).is_some_and(|running| running.supply.lock().push.is_some())
    }

    fn take(self: &Arc<Self>, key: Key, origin: Origin, views: bool) -> Result<Lease> {
        let mut running = self.running.lock();
        if let Some(shared) = running.get(&key) {
            let fits = {
                let supply = shared.supply.lock();
                supply.push.is_some() || supply.origin == origin
            };
            if fits {
                return Ok(shared.lease(self, views));
            }
            // The camera's record has changed in this very moment.
            if let Some(old) = running.remove(&key) {
                old.end(MOVED);
                self.released(&old);
            }
        }
        if running.len() >= self.options.max_streams {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_STREAMS",
                format!("{} cameras are live on this hub: end some", self.options.max_streams),
            ));
        }
        let name: Arc<str> = format!("{}/{}", key.0, if key.1 == Profile::Main { "main" } else { "sub" }).into();
        let stream = Stream::new(name, self.options.limits.clone(), self.telemetry.clone());
        let is_foreign = origin == Origin::Hub;
        let started = Running::new(key.clone(), stream, origin);
        let lease = started.lease(self, views);
        running.insert(key.clone(), started.clone());
        drop(running);
        if is_foreign {
            // How it is, its own hub tells. Who pushes it may have come too late for those who watched.
            started.idle.notify_one();
            self.runtime.spawn(keep_asking(Arc::downgrade(self), started.clone()));
        } else {
            self.runtime.spawn(report(Arc::downgrade(self), key.clone(), started.clone()));
        }
        self.runtime.spawn(drop_when_idle(Arc::downgrade(self), key, started, self.options.linger));
        Ok(lease)
    }

    /// Starts to pull, if somebody watches and nothing else brings media.
    pub(super) fn pull(self: &Arc<Self>, running: &Arc<Running>) {
        let mut supply = running.supply.lock();
        let target = match (&supply.origin, &supply.lent) {
            (Origin::Camera(target), _) | (Origin::Hub, Some(target)) => target.clone(),
            (Origin::Hub, None) | (Origin::Pushed, _) => return,
        };
        if supply.viewers == 0 || supply.push.is_some() || supply.pull.is_some() || running.stop.is_cancelled() {
            return;
        }
        let stop = running.stop.child_token();
        supply.pull = Some(stop.clone());
        supply.left = None;
        drop(supply);
        let (stream, turns) = (running.stream.clone(), running.turns.clone());
        let (streams, running) = (self.clone(), running.clone());
        self.runtime.spawn(async move {
            // Whoever pushed before has stopped writing by then.
            let turn = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                turn = turns.acquire_owned() => turn,
            };
            (streams.start)(target, stream, stop.clone()).await;
            drop(turn);
            streams.pull_ended(&running, &stop);
        });
    }

    /// The source has ended: by itself, where another hub lent it.
    fn pull_ended(&self, running: &Running, stop: &CancellationToken) {
        if stop.is_cancelled() {
            return self.tell_taken_back(running);
        }
        let failure = {
            let mut supply = running.supply.lock();
            if supply.lent.take().is_none() {
                return;
            }
            supply.pull = None;
            match &*running.stream.state().borrow() {
                SourceState::Failed { reason, message, .. } => Some((*reason, message.clone())),
                SourceState::Idle | SourceState::Connecting | SourceState::Live => None,
            }
        };
        self.supply_ended(running, failure);
    }

    /// Streams that run, lingering ones included.
    pub fn count(&self) -> usize {
        self.running.lock().len()
    }

    /// Stops every source.
    pub fn stop(&self) {
        for (_, running) in self.running.lock().drain() {
            running.stop.cancel();
        }
    }

    /// Stops the streams of one camera that come from elsewhere than `origin` says now. Players that are told so ask again.
    /// One that is pushed goes on.
    pub fn stop_moved(&self, camera: &str, origin: impl Fn(Profile) -> Origin) {
        for profile in [Profile::Main, Profile::Sub] {
            let key = (camera.to_owned(), profile);
            let mut all = self.running.lock();
            let Some(running) = all.get(&key) else { continue };
            let (wanted, mut supply) = (origin(profile), running.supply.lock());
            if supply.origin == wanted {
                continue;
            }
            // Between hubs nothing goes on: whose camera it is has changed.
            if supply.push.is_some() && supply.origin != Origin::Hub && wanted != Origin::Hub {
                supply.origin = wanted;
                continue;
            }
            drop(supply);
            if let Some(running) = all.remove(&key) {
                running.end(MOVED);
                self.released(&running);
            }
        }
    }

    /// Stops those streams of one camera. Players that are told so ask again.
    pub fn stop_where(&self, camera: &str, goes: impl Fn(Profile) -> bool) {
        self.running.lock().retain(|key, running| {
            let stays = key.0 != camera || !goes(key.1);
            if !stays {
                running.end(MOVED);
                self.released(running);
            }
            stays
        });
    }

    /// Stops the streams of one camera: its record or its right to be shown has gone.
    pub fn stop_camera(&self, camera: &str, reason: &'static str) {
        self.running.lock().retain(|key, running| {
            let stays = key.0 != camera;
            if !stays {
                running.end(reason);
                self.released(running);
            }
            stays
        });
    }

    /// Whether a stream of the camera is running.
    pub fn has_any(&self, camera: &str) -> bool {
        let running = self.running.lock();
        !running.is_empty()
            && [Profile::Main, Profile::Sub]
                .into_iter()
                .any(|profile| running.contains_key(&(camera.to_owned(), profile)))
    }

    /// Whether the camera's other profile is live.
    fn other_is_live(&self, (camera, profile): &Key) -> bool {
        let other = if *profile == Profile::Main { Profile::Sub } else { Profile::Main };
        let running = self.running.lock().get(&(camera.clone(), other)).cloned();
        running.is_some_and(|running| *running.stream.state().borrow() == SourceState::Live)
    }
}

/// Tells the watcher each state of the stream, as long as it runs.
async fn report(streams: Weak<Streams>, key: Key, running: Arc<Running>) {
    let mut state = running.stream.state();
    loop {
        let mut now = state.borrow_and_update().clone();
        let Some(streams) = streams.upgrade() else { return };
        let left = running.supply.lock().left.clone();
        if now == SourceState::Idle
            && let Some(left) = left
            && !streams.other_is_live(&key)
        {
            now = left;
        }
        (streams.watch)(&key, &now, running.stream.description().as_deref());
        drop(streams);
        tokio::select! {
            () = running.stop.cancelled() => return,
            changed = state.changed() => if changed.is_err() { return },
        }
    }
}

/// Waits for the stream to be without interest for the whole linger time, then drops it.
async fn drop_when_idle(streams: Weak<Streams>, key: Key, running: Arc<Running>, linger: Duration) {
    loop {
        tokio::select! {
            () = running.stop.cancelled() => return,
            () = running.idle.notified() => {}
        }
        loop {
            tokio::select! {
                () = running.stop.cancelled() => return,
                // Somebody came and went meanwhile: the time begins anew.
                () = running.idle.notified() => {}
                () = tokio::time::sleep(linger) => break,
            }
        }
        let Some(streams) = streams.upgrade() else { return };
        let mut all = streams.running.lock();
        // Under the map's lock nobody can take a new interest.
        if !running.is_idle() {
            continue;
        }
        if all.get(&key).is_some_and(|current| Arc::ptr_eq(current, &running)) {
            all.remove(&key);
            streams.released(&running);
        }
        running.end(RELEASED);
        return;
    }
}
