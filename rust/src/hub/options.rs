//! What the control plane tells the core at its start: one JSON document, every key required to be known.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// Options of the core. Seconds are floats, sizes are bytes, addresses are `ADDRESS:PORT` (port 0: a free one).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubOptions {
    pub hub_id: String,
    /// Ed25519 key that signs tickets, PKCS #8 PEM.
    pub ticket_key_pem: Secret,
    #[serde(default)]
    pub listen: ListenOptions,
    /// Listeners of the hub that the core does not bind; no camera may be there.
    #[serde(default)]
    pub own_listeners: Vec<String>,
    /// Addresses that WebRTC clients are offered; empty: the listener's own.
    #[serde(default)]
    pub advertise: Vec<IpAddr>,
    /// Certificate chain and key of the HTTP port, PEM files; null: cleartext.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// What the hub's own CA has issued: for RTSPS where `tls` is null, else for linked hubs alone.
    #[serde(default)]
    pub rtsps_certificate: Option<TlsPem>,
    /// Unix socket of the Python application.
    #[serde(default)]
    pub backend_socket: PathBuf,
    /// What a gRPC client that knocks at the HTTP port is told.
    #[serde(default = "grpc_port")]
    pub grpc_port: u16,
    /// The address that people open the hub at, where it is another than the one that reaches it: "https://hub.example".
    #[serde(default)]
    pub public_url: String,
    /// Peers whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    #[serde(default)]
    pub stream: StreamOptions,
    #[serde(default)]
    pub source: SourceOptions,
    #[serde(default)]
    pub probe: ProbeOptions,
    /// Threads of the fan-out and of the runtime; 0: one per core, of the runtime at least two.
    #[serde(default)]
    pub threads: usize,
    /// `tracing` filter of the core's own log on stderr; empty: "warn".
    #[serde(default)]
    pub log: String,
}

fn grpc_port() -> u16 {
    50_051
}

/// A string that no log shows.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenOptions {
    pub http: Option<String>,
    pub rtsp: Option<String>,
    /// RTP of RTSP over UDP; RTCP has the next port. Only together with `rtsp`.
    pub rtsp_udp: Option<String>,
    pub rtsps: Option<String>,
    pub webrtc: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsPem {
    pub certificate_pem: String,
    pub key_pem: Secret,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamOptions {
    pub linger_s: f64,
    pub gop_cache_bytes: usize,
    pub sink_queue_bytes: usize,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { linger_s: 15.0, gop_cache_bytes: 16 << 20, sink_queue_bytes: 1 << 20 }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceOptions {
    pub connect_timeout_s: f64,
    pub stall_timeout_s: f64,
    pub allow: Vec<IpNet>,
    pub deny: Vec<IpNet>,
    /// Authorities that issue the certificates of `rtsps://` cameras, PEM file; null: each camera's first is remembered.
    pub tls_ca: Option<PathBuf>,
}

impl Default for SourceOptions {
    fn default() -> Self {
        Self { connect_timeout_s: 5.0, stall_timeout_s: 5.0, allow: Vec::new(), deny: Vec::new(), tls_ca: None }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeOptions {
    /// 0: no probing.
    pub interval_s: f64,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { interval_s: 300.0 }
    }
}

impl HubOptions {
    /// Reads the document. Errors: OPTIONS_INVALID (InvalidArgument), naming the key.
    pub fn parse(json: &str) -> Result<Self> {
        let options: Self = serde_json::from_str(json).map_err(|cause| {
            Error::new(ErrorKind::InvalidArgument, "OPTIONS_INVALID", format!("core options: {cause}"))
        })?;
        let seconds = BTreeMap::from([
            ("stream.linger_s", options.stream.linger_s),
            ("source.connect_timeout_s", options.source.connect_timeout_s),
            ("source.stall_timeout_s", options.source.stall_timeout_s),
            ("probe.interval_s", options.probe.interval_s),
        ]);
        match seconds.into_iter().find(|(_, value)| !value.is_finite() || *value < 0.0 || *value > 86_400.0) {
            Some((key, value)) => Err(Error::new(
                ErrorKind::InvalidArgument,
                "OPTIONS_INVALID",
                format!("{key} is {value}: give seconds from 0 to 86400"),
            )),
            None => Ok(options),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named() {
        let error = HubOptions::parse(r#"{"hub_id": "h", "ticket_key_pem": "x", "strem": {}}"#).unwrap_err();
        assert!(error.message().contains("strem"), "{error}");
    }

    #[test]
    fn seconds_out_of_range_are_refused() {
        let error =
            HubOptions::parse(r#"{"hub_id": "h", "ticket_key_pem": "x", "stream": {"linger_s": -1}}"#).unwrap_err();
        assert!(error.message().contains("stream.linger_s"), "{error}");
    }

    #[test]
    fn the_key_is_not_shown() {
        let options = HubOptions::parse(r#"{"hub_id": "h", "ticket_key_pem": "SECRET"}"#).unwrap();
        assert!(!format!("{options:?}").contains("SECRET"));
    }
}
