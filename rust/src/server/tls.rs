//! TLS for the listening ports: certificate chain and key from PEM to a rustls configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WantsServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ConfigBuilder, ServerConfig};

use crate::error::{Error, ErrorKind, Result};

/// Reads both files. `protocols` are the ALPN names, most wanted first.
pub fn server_config(certificate: &Path, key: &Path, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>> {
    server_config_from_pem(&read(certificate)?, &read(key)?, protocols).map_err(|error| {
        invalid(format!("{} with {}: {}", certificate.display(), key.display(), error.message())).because(error)
    })
}

/// The same from PEM that is at hand, such as the hub's own CA has issued.
pub fn server_config_from_pem(certificate: &[u8], key: &[u8], protocols: &[&[u8]]) -> Result<Arc<ServerConfig>> {
    let (chain, key) = parse(certificate, key)?;
    let config = builder()?
        .with_single_cert(chain, key)
        .map_err(|cause| invalid(format!("certificate and key do not fit: {cause}")).because(cause))?;
    Ok(with_protocols(config, protocols))
}

/// Certificate chain and key, PEM.
pub type Pem<'a> = (&'a [u8], &'a [u8]);

/// Shows `own` to whoever asks for `name` (SNI, RFC 6066 §3), and `other` to everybody else.
pub fn server_config_by_name(name: &'static str, own: Pem<'_>, other: Pem<'_>) -> Result<Arc<ServerConfig>> {
    let certified = |(certificate, key)| {
        let (chain, key) = parse(certificate, key)?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map(Arc::new)
            .map_err(|cause| invalid(format!("certificate and key do not fit: {cause}")).because(cause))
    };
    let resolver = ByName { name, own: certified(own)?, other: certified(other)? };
    Ok(with_protocols(builder()?.with_cert_resolver(Arc::new(resolver)), &[]))
}

#[derive(Debug)]
struct ByName {
    name: &'static str,
    own: Arc<CertifiedKey>,
    other: Arc<CertifiedKey>,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_asked_for = hello.server_name() == Some(self.name);
        Some(if is_asked_for { self.own.clone() } else { self.other.clone() })
    }
}

fn parse(certificate: &[u8], key: &[u8]) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<std::result::Result<_, _>>()
        .map_err(|cause| invalid("the certificate is no PEM").because(cause))?;
    if chain.is_empty() {
        return Err(invalid("the certificate file holds no certificate"));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|cause| invalid("the key is no PEM private key").because(cause))?;
    Ok((chain, key))
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsServerCert>> {
    // The provider is named: another crate may have linked a second one, and rustls then refuses to guess.
    Ok(ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|cause| invalid("no TLS version is left").because(cause))?
        .with_no_client_auth())
}

fn with_protocols(mut config: ServerConfig, protocols: &[&[u8]]) -> Arc<ServerConfig> {
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// A PEM file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|cause| invalid(format!("{} can't be read: {cause}", path.display())))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, "TLS_CERTIFICATE_INVALID", message)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};

    use super::*;

    #[test]
    fn a_missing_or_broken_file_is_named() {
        let missing = server_config(Path::new("/nonexistent/cert.pem"), Path::new("/nonexistent/key.pem"), &[]);
        assert!(missing.unwrap_err().message().contains("/nonexistent/cert.pem"));
        let error = server_config_from_pem(b"nothing", b"nothing", &[]).unwrap_err();
        assert_eq!(error.reason(), "TLS_CERTIFICATE_INVALID");
    }

    /// Its certificate in DER, and both in PEM.
    fn made(name: &str) -> (CertificateDer<'static>, String, String) {
        let pem = |word: &str, der: &[u8]| {
            let body = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN {word}-----\n{body}\n-----END {word}-----\n")
        };
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = made.signing_key.serialize_der();
        (made.cert.der().clone(), pem("CERTIFICATE", made.cert.der()), pem("PRIVATE KEY", &key))
    }

    #[test]
    fn who_asks_for_the_name_is_shown_its_certificate_and_everybody_else_the_other() {
        let (own, own_pem, own_key) = made("media.hub.internal");
        let (other, other_pem, other_key) = made("hub.example");
        let config = server_config_by_name(
            "media.hub.internal",
            (own_pem.as_bytes(), own_key.as_bytes()),
            (other_pem.as_bytes(), other_key.as_bytes()),
        )
        .unwrap();
        let shown = |name: &'static str| {
            let mut roots = RootCertStore::empty();
            for one in [&own, &other] {
                roots.add(one.clone()).unwrap();
            }
            let client = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(name).unwrap()).unwrap();
            let mut server = ServerConnection::new(config.clone()).unwrap();
            while client.is_handshaking() {
                let mut wire = Vec::new();
                client.write_tls(&mut wire).unwrap();
                server.read_tls(&mut wire.as_slice()).unwrap();
                server.process_new_packets().unwrap();
                let mut wire = Vec::new();
                while server.wants_write() {
                    server.write_tls(&mut wire).unwrap();
                }
                client.read_tls(&mut wire.as_slice()).unwrap();
                client.process_new_packets().unwrap();
            }
            client.peer_certificates().unwrap()[0].clone()
        };
        assert_eq!(shown("media.hub.internal"), own);
        assert_eq!(shown("hub.example"), other);
    }
}
