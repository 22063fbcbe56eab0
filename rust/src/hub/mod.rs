//! The hub: builds the parts, binds the ports, drains and stops. Owns every thread of the core.

mod examining;
mod frames;
mod log;
mod options;
mod probing;
mod relays;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use probing::{Probing, target_of};
use relays::Relays;

pub use examining::MAX_EXAMINATIONS;
pub use frames::FrameReader;
pub use options::{HubOptions, ListenOptions, Secret, TlsFiles, TlsPem};
pub use relays::MAX_RELAYS;

use crate::error::{Error, ErrorKind, Result};
use crate::gate::{self, Door, Events, Gate, StartSource, Streams, StreamsOptions};
use crate::peer;
use crate::policy::Policy;
use crate::registry::{Camera, Change, Registry};
use crate::server::http::{self, HttpOptions};
use crate::server::mse::{Mse, MseOptions};
use crate::server::rtsp::{RtspOptions, RtspServer, UdpPair};
use crate::server::tls;
use crate::server::webrtc::{Webrtc, WebrtcOptions};
use crate::source::{self, Certificates, Networks, Threads};
use crate::stream::{Shards, SourceState, StreamLimits};
use crate::telemetry::Telemetry;
use crate::ticket::Tickets;

/// Streams that may run at once on one hub.
const MAX_STREAMS: usize = 4096;
/// Beyond what the door waits for a camera.
const READY_MARGIN: Duration = Duration::from_secs(5);
/// After a fault of ours on what a camera sends, before it is dialled again.
const AFTER_PANIC: Duration = Duration::from_secs(10);

/// One hub's core.
pub struct Hub {
    options: HubOptions,
    telemetry: Arc<Telemetry>,
    gate: Arc<Gate>,
    shards: Arc<Shards>,
    networks: Arc<Networks>,
    certificates: Arc<Certificates>,
    source_threads: Arc<Threads>,
    probing: Arc<Probing>,
    /// Held once by each reader of frames, which counts them.
    readers: Arc<()>,
    /// Held from a reader's first frame to its connection.
    reader_turns: Arc<Mutex<()>>,
    relays: Arc<Relays>,
    dialling: Arc<source::Options>,
    /// Cameras that may be examined at once.
    examinations: Semaphore,
    webrtc: Mutex<Option<Arc<Webrtc>>>,
    /// Plain and behind TLS.
    rtsp: Mutex<Vec<RtspServer>>,
    /// Cancelled when the listeners shall close.
    accepting: CancellationToken,
    /// Cancelled when a drain under way shall wait no longer.
    stopping: CancellationToken,
    tasks: TaskTracker,
    is_started: AtomicBool,
    ready: AtomicBool,
    /// None once stopped.
    runtime: Mutex<Option<Runtime>>,
}

