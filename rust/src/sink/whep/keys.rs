//! What DTLS agrees on with a viewer, learnt on the way past str0m, so that media can be sealed without it.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use dimpl::{Config, Dtls};
use parking_lot::Mutex;
use str0m::config::DtlsVersion;
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, ProtocolVersion, SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};
use str0m::{Rtc, RtcConfig};

use crate::wire::srtp::{Contexts, Profile, Refused};

thread_local! {
    /// Where the keys of the instance come that was made last on this thread.
    static MADE: RefCell<Option<Keys>> = const { RefCell::new(None) };
}

/// What a handshake has agreed on, once it has.
#[derive(Clone, Default)]
pub struct Keys(Arc<Mutex<Option<Agreed>>>);

struct Agreed {
    profile: Profile,
    material: Vec<u8>,
    is_client: bool,
}

impl Keys {
    /// The contexts made of it; None before the handshake's end and when they have been taken.
    pub fn take(&self) -> Option<Result<Contexts, Refused>> {
        let agreed = self.0.lock().take()?;
        Some(Contexts::new(agreed.profile, &agreed.material, agreed.is_client))
    }
}

/// Secrets are not for logs.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

/// Builds the peer, and where its keys will be.
pub(super) fn build(config: RtcConfig, now: Instant) -> (Rtc, Keys) {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        let mut provider = str0m::crypto::from_feature_flags();
        // One for the process, which is as long as `'static` wants.
        provider.dtls_provider = Box::leak(Box::new(Listening { inner: provider.dtls_provider }));
        Arc::new(provider)
    });
    // str0m makes its DTLS instance in here, on this thread.
    let rtc = config.set_crypto_provider(Arc::clone(provider)).build(now);
    (rtc, MADE.take().unwrap_or_default())
}

#[derive(Debug)]
struct Listening {
    inner: &'static dyn DtlsProvider,
}

impl DtlsProvider for Listening {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.inner.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let inner = instance(certificate, now, version, mtu)?;
        let keys = Keys::default();
        MADE.set(Some(keys.clone()));
        Ok(Box::new(Overheard { inner, keys, is_connected: false }))
    }

    fn is_test(&self) -> bool {
        self.inner.is_test()
    }
}

/// What str0m's own provider makes, but for the configuration: dimpl tries all of its cryptography out whenever one is
/// built, which takes longer than the handshake itself. Once is enough.
fn instance(
    certificate: &DtlsCert,
    now: Instant,
    version: DtlsVersion,
    mtu: Option<usize>,
) -> Result<Dtls, CryptoError> {
    static CONFIG: OnceLock<(Option<usize>, Arc<Config>)> = OnceLock::new();
    let build = || {
        // ICE has shown already that the peer is where it says, which a cookie would show again.
        let builder = Config::builder().use_server_cookie(false);
        let config = match mtu {
            Some(mtu) => builder.mtu(mtu),
            None => builder,
        };
        config.build().map(Arc::new).map_err(|error| CryptoError::Other(format!("no DTLS configuration: {error}")))
    };
    let config = match CONFIG.get() {
        Some((known, config)) if *known == mtu => Arc::clone(config),
        Some(_) => build()?,
        None => {
            let config = build()?;
            // Two peers may come first at once.
            Arc::clone(&CONFIG.get_or_init(|| (mtu, config.clone())).1)
        }
    };
    let certificate =
        DtlsCert { certificate: certificate.certificate.clone(), private_key: certificate.private_key.clone() };
    match version {
        DtlsVersion::Dtls12 => Ok(Dtls::new_12(config, certificate, now)),
        DtlsVersion::Dtls13 => Ok(Dtls::new_13(config, certificate, now)),
        DtlsVersion::Auto => Ok(Dtls::new_auto(config, certificate, now)),
        _ => Err(CryptoError::Other(format!("no such DTLS version: {version}"))),
    }
}

struct Overheard {
    inner: Dtls,
    keys: Keys,
    is_connected: bool,
}

impl fmt::Debug for Overheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overheard")
    }
}

impl DtlsInstance for Overheard {
    fn set_active(&mut self, active: bool) {
        self.inner.set_active(active);
    }

    /// Anybody can send records in a viewer's name: what can't be read or comes out of turn is dropped, as RFC 6347
    /// §4.1.2.7 has it, and does not end the viewer. An alert after the handshake is the viewer's own word. A handshake
    /// that can't succeed ends with the time a viewer has to connect.
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        match self.inner.handle_packet(packet) {
            Err(alert @ DtlsImplError::SecurityError(_)) if self.is_connected => Err(alert),
            _ => Ok(()),
        }
    }

    fn poll_output<'a>(&mut self, room: &'a mut [u8]) -> DtlsOutput<'a> {
        let output = self.inner.poll_output(room);
        match &output {
            DtlsOutput::Connected => self.is_connected = true,
            DtlsOutput::KeyingMaterial(material, profile) => {
                let profile = match *profile {
                    SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
                    SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
                    SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
                    _ => None,
                };
                let material: &[u8] = material.as_ref();
                let material = material.to_vec();
                let is_client = self.inner.is_active();
                *self.keys.0.lock() = profile.map(|profile| Agreed { profile, material, is_client });
            }
            _ => {}
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.inner.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.inner.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.inner.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.inner.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.inner.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.inner.close()
    }
}
