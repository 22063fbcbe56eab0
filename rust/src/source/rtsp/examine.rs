//! The way to a camera one hop after the other, as pulling goes it, and what each hop found.

use tokio::time::{Instant, timeout_at};

use super::connection::Connection;
use super::{Address, Camera, resolve};
use crate::source::offer::Offer;
use crate::source::{Failure, FailureKind, Hop, Options, Target};

/// From the record to the description. None when a hop has failed, which is then the last of `hops`.
pub async fn reach(target: &Target, options: &Options, hops: &mut Vec<Hop>) -> Option<Camera> {
    let address = match Address::of(target) {
        Ok(address) => address,
        Err(failure) => return failed(hops, "url", failure),
    };
    // Not the path: some recorders take passwords in it.
    let scheme = if address.is_secure { "rtsps" } else { "rtsp" };
    let login = if target.username.is_empty() { "no login" } else { "a login" };
    hops.push(Hop::passed("url", format!("{scheme}://{}:{}, {login} is registered", address.host, address.port)));
    let deadline = Instant::now() + options.connect_timeout;
    let Ok(_dial) = timeout_at(deadline, options.dials.admit(&address.host)).await else {
        let message = format!("others are dialling {} all the time: try again in a moment", address.host);
        return failed(hops, "name", Failure::new(FailureKind::Silent, message));
    };
    let found = match resolve(&address, options, deadline).await {
        Ok(found) => found,
        Err(failure) if failure.kind == FailureKind::Denied => return failed(hops, "policy", failure),
        Err(failure) => return failed(hops, "name", failure),
    };
    let listed: Vec<String> = found.iter().map(|address| address.ip().to_string()).collect();
    hops.push(Hop::passed("name", format!("{} is {}", address.host, listed.join(", "))));
    hops.push(Hop::passed("policy", "the hub may dial it".to_owned()));
    let mut unreachable = Failure::new(FailureKind::Unreachable, "no address to dial");
    let mut connection = None;
    for dialled in found {
        match Connection::dial(&address, dialled, options, deadline).await {
            Ok(open) => {
                connection = Some(open);
                break;
            }
            Err(failure) if failure.kind == FailureKind::Certificate => {
                hops.push(Hop::passed("tcp", format!("{dialled} is open")));
                return failed(hops, "tls", failure);
            }
            Err(failure) => unreachable = failure,
        }
    }
    let Some(connection) = connection else { return failed(hops, "tcp", unreachable) };
    hops.push(Hop::passed("tcp", format!("{} is open", connection.peer)));
    if connection.is_secure() {
        hops.push(Hop::passed("tls", "the certificate is the camera's".to_owned()));
    }
    let mut camera = Camera::new(connection, &address, target, options);
    let deadline = Instant::now() + options.connect_timeout;
    match camera.ask_options(deadline).await {
        Ok(status) => hops.push(Hop::passed("rtsp", format!("it answers OPTIONS with {status}"))),
        Err(failure) => return failed(hops, "rtsp", failure),
    }
    match camera.ask_description(&address, deadline).await {
        Ok(()) => {}
        Err(failure) if failure.kind == FailureKind::RefusedLogin => return failed(hops, "login", failure),
        Err(failure) => {
            hops.push(Hop::passed("login", "not refused".to_owned()));
            return failed(hops, "describe", failure);
        }
    }
    let how = match (camera.login.is_asked(), camera.login.is_plain()) {
        (false, _) => "the camera asks for none",
        (true, true) => "accepted; the camera takes the password in clear only",
        (true, false) => "accepted",
    };
    hops.push(Hop::passed("login", how.to_owned()));
    let offered: Vec<&str> = camera.offers().map(Offer::name).collect();
    hops.push(Hop::passed("describe", offered.join(", ")));
    Some(camera)
}

fn failed(hops: &mut Vec<Hop>, name: &'static str, failure: Failure) -> Option<Camera> {
    hops.push(Hop::failed(name, failure));
    None
}
