//! RTSP's listening port, plain or TLS: admits connections, serves them up to PLAY, hands them to a shard.

mod announced;
mod authorise;
mod connection;
mod pair;
mod places;
mod record;
mod setup;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::error::{Error, ErrorKind, Result};
use crate::gate::Door;
use crate::stream::Shards;
use crate::telemetry::{Protocol, Telemetry};
use crate::wire::digest::Nonces;

use connection::Connection;
use places::Places;

pub use pair::UdpPair;

/// Nonces older than this are refused as stale; clients then take the new one by themselves.
const NONCE_LIFETIME: Duration = Duration::from_secs(60);
/// After a failed accept (out of descriptors), before the next.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

pub struct RtspOptions {
    pub listen: SocketAddr,
    /// The listener's option on the command line, for the message when the port is taken: `--rtsp`, `--rtsps`.
    pub option: &'static str,
    /// RTSPS when given.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Where media by UDP comes from; None, and behind TLS always: SETUP of UDP is refused.
    pub udp: Option<UdpPair>,
    /// Bound of one viewer's backlog, which has room for one access unit always.
    pub sink_queue_bytes: usize,
    pub max_connections: usize,
    /// Connections of one address that have not shown who they are.
    pub max_strangers_per_address: usize,
    /// A connection that sends no complete request for so long before PLAY is closed.
    pub request_timeout: Duration,
    /// A publisher that brings no complete picture for so long is closed.
    pub stall_timeout: Duration,
}

impl RtspOptions {
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            option: "--rtsp",
            tls: None,
            udp: None,
            sink_queue_bytes: 1024 * 1024,
            max_connections: 4096,
            max_strangers_per_address: 256,
            request_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(5),
        }
    }
}

/// What all connections of a listener share.
struct Context {
    door: Arc<dyn Door>,
    shards: Arc<Shards>,
    telemetry: Arc<Telemetry>,
    nonces: Nonces,
    started: Instant,
    protocol: Protocol,
    udp: Option<Arc<UdpPair>>,
    sink_queue_bytes: usize,
    request_timeout: Duration,
    stall_timeout: Duration,
    /// Cancelled when the server stops.
    stop: CancellationToken,
    places: Arc<Places>,
}

pub struct RtspServer {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl RtspServer {
    /// Binds the port and serves it on `runtime`.
    pub fn start(
        runtime: &Handle,
        options: RtspOptions,
        door: Arc<dyn Door>,
        shards: Arc<Shards>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self> {
        let taken = |cause: std::io::Error| {
            let message = format!("can't listen on {}: choose another address by {}", options.listen, options.option);
            Error::new(ErrorKind::Unavailable, "LISTENER_IN_USE", message).because(cause)
        };
        let listener = std::net::TcpListener::bind(options.listen).map_err(taken)?;
        listener.set_nonblocking(true).map_err(taken)?;
        // std's backlog of 128 is short for a wall that opens at once.
        SockRef::from(&listener).listen(1024).map_err(taken)?;
        let address = listener.local_addr().map_err(taken)?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener).map_err(taken)?
        };
        let server = Self { address, stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let udp = options.udp.filter(|_| options.tls.is_none()).map(Arc::new);
        let context = Arc::new(Context {
            door,
            shards,
            telemetry,
            nonces: Nonces::new(&rand::random(), NONCE_LIFETIME),
            started: Instant::now(),
            protocol: if options.tls.is_some() { Protocol::Rtsps } else { Protocol::RtspTcp },
            udp: udp.clone(),
            sink_queue_bytes: options.sink_queue_bytes,
            request_timeout: options.request_timeout,
            stall_timeout: options.stall_timeout,
            stop: server.stop.clone(),
            places: Places::new(options.max_connections, options.max_strangers_per_address),
        });
        let (stop, tasks) = (server.stop.clone(), server.tasks.clone());
        let acceptor = options.tls.map(TlsAcceptor::from);
        if let Some(pair) = udp {
            let stop = server.stop.clone();
            let listening = async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = pair.listen() => {}
                }
            };
            server.tasks.spawn_on(listening, runtime);
        }
        server.tasks.spawn_on(accept(listener, context, acceptor, stop, tasks), runtime);
        Ok(server)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the port and every connection that does not play yet; those that play belong to the shards.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for RtspServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    context: Arc<Context>,
    acceptor: Option<TlsAcceptor>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection can't be accepted");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(ACCEPT_BACKOFF) => continue,
                }
            }
        };
        let (context, acceptor, stop) = (context.clone(), acceptor.clone(), stop.clone());
        tasks.spawn(async move {
            let pushes = Arc::new(AtomicBool::new(false));
            let mut serving = pin!(serve(socket, peer, context, acceptor, pushes.clone()));
            tokio::select! {
                () = stop.cancelled() => {}
                () = serving.as_mut() => return,
            }
            if pushes.load(Relaxed) {
                // It hears of the stop by itself, and says goodbye.
                let _ = tokio::time::timeout(record::GOODBYE, serving).await;
            }
        });
    }
}

async fn serve(
    socket: TcpStream,
    peer: SocketAddr,
    context: Arc<Context>,
    acceptor: Option<TlsAcceptor>,
    pushes: Arc<AtomicBool>,
) {
    let local = match socket.set_nodelay(true).and_then(|()| socket.local_addr()) {
        Ok(local) => local,
        Err(error) => return debug!(%peer, %error, "a connection was gone at once"),
    };
    let place = match context.places.take(peer.ip()) {
        Ok(place) => place,
        Err(reason) => {
            debug!(%peer, reason, "a connection is refused");
            if acceptor.is_none()
                && let Some(_patience) = context.places.take_refusal()
            {
                connection::refuse(socket, reason).await;
            }
            return;
        }
    };
    match acceptor {
        None => Connection::new(socket, (peer, local), context, place, pushes).run().await,
        Some(acceptor) => match tokio::time::timeout(context.request_timeout, acceptor.accept(socket)).await {
            Ok(Ok(socket)) => Connection::new(socket, (peer, local), context, place, pushes).run().await,
            Ok(Err(error)) => debug!(%peer, %error, "a TLS handshake failed"),
            Err(_) => debug!(%peer, "a TLS handshake took too long"),
        },
    }
}
