//! The public HTTP port with one camera behind it, on loopback.

#![allow(dead_code)] // Each program that includes this file uses a part of it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use _core::server::http::{HttpOptions, serve};
use _core::server::mse::{Mse, MseOptions};
use _core::server::webrtc::{Webrtc, WebrtcOptions};
use _core::stream::Shards;
use _core::telemetry::Telemetry;
use axum::Router;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::camera::{CAMERA, OneDoor, Publisher, sound, video};
use crate::whep_client::{Answer, WhepClient, post_offer};

/// A port with everything behind it.
pub struct Port {
    pub address: SocketAddr,
    pub door: Arc<OneDoor>,
    pub webrtc: Arc<Webrtc>,
    pub shards: Arc<Shards>,
    pub telemetry: Arc<Telemetry>,
    pub shutdown: CancellationToken,
    pub serving: Option<tokio::task::JoinHandle<_core::error::Result<()>>>,
    pub runtime: Runtime,
    /// Of the application's socket.
    pub folder: PathBuf,
}

impl Port {
    pub fn open(change: impl FnOnce(&mut HttpOptions, &mut WebrtcOptions)) -> Self {
        Self::open_on("127.0.0.1:0".parse().unwrap(), change)
    }

    pub fn open_on(udp: SocketAddr, change: impl FnOnce(&mut HttpOptions, &mut WebrtcOptions)) -> Self {
        Self::open_with(udp, MseOptions::default(), change)
    }

    pub fn open_with(
        udp: SocketAddr,
        mse: MseOptions,
        change: impl FnOnce(&mut HttpOptions, &mut WebrtcOptions),
    ) -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let folder =
            std::env::temp_dir().join(format!("vidhub-http-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst)));
        std::fs::create_dir_all(&folder).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let telemetry = Arc::new(Telemetry::default());
        let shards = Shards::start(2).unwrap();
        let door = OneDoor::new(&telemetry);
        let (mut http, mut webrtc) =
            (HttpOptions { backend: folder.join("app.sock"), ..HttpOptions::default() }, WebrtcOptions::default());
        change(&mut http, &mut webrtc);
        let webrtc = Webrtc::start(udp, webrtc, Arc::clone(&shards), Arc::clone(&telemetry)).unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let gate: Arc<dyn _core::gate::Door> = Arc::clone(&door) as _;
        let mse = Mse::new(mse, None, Arc::clone(&shards), Arc::clone(&telemetry));
        let serving = runtime.spawn(serve(listener, http, gate, Some(Arc::clone(&webrtc)), mse, shutdown.clone()));
        Self { address, door, webrtc, shards, telemetry, shutdown, serving: Some(serving), runtime, folder }
    }

    pub fn usual() -> Self {
        Self::open(|_, _| {})
    }

    pub fn publish(&self) -> Publisher {
        Publisher::start(Arc::clone(&self.door.stream), vec![video(false), sound()])
    }

    /// The Python application's stand-in.
    pub fn backend(&self, router: Router) {
        let _guard = self.runtime.enter();
        let listener = tokio::net::UnixListener::bind(self.folder.join("app.sock")).unwrap();
        self.runtime.spawn(async move { axum::serve(listener, router).await });
    }

    pub fn view(&self, ticket: &str) -> (WhepClient, Answer) {
        let (mut client, offer) = WhepClient::offer(true);
        let answer = post_offer(self.address, CAMERA, ticket, &offer).unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        client.accept(&answer.body);
        (client, answer)
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(serving) = self.serving.take() {
            let ended = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), serving).await });
            assert!(ended.is_ok() || std::thread::panicking(), "the server did not end");
        }
        self.shards.stop("HUB_DRAINING");
        self.webrtc.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come about");
        std::thread::yield_now();
    }
}
