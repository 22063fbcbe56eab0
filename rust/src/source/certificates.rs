//! Whom a camera's TLS certificate is believed (ADR "Cameras' certificates are remembered").
//!
//! Cameras sign their certificates themselves, with names that fit nobody. Unless authorities are configured, the first
//! certificate seen at an address is remembered, and another one there is refused.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use lru::LruCache;
use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::error::{Error, ErrorKind, Result};
use crate::peer::TLS_PORT;

/// Addresses whose certificate is remembered; beyond, the one that was dialled longest ago is forgotten.
const MAX_REMEMBERED: usize = 65_536;

type Fingerprint = [u8; 32];

/// What is believed of cameras' certificates. One for all sources of a hub.
pub struct Certificates {
    provider: Arc<CryptoProvider>,
    /// Chains must lead to one of these, and name the camera.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    /// By `host:port`.
    remembered: Mutex<LruCache<String, Fingerprint>>,
}

impl Certificates {
    /// Any certificate is taken the first time.
    pub fn remembering() -> Self {
        Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            authorities: None,
            remembered: Mutex::new(LruCache::unbounded()),
        }
    }

    /// Only certificates that these authorities have issued are taken. Errors: SOURCE_TLS_CA_INVALID (InvalidArgument).
    pub fn issued_by(file: &Path) -> Result<Self> {
        let invalid = |why: String| {
            Error::new(ErrorKind::InvalidArgument, "SOURCE_TLS_CA_INVALID", format!("source.tls_ca: {why}"))
        };
        let pem = std::fs::read(file).map_err(|cause| invalid(format!("{} can't be read: {cause}", file.display())))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_| invalid(format!("{} is no PEM", file.display())))?;
            roots.add(certificate).map_err(|cause| invalid(format!("{}: {cause}", file.display())))?;
        }
        let known = Self::remembering();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), known.provider.clone())
            .build()
            .map_err(|_| invalid(format!("{} holds no certificate", file.display())))?;
        Ok(Self { authorities: Some(verifier), ..known })
    }

    /// The next certificate at this URL's address is taken whatever it is: the camera's record has been written anew.
    pub fn forget(&self, url: &str) {
        // Most cameras are not dialled by TLS, and reading a URL costs more than the rest of their record.
        if url.trim_start().as_bytes().get(..6).is_none_or(|scheme| !scheme.eq_ignore_ascii_case(b"rtsps:")) {
            return;
        }
        if let Some((host, port)) = tls_address(url) {
            self.remembered.lock().pop(&key(&host, port));
        }
    }

    /// A handshake with the camera at `host:port`.
    pub(super) fn handshake(self: &Arc<Self>, host: &str, port: u16) -> Result<(Arc<ClientConfig>, Arc<Handshake>)> {
        let handshake = Arc::new(Handshake {
            certificates: self.clone(),
            key: key(host, port),
            has_changed: AtomicBool::new(false),
            is_unknown: AtomicBool::new(false),
        });
        let config = ClientConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|cause| Error::new(ErrorKind::Internal, "TLS_FAILED", "no TLS version is left").because(cause))?
            .dangerous()
            .with_custom_certificate_verifier(handshake.clone())
            .with_no_client_auth();
        Ok((Arc::new(config), handshake))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("has_authorities", &self.authorities.is_some()).finish_non_exhaustive()
    }
}

fn key(host: &str, port: u16) -> String {
    format!("{}:{port}", host.to_ascii_lowercase())
}

/// Where a URL is dialled by TLS, if it is.
fn tls_address(url: &str) -> Option<(String, u16)> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "rtsps")?;
    Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port().unwrap_or(TLS_PORT)))
}

/// The verifier of one connection, which says afterwards why it refused.
#[derive(Debug)]
pub(super) struct Handshake {
    certificates: Arc<Certificates>,
    key: String,
    has_changed: AtomicBool,
    is_unknown: AtomicBool,
}

impl Handshake {
    /// The certificate is not the one that was seen at this address before.
    pub(super) fn has_changed(&self) -> bool {
        self.has_changed.load(Relaxed)
    }

    /// None of the configured authorities vouches for it.
    pub(super) fn is_unknown(&self) -> bool {
        self.is_unknown.load(Relaxed)
    }

    /// The camera has proven that the certificate is its own: it is remembered. False when another one is by now.
    pub(super) fn confirm(&self, certificate: &[u8]) -> bool {
        if self.certificates.authorities.is_some() {
            return true;
        }
        let fingerprint: Fingerprint = Sha256::digest(certificate).into();
        let mut remembered = self.certificates.remembered.lock();
        let is_same = *remembered.get_or_insert(self.key.clone(), || fingerprint) == fingerprint;
        if remembered.len() > MAX_REMEMBERED {
            remembered.pop_lru();
        }
        is_same
    }
}

impl ServerCertVerifier for Handshake {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        if let Some(authorities) = &self.certificates.authorities {
            let verified = authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
            self.is_unknown.store(verified.is_err(), Relaxed);
            return verified;
        }
        let fingerprint: Fingerprint = Sha256::digest(end_entity).into();
        let known = self.certificates.remembered.lock().get(&self.key).copied();
        if known.is_some_and(|known| known != fingerprint) {
            self.has_changed.store(true, Relaxed);
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.certificates.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.certificates.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.certificates.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(certificates: &Arc<Certificates>, host: &str) -> Arc<Handshake> {
        certificates.handshake(host, 322).unwrap().1
    }

    fn verify(handshake: &Handshake, certificate: &'static [u8]) -> bool {
        let certificate = CertificateDer::from(certificate);
        let name = ServerName::try_from("cam").unwrap();
        handshake.verify_server_cert(&certificate, &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn the_first_certificate_that_is_proven_is_remembered_until_it_is_forgotten() {
        let certificates = Arc::new(Certificates::remembering());
        let first = handshake(&certificates, "cam");
        assert!(verify(&first, b"one") && verify(&first, b"two"), "nothing is proven yet");
        assert!(first.confirm(b"one") && first.confirm(b"one"));
        assert!(!first.confirm(b"two"), "another was quicker");
        let second = handshake(&certificates, "CAM");
        assert!(verify(&second, b"one"));
        assert!(!verify(&second, b"two") && second.has_changed());
        assert!(verify(&handshake(&certificates, "other"), b"two"));
        certificates.forget("rtsp://cam/live");
        assert!(!verify(&handshake(&certificates, "cam"), b"two"));
        certificates.forget("rtsps://Cam/live");
        assert!(verify(&handshake(&certificates, "cam"), b"two"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let certificates = Arc::new(Certificates::remembering());
        for number in 0..MAX_REMEMBERED + 10 {
            let of_one =
                Handshake { key: number.to_string(), ..Arc::into_inner(handshake(&certificates, "x")).unwrap() };
            of_one.confirm(b"one");
        }
        assert_eq!(certificates.remembered.lock().len(), MAX_REMEMBERED);
    }

    #[test]
    fn authorities_that_can_not_be_read_are_named() {
        let error = Certificates::issued_by(Path::new("/nonexistent/ca.pem")).unwrap_err();
        assert_eq!(error.reason(), "SOURCE_TLS_CA_INVALID");
        assert!(error.message().contains("/nonexistent/ca.pem"));
    }
}
