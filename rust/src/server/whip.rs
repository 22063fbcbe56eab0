//! WHIP over HTTP (RFC 9725): offers of who pushes in, answers out, ends.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use hyper::{Method, Request, Response};

use super::http::App;
use super::problem::{method_not_allowed, problem_of};
use super::proxy::Caller;
use super::webrtc;
use super::whep::{ACCEPT_POST, ENDPOINT_METHODS, SDP, bearer, body, created, options};
use crate::error::{Error, Result};
use crate::gate::{Proof, Refusal};
use crate::telemetry::Protocol;

/// `/whip/{camera}`
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

async fn open(app: &App, caller: Caller, camera: &str, request: Request<Body>) -> Result<Response<Body>> {
    let port = super::whep::webrtc(app)?;
    let noted = |ticket: Option<&str>, error: &Error| {
        app.door.refused(&Refusal { camera, ticket, error, protocol: Protocol::WebrtcUdp, peer: caller.address });
    };
    let ticket = bearer(request.headers()).inspect_err(|error| noted(None, error))?;
    let publication = app
        .door
        .publish(camera, ticket.as_deref().map(Proof::Ticket), Protocol::WebrtcUdp, caller.address)
        .inspect_err(|error| noted(ticket.as_deref(), error))?;
    let offer = body(request, SDP).await?;
    webrtc::check_to_publish(&offer)?;
    let seat = port.reserve(caller.address.ip())?;
    created("whip", camera, port.open_to_publish(seat, camera, publication, &offer)?)
}
