//! fMP4 over WebSocket: `/mse/{camera}` becomes a WebSocket (RFC 6455), whose first message shows the ticket, and then a
//! sink on a shard.
//!
//! Browsers tell a page nothing of an answer that is no WebSocket. So only what no page of ours does is refused in HTTP;
//! all else is told in the closing status, 4000 and the HTTP status, with the reason.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error};

use super::choice;
use super::connection::Opened;
use super::http::App;
use super::limits::{Full, Quota, Seat};
use super::problem::{method_not_allowed, problem, problem_of, status_of};
use super::proxy::Caller;
use super::socket::Socket;
use crate::error::{Error, ErrorKind, Result};
use crate::gate::{Admission, Proof, Refusal};
use crate::sink::mse::{MAX_MESSAGE, MseSink, Play, choose, close_code};
use crate::stream::{Description, Shards};
use crate::telemetry::{Protocol, Telemetry};
use crate::wire::mp4_codecs::Playable;
use crate::wire::websocket::{self, Incoming, Opcode, Parser};

/// The first message: its octets, the types it lists, and how long it may take.
const MAX_FIRST_MESSAGE: usize = 16 << 10;
const MAX_MIMES: usize = 64;
const FIRST_MESSAGE_WITHIN: Duration = Duration::from_secs(10);
/// What is left to say at the end is said, and the other side's goodbye waited for, within this.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections that have shown no ticket yet: in all, of one address.
const MAX_STRANGERS: usize = 2048;
const MAX_STRANGERS_PER_ADDRESS: usize = 256;
/// Connections without a place that are being told so; more are refused in HTTP.
const MAX_REFUSALS: usize = 64;
/// What a client may send before its picture comes.
const WAITING_BUDGET: usize = 64 << 10;

/// What all viewers share.
pub struct Mse {
    shards: Arc<Shards>,
    telemetry: Arc<Telemetry>,
    /// Bound of one viewer's backlog, which has room for one access unit always.
    queue_bytes: usize,
    /// Origins that may open a connection beside the one that the request itself is for: the hub's public address.
    origin: Option<String>,
    viewers: Arc<Quota>,
    strangers: Arc<Quota>,
    refusals: Arc<Quota>,
}

/// Viewers in all, and of one address.
#[derive(Clone, Copy, Debug)]
pub struct MseOptions {
    pub queue_bytes: usize,
    pub max_viewers: usize,
    pub max_viewers_per_address: usize,
}

impl Default for MseOptions {
    fn default() -> Self {
        Self { queue_bytes: 1024 * 1024, max_viewers: 1024, max_viewers_per_address: 256 }
    }
}

impl Mse {
    /// `origin`: the hub's public address, `https://hub.example`, where it differs from the `Host` that reaches it.
    pub fn new(options: MseOptions, origin: Option<String>, shards: Arc<Shards>, telemetry: Arc<Telemetry>) -> Self {
        Self {
            shards,
            telemetry,
            queue_bytes: options.queue_bytes,
            origin,
            viewers: Quota::new(options.max_viewers, options.max_viewers_per_address),
            strangers: Quota::new(MAX_STRANGERS, MAX_STRANGERS_PER_ADDRESS),
            refusals: Quota::new(MAX_REFUSALS, MAX_REFUSALS),
        }
    }

    /// A place until the ticket is shown: who has none can't take the places of those who do.
    fn doorstep(&self, address: SocketAddr) -> Result<Seat> {
        self.strangers.take(Some(address.ip())).map_err(|full| match full {
            Full::All => Error::new(
                ErrorKind::Unavailable,
                "LIMIT_CONNECTIONS",
                "too many connections have shown no ticket yet; try again in a moment",
            ),
            Full::Address => Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_CONNECTIONS_PER_ADDRESS",
                "too many connections of your address have shown no ticket yet; close some",
            ),
        })
    }

    fn seat(&self, address: SocketAddr) -> Result<Seat> {
        self.viewers.take(Some(address.ip())).map_err(|full| match full {
            Full::All => Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_VIEWERS",
                "this hub has as many viewers over WebSocket as it may; try again later or watch by WebRTC or RTSP",
            ),
            Full::Address => Error::new(
                ErrorKind::ResourceExhausted,
                "LIMIT_VIEWERS_PER_ADDRESS",
                "your address has as many viewers over WebSocket as it may; close one first",
            ),
        })
    }
}

