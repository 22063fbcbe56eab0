//! TLS for the listening ports: certificate chain and key from PEM to a rustls configuration.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::{Error, ErrorKind, Result};

/// Reads both files. `protocols` are the ALPN names, most wanted first.
pub fn server_config(certificate: &Path, key: &Path, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|cause| invalid(format!("{} can't be read: {cause}", path.display())))
    };
    server_config_from_pem(&read(certificate)?, &read(key)?, protocols).map_err(|error| {
        invalid(format!("{} with {}: {}", certificate.display(), key.display(), error.message())).because(error)
    })
}

/// The same from PEM that is at hand, such as the hub's own CA has issued.
pub fn server_config_from_pem(certificate: &[u8], key: &[u8], protocols: &[&[u8]]) -> Result<Arc<ServerConfig>> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<std::result::Result<_, _>>()
        .map_err(|cause| invalid("the certificate is no PEM").because(cause))?;
    if chain.is_empty() {
        return Err(invalid("the certificate file holds no certificate"));
    }
    let key =
        PrivateKeyDer::from_pem_slice(key).map_err(|cause| invalid("the key is no PEM private key").because(cause))?;
    // The provider is named: another crate may have linked a second one, and rustls then refuses to guess.
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|cause| invalid("no TLS version is left").because(cause))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|cause| invalid(format!("certificate and key do not fit: {cause}")).because(cause))?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, "TLS_CERTIFICATE_INVALID", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_broken_file_is_named() {
        let missing = server_config(Path::new("/nonexistent/cert.pem"), Path::new("/nonexistent/key.pem"), &[]);
        assert!(missing.unwrap_err().message().contains("/nonexistent/cert.pem"));
        let error = server_config_from_pem(b"nothing", b"nothing", &[]).unwrap_err();
        assert_eq!(error.reason(), "TLS_CERTIFICATE_INVALID");
    }
}
