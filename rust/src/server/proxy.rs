//! Everything that is not media goes to the Python application, over a Unix socket, streaming both ways.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use http_body_util::{BodyExt, LengthLimitError};
use hyper::body::Body as _;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tracing::debug;

use super::limits::MAX_API_BODY;
use super::problem::{method_not_allowed, problem};
use super::request_body::{Broken, RequestBody};

/// The application is on this machine: it answers at once or not at all.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// Less than the application keeps an idle connection, so that it is never we who find it closed.
const IDLE: Duration = Duration::from_secs(2);
/// A full accept queue of a Unix socket tells nobody when it has room again.
const QUEUE_PAUSE: Duration = Duration::from_millis(20);
const MAX_REQUESTS: usize = 4096;

/// What the application says itself whether it takes.
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS];

/// Fields that concern one connection only (RFC 9110 §7.6.1), and `Expect`, which is answered here.
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
];
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The client itself; behind a trusted proxy its port is unknown (0).
    pub address: SocketAddr,
    pub is_secure: bool,
}

impl Caller {
    /// The connection's peer, or, when that is a trusted proxy, the right-most hop that is not one.
    pub fn of(peer: SocketAddr, is_secure: bool, headers: &HeaderMap, trusted: &[IpNet]) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let trusts = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
        if !trusts(peer.ip()) {
            return Self { address: peer, is_secure };
        }
        let mut address = peer;
        let hops = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<&str> = hops.flat_map(|value| value.split(',')).collect();
        for hop in hops.iter().rev() {
            // What a proxy we trust did not write legibly ends what we believe.
            let Some(ip) = hop_ip(hop.trim()) else { break };
            address = SocketAddr::new(ip, 0);
            if !trusts(ip) {
                break;
            }
        }
        let is_secure = match headers.get_all(X_FORWARDED_PROTO).iter().next_back().map(HeaderValue::as_bytes) {
            Some(b"https") => true,
            Some(b"http") => false,
            _ => is_secure,
        };
        Self { address, is_secure }
    }
}

fn hop_ip(hop: &str) -> Option<IpAddr> {
    let ip = hop.parse().or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()));
    ip.ok().map(|ip: IpAddr| ip.to_canonical())
}

/// The application behind us.
pub struct Backend {
    client: Client<UnixConnector, Body>,
    requests: Arc<Semaphore>,
}

impl Backend {
    pub fn new(socket: &Path) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(UnixConnector { path: socket.into() });
        Self { client, requests: Arc::new(Semaphore::new(MAX_REQUESTS)) }
    }

    /// Passes a request on and its answer back. Dropping the future, or the answer's body, hangs up on the application.
    pub async fn forward(&self, caller: Caller, request: Request<Body>) -> Response<Body> {
        // The application's parser takes a word that it does not know for no HTTP, and says so in its log.
        if !METHODS.contains(request.method()) {
            return method_not_allowed("GET, HEAD, POST");
        }
        let Ok(permit) = Arc::clone(&self.requests).try_acquire_owned() else {
            return problem(
                StatusCode::SERVICE_UNAVAILABLE,
                "LIMIT_REQUESTS",
                "too many requests are under way; try again",
            );
        };
        if request.body().size_hint().lower() > MAX_API_BODY as u64 {
            return Broken::TooLarge.answer();
        }
        let Ok(request) = rewrite(caller, request) else {
            return problem(StatusCode::BAD_REQUEST, "REQUEST_INVALID", "the request's address can't be read");
        };
        match self.client.request(request).await {
            Ok(response) => {
                let (mut parts, body) = response.into_parts();
                strip_hop_by_hop(&mut parts.headers);
                parts.version = Version::default();
                // The place is held until the last byte has gone out.
                let body = body.map_frame(move |frame| {
                    let _ = &permit;
                    frame
                });
                Response::from_parts(parts, Body::new(body))
            }
            Err(cause) => {
                if let Some(broken) = Broken::of(&cause) {
                    return broken.answer();
                }
                debug!(?cause, "the application did not answer");
                let (status, detail) = match cause.is_connect() {
                    true => (
                        StatusCode::SERVICE_UNAVAILABLE,
                        "the hub's application does not answer; try again in a moment",
                    ),
                    false => {
                        (StatusCode::BAD_GATEWAY, "the hub's application broke off; whether it acted is not known")
                    }
                };
                problem(status, "BACKEND_UNAVAILABLE", detail)
            }
        }
    }
}

