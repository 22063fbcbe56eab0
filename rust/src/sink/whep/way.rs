//! The way from the hub to a viewer: by which protocol, to which address, and whether it is open.

use std::net::SocketAddr;

use str0m::net::Protocol as IceProtocol;

use crate::telemetry::Protocol;

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
