//! Knows which cameras are there without pulling them: DESCRIBE, slowly, each in its turn.
//!
//! One task and one ordered map hold all cameras; between its probes a camera costs a map entry. DESCRIBE alone is
//! asked: it needs the login and names the media, which OPTIONS before it would not.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::offer::Offer;
use super::rtsp::{self, Address};
use super::{FailureKind, Options, Target};
use crate::media::{Codec, CodecParameters};

/// A camera that has just been registered is looked at within this, when few are.
const FIRST_SPREAD: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub struct ProbeOptions {
    /// Between two probes of a camera, give or take a fifth. Zero: only `probe_now`.
    pub interval: Duration,
    /// Probes at once; one at a time per host.
    pub parallel: usize,
    /// Probes begun a second, at most.
    pub per_second: u32,
    /// Time-outs and networks.
    pub dial: Options,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { interval: Duration::from_secs(300), parallel: 16, per_second: 100, dial: Options::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeState {
    Online,
    Offline,
    /// It answers, but refuses our login.
    Refused,
    /// It answers, but not with a usable stream; or its address may not be dialled.
    Invalid,
}

/// What a camera's description says of its picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub codec: Codec,
    /// 0 when the description does not hold the parameter sets.
    pub width: u32,
    pub height: u32,
    pub sound: Option<Codec>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProbeResult {
    pub camera: Arc<str>,
    pub state: ProbeState,
    /// Empty when online.
    pub reason: &'static str,
    pub message: String,
    pub at: SystemTime,
    pub seen: Option<Seen>,
}

pub type ProbeSink = Arc<dyn Fn(ProbeResult) + Send + Sync>;

/// The prober; dropping it ends its task.
pub struct Prober {
    shared: Arc<Shared>,
    cancel: CancellationToken,
}

struct Shared {
    cameras: Mutex<Cameras>,
    changed: Notify,
    options: ProbeOptions,
}

#[derive(Default)]
struct Cameras {
    entries: HashMap<Arc<str>, Entry>,
    /// By time and a number that keeps the keys apart.
    due: Due,
    /// Those that somebody waits for: new, or asked for. They go before all others that are due, the last one first, so
    /// that a thousand cameras that are dark hold up none of them.
    ahead: Due,
    next_number: u64,
}

type Due = BTreeMap<(Instant, u64), Arc<str>>;

struct Entry {
    target: Arc<Target>,
    /// None while it is being probed or waits for its host.
    due: Option<(Instant, u64)>,
    /// In which of the two maps `due` is.
    is_ahead: bool,
}

impl Prober {
    /// Starts the prober's task on `runtime`. `sink` is called from it and must not block.
    pub fn new(options: ProbeOptions, sink: ProbeSink, runtime: &tokio::runtime::Handle) -> Self {
        let shared = Arc::new(Shared { cameras: Mutex::default(), changed: Notify::new(), options });
        let cancel = CancellationToken::new();
        runtime.spawn(run(shared.clone(), sink, cancel.clone()));
        Self { shared, cancel }
    }

    /// Watches over a camera from now on; the first probe comes soon. A target that is known changes nothing.
    pub fn upsert(&self, target: Arc<Target>) {
        let mut cameras = self.shared.cameras.lock();
        if cameras.entries.get(&target.camera).is_some_and(|entry| *entry.target == *target) {
            return;
        }
        let options = &self.shared.options;
        let camera = target.camera.clone();
        cameras.forget(&camera);
        cameras.entries.insert(camera.clone(), Entry { target, due: None, is_ahead: true });
        if !options.interval.is_zero() {
            let backlog = Duration::from_secs_f64(cameras.entries.len() as f64 / f64::from(options.per_second.max(1)));
            let spread = backlog.max(FIRST_SPREAD).min(options.interval);
            cameras.schedule(&camera, Instant::now() + spread.mul_f64(rand::random()), true);
            drop(cameras);
            self.shared.changed.notify_one();
        }
    }

    pub fn remove(&self, camera: &str) {
        self.shared.cameras.lock().forget(camera);
    }

    /// Puts a camera in front of all others.
    pub fn probe_now(&self, camera: &str) {
        let mut cameras = self.shared.cameras.lock();
        // One that is being probed answers soon anyway.
        let Some(due) = cameras.entries.get(camera).map(|entry| entry.due) else { return };
        if due.is_some() || self.shared.options.interval.is_zero() {
            cameras.schedule(camera, Instant::now(), true);
            drop(cameras);
            self.shared.changed.notify_one();
        }
    }

    /// A running stream counts as a probe: the next one is put off.
    pub fn note_live(&self, camera: &str) {
        let mut cameras = self.shared.cameras.lock();
        if cameras.entries.get(camera).is_some_and(|entry| entry.due.is_some()) {
            cameras.schedule(camera, Instant::now() + jittered(self.shared.options.interval), false);
        }
    }

    pub fn len(&self) -> usize {
        self.shared.cameras.lock().entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Cameras {
    fn forget(&mut self, camera: &str) {
        if let Some(Entry { due: Some(due), is_ahead, .. }) = self.entries.remove(camera) {
            self.map(is_ahead).remove(&due);
        }
    }

    fn map(&mut self, is_ahead: bool) -> &mut Due {
        if is_ahead { &mut self.ahead } else { &mut self.due }
    }

    fn schedule(&mut self, camera: &str, at: Instant, is_ahead: bool) {
        let Some((camera, _)) = self.entries.get_key_value(camera) else { return };
        let camera = camera.clone();
        self.next_number += 1;
        let key = (at, self.next_number);
        if let Some(entry) = self.entries.get_mut(&camera) {
            let was_ahead = std::mem::replace(&mut entry.is_ahead, is_ahead);
            if let Some(old) = entry.due.replace(key) {
                self.map(was_ahead).remove(&old);
            }
        }
        self.map(is_ahead).insert(key, camera);
    }

    fn is_current(&self, target: &Arc<Target>) -> bool {
        self.entries.get(&target.camera).is_some_and(|entry| Arc::ptr_eq(&entry.target, target))
    }

    /// When the next camera is due.
    fn next(&self) -> Option<Instant> {
        let first = |map: &Due| map.first_key_value().map(|((at, _), _)| *at);
        first(&self.ahead).into_iter().chain(first(&self.due)).min()
    }

    /// Takes the last camera that is due of those ahead, else the first of the others.
    fn take_due(&mut self, now: Instant) -> Option<Arc<Target>> {
        let last = self.ahead.range(..=(now, u64::MAX)).next_back().map(|(key, _)| *key);
        let camera = match last {
            Some(key) => self.ahead.remove(&key)?,
            None => self.due.first_entry().filter(|first| first.key().0 <= now)?.remove(),
        };
        let entry = self.entries.get_mut(&camera)?;
        entry.due = None;
        Some(entry.target.clone())
    }
}

/// What is being probed.
struct Work {
    running: JoinSet<(Arc<Target>, ProbeResult)>,
    busy_hosts: HashSet<String>,
    /// Cameras that are due, behind another at their host.
    waiting: HashMap<String, VecDeque<Arc<Target>>>,
    options: Arc<Options>,
}

impl Work {
    /// Begins a probe, or queues it behind the one at its host. True when it has begun.
    fn begin(&mut self, target: Arc<Target>) -> bool {
        let host = host_of(&target);
        if !self.busy_hosts.insert(host.clone()) {
            self.waiting.entry(host).or_default().push_back(target);
            return false;
        }
        let options = self.options.clone();
        self.running.spawn(async move {
            let result = guarded(&target, probe(&target, &options)).await;
            (target, result)
        });
        true
    }

    /// The next camera of a host that has become free.
    fn finish(&mut self, target: &Target) -> Option<Arc<Target>> {
        let host = host_of(target);
        self.busy_hosts.remove(&host);
        let queue = self.waiting.get_mut(&host)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&host);
        }
        next
    }
}

fn host_of(target: &Target) -> String {
    Address::of(target).map(|address| address.host).unwrap_or_default()
}

async fn run(shared: Arc<Shared>, sink: ProbeSink, cancel: CancellationToken) {
    let options = &shared.options;
    let gap = Duration::from_secs(1) / options.per_second.max(1);
    let mut work = Work {
        running: JoinSet::new(),
        busy_hosts: HashSet::new(),
        waiting: HashMap::new(),
        options: Arc::new(options.dial.clone()),
    };
    let mut earliest = Instant::now();
    loop {
        let now = Instant::now();
        while work.running.len() < options.parallel.max(1) && earliest <= now {
            let Some(target) = shared.cameras.lock().take_due(now) else { break };
            if options.dial.dials.is_playing(&target.camera) {
                // A running stream is proof enough, and the camera is spared a second connection.
                settle(&shared, &sink, &target, online(&target, None));
            } else if work.begin(target) {
                // Idle time is not saved up for a burst.
                earliest = earliest.max(now) + gap;
            }
        }
        let has_room = work.running.len() < options.parallel.max(1);
        let next = shared.cameras.lock().next().map(|at| at.max(earliest));
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            Some(done) = work.running.join_next() => {
                // Only what is cancelled has no result.
                let Ok((target, result)) = done else { continue };
                let mut next = work.finish(&target);
                while let Some(target) = next {
                    if shared.cameras.lock().is_current(&target) {
                        work.begin(target);
                        break;
                    }
                    next = work.finish(&target);
                }
                settle(&shared, &sink, &target, result);
            }
            () = shared.changed.notified() => {}
            () = sleep_until(next.unwrap_or(now)), if has_room && next.is_some() => {}
        }
    }
}

/// Hands the result on, unless the camera has gone or changed meanwhile, and plans the next probe.
fn settle(shared: &Shared, sink: &ProbeSink, target: &Arc<Target>, result: ProbeResult) {
    {
        let mut cameras = shared.cameras.lock();
        if !cameras.is_current(target) {
            return;
        }
        if !shared.options.interval.is_zero() {
            cameras.schedule(&target.camera, Instant::now() + jittered(shared.options.interval), false);
        }
    }
    debug!(camera = %result.camera, state = ?result.state, reason = result.reason, "probed");
    sink(result);
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(0.8 + 0.4 * rand::random::<f64>())
}

/// A probe that panics has a result like others: its host is free again, and its camera has a next turn.
async fn guarded(target: &Target, probe: impl Future<Output = ProbeResult>) -> ProbeResult {
    AssertUnwindSafe(probe).catch_unwind().await.unwrap_or_else(|_| {
        error!(camera = %target.camera, "a probe has panicked");
        let message = "the hub failed at what the camera answered; the hub's log says where";
        failed(target, ProbeState::Invalid, FailureKind::Invalid.probe_reason(), message.into())
    })
}

async fn probe(target: &Target, options: &Options) -> ProbeResult {
    let described = rtsp::describe(target, options).await;
    match described {
        Ok(described) => online(target, seen(described.offers())),
        Err(failure) => {
            let state = match failure.kind {
                FailureKind::RefusedLogin => ProbeState::Refused,
                FailureKind::Unreachable | FailureKind::Busy | FailureKind::Silent | FailureKind::Hub(_) => {
                    ProbeState::Offline
                }
                FailureKind::Invalid
                | FailureKind::Denied
                | FailureKind::Certificate
                | FailureKind::NoKeyframe
                | FailureKind::NoPicture => ProbeState::Invalid,
            };
            failed(target, state, failure.kind.probe_reason(), failure.message)
        }
    }
}

fn failed(target: &Target, state: ProbeState, reason: &'static str, message: String) -> ProbeResult {
    ProbeResult { camera: target.camera.clone(), state, reason, message, at: SystemTime::now(), seen: None }
}

fn online(target: &Target, seen: Option<Seen>) -> ProbeResult {
    ProbeResult {
        camera: target.camera.clone(),
        state: ProbeState::Online,
        reason: "",
        message: String::new(),
        at: SystemTime::now(),
        seen,
    }
}

fn seen<'a>(offers: impl Iterator<Item = &'a Offer>) -> Option<Seen> {
    let (mut picture, mut sound) = (None, None);
    let size = |parameters: Option<CodecParameters>| {
        let (width, height, _) = parameters.and_then(|parameters| parameters.picture()).unwrap_or_default();
        (width, height)
    };
    for offer in offers {
        match offer {
            Offer::H264(sets) => picture = Some((Codec::H264, size(sets.parameters()))),
            Offer::H265(sets) => picture = Some((Codec::H265, size(sets.parameters()))),
            Offer::Aac { .. } => sound = Some(Codec::Aac),
            Offer::G711 { codec, .. } => sound = Some(*codec),
            Offer::Opus { .. } => sound = Some(Codec::Opus),
        }
    }
    picture.map(|(codec, (width, height))| Seen { codec, width, height, sound })
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn target(camera: &str, url: &str) -> Arc<Target> {
        Arc::new(Target {
            camera: camera.into(),
            url: url.into(),
            username: String::new(),
            password: String::new(),
            transport: 0,
            peer: None,
        })
    }

    fn prober(options: ProbeOptions) -> (Prober, mpsc::UnboundedReceiver<ProbeResult>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let sink: ProbeSink = Arc::new(move |result| drop(sender.send(result)));
        (Prober::new(options, sink, &tokio::runtime::Handle::current()), receiver)
    }

    #[tokio::test]
    async fn an_address_that_is_not_dialled_makes_a_camera_invalid_again_and_again() {
        let options = ProbeOptions { interval: Duration::from_millis(200), ..ProbeOptions::default() };
        let (_prober, mut results) = {
            let (prober, results) = prober(options);
            prober.upsert(target("a", "rtsp://127.0.0.1/x"));
            (prober, results)
        };
        let first = results.recv().await.unwrap();
        assert_eq!((first.state, first.reason), (ProbeState::Invalid, "CAMERA_ADDRESS_DENIED"));
        let began = Instant::now();
        results.recv().await.unwrap();
        assert!(began.elapsed() > Duration::from_millis(150), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_removed_camera_is_silent_and_a_changed_one_speaks_for_its_new_self() {
        let (prober, mut results) = prober(ProbeOptions::default());
        prober.upsert(target("a", "rtsp://127.0.0.1/x"));
        prober.upsert(target("b", "rtsp://127.0.0.1/x"));
        prober.upsert(target("b", "http://nowhere"));
        prober.remove("a");
        let result = results.recv().await.unwrap();
        assert_eq!((&*result.camera, result.reason), ("b", "CAMERA_INVALID"));
        prober.remove("b");
        assert!(prober.is_empty());
        assert_eq!(prober.shared.cameras.lock().next(), None);
    }

    #[tokio::test]
    async fn a_running_stream_puts_the_probe_off_and_probe_now_brings_it_forward() {
        let (prober, mut results) = prober(ProbeOptions::default());
        let due_in = |prober: &Prober| {
            prober.shared.cameras.lock().next().map(|at| at.saturating_duration_since(Instant::now()))
        };
        prober.upsert(target("a", "rtsp://127.0.0.1/x"));
        assert!(due_in(&prober).unwrap() <= FIRST_SPREAD);
        prober.note_live("a");
        assert!(due_in(&prober).unwrap() > Duration::from_secs(230));
        prober.probe_now("a");
        results.recv().await.unwrap();
        assert!(due_in(&prober).unwrap() > Duration::from_secs(230));
        prober.probe_now("nobody");
        prober.note_live("nobody");
    }

    #[tokio::test]
    async fn a_probe_that_panics_is_one_that_has_failed() {
        let camera = target("a", "rtsp://127.0.0.1/x");
        let panicked = guarded(&camera, async { panic!("a parser that has met its match") }).await;
        assert_eq!((&*panicked.camera, panicked.state, panicked.reason), ("a", ProbeState::Invalid, "CAMERA_INVALID"));
    }

    #[tokio::test]
    async fn a_city_of_cameras_is_probed_no_faster_than_allowed() {
        let options = ProbeOptions { per_second: 200, ..ProbeOptions::default() };
        let (prober, mut results) = prober(options);
        let began = Instant::now();
        for camera in 0..120 {
            prober.upsert(target(&camera.to_string(), &format!("rtsp://127.0.0.{camera}/x")));
            prober.probe_now(&camera.to_string());
        }
        let mut heard = HashSet::new();
        while heard.len() < 120 {
            heard.insert(results.recv().await.unwrap().camera);
        }
        assert!(began.elapsed() > Duration::from_millis(590), "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_camera_that_plays_is_online_without_being_asked() {
        let (prober, mut results) = prober(ProbeOptions::default());
        let playing = prober.shared.options.dial.dials.plays("a".into());
        // Asked, it would be invalid: the address may not be dialled.
        prober.upsert(target("a", "rtsp://127.0.0.1/x"));
        assert_eq!(results.recv().await.unwrap().state, ProbeState::Online);
        drop(playing);
        prober.probe_now("a");
        assert_eq!(results.recv().await.unwrap().state, ProbeState::Invalid);
    }

    #[tokio::test]
    async fn a_hundred_thousand_idle_cameras_are_one_task() {
        let (prober, _results) = prober(ProbeOptions { per_second: 1, ..ProbeOptions::default() });
        let began = Instant::now();
        for camera in 0..100_000 {
            prober.upsert(target(&camera.to_string(), &format!("rtsp://127.0.0.1/{camera}")));
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!((prober.len(), prober.shared.cameras.lock().ahead.len()), (100_000, 100_000));
        assert!(tokio::runtime::Handle::current().metrics().num_alive_tasks() <= 2);
    }

    #[test]
    fn who_is_waited_for_goes_before_a_backlog() {
        let mut cameras = Cameras::default();
        let now = Instant::now();
        let mut put = |camera: &str, late_s: u64, is_ahead: bool| {
            let target = target(camera, "rtsp://127.0.0.1/x");
            cameras.entries.entry(target.camera.clone()).or_insert(Entry { target, due: None, is_ahead });
            cameras.schedule(camera, now - Duration::from_secs(late_s), is_ahead);
        };
        put("dark", 900, false);
        put("dark too", 600, false);
        put("asked for", 700, false);
        put("new", 2, true);
        put("newer", 1, true);
        put("asked for", 0, true);
        let order: Vec<String> =
            std::iter::from_fn(|| cameras.take_due(now)).map(|target| target.camera.to_string()).collect();
        assert_eq!(order, ["asked for", "newer", "new", "dark", "dark too"]);
        assert!(cameras.next().is_none());
        // Once looked at, a camera waits like all others.
        cameras.schedule("new", now - Duration::from_secs(1), false);
        cameras.schedule("dark", now - Duration::from_secs(2), false);
        assert_eq!(cameras.take_due(now).map(|target| target.camera.to_string()).as_deref(), Some("dark"));
        // And one whose turn has not come is left.
        cameras.schedule("newer", now + Duration::from_secs(1), true);
        assert_eq!(cameras.take_due(now).map(|target| target.camera.to_string()).as_deref(), Some("new"));
        assert!(cameras.take_due(now).is_none());
        assert_eq!(cameras.next(), Some(now + Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn without_an_interval_only_probe_now_probes() {
        let (prober, mut results) = prober(ProbeOptions { interval: Duration::ZERO, ..ProbeOptions::default() });
        prober.upsert(target("a", "rtsp://127.0.0.1/x"));
        assert!(results.try_recv().is_err());
        prober.probe_now("a");
        assert_eq!(&*results.recv().await.unwrap().camera, "a");
    }
}