impl Hub {
    /// Builds registry, policy, sessions and threads; opens no port.
    pub fn new(options: HubOptions) -> Result<Self> {
        log::begin(&options.log);
        let cores = match options.threads {
            0 => std::thread::available_parallelism().map_or(2, |cores| cores.get()),
            given => given,
        };
        let threads = if options.threads == 0 { cores.max(2) } else { cores };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("vidhub-io")
            .enable_all()
            .build()
            .map_err(|cause| no_threads().because(cause))?;
        // More of them than there are cores would only wake each other's viewers' twice as often.
        let shards = Shards::start(cores).map_err(|cause| no_threads().because(cause))?;
        // Taking a camera's packets costs less than sending them on.
        let source_threads = Arc::new(Threads::start(threads / 2).map_err(|cause| no_threads().because(cause))?);
        let telemetry = Arc::new(Telemetry::default());
        // Microseconds: a state number of an earlier life is never taken for one of this.
        let first_number = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let registry = Arc::new(Registry::new(u64::try_from(first_number).unwrap_or(0)));
        let events = Arc::new(Events::new().map_err(|cause| no_threads().because(cause))?);
        let networks = Arc::new(Networks::new(options.source.allow.clone(), options.source.deny.clone()));
        let certificates = Arc::new(match &options.source.tls_ca {
            Some(file) => Certificates::issued_by(file)?,
            None => Certificates::remembering(),
        });
        let dialling = Arc::new(source::Options {
            connect_timeout: Duration::from_secs_f64(options.source.connect_timeout_s),
            stall_timeout: Duration::from_secs_f64(options.source.stall_timeout_s),
            networks: networks.clone(),
            certificates: certificates.clone(),
            ..source::Options::default()
        });
        let probing = Arc::new(Probing::new(&options.probe, &dialling, &registry, &events, runtime.handle()));
        let streams = Streams::new(
            StreamsOptions {
                linger: Duration::from_secs_f64(options.stream.linger_s),
                patience: patience(&options),
                limits: StreamLimits { gop_cache_bytes: options.stream.gop_cache_bytes },
                max_streams: MAX_STREAMS,
            },
            start_source(source_threads.clone(), dialling.clone(), telemetry.clone()),
            gate::watch_streams(registry.clone(), events.clone(), {
                let probing = probing.clone();
                move |camera: &str| probing.note_live(camera)
            }),
            events.clone(),
            telemetry.clone(),
            runtime.handle().clone(),
        );
        let policy = Policy::new(&options.hub_id)?;
        let tickets = Tickets::new(&options.hub_id, &options.ticket_key_pem.0)?;
        let gate = Gate::new(policy, tickets, registry, events, streams, telemetry.clone());
        runtime.spawn(gate.clone().keep_time());
        Ok(Self {
            options,
            telemetry,
            gate,
            shards,
            networks,
            certificates,
            source_threads,
            probing,
            readers: Arc::new(()),
            reader_turns: Arc::default(),
            relays: Arc::default(),
            dialling,
            examinations: Semaphore::new(MAX_EXAMINATIONS),
            webrtc: Mutex::new(None),
            rtsp: Mutex::default(),
            accepting: CancellationToken::new(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            is_started: AtomicBool::new(false),
            ready: AtomicBool::new(false),
            runtime: Mutex::new(Some(runtime)),
        })
    }

    pub fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    pub fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// Binds every listener that is on; the addresses by name. Errors: LISTENER_IN_USE, LISTENER_FAILED (Unavailable),
    /// naming the address and its option.
    pub fn start(&self) -> Result<HashMap<&'static str, Option<String>>> {
        let handle = self.runtime.lock().as_ref().map(|runtime| runtime.handle().clone()).ok_or_else(stopped)?;
        let mut bound: HashMap<&'static str, Option<String>> =
            ["http", "rtsp", "rtsp_udp", "rtsps", "webrtc"].map(|name| (name, None)).into();
        if self.is_started.swap(true, Relaxed) {
            return Err(Error::new(ErrorKind::FailedPrecondition, "HUB_STARTED", "the core listens already"));
        }
        let opened = self.open(&handle, &mut bound);
        if opened.is_err() {
            // What was bound is given back: the next attempt finds all ports free.
            drop(std::mem::take(&mut *self.rtsp.lock()));
            if let Some(webrtc) = self.webrtc.lock().take() {
                webrtc.stop();
            }
            self.is_started.store(false, Relaxed);
        }
        opened?;
        let own = bound.values().flatten().chain(&self.options.own_listeners);
        self.networks.set_own_listeners(own.filter_map(|address| address.parse().ok()).collect());
        self.probing.begin(&self.gate.registry);
        Ok(bound)
    }

