//! A viewer's place at the WebRTC port, held by its sink.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::Webrtc;
use super::peers::Peer;
use crate::error::Result;
use crate::gate::Admission;
use crate::media::Profile;
use crate::server::limits::Seat;
use crate::sink::whep::{Carrier, Crowd, Place, Remote, Way};
use crate::stream::Interest;

pub(super) struct Lease {
    pub webrtc: Arc<Webrtc>,
    pub peer: Arc<Peer>,
    pub admission: Arc<dyn Admission>,
    pub _seat: Seat,
}

impl Place for Lease {
    fn send(&self, to: Remote, from: Option<IpAddr>, datagrams: &[u8], segment: usize) -> io::Result<()> {
        self.webrtc.send(&self.peer, to, from, datagrams, segment)
    }

    fn max_segments(&self) -> usize {
        self.webrtc.port.max_segments()
    }

    fn crowd(&self) -> &Arc<Crowd> {
        &self.webrtc.crowd
    }

    fn queue_bytes(&self) -> usize {
        self.webrtc.sink_queue_bytes
    }

    fn way(&self, to: Remote) -> Way {
        match to.carrier {
            Carrier::Udp => Way::Open,
            Carrier::Tcp => self.peer.way_to(to.address).map_or(Way::Broken, |connection| connection.way()),
        }
    }

    fn hears(&self, remote: Remote) {
        self.webrtc.hears(&self.peer, remote);
    }

    fn forgets(&self, remote: Remote) {
        self.webrtc.forgets(&self.peer, remote);
    }

    fn first_picture(&self) {
        self.admission.first_picture();
    }

    fn profile(&self) -> Profile {
        self.admission.profile()
    }

    fn other(&self) -> Result<Arc<dyn Interest>> {
        self.admission.other()
    }

    fn switched(&self, to: Arc<dyn Interest>) {
        self.admission.switched(to);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.webrtc.peers.remove(&self.peer);
    }
}
