//! WHEP over HTTP (draft-ietf-wish-whep, with PATCH as in RFC 9725): offers in, answers out, ends.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use http_body_util::{BodyExt, Limited};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use str0m::IceCreds;

use super::choice::choose;
use super::http::App;
use super::limits::{BODY_TIMEOUT, MAX_SDP_BODY};
use super::problem::{method_not_allowed, problem, problem_of};
use super::proxy::{Caller, is_too_large};
use super::webrtc::{Opened, Peer, Webrtc, gone};
use crate::error::{Error, ErrorKind, Result};
use crate::gate::{Proof, Refusal};
use crate::sink::whep::{self, Offer, Sound};
use crate::stream::Description;
use crate::telemetry::Protocol;

pub(super) const SDP: &str = "application/sdp";
const TRICKLE: &str = "application/trickle-ice-sdpfrag";
pub(super) const ENDPOINT_METHODS: &str = "OPTIONS, POST";
const RESOURCE_METHODS: &str = "DELETE, OPTIONS, PATCH";
pub(super) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const SOUND: HeaderName = HeaderName::from_static("x-vidhub-audio");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// `/whep/{camera}`
pub async fn endpoint(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(camera): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    if *request.method() == Method::OPTIONS {
        return options(ENDPOINT_METHODS, ACCEPT_POST, SDP);
    }
    if *request.method() != Method::POST {
        return method_not_allowed(ENDPOINT_METHODS);
    }
    open(&app, caller, &camera, request).await.unwrap_or_else(|error| problem_of(&error))
}

/// `/whep/{camera}/{resource}`
pub async fn resource(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path((camera, resource)): Path<(String, String)>,
    request: Request<Body>,
) -> Response<Body> {
    let done = match *request.method() {
        Method::OPTIONS => return options(RESOURCE_METHODS, ACCEPT_PATCH, TRICKLE),
        Method::DELETE => owned(&app, caller, &camera, &resource, request.headers()).map(|(_, peer)| {
            peer.end("SESSION_CLOSED");
            empty(StatusCode::OK)
        }),
        Method::PATCH => match owned(&app, caller, &camera, &resource, request.headers()) {
            Ok((webrtc, peer)) => trickle(webrtc, &peer, request).await,
            Err(error) => Err(error),
        },
        _ => return method_not_allowed(RESOURCE_METHODS),
    };
    done.unwrap_or_else(|error| problem_of(&error))
}

async fn open(app: &App, caller: Caller, camera: &str, request: Request<Body>) -> Result<Response<Body>> {
    let webrtc = webrtc(app)?;
    let noted = |ticket: Option<&str>, error: &Error| {
        app.door.refused(&Refusal { camera, ticket, error, protocol: Protocol::WebrtcUdp, peer: caller.address });
    };
    let ticket = bearer(request.headers()).inspect_err(|error| noted(None, error))?;
    let admission = app
        .door
        .admit(camera, ticket.as_deref().map(Proof::Ticket), Protocol::WebrtcUdp, caller.address)
        .inspect_err(|error| noted(ticket.as_deref(), error))?;
    // Pages name where they come from when they post; programs do not.
    let is_browser = request.headers().contains_key(header::ORIGIN);
    let offer = body(request, SDP).await?;
    // What can't be played anyhow shall not start a camera.
    let offer = Offer::read(&offer)?;
    let offer = if is_browser { offer.of_browser() } else { offer };
    let seat = webrtc.reserve(caller.address.ip())?;
    let fits = |description: &Description| whep::fit(&offer, description);
    let choice = choose(&*admission, app.options.ready_timeout, fits).await?;
    let opened = webrtc.open(seat, camera, admission, &offer, &choice)?;
    let mut response = created("whep", camera, opened)?;
    choice.tell(response.headers_mut());
    response.headers_mut().insert(SOUND, text(&sound(choice.fit.sound))?);
    Ok(response)
}

/// An answered offer, and where its peer is to be found.
pub(super) fn created(route: &str, camera: &str, opened: Opened) -> Result<Response<Body>> {
    let mut response = Response::new(Body::from(opened.answer));
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::LOCATION, text(&format!("/{route}/{camera}/{}", opened.resource))?);
    headers.insert(header::ETAG, text(&format!("\"{}\"", opened.etag))?);
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(TRICKLE));
    Ok(response)
}

/// What the viewer hears, or why nothing.
fn sound(sound: Sound) -> String {
    match sound {
        Sound::Track { codec, .. } => codec.name().to_owned(),
        Sound::None(reason) => format!("none; reason={reason}"),
    }
}

