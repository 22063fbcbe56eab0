//! WHIP (RFC 9725): one WebRTC publisher at the port, from its offer to its end.

mod answer;
mod offer;
mod publisher;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use str0m::IceCreds;

use super::inbound::Inbound;
use super::peers::{Ice, Peer};
use super::{Opened, Webrtc, random};
use crate::error::Result;
use crate::gate::{Ender, Publication};
use crate::server::limits::Seat;
use crate::sink::whep::{Local, Remote};

use publisher::{Began, Publisher};

/// Refuses an offer that can't be answered, before anybody gives way to it.
pub fn check(body: &[u8]) -> Result<()> {
    offer::read(body).map(|_| ())
}

/// A publisher's place at the port. Dropping it gives everything back.
struct Berth {
    webrtc: Arc<Webrtc>,
    peer: Arc<Peer>,
    publication: Arc<dyn Publication>,
    runtime: tokio::runtime::Handle,
    _seat: Seat,
}

impl Webrtc {
    /// Answers an offer and puts the publisher on a shard. To be called on the runtime.
    pub fn open_to_publish(
        self: &Arc<Self>,
        seat: Seat,
        camera: &str,
        publication: Arc<dyn Publication>,
        body: &[u8],
    ) -> Result<Opened> {
        let now = Instant::now();
        let (ufrag, pass) = (random(16), random(32));
        let local = Local {
            certificate: &self.certificate,
            credentials: IceCreds { ufrag: ufrag.clone(), pass },
            candidates: &self.candidates,
        };
        let negotiated = answer::negotiate(camera, body, local, now)?;
        let ice = Ice {
            etag: random(16),
            local_ufrag: ufrag,
            remote_ufrag: negotiated.remote_ufrag.clone(),
            restarted: None,
        };
        let (etag, answer) = (ice.etag.clone(), negotiated.answer.clone());
        let session = publication.session_id().to_owned();
        let peer = Peer::new(random(32), camera.to_owned(), session, ice, Inbound::of_publisher(now));
        self.peers.add(&peer);
        let stream = publication.stream().clone();
        let berth = Berth {
            webrtc: self.clone(),
            peer: peer.clone(),
            publication,
            runtime: tokio::runtime::Handle::current(),
            _seat: seat,
        };
        let publisher =
            Publisher::new(negotiated, berth, self.candidates.clone(), self.stall_timeout, self.telemetry.clone(), now);
        peer.is_driven_by(self.shards.attach(stream, Box::new(publisher), false));
        Ok(Opened { resource: peer.resource.clone(), etag, answer })
    }
}

impl Berth {
    fn send(&self, to: Remote, from: Option<IpAddr>, datagram: &[u8]) -> io::Result<()> {
        self.webrtc.send(&self.peer, to, from, datagram, datagram.len())
    }

    fn hears(&self, remote: Remote) {
        self.webrtc.hears(&self.peer, remote);
    }

    fn forgets(&self, remote: Remote) {
        self.webrtc.forgets(&self.peer, remote);
    }

    /// Takes the camera over; what comes of it is told to the publisher (`Began`).
    fn begin(&self) {
        let (peer, publication) = (self.peer.clone(), self.publication.clone());
        self.runtime.spawn(async move {
            let Some(handle) = peer.handle().cloned() else { return };
            let began = publication.begin(Ender::Sink(handle.clone())).await;
            // Who is gone meanwhile needs no word.
            let _ = handle.message(Box::new(Began(began.map_err(|error| error.reason()))));
        });
    }
}

impl Drop for Berth {
    fn drop(&mut self) {
        self.webrtc.peers.remove(&self.peer);
    }
}