    /// Binds one port after the other, and serves HTTP when all are bound.
    fn open(&self, handle: &Handle, bound: &mut HashMap<&'static str, Option<String>>) -> Result<()> {
        let listen = &self.options.listen;
        let door: Arc<dyn Door> = Arc::new(self.gate.clone());
        if let Some(address) = &listen.webrtc {
            let options = WebrtcOptions {
                advertise: self.options.advertise.iter().map(|ip| SocketAddr::new(*ip, 0)).collect(),
                sink_queue_bytes: self.options.stream.sink_queue_bytes,
                stall_timeout: Duration::from_secs_f64(self.options.source.stall_timeout_s),
                ..WebrtcOptions::default()
            };
            let local = socket_address("webrtc", address)?;
            let webrtc = Webrtc::start(local, options, self.shards.clone(), self.telemetry.clone())
                .map_err(|error| named("webrtc", address, error))?;
            bound.insert("webrtc", Some(webrtc.local_address().to_string()));
            *self.webrtc.lock() = Some(webrtc);
        }
        let http = match &listen.http {
            Some(address) => {
                let tls = match &self.options.tls {
                    Some(files) => Some(tls::server_config(&files.cert, &files.key, &http::PROTOCOLS)?),
                    None => None,
                };
                let listener = handle.block_on(bind("http", address))?;
                bound.insert("http", local_address(&listener));
                let options = HttpOptions {
                    backend: self.options.backend_socket.clone(),
                    tls,
                    trusted_proxies: self.options.trusted_proxies.clone(),
                    grpc_port: self.options.grpc_port,
                    // The door waits for the one stream of a camera, then for the other; its own words come first.
                    ready_timeout: 2 * patience(&self.options) + READY_MARGIN,
                    ..HttpOptions::default()
                };
                Some((listener, options))
            }
            None => None,
        };
        if let Some(address) = &listen.rtsp {
            let udp = match &listen.rtsp_udp {
                Some(address) => Some(
                    UdpPair::bind(socket_address("rtsp-udp", address)?)
                        .map_err(|cause| not_bound("rtsp-udp", address, cause))?,
                ),
                None => None,
            };
            bound.insert("rtsp_udp", udp.as_ref().map(|pair| pair.local().to_string()));
            let options = RtspOptions {
                udp,
                sink_queue_bytes: self.options.stream.sink_queue_bytes,
                stall_timeout: Duration::from_secs_f64(self.options.source.stall_timeout_s),
                ..RtspOptions::new(socket_address("rtsp", address)?)
            };
            let server = RtspServer::start(handle, options, door.clone(), self.shards.clone(), self.telemetry.clone())
                .map_err(|error| named("rtsp", address, error))?;
            bound.insert("rtsp", Some(server.address().to_string()));
            self.rtsp.lock().push(server);
        }
        if let Some(address) = &listen.rtsps {
            let options = RtspOptions {
                option: "--rtsps",
                tls: Some(self.rtsps_tls()?),
                stall_timeout: Duration::from_secs_f64(self.options.source.stall_timeout_s),
                sink_queue_bytes: self.options.stream.sink_queue_bytes,
                ..RtspOptions::new(socket_address("rtsps", address)?)
            };
            let server = RtspServer::start(handle, options, door.clone(), self.shards.clone(), self.telemetry.clone())
                .map_err(|error| named("rtsps", address, error))?;
            bound.insert("rtsps", Some(server.address().to_string()));
            self.rtsp.lock().push(server);
        }
        if let Some((listener, options)) = http {
            let mse = MseOptions { queue_bytes: self.options.stream.sink_queue_bytes, ..MseOptions::default() };
            let origin = Some(self.options.public_url.clone()).filter(|url| !url.is_empty());
            let mse = Mse::new(mse, origin, self.shards.clone(), self.telemetry.clone());
            let webrtc = self.webrtc.lock().clone();
            let serving = http::serve(listener, options, door, webrtc, mse, self.accepting.clone());
            self.tasks.spawn_on(logged("http", serving), handle);
        }
        Ok(())
    }