/// What the browser shows first.
#[derive(Deserialize)]
pub struct Hello {
    #[serde(default)]
    pub ticket: String,
    #[serde(default)]
    pub mimes: Vec<String>,
}

impl Hello {
    pub fn read(text: &str) -> Result<Self> {
        // `serde` would take an array too, for the fields in their order.
        let object = Some(text).filter(|text| text.trim_start().starts_with('{'));
        let hello: Self = object
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| invalid("the first message must be JSON: {\"ticket\": \"…\", \"mimes\": [\"…\"]}"))?;
        if hello.mimes.len() > MAX_MIMES {
            return Err(invalid("list 64 types at most: the highest profile and level of each codec says it all"));
        }
        Ok(hello)
    }
}

/// `/mse/{camera}`
pub async fn endpoint(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(camera): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    if *request.method() != Method::GET {
        return method_not_allowed("GET");
    }
    let accept = match handshake(&request) {
        Ok(accept) => accept,
        Err(refused) => return *refused,
    };
    if !is_own_origin(request.headers(), app.mse.origin.as_deref()) {
        let message = "a page of another origin may not watch; open the console at the hub's own address";
        let error = Error::new(ErrorKind::PermissionDenied, "ORIGIN_DENIED", message);
        noted(&app, &camera, None, caller, &error);
        return problem_of(&error);
    }
    let doorstep = match app.mse.doorstep(caller.address) {
        Ok(doorstep) => Ok(doorstep),
        Err(error) => {
            noted(&app, &camera, None, caller, &error);
            match app.mse.refusals.take(None) {
                Ok(place) => Err((error, place)),
                Err(_) => return problem_of(&error),
            }
        }
    };
    let upgrade = hyper::upgrade::on(request);
    app.tracker.clone().spawn(async move {
        match upgrade.await {
            Ok(upgraded) => take_over(&app, caller, &camera, doorstep, upgraded).await,
            Err(cause) => debug!(%cause, "a connection was gone before it was a WebSocket"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// RFC 6455 §4.2.1; the answer to the key.
fn handshake(request: &Request<Body>) -> std::result::Result<HeaderValue, Box<Response<Body>>> {
    let headers = request.headers();
    let names = |field, word: &str| {
        let values = headers.get_all(field).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
    };
    let is_asked = request.version() == Version::HTTP_11
        && names(header::CONNECTION, "upgrade")
        && names(header::UPGRADE, "websocket");
    if !is_asked || !names(header::SEC_WEBSOCKET_VERSION, "13") {
        let detail = "this address speaks WebSocket alone: version 13, over HTTP/1.1";
        let mut response = problem(StatusCode::UPGRADE_REQUIRED, "UPGRADE_REQUIRED", detail);
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err(Box::new(response));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| key.to_str().ok());
    key.and_then(websocket::accept).and_then(|accept| HeaderValue::from_str(&accept).ok()).ok_or_else(|| {
        let detail = "Sec-WebSocket-Key must be 16 octets in Base64";
        Box::new(problem(StatusCode::BAD_REQUEST, "REQUEST_INVALID", detail))
    })
}

/// A browser sends the page's origin, and nothing else binds a WebSocket to it. Programs send none.
fn is_own_origin(headers: &HeaderMap, public: Option<&str>) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return !headers.contains_key(header::ORIGIN);
    };
    let Some((scheme, authority)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    let port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let bare = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let public = public.and_then(|public| public.split_once("://")).map(|(_, authority)| authority);
    [host, public].into_iter().flatten().any(|ours| bare(ours) == bare(authority))
}

fn noted(app: &App, camera: &str, ticket: Option<&str>, caller: Caller, error: &Error) {
    app.door.refused(&Refusal { camera, ticket, error, protocol: Protocol::Mse, peer: caller.address });
}

/// The connection has left HTTP: what it was underneath is what goes on.
async fn take_over(
    app: &App,
    caller: Caller,
    camera: &str,
    doorstep: std::result::Result<Seat, (Error, Seat)>,
    upgraded: Upgraded,
) {
    match upgraded.downcast::<TokioIo<Opened<TcpStream>>>() {
        Ok(parts) => serve(app, caller, camera, doorstep, parts.io.into_inner(), &parts.read_buf).await,
        Err(upgraded) => match upgraded.downcast::<TokioIo<Opened<TlsStream<TcpStream>>>>() {
            Ok(parts) => serve(app, caller, camera, doorstep, parts.io.into_inner(), &parts.read_buf).await,
            Err(_) => error!("a WebSocket stands on no socket that is known"),
        },
    }
}

async fn serve<S: Socket>(
    app: &App,
    caller: Caller,
    camera: &str,
    doorstep: std::result::Result<Seat, (Error, Seat)>,
    opened: Opened<S>,
    read: &Bytes,
) {
    let (first, socket) = opened.into_parts();
    let mut visitor = Visitor { socket, parser: Parser::new(MAX_FIRST_MESSAGE), heard: 0, ping: None };
    visitor.parser.push(read);
    visitor.parser.push(&first);
    let settled = match doorstep {
        Err((error, _)) => Err(End::Refused(error)),
        Ok(doorstep) => {
            tokio::select! {
                settled = settle(app, caller, camera, doorstep, &mut visitor) => settled,
                () = app.stop.gently.cancelled() => Err(End::Stopping),
            }
        }
    };
    match settled {
        Ok(settled) => play(app, settled, visitor).await,
        Err(End::Gone) => debug!(peer = %caller.address, "a viewer left before its picture"),
        Err(End::Fault(fault)) => visitor.close(fault.code(), fault.reason()).await,
        Err(End::Stopping) => visitor.close(close_code("HUB_DRAINING"), "HUB_DRAINING").await,
        Err(End::Refused(error)) => {
            if error.kind() == ErrorKind::Internal {
                error!(%error, cause = ?std::error::Error::source(&error), "a viewer can't be served");
            }
            visitor.close(4000 + status_of(&error).as_u16(), error.reason()).await;
        }
    }
}

/// Why nothing is played.
enum End {
    /// The client has left.
    Gone,
    Fault(websocket::Fault),
    Refused(Error),
    Stopping,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// What was agreed on.
struct Settled {
    admission: Arc<dyn Admission>,
    playable: Playable,
    reason: &'static str,
    seat: Seat,
}

async fn settle<S: Socket>(
    app: &App,
    caller: Caller,
    camera: &str,
    doorstep: Seat,
    visitor: &mut Visitor<S>,
) -> std::result::Result<Settled, End> {
    let hello = match timeout(FIRST_MESSAGE_WITHIN, visitor.hello()).await {
        Ok(hello) => hello?,
        Err(_) => {
            let message = "the first message did not come in time: send {\"ticket\", \"mimes\"}";
            return Err(Error::new(ErrorKind::DeadlineExceeded, "MESSAGE_TIMEOUT", message).into());
        }
    };
    let ticket = (!hello.ticket.is_empty()).then_some(hello.ticket.as_str());
    let admission = app
        .door
        .admit(camera, ticket.map(Proof::Ticket), Protocol::Mse, caller.address)
        .inspect_err(|error| noted(app, camera, ticket, caller, error))?;
    let seat = app.mse.seat(caller.address).inspect_err(|error| noted(app, camera, ticket, caller, error))?;
    drop(doorstep);
    let playable = Playable::read(hello.mimes.iter().map(String::as_str));
    let reason = {
        let fits = |description: &Description| choose(&playable, description).map(drop);
        tokio::select! {
            chosen = choice::choose(&*admission, app.options.ready_timeout, fits) => chosen?.reason,
            gone = visitor.wait() => return Err(gone),
        }
    };
    Ok(Settled { admission, playable, reason, seat })
}

/// Hands the connection to a shard.
async fn play<S: Socket>(app: &App, settled: Settled, mut visitor: Visitor<S>) {
    let Settled { admission, playable, reason, seat } = settled;
    if !admission.is_open() {
        return visitor.close(close_code("SESSION_CLOSED"), "SESSION_UNKNOWN").await;
    }
    let Visitor { mut socket, mut parser, ping, .. } = visitor;
    let answered = async {
        if let Some(payload) = ping {
            socket.write_all(&websocket::message(Opcode::Pong, &payload)).await?;
        }
        // Nothing may wait behind the cipher.
        socket.flush().await
    };
    let transport = match answered.await.and_then(|()| socket.into_transport()) {
        Ok(transport) => transport,
        Err(cause) => return debug!(%cause, "a viewer's socket was gone before its picture"),
    };
    parser.set_limit(MAX_MESSAGE);
    let stream = admission.stream();
    let play = Play {
        transport,
        parser,
        stream: stream.clone(),
        playable,
        profile: admission.profile(),
        reason,
        queue_bytes: app.mse.queue_bytes,
        telemetry: app.mse.telemetry.clone(),
        first_picture: Box::new({
            let admission = admission.clone();
            move || admission.first_picture()
        }),
        keep: Box::new((admission.clone(), seat)),
    };
    let sink = app.mse.shards.attach(stream, Box::new(MseSink::new(play, Instant::now())), true);
    admission.connected(sink);
}

/// A client between the handshake and its picture.
struct Visitor<S> {
    socket: S,
    parser: Parser,
    /// Octets that came so far.
    heard: usize,
    /// To be answered in front of the media (RFC 6455 §5.5.3: the latest alone).
    ping: Option<Bytes>,
}

impl<S: Socket> Visitor<S> {
    async fn hello(&mut self) -> std::result::Result<Hello, End> {
        let Incoming::Text(text) = self.next().await? else {
            return Err(invalid("the first message must be a text: {\"ticket\", \"mimes\"}").into());
        };
        Ok(Hello::read(&text)?)
    }

    /// The next message with something in it. Nothing is lost when it is dropped half-way.
    async fn next(&mut self) -> std::result::Result<Incoming, End> {
        let mut chunk = [0; 4096];
        loop {
            match self.parser.take().map_err(End::Fault)? {
                Some(Incoming::Ping(payload)) => self.ping = Some(payload),
                Some(Incoming::Pong) => {}
                Some(Incoming::Close) => {
                    self.close(1000, "").await;
                    return Err(End::Gone);
                }
                Some(message) => return Ok(message),
                None => match self.socket.read(&mut chunk).await? {
                    0 => return Err(End::Gone),
                    count => {
                        self.heard += count;
                        if self.heard > WAITING_BUDGET {
                            return Err(End::Fault(websocket::Fault::TooLarge));
                        }
                        self.parser.push(chunk.get(..count).unwrap_or_default());
                    }
                },
            }
        }
    }

    /// Returns when the client has gone; what it says meanwhile means nothing.
    async fn wait(&mut self) -> End {
        loop {
            if let Err(end) = self.next().await {
                return end;
            }
        }
    }

    /// Says why and waits a moment for the other side to close: with unread bytes in the socket the reason would be lost.
    async fn close(&mut self, code: u16, reason: &str) {
        let goodbye = async {
            self.socket.write_all(&websocket::close(code, reason)).await?;
            self.socket.shutdown().await?;
            let mut scratch = [0; 4096];
            while self.socket.read(&mut scratch).await? > 0 {}
            io::Result::Ok(())
        };
        // Whoever does not listen has gone.
        let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "MESSAGE_INVALID", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_is_an_object() {
        let read = |text| Hello::read(text).map(|hello| hello.ticket).map_err(|error| error.reason());
        assert_eq!(read(" {\"ticket\": \"t\", \"more\": 1}").as_deref(), Ok("t"));
        for other in ["", "[]", "[\"t\", []]", "\"t\"", "7", "null", "{\"ticket\": 7}"] {
            assert_eq!(read(other), Err("MESSAGE_INVALID"), "{other}");
        }
    }

    fn is_ours(origin: &str, host: &'static str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        is_own_origin(&headers, Some("https://hub.example"))
    }

    #[test]
    fn a_page_of_another_origin_is_told_from_ours() {
        assert!(is_ours("http://10.0.0.7:8080", "10.0.0.7:8080"));
        assert!(is_ours("https://hub.example", "10.0.0.7:8080"), "the public address, behind a proxy");
        assert!(is_ours("https://HUB.example:443", "10.0.0.7:8080"));
        assert!(is_ours("http://cam.local", "cam.local:80"));
        for foreign in
            ["null", "http://10.0.0.7:8081", "https://hub.example.evil", "file://10.0.0.7:8080", "10.0.0.7:8080", ""]
        {
            assert!(!is_ours(foreign, "10.0.0.7:8080"), "{foreign}");
        }
        assert!(is_own_origin(&HeaderMap::new(), None), "a program");
        let mut twice = HeaderMap::new();
        twice.append(header::ORIGIN, HeaderValue::from_static("https://hub.example"));
        twice.append(header::ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert!(!is_own_origin(&twice, Some("https://hub.example")));
    }
}
