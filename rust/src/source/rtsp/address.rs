//! Where a target's URL leads, and whether it may be dialled.

use std::net::SocketAddr;

use tokio::net::lookup_host;
use url::{Host, Url};

use super::super::{Denial, Failure, FailureKind, Options, Target};
use crate::peer::TLS_PORT;

const PORT: u16 = 554;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;

/// Where a target's URL leads.
#[derive(Clone, Debug)]
pub struct Address {
    /// As it is asked for: without credentials.
    pub(super) url: Url,
    pub host: String,
    pub(super) port: u16,
    /// `rtsps://`.
    pub(super) is_secure: bool,
}

impl Address {
    pub fn of(target: &Target) -> Result<Self, Failure> {
        let invalid = |message: &str| Failure::new(FailureKind::Invalid, message);
        let url = Url::parse(&target.url).map_err(|_| invalid("the camera's URL is none: write rtsp://HOST/PATH"))?;
        let is_secure = match url.scheme() {
            "rtsp" => false,
            "rtsps" => true,
            _ => {
                return Err(invalid(
                    "the camera's URL begins neither with rtsp:// nor with rtsps://, which is what this hub pulls",
                ));
            }
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("the camera's URL holds a login: give it as username and password"));
        }
        let host =
            url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| invalid("the camera's URL names no host"))?;
        let port = url.port().unwrap_or(if is_secure { TLS_PORT } else { PORT });
        Ok(Self { host: host.to_owned(), port, is_secure, url })
    }

    /// Resolves the name and keeps the addresses that may be dialled. Never empty.
    pub(super) async fn resolve(&self, options: &Options) -> Result<Vec<SocketAddr>, Failure> {
        let found: Vec<SocketAddr> = match self.url.host() {
            Some(Host::Ipv4(ip)) => vec![(ip, self.port).into()],
            Some(Host::Ipv6(ip)) => vec![(ip, self.port).into()],
            Some(Host::Domain(name)) => {
                let unknown = || {
                    Failure::new(
                        FailureKind::Unreachable,
                        "the camera's name does not resolve: check it, or the hub's DNS",
                    )
                };
                lookup_host((name, self.port)).await.map_err(|_| unknown())?.collect()
            }
            None => Vec::new(),
        };
        let mut denied = None;
        let mut allowed: Vec<SocketAddr> = Vec::new();
        for address in found {
            match options.networks.check(address) {
                Ok(()) if allowed.len() < MAX_ADDRESSES && !allowed.contains(&address) => allowed.push(address),
                Ok(()) => {}
                Err(denial) => denied = Some(denial),
            }
        }
        match (allowed.is_empty(), denied) {
            (false, _) => Ok(allowed),
            (true, Some(denial)) => Err(denied_failure(denial)),
            (true, None) => Err(Failure::new(
                FailureKind::Unreachable,
                "the camera's name has no address: check it, or the hub's DNS",
            )),
        }
    }

    /// Whether a URL of the camera's leads to the camera itself, which was dialled at `dialled`.
    pub(super) fn is_home(&self, url: &Url, dialled: SocketAddr) -> bool {
        let literal = match dialled {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let host = url.host_str().unwrap_or_default();
        matches!(url.scheme(), "rtsp" | "rtsps") && (host.eq_ignore_ascii_case(&self.host) || host == literal)
    }
}

/// Viewers read it as well: no address in it, which is for the camera's unit and administrators alone.
fn denied_failure(denial: Denial) -> Failure {
    let why = match denial {
        Denial::Network(network) => format!("source.deny has {network}"),
        Denial::Kind(kind) => format!("{kind} addresses are denied unless source.allow has them"),
        Denial::OwnListener => "it is this hub's own port".to_owned(),
    };
    Failure::new(FailureKind::Denied, format!("the hub does not dial the camera's address: {why}"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::target;
    use super::*;

    #[tokio::test]
    async fn why_a_camera_is_not_dialled_says_nothing_of_where_it_is() {
        for url in ["rtsp://127.0.0.1:8554/1", "rtsp://camera-of-the-school.invalid/1"] {
            let address = Address::of(&target(url)).unwrap();
            let failure = address.resolve(&Options::default()).await.unwrap_err();
            assert!(!failure.message.contains("127.0.0.1") && !failure.message.contains("school"), "{failure:?}");
        }
    }

    #[test]
    fn a_url_that_can_not_be_pulled_is_refused_with_the_remedy() {
        for (url, word) in [
            ("", "rtsp://HOST"),
            ("http://cam/1", "begins neither"),
            ("rtsp://user:pw@cam/1", "username and password"),
            ("rtsp:///1", "host"),
        ] {
            let failure = Address::of(&target(url)).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Invalid);
            assert!(failure.message.contains(word), "{url}: {}", failure.message);
            assert!(!failure.message.contains("pw"));
        }
        let address = Address::of(&target("rtsp://cam.example/live?x=1")).unwrap();
        assert_eq!((address.host.as_str(), address.port), ("cam.example", 554));
        assert_eq!(Address::of(&target("rtsps://cam.example/live")).unwrap().port, 322);
    }

    #[test]
    fn only_the_registered_name_and_the_dialled_address_are_the_camera() {
        let address = Address::of(&target("rtsp://Cam.example/live")).unwrap();
        let dialled = "[2001:db8::7]:554".parse().unwrap();
        for (url, expected) in [
            ("rtsp://cam.EXAMPLE/live/", true),
            ("rtsp://[2001:db8::7]/live/", true),
            ("rtsp://cam.example:8554/live/", true),
            ("rtsp://other/live/", false),
            ("http://cam.example/", false),
            ("rtsp:live", false),
        ] {
            assert_eq!(address.is_home(&Url::parse(url).unwrap(), dialled), expected, "{url}");
        }
    }
}