    /// The certificate of the HTTP port for people, the one that the hub's own CA has issued for linked hubs; the only one
    /// there is for all.
    fn rtsps_tls(&self) -> Result<Arc<rustls::ServerConfig>> {
        match (&self.options.tls, &self.options.rtsps_certificate) {
            (Some(files), Some(pem)) => {
                let (certificate, key) = (tls::read(&files.cert)?, tls::read(&files.key)?);
                let own = (pem.certificate_pem.as_bytes(), pem.key_pem.0.as_bytes());
                tls::server_config_by_name(peer::NAME, own, (&certificate, &key))
            }
            (Some(files), None) => tls::server_config(&files.cert, &files.key, &[]),
            (None, Some(pem)) => {
                tls::server_config_from_pem(pem.certificate_pem.as_bytes(), pem.key_pem.0.as_bytes(), &[])
            }
            (None, None) => Err(Error::new(
                ErrorKind::InvalidArgument,
                "TLS_CERTIFICATE_MISSING",
                "--rtsps needs a certificate: give --tls-cert and --tls-key",
            )),
        }
    }

    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Relaxed);
    }

    pub fn load(&self, epoch: &str, revision: u64, cameras: Vec<Camera>, changes: Vec<Change>) -> Result<()> {
        self.gate.load(epoch, revision, cameras, changes)
    }

    pub fn apply_cameras(&self, revision: u64, upserts: Vec<Camera>, removed: &[String]) -> Result<()> {
        let targets: Vec<_> = upserts.iter().map(|camera| (camera.id.clone(), target_of(camera))).collect();
        // Whoever writes a camera's record anew vouches for the camera that is there now.
        upserts.iter().flat_map(|camera| &camera.streams).for_each(|stream| self.certificates.forget(&stream.url));
        self.gate.apply_cameras(revision, upserts, removed)?;
        self.probing.changed(targets, removed);
        Ok(())
    }

    pub fn probe_now(&self, camera: &str) {
        self.probing.probe_now(camera);
    }

    pub fn counts(&self) -> HashMap<&'static str, usize> {
        HashMap::from([
            ("cameras", self.gate.registry.len()),
            ("streams", self.gate.streams()),
            ("sessions", self.gate.sessions.count()),
            ("sinks", self.shards.len()),
        ])
    }

    /// Stops accepting, ends every sink with HUB_DRAINING and waits for their end, at most `timeout`.
    pub fn drain(&self, timeout: Duration) {
        self.set_ready(false);
        self.accepting.cancel();
        drop(std::mem::take(&mut *self.rtsp.lock()));
        self.tasks.close();
        // Sessions stay open on record: after a restart their viewers renew them.
        self.shards.stop("HUB_DRAINING");
        let Some(handle) = self.runtime.lock().as_ref().map(|runtime| runtime.handle().clone()) else { return };
        let drained = handle.block_on(async {
            tokio::select! {
                biased;
                // Another thread does not want to wait, and takes the clock away with the runtime.
                () = self.stopping.cancelled() => true,
                waited = tokio::time::timeout(timeout, self.tasks.wait()) => waited.is_ok(),
            }
        });
        if !drained {
            warn!("drain: time is over before every request under way was answered");
        }
    }

    /// Ends all threads and waits for them. Once is enough; more is harmless.
    pub fn stop(&self) {
        self.stopping.cancel();
        let Some(runtime) = self.runtime.lock().take() else { return };
        self.accepting.cancel();
        drop(std::mem::take(&mut *self.rtsp.lock()));
        self.probing.end();
        self.gate.stop_streams();
        if let Some(webrtc) = self.webrtc.lock().take() {
            webrtc.stop();
        }
        self.source_threads.stop();
        self.shards.stop("HUB_DRAINING");
        runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How long whoever asks waits for a camera's stream.
fn patience(options: &HubOptions) -> Duration {
    Duration::from_secs_f64(options.source.connect_timeout_s + options.source.stall_timeout_s)
}

/// Pulls cameras by RTSP; URLs of other schemes are refused by the source itself. A fault of ours in one camera's source
/// is that camera's alone, and does not last.
fn start_source(threads: Arc<Threads>, options: Arc<source::Options>, telemetry: Arc<Telemetry>) -> StartSource {
    Box::new(move |target, stream, stop| {
        let (options, telemetry) = (options.clone(), telemetry.clone());
        Box::pin(threads.run(async move {
            let camera = target.camera.clone();
            let pull =
                || source::supervise(target.clone(), stream.clone(), options.clone(), telemetry.clone(), stop.clone());
            while AssertUnwindSafe(pull()).catch_unwind().await.is_err() {
                error!(%camera, "the source has panicked");
                let message = "the hub failed on what the camera sends; its log says where".to_owned();
                stream.report(SourceState::Failed {
                    reason: "CAMERA_UNREACHABLE",
                    cause: "CAMERA_UNREACHABLE",
                    message,
                });
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(AFTER_PANIC) => {}
                }
            }
        }))
    })
}

fn socket_address(option: &'static str, address: &str) -> Result<SocketAddr> {
    address.parse().map_err(|cause| {
        Error::new(
            ErrorKind::InvalidArgument,
            "LISTENER_INVALID",
            format!("--{option} {address}: {cause}: write IP:PORT"),
        )
    })
}

async fn bind(option: &'static str, address: &str) -> Result<TcpListener> {
    TcpListener::bind(socket_address(option, address)?).await.map_err(|cause| not_bound(option, address, cause))
}

fn local_address(listener: &TcpListener) -> Option<String> {
    listener.local_addr().ok().map(|address| address.to_string())
}

fn not_bound(option: &str, address: &str, cause: std::io::Error) -> Error {
    let (reason, sentence) = match cause.kind() {
        std::io::ErrorKind::AddrInUse => ("LISTENER_IN_USE", "another program listens there: choose another port"),
        std::io::ErrorKind::AddrNotAvailable => ("LISTENER_FAILED", "this machine has no such address"),
        std::io::ErrorKind::PermissionDenied => ("LISTENER_FAILED", "the port needs privileges: choose one above 1023"),
        _ => ("LISTENER_FAILED", "the port can't be opened"),
    };
    Error::new(ErrorKind::Unavailable, reason, format!("--{option} {address}: {sentence}")).because(cause)
}

/// The same for an error of a listener that binds by itself.
fn named(option: &str, address: &str, error: Error) -> Error {
    let kind = std::error::Error::source(&error)
        .and_then(|cause| cause.downcast_ref::<std::io::Error>())
        .map(std::io::Error::kind);
    match kind {
        Some(kind) => not_bound(option, address, kind.into()),
        None => error,
    }
}

async fn logged(what: &'static str, serving: impl Future<Output = Result<()>>) {
    if let Err(error) = serving.await {
        error!(%error, "{what} ended");
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::FailedPrecondition, "HUB_STOPPED", "the core has been stopped: build a new one")
}

fn no_threads() -> Error {
    Error::new(
        ErrorKind::ResourceExhausted,
        "NO_THREADS",
        "the system gave no threads or descriptors: raise ulimit -u and -n",
    )
}
