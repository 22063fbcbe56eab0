"""Options: `vidhub.toml` < environment `VIDHUB_…` < flags, as frozen dataclasses. An unknown key is an error that names it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class HubOptions:
    """Who this hub is; set before the first start, then kept in the store.

    level: province, city, district or zone. region: GB/T 2260 code, 6 digits.
    """

    id: str = ""
    name: str = "vidhub"
    level: str = "city"
    region: str = "360600"


@dataclass(frozen=True, slots=True)
class ListenOptions:
    """ADDRESS:PORT of each listener; port 0 picks a free one, "off" closes it."""

    http: str = "127.0.0.1:8080"
    grpc: str = "127.0.0.1:50051"
    rtsp: str = "127.0.0.1:8554"
    rtsps: str = "off"
    webrtc: str = "127.0.0.1:8555"
    metrics: str = "127.0.0.1:9464"
    sip: str = "off"


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """Seconds. A ticket's time to first use; a session's life between renewals."""

    ticket_ttl_s: float = 60.0
    session_ttl_s: float = 600.0


@dataclass(frozen=True, slots=True)
class StreamOptions:
    linger_s: float = 15.0
    gop_cache_bytes: int = 16 * 1024 * 1024
    sink_queue_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where a camera may be: networks in CIDR. `allow` wins over `deny`; see `docs/reference/limits.md` for the defaults."""

    connect_timeout_s: float = 5.0
    stall_timeout_s: float = 5.0
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    interval_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Config:
    """Everything in force. `store_url` empty: SQLite in the data directory."""

    data_dir: Path = Path("vidhub-data")
    hub: HubOptions = field(default_factory=HubOptions)
    listen: ListenOptions = field(default_factory=ListenOptions)
    access: AccessOptions = field(default_factory=AccessOptions)
    stream: StreamOptions = field(default_factory=StreamOptions)
    source: SourceOptions = field(default_factory=SourceOptions)
    probe: ProbeOptions = field(default_factory=ProbeOptions)
    public_url: str = ""
    advertise: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_cleartext: bool = False
    trusted_proxies: tuple[str, ...] = ()
    bench: bool = False
