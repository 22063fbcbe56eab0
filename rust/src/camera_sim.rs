//! A camera for demos and tests: an RTSP server that plays clips in a loop, behind a door that knows them by name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};
use crate::gate::{Admission, BoxFuture, Door, Proof};
use crate::server::rtsp::{RtspOptions, RtspServer};
use crate::source::file::{self, Clip};
use crate::stream::{Description, Shards, SinkHandle, SourceState, Stream, StreamLimits};
use crate::telemetry::{Protocol, Telemetry};

/// A clip starts at once; whoever waits longer waits for a machine that is out of breath.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
const GOP_CACHE_BYTES: usize = 16 << 20;

/// One camera to be played.
#[derive(Clone, Debug)]
pub struct SimCamera {
    /// Its path: `rtsp://listen/name`.
    pub name: String,
    /// H.264 in Annex B, without B-frames.
    pub clip: PathBuf,
    pub frame_rate: f64,
}

pub struct CameraSim {
    address: SocketAddr,
    running: Mutex<Option<Running>>,
}

struct Running {
    runtime: Runtime,
    shards: Arc<Shards>,
    server: RtspServer,
}

impl CameraSim {
    /// Serves the cameras at once. With a `username`, Digest login is wanted.
    /// Errors: ADDRESS_INVALID, CAMERA_NAME_INVALID, CLIP_INVALID (InvalidArgument), CLIP_UNREADABLE (NotFound),
    /// LISTENER_IN_USE (Unavailable).
    pub fn start(listen: &str, cameras: &[SimCamera], username: &str, password: &str) -> Result<Self> {
        let listen = listen.parse().map_err(|cause| {
            let message = format!("{listen} is no ADDRESS:PORT, such as 127.0.0.1:8554");
            Error::new(ErrorKind::InvalidArgument, "ADDRESS_INVALID", message).because(cause)
        })?;
        let no_threads = |cause: std::io::Error| {
            Error::new(ErrorKind::ResourceExhausted, "NO_THREADS", "threads can't be started").because(cause)
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("vidhub-camera-sim")
            .enable_all()
            .build()
            .map_err(no_threads)?;
        let telemetry = Arc::new(Telemetry::default());
        let login = (!username.is_empty()).then(|| (username.to_owned(), password.to_owned()));
        let studio =
            Studio { cameras: load(cameras)?, login, telemetry: telemetry.clone(), handle: runtime.handle().clone() };
        let shards = Shards::start(1).map_err(no_threads)?;
        let options = RtspOptions { option: "--listen", ..RtspOptions::new(listen) };
        let server = RtspServer::start(runtime.handle(), options, Arc::new(studio), shards.clone(), telemetry)?;
        Ok(Self { address: server.address(), running: Mutex::new(Some(Running { runtime, shards, server })) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every viewer and all threads. Once is enough; more is harmless.
    pub fn stop(&self) {
        let Some(Running { runtime, shards, server }) = self.running.lock().take() else { return };
        runtime.block_on(server.stop());
        shards.stop("HUB_DRAINING");
        runtime.shutdown_timeout(Duration::from_secs(2));
    }
}

impl Drop for CameraSim {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Reads each clip once, however many cameras show it.
fn load(cameras: &[SimCamera]) -> Result<HashMap<String, Camera>> {
    let mut clips: HashMap<PathBuf, Arc<Clip>> = HashMap::new();
    let mut loaded = HashMap::new();
    for camera in cameras {
        let name = camera.name.trim_matches('/');
        if name.is_empty() || name.contains(['?', '#']) || name.chars().any(char::is_control) {
            let message = format!("{:?} is no name for a camera's path", camera.name);
            return Err(Error::new(ErrorKind::InvalidArgument, "CAMERA_NAME_INVALID", message));
        }
        let clip = match clips.get(&camera.clip) {
            Some(clip) => clip.clone(),
            None => {
                let clip = Arc::new(Clip::open(&camera.clip)?);
                clips.insert(camera.clip.clone(), clip.clone());
                clip
            }
        };
        let camera = Camera { name: name.into(), clip, frame_rate: camera.frame_rate, show: Mutex::default() };
        loaded.insert(name.to_owned(), camera);
    }
    Ok(loaded)
}

struct Studio {
    cameras: HashMap<String, Camera>,
    login: Option<(String, String)>,
    telemetry: Arc<Telemetry>,
    handle: Handle,
}

struct Camera {
    name: Arc<str>,
    clip: Arc<Clip>,
    frame_rate: f64,
    /// Plays for as long as somebody watches; a thousand that nobody watches cost nothing.
    show: Mutex<Weak<Show>>,
}

/// One run of a clip from its beginning, shared by all who watch.
struct Show {
    stream: Arc<Stream>,
    cancel: CancellationToken,
}

impl Drop for Show {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

impl Studio {
    fn show(&self, camera: &Camera) -> Arc<Show> {
        let mut running = camera.show.lock();
        if let Some(show) = running.upgrade() {
            return show;
        }
        let limits = StreamLimits { gop_cache_bytes: GOP_CACHE_BYTES };
        let stream = Stream::new(camera.name.clone(), limits, self.telemetry.clone());
        let show = Arc::new(Show { stream, cancel: CancellationToken::new() });
        self.handle.spawn(file::play(camera.clip.clone(), camera.frame_rate, show.stream.clone(), show.cancel.clone()));
        *running = Arc::downgrade(&show);
        show
    }
}

impl Door for Studio {
    fn admit(
        &self,
        camera: &str,
        proof: Option<Proof<'_>>,
        _protocol: Protocol,
        _peer: SocketAddr,
    ) -> Result<Arc<dyn Admission>> {
        let is_proven = match (&self.login, proof) {
            (None, _) => true,
            // The server has verified the password.
            (Some((username, _)), Some(Proof::RtspUser(shown))) => username.as_bytes().ct_eq(shown.as_bytes()).into(),
            (Some(_), Some(Proof::Ticket(_)) | None) => false,
        };
        if !is_proven {
            return Err(Error::new(ErrorKind::Unauthenticated, "TICKET_MISSING", "this camera wants its login"));
        }
        let camera = self
            .cameras
            .get(camera)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "CAMERA_NOT_FOUND", "no camera of that name"))?;
        Ok(Arc::new(Seat(self.show(camera))))
    }

    fn session_of(&self, _ticket: &str) -> Result<String> {
        Err(Error::new(ErrorKind::Unauthenticated, "SESSION_UNKNOWN", "a camera gives no tickets"))
    }

    fn rtsp_password(&self, rtsp_user: &str) -> Option<String> {
        let (username, password) = self.login.as_ref()?;
        (username == rtsp_user).then(|| password.clone())
    }
}

struct Seat(Arc<Show>);

impl Admission for Seat {
    fn session_id(&self) -> &str {
        ""
    }

    fn stream(&self) -> Arc<Stream> {
        self.0.stream.clone()
    }

    fn ready(&self) -> BoxFuture<'_, Result<Arc<Description>>> {
        Box::pin(async {
            let silent = || Error::new(ErrorKind::Unavailable, "CAMERA_SILENT", "the clip does not start");
            let mut state = self.0.stream.state();
            let live = state.wait_for(|state| *state == SourceState::Live);
            tokio::time::timeout(READY_TIMEOUT, live).await.map_err(|_| silent())?.map_err(|_| silent())?;
            self.0.stream.description().ok_or_else(silent)
        })
    }

    fn connected(&self, _sink: SinkHandle) {}

    fn first_picture(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(listen: &str, name: &str, clip: &str) -> &'static str {
        let camera = SimCamera { name: name.into(), clip: clip.into(), frame_rate: 25.0 };
        CameraSim::start(listen, &[camera], "", "").err().map_or("", |error| error.reason())
    }

    #[test]
    fn what_is_wrong_is_named_before_anything_runs() {
        assert_eq!(reason("8554", "gate", "/nowhere"), "ADDRESS_INVALID");
        assert_eq!(reason("127.0.0.1:0", "/", "/nowhere"), "CAMERA_NAME_INVALID");
        assert_eq!(reason("127.0.0.1:0", "gate", "/nowhere"), "CLIP_UNREADABLE");
        assert_eq!(reason("127.0.0.1:0", "gate", "/dev/null"), "CLIP_INVALID");
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_its_option() {
        let first = CameraSim::start("127.0.0.1:0", &[], "", "").expect("a free port");
        let error = CameraSim::start(&first.address().to_string(), &[], "", "").err().expect("taken");
        assert_eq!(error.reason(), "LISTENER_IN_USE");
        assert!(error.message().contains("--listen"));
        first.stop();
        first.stop();
    }
}
