//! The one public HTTP port: answers the media routes, passes the rest to the Python application.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::routing::any;
use hyper::header;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use ipnet::IpNet;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;
use tracing::{debug, warn};

use super::connection::{self, Stop};
use super::limits::{HEADER_TIMEOUT, MAX_HEADERS, Quota, Seat};
use super::mse::{self, Mse};
use super::problem::problem;
use super::proxy::{Backend, Caller};
use super::webrtc::Webrtc;
use super::{whep, whip};
use crate::error::Result;
use crate::gate::Door;

/// Time that a client which sends nothing more has to take our last answer.
const USER_TIMEOUT: Duration = Duration::from_secs(60);
/// When the system has no descriptor left, `accept` fails at once: a pause, not a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The Unix socket of the Python application.
    pub backend: PathBuf,
    /// Certificate chain and key, as `tls::server_config` reads them; None: cleartext.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Peers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    pub max_connections: usize,
    pub max_connections_per_address: usize,
    /// What a gRPC client that knocks here is told.
    pub grpc_port: u16,
    /// Longest wait for a camera. The door has its own, shorter one.
    pub ready_timeout: Duration,
    /// Time for requests under way when the server stops.
    pub drain: Duration,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            backend: PathBuf::new(),
            tls: None,
            trusted_proxies: Vec::new(),
            max_connections: 4096,
            max_connections_per_address: 256,
            grpc_port: 50051,
            ready_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(5),
        }
    }
}

/// ALPN names of this port.
pub const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What the routes share.
pub struct App {
    pub options: HttpOptions,
    pub door: Arc<dyn Door>,
    /// None where WebRTC is switched off.
    pub webrtc: Option<Arc<Webrtc>>,
    pub mse: Mse,
    /// Connections that have left HTTP are waited for as well, and hear that the server stops.
    pub tracker: TaskTracker,
    pub stop: Stop,
    backend: Backend,
}

/// Serves until `shutdown`, then lets requests under way end for `options.drain` and breaks off the rest.
pub async fn serve(
    listener: TcpListener,
    options: HttpOptions,
    door: Arc<dyn Door>,
    webrtc: Option<Arc<Webrtc>>,
    mse: Mse,
    shutdown: CancellationToken,
) -> Result<()> {
    let tls = options.tls.clone().map(TlsAcceptor::from);
    let quota = Quota::new(options.max_connections, options.max_connections_per_address);
    let (drain, trusted) = (options.drain, options.trusted_proxies.clone());
    let tracker = TaskTracker::new();
    let stop = Stop { gently: shutdown.clone(), now: CancellationToken::new() };
    let app = Arc::new(App {
        backend: Backend::new(&options.backend),
        options,
        door,
        webrtc,
        mse,
        tracker: tracker.clone(),
        stop: stop.clone(),
    });
    let router = routes(Arc::clone(&app));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(cause) => {
                warn!(%cause, "HTTP can't accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if let Err(cause) = prepare(&stream) {
            debug!(%cause, "a connection was gone before it was served");
            continue;
        }
        // A trusted proxy speaks for many.
        let ip = peer.ip().to_canonical();
        let counted = (!trusted.iter().any(|network| network.contains(&ip))).then_some(ip);
        let Ok(seat) = quota.take(counted) else {
            connection::refuse(stream, tls.is_some(), &tracker, &stop);
            continue;
        };
        let serving = serve_connection(Arc::clone(&app), router.clone(), tls.clone(), stream, peer, stop.clone(), seat);
        tracker.spawn(serving);
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(drain, tracker.wait()).await.is_err() {
        stop.now.cancel();
        tracker.wait().await;
    }
    Ok(())
}

fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/mse/{camera}", any(mse::endpoint))
        .route("/whep/{camera}", any(whep::endpoint))
        .route("/whep/{camera}/{resource}", any(whep::resource))
        .route("/whip/{camera}", any(whip::endpoint))
        .route("/whip/{camera}/{resource}", any(whep::resource))
        // These have a port of their own, which is not for the public.
        .route("/metrics", any(elsewhere))
        .route("/healthz", any(elsewhere))
        .route("/readyz", any(elsewhere))
        .fallback(forward)
        .with_state(app)
}

