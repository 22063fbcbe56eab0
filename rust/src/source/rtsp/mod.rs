//! RTSP pull (RFC 2326): describes cameras, and plays them over TCP, UDP or TLS.
//!
//! The very address that was checked is dialled, and all requests of a session go over that one connection: no redirect
//! and no address in a description leads anywhere else. What comes in is handed on where it lies, many packets at a
//! time; putting them together is the intake's work.

mod address;
mod connection;
mod description;
mod examine;
mod login;
mod play;
mod session;

use std::net::SocketAddr;

use tokio::time::{Instant, timeout_at};

pub use address::Address;
pub use examine::reach;
pub use play::Media;
pub use session::Camera;

use self::connection::Connection;
use super::{Failure, FailureKind, Options, Target};
use crate::error::reason_word;
use crate::wire::rtsp::{Answer, Headers};

/// Connects and asks what there is. Name, address and login are looked at anew each time.
pub async fn describe(target: &Target, options: &Options) -> Result<Camera, Failure> {
    let address = Address::of(target)?;
    if let Some(peer) = &target.peer {
        let connection = Connection::secured(peer.dial().await?)?;
        // The other hub may have to wait for its camera itself.
        let deadline = Instant::now() + 2 * options.connect_timeout + options.stall_timeout;
        return Camera::describe(connection, &address, target, options, deadline).await;
    }
    let _dial = options.dials.admit(&address.host).await;
    let deadline = Instant::now() + options.connect_timeout;
    let mut failure = Failure::new(FailureKind::Unreachable, "no address to dial");
    for dialled in resolve(&address, options, deadline).await? {
        match describe_at(&address, dialled, target, options, deadline).await {
            Err(other) if matches!(other.kind, FailureKind::Unreachable | FailureKind::Busy) => failure = other,
            settled => return settled,
        }
    }
    Err(failure)
}

/// The addresses that may be dialled. Never empty.
async fn resolve(address: &Address, options: &Options, deadline: Instant) -> Result<Vec<SocketAddr>, Failure> {
    timeout_at(deadline, address.resolve(options)).await.map_err(|_| {
        Failure::new(FailureKind::Unreachable, "the camera's name was not resolved in time: check the hub's DNS")
    })?
}

async fn describe_at(
    address: &Address,
    dialled: SocketAddr,
    target: &Target,
    options: &Options,
    deadline: Instant,
) -> Result<Camera, Failure> {
    let connection = Connection::dial(address, dialled, options, deadline).await?;
    Camera::describe(connection, address, target, options, deadline).await
}

/// What an answer that is no success means. What cameras write into it is shown nowhere: it may quote the URL, and some
/// recorders take passwords in its path.
fn refusal(status: u16, method: &str) -> Failure {
    let (kind, message) = match status {
        401 | 403 | 407 => (
            FailureKind::RefusedLogin,
            "the camera refuses the registered login: check username and password".to_owned(),
        ),
        404 | 454 => {
            (FailureKind::Invalid, "the camera has no stream under the registered path: check the URL".to_owned())
        }
        300..400 => (
            FailureKind::Invalid,
            format!(
                "the camera redirects elsewhere ({status}), which is not followed: register the address that it names"
            ),
        ),
        453 | 500.. => (
            if matches!(status, 453 | 503) { FailureKind::Busy } else { FailureKind::Unreachable },
            format!(
                "the camera answers {method} with {status}: it may have too many viewers; restart it if that stays"
            ),
        ),
        400.. => (FailureKind::Invalid, format!("the camera answers {method} with {status}")),
        _ => (FailureKind::Invalid, format!("the camera's answer to {method} can't be used")),
    };
    Failure::new(kind, message)
}

/// The same where another hub was to give the camera: it says why not, by a word of its own.
fn refused_by_hub(answer: &Answer) -> Failure {
    let reason = said(&answer.headers);
    Failure::new(FailureKind::Hub(reason), format!("the hub that shares the camera refuses it: {reason}"))
}

/// The word by which another hub refuses or ends.
fn said(headers: &Headers) -> &'static str {
    headers.get("X-Vidhub-Reason").and_then(reason_word).unwrap_or("LINK_MEDIA_REFUSED")
}

fn no_answer(method: &str) -> Failure {
    Failure::new(
        FailureKind::Silent,
        format!("the camera does not answer {method}: restart it, or see whether it has too many viewers already"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::rtsp::{Input, Reader};

    pub fn target(url: &str) -> Target {
        Target {
            camera: "c".into(),
            url: url.into(),
            username: "admin".into(),
            password: "hunter2#".into(),
            transport: 0,
            peer: None,
        }
    }

    /// An answer with these header lines and no body.
    pub fn answer(status: u16, headers: &str) -> Answer {
        let bytes = format!("RTSP/1.0 {status} Word\r\n{headers}\r\n");
        let (mut reader, mut at) = (Reader::default(), 0);
        loop {
            let (used, input) = reader.read(&bytes.as_bytes()[at..]).unwrap();
            at += used;
            if let Some(Input::Answer(answer)) = input {
                return answer;
            }
        }
    }

    #[test]
    fn every_refusal_has_a_kind_and_a_sentence() {
        for (status, kind) in [
            (302, FailureKind::Invalid),
            (401, FailureKind::RefusedLogin),
            (404, FailureKind::Invalid),
            (453, FailureKind::Busy),
            (500, FailureKind::Unreachable),
            (461, FailureKind::Invalid),
            (503, FailureKind::Busy),
            (0, FailureKind::Invalid),
        ] {
            assert_eq!(refusal(status, "SETUP").kind, kind, "{status}");
        }
    }
}
