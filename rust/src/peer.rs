//! Another hub's media port, for one connection: where it is, whom its certificate must come from, what is shown there.
//!
//! The link names all of it, not a camera: `source.deny` has no say, but only TLS is dialled, and the certificate must lead
//! to the other hub's own authority.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use crate::error::{Error, ErrorKind, Result};

/// What a hub's own certificate names beside its addresses, and what linked hubs ask for (SNI, RFC 6066 §3): the port may
/// show people a certificate of another authority. No address of anybody's, and the same for all: the authority is the
/// hub's own and issues nothing like it to others.
pub const NAME: &str = "media.hub.internal";

/// Of `rtsps://` without a port.
pub const TLS_PORT: u16 = 322;

const MAX_URL: usize = 512;
const MAX_TICKET: usize = 1024;
const MAX_CA_PEM: usize = 64 * 1024;
/// Addresses of one name that are tried.
const MAX_ADDRESSES: usize = 4;
/// For each address: to connect and to shake hands.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);

/// Another hub's media port and what is shown there.
#[derive(Clone)]
pub struct Peer {
    id: Arc<str>,
    url: Url,
    host: String,
    port: u16,
    ticket: Arc<str>,
    ca_pem: Arc<str>,
    tls: Arc<ClientConfig>,
}

impl Peer {
    /// `id`: the other hub's. `url`: `rtsps://HOST[:PORT]/CAMERA`. Errors: LINK_URL_INVALID, LINK_TICKET_INVALID,
    /// LINK_CA_INVALID (InvalidArgument); the ticket is in none.
    pub fn new(id: &str, url: &str, ticket: &str, ca_pem: &str) -> Result<Self> {
        let wrong_url = |why: &str| invalid("LINK_URL_INVALID", format!("the media address of hub {id}: {why}"));
        if url.len() > MAX_URL {
            return Err(wrong_url("it is longer than any"));
        }
        let url = Url::parse(url).map_err(|_| wrong_url("it is no URL: write rtsps://HOST:8322/CAMERA"))?;
        if url.scheme() != "rtsps" {
            return Err(wrong_url("media between hubs goes by rtsps:// only"));
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong_url("it holds a login or a query: the ticket is given apart"));
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        if ServerName::try_from(host.as_str()).is_err() {
            return Err(wrong_url("it names no host"));
        }
        if ticket.is_empty() || ticket.len() > MAX_TICKET || !ticket.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid(
                "LINK_TICKET_INVALID",
                format!("what hub {id} gave for a ticket is none: ask it again"),
            ));
        }
        let port = url.port().unwrap_or(TLS_PORT);
        let tls = tls(ca_pem).map_err(|why| {
            invalid("LINK_CA_INVALID", format!("the certificate authority of hub {id} {why}: end the link, join anew"))
        })?;
        Ok(Self { id: id.into(), url, host, port, ticket: ticket.into(), ca_pem: ca_pem.into(), tls })
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The `Authorization` header that shows the ticket.
    pub fn authorization(&self) -> String {
        format!("Bearer {}", self.ticket)
    }

    /// Connects and shakes hands. Errors (Unavailable): LINK_MEDIA_UNREACHABLE, LINK_CERTIFICATE_REFUSED.
    pub async fn dial(&self) -> Result<TlsStream<TcpStream>> {
        let mut failure = self.unreachable("its name has no address: check the hub's DNS");
        for address in self.addresses().await? {
            match timeout(DIAL_TIMEOUT, self.dial_at(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                // Another address is another door of the same hub; a wrong certificate is wrong at each.
                Ok(Err(error)) if error.reason() == "LINK_CERTIFICATE_REFUSED" => return Err(error),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = self.unreachable("it does not answer: check the network between the hubs"),
            }
        }
        Err(failure)
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let found = timeout(DIAL_TIMEOUT, lookup_host((self.host.as_str(), self.port))).await;
        match found {
            Ok(Ok(found)) => Ok(found.take(MAX_ADDRESSES).collect()),
            Ok(Err(_)) | Err(_) => Err(self.unreachable("its name does not resolve: check the hub's DNS")),
        }
    }

    async fn dial_at(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
        let cut = |_: io::Error| self.unreachable("the connection is refused or cut: check port 8322 at the other hub");
        let socket = TcpStream::connect(address).await.map_err(cut)?;
        socket.set_nodelay(true).map_err(cut)?;
        let name = ServerName::try_from(NAME).map_err(|_| self.unreachable("it has no name"))?;
        TlsConnector::from(self.tls.clone()).connect(name, socket).await.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
            match cause {
                Some(rustls::Error::InvalidCertificate(_)) => Error::new(
                    ErrorKind::Unavailable,
                    "LINK_CERTIFICATE_REFUSED",
                    format!(
                        "the media port of hub {} at {} shows a certificate that its own authority has not issued: \
                         somebody is in between, or the hub has a new authority and the link must be joined anew",
                        self.id, self.host
                    ),
                )
                .because(error),
                _ => self.unreachable("no TLS session comes about: check port 8322 at the other hub").because(error),
            }
        })
    }

    fn unreachable(&self, why: &str) -> Error {
        let message =
            format!("the media port of hub {} at {}:{} can't be reached: {why}", self.id, self.host, self.port);
        Error::new(ErrorKind::Unavailable, "LINK_MEDIA_UNREACHABLE", message)
    }
}

