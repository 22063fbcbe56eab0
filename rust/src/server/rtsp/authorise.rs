//! Who asks: a ticket in the query or as Bearer, Digest with the session's RTSP login, Basic behind TLS only.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::ConstantTimeEq;

use super::Context;
use crate::error::{Error, ErrorKind};
use crate::gate::Proof;
use crate::telemetry::Protocol;
use crate::wire::digest::{self, Credentials, Nonce};
use crate::wire::rtsp::{Request, Response, Target};

const REALM: &str = "vidhub";
/// Seconds after which a client may ask again for a camera that failed.
const RETRY_AFTER_S: u32 = 5;

/// Why a request was refused.
pub(super) struct Refused {
    error: Error,
    is_stale: bool,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, is_stale: false }
    }
}

impl Refused {
    fn invalid() -> Self {
        Error::new(ErrorKind::Unauthenticated, "TICKET_INVALID", "the login does not fit a session").into()
    }

    fn stale() -> Self {
        Self { is_stale: true, ..Self::invalid() }
    }

    pub fn reason(&self) -> &'static str {
        self.error.reason()
    }

    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Nothing was shown that could be wrong: the answer is the challenge that most clients wait for.
    pub fn is_challenge(&self) -> bool {
        self.is_stale || self.reason() == "TICKET_MISSING"
    }

    pub fn is_unauthenticated(&self) -> bool {
        self.error.kind() == ErrorKind::Unauthenticated
    }

    /// The answer with all that helps the client to do better.
    pub fn answer(&self, context: &Context, peer: SocketAddr, cseq: Option<u32>) -> Response {
        let status = status(self.error.kind());
        let mut answer = Response::refusal(status, cseq, self.error.reason());
        match status {
            401 => {
                let client = peer.ip().to_canonical().to_string();
                let nonce = context.nonces.issue(&client, context.started.elapsed(), rand::random());
                for challenge in digest::challenges(REALM, &nonce, self.is_stale) {
                    answer = answer.header("WWW-Authenticate", challenge);
                }
                if context.protocol == Protocol::Rtsps {
                    answer = answer.header("WWW-Authenticate", format_args!("Basic realm=\"{REALM}\""));
                }
            }
            503 => answer = answer.header("Retry-After", RETRY_AFTER_S),
            _ => {}
        }
        answer
    }
}

/// The contract's statuses for RTSP.
fn status(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidArgument | ErrorKind::FailedPrecondition | ErrorKind::OutOfRange => 400,
        ErrorKind::Unauthenticated => 401,
        ErrorKind::PermissionDenied => 403,
        ErrorKind::NotFound => 404,
        ErrorKind::ResourceExhausted => 453,
        ErrorKind::Unimplemented => 501,
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded | ErrorKind::Cancelled => 503,
        ErrorKind::AlreadyExists | ErrorKind::Aborted | ErrorKind::Internal => 500,
    }
}

/// Asks the door, by `admit`, with whatever proof the request carries.
pub(super) fn authorise<T>(
    context: &Context,
    peer: SocketAddr,
    request: &Request,
    target: &Target,
    admit: impl Fn(Option<Proof<'_>>) -> Result<T, Error>,
) -> Result<T, Refused> {
    let admit = |proof: Option<Proof<'_>>| Ok(admit(proof)?);
    // A header was put there for this request; a ticket in the address may be left over from an older one.
    for value in request.headers.all("Authorization") {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("Bearer") {
            return admit(Some(Proof::Ticket(rest)));
        }
        if scheme.eq_ignore_ascii_case("Digest") {
            let user = verify_digest(context, peer, request, target, rest)?;
            return admit(Some(Proof::RtspUser(&user)));
        }
        if scheme.eq_ignore_ascii_case("Basic") && context.protocol == Protocol::Rtsps {
            let user = verify_basic(context, rest)?;
            return admit(Some(Proof::RtspUser(&user)));
        }
    }
    admit(target.ticket.as_deref().map(Proof::Ticket))
}

fn verify_digest(
    context: &Context,
    peer: SocketAddr,
    request: &Request,
    target: &Target,
    text: &str,
) -> Result<String, Refused> {
    let credentials = Credentials::parse(text).ok_or_else(Refused::invalid)?;
    // Clients differ in what they take for the address, so the camera in it is what must agree.
    let is_same_camera = Target::parse(&credentials.uri).is_some_and(|named| named.camera == target.camera);
    if credentials.realm != REALM || !is_same_camera {
        return Err(Refused::invalid());
    }
    let client = peer.ip().to_canonical().to_string();
    let nonce = context.nonces.check(&credentials.nonce, &client, context.started.elapsed());
    let password = context.door.rtsp_password(&credentials.username);
    // An unknown user costs the same time as a wrong password.
    let is_proven = credentials.verify(&request.method, password.as_deref().unwrap_or_default());
    match nonce {
        _ if password.is_none() || !is_proven => Err(Refused::invalid()),
        Nonce::Fresh => Ok(credentials.username),
        Nonce::Stale => Err(Refused::stale()),
        Nonce::Foreign => Err(Refused::invalid()),
    }
}

fn verify_basic(context: &Context, text: &str) -> Result<String, Refused> {
    let decoded = BASE64.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or_else(Refused::invalid)?;
    let (user, shown) = decoded.split_once(':').ok_or_else(Refused::invalid)?;
    let password = context.door.rtsp_password(user);
    let is_same: bool = password.as_deref().unwrap_or_default().as_bytes().ct_eq(shown.as_bytes()).into();
    if password.is_none() || !is_same {
        return Err(Refused::invalid());
    }
    Ok(user.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_status() {
        for kind in ErrorKind::ALL {
            assert_ne!(crate::wire::rtsp::phrase(status(kind)), "Error", "{kind:?}");
        }
    }
}
