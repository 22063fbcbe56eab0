//! The streams that run: started by the first who asks, shared by all who follow, kept for a linger time, dropped after.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::media::Profile;
use crate::source::Target;
use crate::stream::{Description, SinkHandle, SourceState, Stream, StreamLimits};
use crate::telemetry::Telemetry;

/// Why a viewer is ended whose camera is to be pulled from elsewhere.
const MOVED: &str = "STREAM_CHANGED";

/// Which stream: camera id and profile.
pub type Key = (String, Profile);

#[derive(Clone, Debug)]
pub struct StreamsOptions {
    pub linger: Duration,
    /// How long a caller waits for a picture: connecting and the first keyframe.
    pub patience: Duration,
    pub limits: StreamLimits,
    /// Streams that may run at once.
    pub max_streams: usize,
}

/// Starts pulling a camera into its stream, until the token is cancelled. Returns at once.
pub type StartSource = Box<dyn Fn(Target, Arc<Stream>, CancellationToken) + Send + Sync>;

/// Hears how each running stream is: a running stream counts as a probe.
pub type WatchStream = Box<dyn Fn(&Key, &SourceState, Option<&Description>) + Send + Sync>;

struct Running {
    profile: Profile,
    stream: Arc<Stream>,
    target: Target,
    stop: CancellationToken,
    interest: Mutex<usize>,
    idle: Notify,
    /// What plays from it, by lease.
    sinks: Mutex<HashMap<u64, SinkHandle>>,
}

impl Running {
    fn new(profile: Profile, stream: Arc<Stream>, target: Target) -> Arc<Self> {
        let (stop, idle) = (CancellationToken::new(), Notify::new());
        Arc::new(Self { profile, stream, target, stop, interest: Mutex::new(0), idle, sinks: Mutex::default() })
    }

    fn lease(self: &Arc<Self>, patience: Duration) -> Lease {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        *self.interest.lock() += 1;
        Lease { running: self.clone(), patience, number: NEXT.fetch_add(1, Relaxed) }
    }

    /// Stops the source and ends whoever watches: nothing will come any more, and their session may be as good as ever.
    fn end(&self, reason: &'static str) {
        self.stop.cancel();
        let sinks = std::mem::take(&mut *self.sinks.lock());
        sinks.values().for_each(|sink| sink.end(reason));
    }
}

/// Starts, shares and drops streams.
pub struct Streams {
    running: Mutex<HashMap<Key, Arc<Running>>>,
    options: StreamsOptions,
    start: StartSource,
    watch: WatchStream,
    telemetry: Arc<Telemetry>,
    runtime: tokio::runtime::Handle,
}

/// Somebody's interest in a stream; the stream runs while there is one.
pub struct Lease {
    running: Arc<Running>,
    patience: Duration,
    number: u64,
}

impl Streams {
    pub fn new(
        options: StreamsOptions,
        start: StartSource,
        watch: WatchStream,
        telemetry: Arc<Telemetry>,
        runtime: tokio::runtime::Handle,
    ) -> Arc<Self> {
        Arc::new(Self { running: Mutex::default(), options, start, watch, telemetry, runtime })
    }

