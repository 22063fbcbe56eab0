//! The way from the hub to a viewer: by which protocol, to which address, and whether it is open.

use std::net::SocketAddr;

use smallvec::SmallVec;
use str0m::net::Protocol as IceProtocol;

use crate::telemetry::Protocol;

/// Addresses one peer may send from: its interfaces, both families, and a change of network.
const MAX_REMOTES: usize = 8;

/// Addresses that checks of one ICE session are taken from, ever. str0m keeps them all.
const MAX_CHECKED: usize = 64;

/// What carries a viewer's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    Udp,
    /// With a length of two bytes in front of each (RFC 4571).
    Tcp,
}

/// Where a viewer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Remote {
    pub carrier: Carrier,
    pub address: SocketAddr,
}

/// How a way is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Always so with UDP, which loses what it can't carry.
    Open,
    /// The backlog is as long as it may be: what comes now would come too late.
    Full,
    /// The connection is gone, and the viewer has no other yet.
    Broken,
}

/// Says to a sink (`SinkHandle::message`) that a way that was full or broken may be open again.
pub struct Room;

impl Carrier {
    /// str0m's word for it back into ours: we offer candidates of these two alone.
    pub fn of(protocol: IceProtocol) -> Self {
        if protocol == IceProtocol::Udp { Self::Udp } else { Self::Tcp }
    }

    pub fn ice(self) -> IceProtocol {
        match self {
            Self::Udp => IceProtocol::Udp,
            Self::Tcp => IceProtocol::Tcp,
        }
    }

    /// Under which its traffic is counted.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Udp => Protocol::WebrtcUdp,
            Self::Tcp => Protocol::WebrtcTcp,
        }
    }
}

/// Where a peer has proved to be.
#[derive(Default)]
pub struct Remotes {
    known: SmallVec<[Remote; 2]>,
    /// Since the ICE session began, forgotten ones too.
    checked: SmallVec<[Remote; 2]>,
}

impl Remotes {
    /// Takes one more; false when it is known. Where there are as many as there may be, the oldest is forgotten, but never
    /// the one that is `used` for media: a peer with many interfaces checks them all, again and again.
    pub fn add(&mut self, remote: Remote, used: Option<Remote>, forget: impl FnOnce(Remote)) -> bool {
        let Self { known, checked } = self;
        if known.contains(&remote) {
            return false;
        }
        if !checked.contains(&remote) {
            checked.push(remote);
        }
        if known.len() >= MAX_REMOTES
            && let Some(place) = known.iter().position(|remote| Some(*remote) != used)
        {
            forget(known.remove(place));
        }
        known.push(remote);
        true
    }

    /// Whether a check from there is to be looked at: str0m remembers each address that passes one, so that a peer which
    /// passes them from every port it has would cost ever more.
    pub fn takes_checks_from(&self, remote: Remote) -> bool {
        self.checked.len() < MAX_CHECKED || self.checked.contains(&remote)
    }

    /// A restart of ICE: the addresses of the session before are forgotten by str0m as well.
    pub fn begin_anew(&mut self) {
        self.checked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_ways_a_peer_has_the_one_in_use_is_kept() {
        let remote = |port| Remote { carrier: Carrier::Tcp, address: ([192, 0, 2, 1], port).into() };
        let (mut remotes, mut forgotten) = (Remotes::default(), Vec::new());
        for port in 0..20 {
            assert!(remotes.add(remote(port), Some(remote(0)), |remote| forgotten.push(remote)));
            assert!(!remotes.add(remote(0), Some(remote(0)), |_| panic!("it is known")));
        }
        assert_eq!(remotes.known.len(), MAX_REMOTES);
        assert_eq!((remotes.known[0], forgotten[0], forgotten.len()), (remote(0), remote(1), 20 - MAX_REMOTES));
    }

    #[test]
    fn checks_are_taken_from_so_many_addresses_of_an_ice_session_and_from_those_again_and_again() {
        let remote = |port| Remote { carrier: Carrier::Udp, address: ([192, 0, 2, 1], port).into() };
        let mut remotes = Remotes::default();
        for port in 0..MAX_CHECKED as u16 {
            assert!(remotes.takes_checks_from(remote(port)));
            remotes.add(remote(port), None, drop);
            remotes.add(remote(0), None, drop);
        }
        assert!(remotes.takes_checks_from(remote(0)) && !remotes.takes_checks_from(remote(999)));
        remotes.begin_anew();
        assert!(remotes.takes_checks_from(remote(999)));
    }
}