async fn elsewhere() -> Response<Body> {
    problem(StatusCode::NOT_FOUND, "NOT_FOUND", "metrics and health are not on this port")
}

async fn forward(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Response<Body> {
    app.backend.forward(caller, request).await
}

/// No Nagle: with it, an answer that takes two writes waits 40 ms for the client's delayed acknowledgement.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(USER_TIMEOUT))
}

async fn serve_connection(
    app: Arc<App>,
    router: Router,
    tls: Option<TlsAcceptor>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: Stop,
    _seat: Seat,
) {
    let is_secure = tls.is_some();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (app, router) = (Arc::clone(&app), router.clone());
        async move { Ok::<_, Infallible>(answer(&app, router, peer, is_secure, request.map(Body::new)).await) }
    });
    match tls {
        None => connection::serve(stream, service, stop).await,
        Some(tls) => {
            let handshake = tokio::select! {
                () = stop.gently.cancelled() => return,
                handshake = tokio::time::timeout(HEADER_TIMEOUT, tls.accept(stream)) => handshake,
            };
            match handshake {
                Ok(Ok(stream)) => connection::serve(stream, service, stop).await,
                Ok(Err(cause)) => debug!(%peer, %cause, "TLS handshake failed"),
                Err(_) => debug!(%peer, "TLS handshake took too long"),
            }
        }
    }
}

async fn answer(
    app: &App,
    router: Router,
    peer: SocketAddr,
    is_secure: bool,
    mut request: Request<Body>,
) -> Response<Body> {
    if let Some(refused) = refuse(&request, app.options.grpc_port) {
        return refused;
    }
    let caller = Caller::of(peer, is_secure, request.headers(), &app.options.trusted_proxies);
    request.extensions_mut().insert(caller);
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// What is wrong with a request whatever route it is for.
fn refuse(request: &Request<Body>, grpc_port: u16) -> Option<Response<Body>> {
    let headers = request.headers();
    if headers.len() > MAX_HEADERS {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Some(problem(status, "TOO_LARGE", &format!("more than {MAX_HEADERS} header fields")));
    }
    let content_type = headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    if content_type.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc")) {
        let detail = format!("gRPC is served on port {grpc_port}, to units and hubs with a certificate; use that");
        return Some(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "CONTENT_TYPE", &detail));
    }
    if !has_one_host(request) {
        let detail = "say the host once, in Host, and the path alone in the request line";
        return Some(problem(StatusCode::BAD_REQUEST, "HOST_INVALID", detail));
    }
    let path = request.uri().path();
    // A camera's id needs no escapes; whatever comes with some is meant for another reader than us.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
    let of = |route| path.strip_prefix(route).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('/'));
    if ["/whep", "/whip", "/mse"].into_iter().any(of)
        && (!path.bytes().all(plain) || path.split('/').skip(1).any(|part| part.is_empty() || part.starts_with('.')))
    {
        let detail =
            "the address must be /whep/, /whip/ or /mse/ and a camera's id, without escapes, dots and empty parts";
        return Some(problem(StatusCode::BAD_REQUEST, "PATH_INVALID", detail));
    }
    None
}

/// One host, and no second opinion on it: requests that name two are a way past proxies and caches.
fn has_one_host(request: &Request<Body>) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return false;
    }
    match (request.version(), request.uri().authority(), first) {
        (Version::HTTP_2, Some(authority), host) => {
            !authority.as_str().contains('@')
                && host.is_none_or(|host| host.as_bytes() == authority.as_str().as_bytes())
        }
        // The absolute form is for proxies, which we are not; the authority form is CONNECT's.
        (_, Some(_), _) => false,
        (Version::HTTP_2, None, host) => host.is_some(),
        (Version::HTTP_11, None, host) => host.is_some_and(|host| !host.is_empty()),
        (_, None, _) => true,
    }
}
