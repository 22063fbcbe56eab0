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
        // Asked this way, a time that is no number counts as over.
        let is_open = now < claims.exp;
        if !is_open {
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

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    const NOW: f64 = 1_795_000_000.5;
    const SESSION: &str = "0194f7d0-8c1e-7b5a-9d3f-5a6b7c8d9e0f";
    const CAMERA: &str = "36060200001320000001";
    const HUB: &str = "hub-360600";

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
    }

    fn new_key() -> Vec<u8> {
        Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).expect("a key").as_ref().to_vec()
    }

    fn tickets(hub: &str, key: &[u8]) -> Tickets {
        Tickets::new(hub, &pem(key)).expect("a key of ours")
    }

    fn base64(text: impl AsRef<[u8]>) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn reason(tickets: &Tickets, token: &str) -> (&'static str, ErrorKind) {
        let error = tickets.verify(token, NOW).expect_err("refused");
        assert!(token.len() < 40 || !format!("{error} {error:?}").contains(token));
        (error.reason(), error.kind())
    }

    const INVALID: (&str, ErrorKind) = ("TICKET_INVALID", ErrorKind::Unauthenticated);

    #[test]
    fn a_ticket_says_what_was_put_in_it_and_is_short() {
        let tickets = tickets(HUB, &new_key());
        for operation in [Operation::Play, Operation::Publish] {
            let token = tickets.issue(SESSION, CAMERA, operation, NOW + 60.0).expect("issued");
            assert!(token.len() <= MAX_TICKET_BYTES, "{}", token.len());
            let ticket = tickets.verify(&token, NOW).expect("good");
            assert_eq!((ticket.session_id.as_str(), ticket.camera_id.as_str()), (SESSION, CAMERA));
            assert_eq!((ticket.operation, ticket.expire_time), (operation, NOW + 60.0));
        }
        let token = tickets.issue(SESSION, CAMERA, Operation::Play, NOW).expect("issued");
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).expect("claims")).expect("base64");
        let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
        let mut names: Vec<&str> = claims.as_object().expect("an object").keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["aud", "cam", "exp", "op", "sid"]);
        assert_eq!(
            tickets.issue(&"s".repeat(200), CAMERA, Operation::Play, NOW).expect_err("long").reason(),
            "TICKET_TOO_LONG"
        );
    }

    #[test]
    fn a_ticket_is_over_at_its_time_to_the_millisecond() {
        let tickets = tickets(HUB, &new_key());
        let token = tickets.issue(SESSION, CAMERA, Operation::Play, NOW).expect("issued");
        assert!(tickets.verify(&token, NOW - 0.001).is_ok());
        for now in [NOW, NOW + 1.0, f64::NAN, f64::INFINITY] {
            let error = tickets.verify(&token, now).expect_err("over");
            assert_eq!((error.reason(), error.kind()), ("TICKET_EXPIRED", ErrorKind::Unauthenticated));
        }
    }

    #[test]
    fn what_is_not_ours_is_refused_by_name() {
        let (key, other_key) = (new_key(), new_key());
        let ours = tickets(HUB, &key);
        let good = ours.issue(SESSION, CAMERA, Operation::Play, NOW + 60.0).expect("issued");
        let [header, claims, signature] = good.split('.').collect::<Vec<_>>().try_into().expect("three parts");

        let forged = tickets(HUB, &other_key).issue(SESSION, CAMERA, Operation::Play, NOW + 60.0).expect("issued");
        assert_eq!(reason(&ours, &forged), INVALID);
        let foreign = tickets("hub-360000", &key).issue(SESSION, CAMERA, Operation::Play, NOW + 60.0).expect("issued");
        assert_eq!(reason(&ours, &foreign), INVALID);

        let other_camera = base64(format!(
            r#"{{"sid":"{SESSION}","cam":"36060200001320000002","aud":"{HUB}","op":"play","exp":{}}}"#,
            NOW + 60.0
        ));
        assert_eq!(reason(&ours, &format!("{header}.{other_camera}.{signature}")), INVALID);

        for algorithm in ["none", "None", "NONE", "HS256", "RS256", "ES256", ""] {
            let header = base64(format!(r#"{{"alg":"{algorithm}"}}"#));
            for signature in [signature, ""] {
                assert_eq!(reason(&ours, &format!("{header}.{claims}.{signature}")), INVALID, "{algorithm}");
            }
        }
        // The public key, which is no secret, taken for a shared one.
        let public = Ed25519KeyPair::from_pkcs8(&key).expect("the key");
        let hmac = EncodingKey::from_secret(public.public_key().as_ref());
        let claims =
            Claims { sid: SESSION.into(), cam: CAMERA.into(), aud: HUB.into(), op: Operation::Play, exp: NOW + 60.0 };
        let confused = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &hmac).expect("signed");
        assert_eq!(reason(&ours, &confused), INVALID);
    }

    #[test]
    fn signed_claims_of_another_shape_are_refused() {
        let key = new_key();
        let ours = tickets(HUB, &key);
        let sign = |claims: &str| {
            let claims: serde_json::Value = serde_json::from_str(claims).expect("JSON");
            jsonwebtoken::encode(&ours.header, &claims, &EncodingKey::from_ed_der(&key)).expect("signed")
        };
        for claims in [
            r#"{"sid":"s","cam":"c","aud":"hub-360600","op":"play"}"#,
            r#"{"sid":"s","cam":"c","aud":"hub-360600","op":"play","exp":"soon"}"#,
            r#"{"sid":"s","cam":"c","op":"play","exp":9e9}"#,
            r#"{"sid":"s","cam":"c","aud":["hub-360600"],"op":"play","exp":9e9}"#,
            r#"{"sid":"s","cam":"c","aud":"hub-360600","op":"control","exp":9e9}"#,
            r#"{"sid":"s","cam":"c","aud":"hub-360600","op":"play","exp":9e9,"name":"zhang"}"#,
            r#"{"aud":"hub-360600","exp":9e9}"#,
            r#"[]"#,
            r#"null"#,
        ] {
            assert_eq!(reason(&ours, &sign(claims)), INVALID, "{claims}");
        }
        assert!(ours.verify(&sign(r#"{"sid":"s","cam":"c","aud":"hub-360600","op":"play","exp":9e9}"#), NOW).is_ok());
    }

    #[test]
    fn no_bytes_cause_more_than_a_refusal() {
        let ours = tickets(HUB, &new_key());
        let good = ours.issue(SESSION, CAMERA, Operation::Play, NOW + 60.0).expect("issued");
        for end in 0..good.len() {
            assert_eq!(reason(&ours, &good[..end]), INVALID);
        }
        // The last letter of the signature carries two bits that mean nothing; any other changed letter counts.
        for place in 0..good.len() - 1 {
            let mut changed = good.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            assert_eq!(reason(&ours, &String::from_utf8(changed).expect("ASCII")), INVALID, "{place}");
        }
        for text in ["", ".", "..", "...", "a.b.c", " ", "\0.\0.\0", "票.票.票", "eyJhbGciOiJFZERTQSJ9.e30."] {
            assert_eq!(reason(&ours, text), INVALID, "{text:?}");
        }
        assert_eq!(reason(&ours, &format!("{good}{}", "A".repeat(10_000))), INVALID);
        assert_eq!(reason(&ours, &".".repeat(10_000)), INVALID);
    }

    #[test]
    fn a_key_of_another_kind_is_named() {
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----\n%%%\n-----END PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----",
        ] {
            assert_eq!(Tickets::new(HUB, text).err().map(|error| error.reason()), Some("HUB_KEY_INVALID"), "{text}");
        }
    }

    /// As Python's `cryptography` writes a key: PKCS #8 version 1, without the public half.
    #[test]
    fn a_key_without_its_public_half_is_taken() {
        let mut der =
            vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
        der.extend([7u8; 32]);
        let tickets = tickets(HUB, &der);
        let token = tickets.issue(SESSION, CAMERA, Operation::Play, NOW + 60.0).expect("issued");
        assert!(tickets.verify(&token, NOW).is_ok());
    }
}