/// Takes what this authority has issued for a hub's media port.
fn tls(ca_pem: &str) -> std::result::Result<Arc<ClientConfig>, &'static str> {
    if ca_pem.len() > MAX_CA_PEM {
        return Err("is larger than any");
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|_| "is no PEM")?;
        roots.add(certificate).map_err(|_| "is no certificate")?;
    }
    if roots.is_empty() {
        return Err("holds no certificate");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| "knows no TLS version of ours")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn invalid(reason: &'static str, message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, reason, message)
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        let of = |peer: &Self| (peer.id.clone(), peer.url.clone(), peer.ticket.clone(), peer.ca_pem.clone());
        of(self) == of(other)
    }
}

impl Eq for Peer {}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("id", &self.id).field("url", &self.url()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn ca() -> String {
        let made = rcgen::generate_simple_self_signed(vec!["hub".to_owned()]).unwrap();
        let body = base64::engine::general_purpose::STANDARD.encode(made.cert.der());
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn what_is_no_media_port_of_a_hub_is_refused_by_name() {
        let ca = ca();
        let refused = |url: &str, ticket: &str, ca: &str| {
            let error = Peer::new("city", url, ticket, ca).unwrap_err();
            assert!(!error.message().contains("hunter2") && error.message().contains("city"), "{error}");
            (error.kind(), error.reason())
        };
        let wrong = |reason| (ErrorKind::InvalidArgument, reason);
        let long = format!("rtsps://hub/{}", "a".repeat(MAX_URL));
        for url in [
            "",
            "hub",
            "rtsp://hub:8554/1",
            "https://hub/1",
            "rtsps:///1",
            "rtsps://u:hunter2@hub/1",
            "rtsps://u@hub/1",
            "rtsps://hub/1?ticket=hunter2",
            "rtsps://hub/1#x",
            "rtsps://a_b c/1",
            &long,
        ] {
            assert_eq!(refused(url, "hunter2", &ca), wrong("LINK_URL_INVALID"), "{url}");
        }
        for ticket in ["", "hunter2 x", "hunter2\r\nA: b", &"a".repeat(MAX_TICKET + 1)] {
            assert_eq!(refused("rtsps://hub/1", ticket, &ca), wrong("LINK_TICKET_INVALID"), "{ticket}");
        }
        let broken = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        for ca in ["", "nothing", broken, &"a".repeat(MAX_CA_PEM + 1)] {
            assert_eq!(refused("rtsps://hub/1", "hunter2", ca), wrong("LINK_CA_INVALID"), "{ca}");
        }
    }

    #[test]
    fn a_ticket_is_shown_to_the_other_hub_alone() {
        let peer = Peer::new("city", "rtsps://[::1]:8322/36060200001320000001", "hunter2", &ca()).unwrap();
        assert!(!format!("{peer:?}").contains("hunter2"));
        assert_eq!(peer.authorization(), "Bearer hunter2");
        assert_eq!((peer.host.as_str(), peer.port), ("::1", 8322));
    }
}