    /// Takes an interest in the stream and starts it when nobody else had one.
    pub fn lease(self: &Arc<Self>, key: Key, target: Target) -> Result<Lease> {
        let mut running = self.running.lock();
        if let Some(shared) = running.get(&key) {
            if shared.target == target {
                return Ok(shared.lease(self.options.patience));
            }
            // The camera's record has changed in this very moment.
            if let Some(old) = running.remove(&key) {
                old.end(MOVED);
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
        let started = Running::new(key.1, stream.clone(), target.clone());
        let lease = started.lease(self.options.patience);
        running.insert(key.clone(), started.clone());
        drop(running);
        (self.start)(target, stream, started.stop.clone());
        self.runtime.spawn(report(Arc::downgrade(self), key.clone(), started.clone()));
        self.runtime.spawn(drop_when_idle(Arc::downgrade(self), key, started, self.options.linger));
        Ok(lease)
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

    /// Stops the streams of one camera that are pulled from elsewhere than `target` says now. Players that are told so
    /// ask again.
    pub fn stop_moved(&self, camera: &str, target: impl Fn(Profile) -> Option<Target>) {
        for profile in [Profile::Main, Profile::Sub] {
            let key = (camera.to_owned(), profile);
            let mut all = self.running.lock();
            if all.get(&key).is_some_and(|running| Some(&running.target) != target(profile).as_ref())
                && let Some(running) = all.remove(&key)
            {
                running.end(MOVED);
            }
        }
    }

    /// Stops the streams of one camera: its record or its right to be shown has gone.
    pub fn stop_camera(&self, camera: &str, reason: &'static str) {
        self.running.lock().retain(|key, running| {
            let stays = key.0 != camera;
            if !stays {
                running.end(reason);
            }
            stays
        });
    }
}

/// Tells the watcher each state of the stream, as long as it runs.
async fn report(streams: Weak<Streams>, key: Key, running: Arc<Running>) {
    let mut state = running.stream.state();
    loop {
        let now = state.borrow_and_update().clone();
        let Some(streams) = streams.upgrade() else { return };
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
        if *running.interest.lock() > 0 {
            continue;
        }
        if all.get(&key).is_some_and(|current| Arc::ptr_eq(current, &running)) {
            all.remove(&key);
        }
        running.stop.cancel();
        return;
    }
}

impl Lease {
    pub fn profile(&self) -> Profile {
        self.running.profile
    }

    pub fn stream(&self) -> &Arc<Stream> {
        &self.running.stream
    }

    /// What plays from the stream is ended with it.
    pub fn plays(&self, sink: SinkHandle) {
        self.running.sinks.lock().insert(self.number, sink.clone());
        if self.running.stop.is_cancelled() {
            sink.end(MOVED);
        }
    }

    /// Waits until the tracks are known and a keyframe is cached. All who wait share one start.
    pub async fn ready(&self) -> Result<Arc<Description>> {
        let mut state = self.running.stream.state();
        let deadline = Instant::now() + self.patience;
        loop {
            // The guard of the state is given back before the stream is asked anything.
            let now = state.borrow_and_update().clone();
            match now {
                SourceState::Live => {
                    if let Some(description) = self.running.stream.description() {
                        return Ok(description);
                    }
                }
                SourceState::Failed { reason, message } => {
                    return Err(Error::new(ErrorKind::Unavailable, reason, message));
                }
                SourceState::Idle | SourceState::Connecting => {}
            }
            let changed = tokio::select! {
                () = self.running.stop.cancelled() => return Err(stopped()),
                changed = timeout_at(deadline, state.changed()) => changed,
            };
            match changed {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(self.impatient()),
            }
        }
    }

    fn impatient(&self) -> Error {
        let waited = self.patience.as_secs_f64();
        if self.running.stream.has_pictures() || self.running.stream.description().is_some() {
            Error::new(
                ErrorKind::Unavailable,
                "CAMERA_NO_KEYFRAME",
                format!(
                    "the camera sends media, but no keyframe came within {waited:.0} s: shorten its keyframe interval"
                ),
            )
        } else {
            Error::new(
                ErrorKind::Unavailable,
                "CAMERA_SILENT",
                format!("the camera sent no media within {waited:.0} s: check its stream settings"),
            )
        }
    }
}

/// Nothing comes any more from a stream that was stopped while somebody waited for it.
fn stopped() -> Error {
    Error::new(ErrorKind::Unavailable, "CAMERA_UNREACHABLE", "the camera's record has just changed: try again")
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.running.sinks.lock().remove(&self.number);
        let mut interest = self.running.interest.lock();
        *interest -= 1;
        if *interest == 0 {
            self.running.idle.notify_one();
        }
    }
}
