//! Where a camera may be. A registered URL is an instruction to dial, so the address is checked each time, after the
//! name has been resolved, and the very address that was checked is dialled.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use ipnet::IpNet;
use parking_lot::RwLock;

/// Networks that cameras may and may not be in.
///
/// `allow` wins over `deny`; loopback, link-local, multicast, unspecified and broadcast addresses are denied unless
/// allowed. The hub's own listeners are never dialled: a hub that watches itself is a loop.
#[derive(Debug, Default)]
pub struct Networks {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    own_listeners: RwLock<Vec<SocketAddr>>,
}

/// Why an address is not dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// By `source.deny`.
    Network(IpNet),
    /// One of the kinds denied by default.
    Kind(&'static str),
    OwnListener,
}

impl Networks {
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self { allow, deny, own_listeners: RwLock::default() }
    }

    /// Called when the hub's ports are bound.
    pub fn set_own_listeners(&self, listeners: Vec<SocketAddr>) {
        *self.own_listeners.write() = listeners;
    }

    pub fn check(&self, address: SocketAddr) -> Result<(), Denial> {
        let ip = address.ip().to_canonical();
        if self.own_listeners.read().iter().any(|own| is_own(*own, ip, address.port())) {
            return Err(Denial::OwnListener);
        }
        if self.allow.iter().any(|network| network.contains(&ip)) {
            return Ok(());
        }
        if let Some(network) = self.deny.iter().find(|network| network.contains(&ip)) {
            return Err(Denial::Network(*network));
        }
        denied_kind(ip).map_or(Ok(()), |kind| Err(Denial::Kind(kind)))
    }
}

fn denied_kind(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => match ip {
            ip if ip.is_loopback() => Some("loopback"),
            ip if ip.is_link_local() => Some("link-local"),
            ip if ip.is_multicast() => Some("multicast"),
            // "This network", RFC 1122 §3.2.1.3: the kernel takes 0.0.0.0 for the machine itself.
            ip if ip.octets()[0] == 0 => Some("unspecified"),
            Ipv4Addr::BROADCAST => Some("broadcast"),
            _ => None,
        },
        IpAddr::V6(ip) if ip.is_loopback() => Some("loopback"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("link-local"),
        IpAddr::V6(ip) if ip.is_multicast() => Some("multicast"),
        IpAddr::V6(ip) if ip.is_unspecified() => Some("unspecified"),
        // Addresses that carry an IPv4 address lead where that leads (RFC 6052, RFC 3056, RFC 4291 §2.5.5.1).
        IpAddr::V6(ip) => match ip.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                denied_kind(IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))))
            }
            _ => None,
        },
    }
}

fn is_own(own: SocketAddr, ip: IpAddr, port: u16) -> bool {
    if own.port() != port {
        return false;
    }
    if !own.ip().is_unspecified() {
        return own.ip().to_canonical() == ip;
    }
    // Listening everywhere: whatever address this machine has can be bound, and no other.
    ip.is_loopback() || ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_no_camera_has_is_denied_by_default() {
        let networks = Networks::default();
        for denied in [
            "127.0.0.1:554",
            "127.8.9.1:554",
            "169.254.169.254:80",
            "224.0.0.1:554",
            "255.255.255.255:554",
            "0.0.0.0:554",
            "[::1]:554",
            "[::]:554",
            "[fe80::1]:554",
            "[ff02::1]:554",
            "[::ffff:127.0.0.1]:554",
            "[::7f00:1]:554",
            "[64:ff9b::7f00:1]:554",
            "[2002:7f00:1::]:554",
        ] {
            assert!(networks.check(address(denied)).is_err(), "{denied}");
        }
        for free in ["192.168.1.64:554", "10.0.0.1:8554", "203.0.113.9:554", "[2001:db8::1]:554", "[fd00::7]:554"] {
            assert_eq!(networks.check(address(free)), Ok(()), "{free}");
        }
    }

    #[test]
    fn allow_wins_over_deny_and_over_the_default() {
        let networks = Networks::new(
            vec!["127.0.0.0/8".parse().unwrap(), "10.1.0.0/16".parse().unwrap()],
            vec!["10.0.0.0/8".parse().unwrap()],
        );
        assert_eq!(networks.check(address("127.0.0.1:554")), Ok(()));
        assert_eq!(networks.check(address("[::ffff:127.0.0.1]:554")), Ok(()));
        assert_eq!(networks.check(address("10.1.2.3:554")), Ok(()));
        assert!(matches!(networks.check(address("10.2.2.3:554")), Err(Denial::Network(_))));
    }

    #[test]
    fn the_hub_does_not_watch_itself_even_where_loopback_is_allowed() {
        let networks = Networks::new(vec!["127.0.0.0/8".parse().unwrap()], Vec::new());
        networks.set_own_listeners(vec![address("127.0.0.1:8554"), address("0.0.0.0:8555")]);
        assert_eq!(networks.check(address("127.0.0.1:8554")), Err(Denial::OwnListener));
        assert_eq!(networks.check(address("127.0.0.5:8555")), Err(Denial::OwnListener));
        assert_eq!(networks.check(address("127.0.0.1:8556")), Ok(()));
        assert_eq!(networks.check(address("203.0.113.9:8555")), Ok(()));
    }
}