fn rewrite(caller: Caller, request: Request<Body>) -> Result<Request<Body>, hyper::http::Error> {
    let (mut parts, body) = request.into_parts();
    // HTTP/2 names the host beside the headers; the application reads `Host`.
    if let (None, Some(authority)) = (parts.headers.get(header::HOST), parts.uri.authority()) {
        let host = HeaderValue::from_str(authority.as_str())?;
        parts.headers.insert(header::HOST, host);
    }
    strip_hop_by_hop(&mut parts.headers);
    strip_forwarded(&mut parts.headers);
    let address = HeaderValue::from_str(&caller.address.ip().to_string())?;
    parts.headers.insert(X_FORWARDED_FOR, address);
    let proto = HeaderValue::from_static(if caller.is_secure { "https" } else { "http" });
    parts.headers.insert(X_FORWARDED_PROTO, proto);
    let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    // The connector ignores the authority, but the client wants one.
    let backend = Authority::from_static("backend");
    parts.uri = Uri::builder().scheme(Scheme::HTTP).authority(backend).path_and_query(path).build()?;
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Ok(Request::from_parts(parts, Body::new(RequestBody::new(body))))
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        // The host is for whoever answers: a client that calls it a matter of this connection would hide it from them.
        .filter(|name| *name != header::HOST)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Takes out what only we may say. Underscores count as hyphens: gateways that make variables of names confuse them.
fn strip_forwarded(headers: &mut HeaderMap) {
    let ours: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str().replace('_', "-");
            ["forwarded", "x-real-ip"].contains(&name.as_str())
                || ["x-forwarded-", "x-vidhub-"].iter().any(|ours| name.starts_with(ours))
        })
        .cloned()
        .collect();
    for name in ours {
        headers.remove(name);
    }
}

pub(super) fn is_too_large(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<LengthLimitError>())
}

/// Connects to the application's socket whatever the address says.
#[derive(Clone)]
struct UnixConnector {
    path: PathBuf,
}

impl tower::Service<Uri> for UnixConnector {
    type Response = TokioIo<UnixStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let path = self.path.clone();
        Box::pin(async move {
            let connect = async {
                loop {
                    match UnixStream::connect(&path).await {
                        Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                            tokio::time::sleep(QUEUE_PAUSE).await
                        }
                        other => return other.map(TokioIo::new),
                    }
                }
            };
            tokio::time::timeout(CONNECT_WITHIN, connect).await.map_err(io::Error::from)?
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    fn caller(peer: &str, fields: &[(&'static str, &'static str)]) -> Caller {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        Caller::of(peer.parse().unwrap(), false, &headers(fields), &trusted)
    }

    #[test]
    fn a_stranger_is_who_the_socket_says() {
        let stranger = caller("192.0.2.9:5000", &[("x-forwarded-for", "10.0.0.1"), ("x-forwarded-proto", "https")]);
        assert_eq!(stranger, Caller { address: "192.0.2.9:5000".parse().unwrap(), is_secure: false });
    }

    #[test]
    fn behind_trusted_proxies_the_rightmost_other_hop_is_the_client() {
        let fields = [
            ("x-forwarded-for", "198.51.100.1, 192.0.2.9"),
            ("x-forwarded-for", "10.0.0.3"),
            ("x-forwarded-proto", "https"),
        ];
        let client = caller("10.0.0.2:5000", &fields);
        assert_eq!(client, Caller { address: "192.0.2.9:0".parse().unwrap(), is_secure: true });
        assert_eq!(
            caller("10.0.0.2:1", &[("x-forwarded-for", "192.0.2.9, nonsense")]).address.ip().to_string(),
            "10.0.0.2"
        );
        assert_eq!(
            caller("[::ffff:10.0.0.2]:1", &[("x-forwarded-for", "[2001:db8::1]:77")]).address.ip().to_string(),
            "2001:db8::1"
        );
    }

    #[test]
    fn what_only_we_may_say_is_taken_out() {
        let mut fields = headers(&[
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-host", "evil"),
            ("x_forwarded_for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("x-vidhub-principal", "root"),
            ("host", "hub.example"),
            ("connection", "close, x-secret, Host"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("authorization", "Bearer t"),
        ]);
        strip_hop_by_hop(&mut fields);
        strip_forwarded(&mut fields);
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "host"]);
    }
}
