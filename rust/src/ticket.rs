//! Tickets: the proof of a session that the media ports verify alone (JWT, EdDSA with the hub's own key).
//!
//! A ticket says which session may do what with which camera until when, and nothing about persons.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Longest ticket we give, and the longest we look at: RTSP clients cut long URLs.
pub const MAX_TICKET_BYTES: usize = 320;

/// What the session may do with the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Play,
    Publish,
}

/// The claims, by their names on the wire.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    sid: String,
    cam: String,
    aud: String,
    op: Operation,
    exp: f64,
}

/// A ticket that was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    pub session_id: String,
    pub camera_id: String,
    pub operation: Operation,
    /// Seconds since 1970; exact to the millisecond.
    pub expire_time: f64,
}

/// Issues and verifies the tickets of one hub.
pub struct Tickets {
    hub_id: String,
    header: Header,
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

impl Tickets {
    /// `private_key_pem`: the hub's Ed25519 key, PKCS #8.
    pub fn new(hub_id: &str, private_key_pem: &str) -> Result<Self> {
        let key = read_key(private_key_pem)?;
        let pair = Ed25519KeyPair::from_pkcs8(&key).map_err(|cause| key_error().because(cause.to_string()))?;
        // No `typ`: 16 bytes of a header that only we read.
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = None;
        // The algorithm is pinned, whatever a header says; the time is checked in `verify`, where it is an argument.
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[hub_id]);
        validation.set_required_spec_claims(&["exp", "aud"]);
        validation.validate_exp = false;
        validation.leeway = 0;
        Ok(Self {
            hub_id: hub_id.to_owned(),
            header,
            signing: EncodingKey::from_ed_der(&key),
            verifying: DecodingKey::from_ed_der(pair.public_key().as_ref()),
            validation,
        })
    }

    /// A ticket good until `expire_time` (seconds since 1970).
    pub fn issue(&self, session_id: &str, camera_id: &str, operation: Operation, expire_time: f64) -> Result<String> {
        let claims = Claims {
            sid: session_id.to_owned(),
            cam: camera_id.to_owned(),
            aud: self.hub_id.clone(),
            op: operation,
            exp: (expire_time * 1000.0).round() / 1000.0,
        };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.signing).map_err(|cause| {
            Error::new(ErrorKind::Internal, "TICKET_NOT_SIGNED", "the ticket could not be signed").because(cause)
        })?;
        if token.len() > MAX_TICKET_BYTES {
            return Err(Error::new(
                ErrorKind::Internal,
                "TICKET_TOO_LONG",
                format!("a ticket of {} bytes is over the bound of {MAX_TICKET_BYTES}: use shorter ids", token.len()),
            ));
        }
        Ok(token)
    }

    /// Reads a ticket. Errors: TICKET_INVALID, TICKET_EXPIRED (Unauthenticated); the ticket itself is in neither.
    pub fn verify(&self, token: &str, now: f64) -> Result<Ticket> {
        if token.len() > MAX_TICKET_BYTES {
            return Err(invalid());
        }
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verifying, &self.validation)
            .map_err(|cause| invalid().because(cause))?
            .claims;
        // Written so that an expiry that is no number counts as over.
        if !(now < claims.exp) {
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                "TICKET_EXPIRED",
                "the ticket has expired: renew the session",
            ));
        }
        Ok(Ticket { session_id: claims.sid, camera_id: claims.cam, operation: claims.op, expire_time: claims.exp })
    }
}

fn invalid() -> Error {
    Error::new(ErrorKind::Unauthenticated, "TICKET_INVALID", "the ticket is not one of this hub: open a session")
}

fn key_error() -> Error {
    Error::new(ErrorKind::InvalidArgument, "HUB_KEY_INVALID", "the hub's key is no Ed25519 key in PKCS #8 PEM")
}

/// The DER bytes between the lines of a PEM block.
fn read_key(pem: &str) -> Result<Vec<u8>> {
    let body = pem
        .trim()
        .strip_prefix("-----BEGIN PRIVATE KEY-----")
        .and_then(|rest| rest.strip_suffix("-----END PRIVATE KEY-----"))
        .ok_or_else(key_error)?;
    let text: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(text).map_err(|cause| key_error().because(cause.to_string()))
}