/// A client may send its candidates one by one. An ICE-lite side has no use for them, as it learns every address from the
/// checks. Other credentials than before ask for a restart (RFC 9725 §4.3.3).
async fn trickle(webrtc: &Webrtc, peer: &Arc<Peer>, request: Request<Body>) -> Result<Response<Body>> {
    let wanted: Vec<HeaderValue> = request.headers().get_all(header::IF_MATCH).iter().cloned().collect();
    let fragment = body(request, TRICKLE).await?;
    let ice = peer.ice();
    let current = format!("\"{}\"", ice.etag);
    if !wanted.is_empty() && !names(&wanted, &current) {
        let detail = "If-Match names another ICE session than this resource's ETag";
        return Ok(problem(StatusCode::PRECONDITION_FAILED, "ETAG_MISMATCH", detail));
    }
    let fragment = std::str::from_utf8(&fragment).map_err(|_| bad_fragment("is not UTF-8"))?;
    let ufrag = credential(fragment, "a=ice-ufrag:").ok_or_else(|| bad_fragment("has no a=ice-ufrag line"))?;
    if ufrag == ice.remote_ufrag {
        return Ok(empty(StatusCode::NO_CONTENT));
    }
    let pass = credential(fragment, "a=ice-pwd:").ok_or_else(|| bad_fragment("has no a=ice-pwd line"))?;
    if !is_ice(ufrag, 4) || !is_ice(pass, 22) {
        return Err(bad_fragment(
            "restarts with an a=ice-ufrag under 4 or an a=ice-pwd under 22 characters, or with others than ICE knows",
        ));
    }
    let remote = IceCreds { ufrag: ufrag.to_owned(), pass: pass.to_owned() };
    let (fragment, etag) = webrtc.restart(peer, remote).await?;
    let mut response = Response::new(Body::from(fragment));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TRICKLE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ETAG, text(&format!("\"{etag}\""))?);
    Ok(response)
}

/// Whether `If-Match` is for the current tag (RFC 9110 §13.1.1): a list, or any; weak tags are no match.
fn names(wanted: &[HeaderValue], current: &str) -> bool {
    let tags = wanted.iter().filter_map(|wanted| wanted.to_str().ok()).flat_map(|wanted| wanted.split(','));
    tags.map(str::trim).any(|tag| tag == "*" || tag == current)
}

/// One of a fragment's ICE credentials, the first as everything is bundled.
fn credential<'a>(fragment: &'a str, name: &str) -> Option<&'a str> {
    fragment.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Length and alphabet of RFC 8839 §5.4.
fn is_ice(word: &str, least: usize) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    (least..=256).contains(&word.len()) && word.bytes().all(is_known)
}

fn bad_fragment(why: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, "SDP_INVALID", format!("the fragment {why}"))
}

/// The resource, if it exists and the bearer's session is the one that made it. Who may not have it is put on record.
fn owned<'a>(
    app: &'a App,
    caller: Caller,
    camera: &str,
    resource: &str,
    headers: &HeaderMap,
) -> Result<(&'a Arc<Webrtc>, Arc<Peer>)> {
    let webrtc = webrtc(app)?;
    let shown = bearer(headers);
    let ticket = shown.as_ref().ok().and_then(Option::as_deref);
    let session = match &shown {
        Ok(Some(ticket)) => app.door.session_of(ticket),
        Ok(None) => Err(Error::new(
            ErrorKind::Unauthenticated,
            "TICKET_MISSING",
            "show the session's ticket: Authorization: Bearer …",
        )),
        Err(_) => Err(no_bearer()),
    };
    let noted = |error: &Error| {
        app.door.refused(&Refusal { camera, ticket, error, protocol: Protocol::WebrtcUdp, peer: caller.address });
    };
    let session = session.inspect_err(noted)?;
    let peer = webrtc.resource(resource).filter(|peer| peer.camera == camera).ok_or_else(gone)?;
    if peer.session != session {
        let message = "this viewer belongs to another session than the ticket";
        let error = Error::new(ErrorKind::PermissionDenied, "TICKET_OTHER_SESSION", message);
        noted(&error);
        return Err(error);
    }
    Ok((webrtc, peer))
}

pub(super) fn webrtc(app: &App) -> Result<&Arc<Webrtc>> {
    app.webrtc.as_ref().ok_or_else(|| {
        Error::new(ErrorKind::Unimplemented, "WEBRTC_OFF", "WebRTC is switched off on this hub; watch by RTSP")
    })
}

/// The ticket in `Authorization`, if there is one.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<String>> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return if headers.contains_key(header::AUTHORIZATION) { Err(no_bearer()) } else { Ok(None) };
    };
    let (scheme, ticket) = field.to_str().ok().and_then(|field| field.split_once(' ')).ok_or_else(no_bearer)?;
    let ticket = ticket.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || ticket.is_empty() {
        return Err(no_bearer());
    }
    Ok(Some(ticket.to_owned()))
}

fn no_bearer() -> Error {
    let message = "Authorization must be one field: Bearer and the ticket";
    Error::new(ErrorKind::Unauthenticated, "TICKET_INVALID", message)
}

/// Reads a small body of the given type.
pub(super) async fn body(request: Request<Body>, wanted: &str) -> Result<Vec<u8>> {
    let given = request.headers().get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
    if !given.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(wanted) {
        let message = format!("the body must be {wanted}");
        return Err(Error::new(ErrorKind::InvalidArgument, "CONTENT_TYPE", message));
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), MAX_SDP_BODY).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes().into()),
        Ok(Err(cause)) if is_too_large(&*cause) => {
            let message = format!("the body is larger than {} KiB", MAX_SDP_BODY >> 10);
            Err(Error::new(ErrorKind::InvalidArgument, "TOO_LARGE", message))
        }
        Ok(Err(cause)) => {
            Err(Error::new(ErrorKind::InvalidArgument, "REQUEST_INVALID", "the body broke off").because(cause))
        }
        Err(_) => Err(Error::new(ErrorKind::DeadlineExceeded, "BODY_TIMEOUT", "the body did not arrive in time")),
    }
}

pub(super) fn options(allow: &'static str, accepts: HeaderName, kind: &'static str) -> Response<Body> {
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response.headers_mut().insert(accepts, HeaderValue::from_static(kind));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn text(value: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(value)
        .map_err(|cause| Error::new(ErrorKind::Internal, "HEADER", "a header can't be written").because(cause))
}
