//! How the other end of a session is reached: from the port by UDP, or by the TCP connection that it has opened.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use super::Webrtc;
use super::peers::Peer;
use crate::sink::whep::{Carrier, Remote};

impl Webrtc {
    /// Sends datagrams of `segment` octets each, the last may be shorter; by UDP from the address `from` where one is named.
    pub(super) fn send(
        &self,
        peer: &Peer,
        to: Remote,
        from: Option<IpAddr>,
        datagrams: &[u8],
        segment: usize,
    ) -> io::Result<()> {
        match to.carrier {
            Carrier::Udp => self.port.send(to.address, from, datagrams, segment),
            Carrier::Tcp => match peer.way_to(to.address) {
                Some(connection) => connection.send(datagrams, segment),
                None => Err(io::ErrorKind::NotConnected.into()),
            },
        }
    }

    /// What comes from there is the peer's from now on.
    pub(super) fn hears(&self, peer: &Arc<Peer>, remote: Remote) {
        match remote.carrier {
            Carrier::Udp => self.peers.hears(peer, remote.address),
            Carrier::Tcp => {
                if let Some(connection) = peer.connection(remote.address) {
                    connection.prove();
                }
            }
        }
    }

    pub(super) fn forgets(&self, peer: &Peer, remote: Remote) {
        match remote.carrier {
            Carrier::Udp => self.peers.forgets(peer, remote.address),
            Carrier::Tcp => {
                if let Some(connection) = peer.connection(remote.address) {
                    connection.close_gently();
                }
            }
        }
    }
}
