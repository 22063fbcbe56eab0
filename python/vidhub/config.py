"""Options: `vidhub.toml` < environment `VIDHUB_…` < flags, as frozen dataclasses.

An unknown key is an error that names it.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vidhub.errors import InvalidArgument, Violation

PREFIX = "VIDHUB_"
# Of the environment, and no options: the file of options, and what the SDK's examples read.
_NO_OPTIONS = frozenset((PREFIX + "CONFIG", PREFIX + "PASSWORD"))
DEFAULT_FILE = Path("vidhub.toml")
OFF = "off"
DATABASE = "vidhub.db"


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
    """ADDRESS:PORT of each listener; port 0 picks a free one, "off" closes it.

    rtsp_udp: where RTP of `rtsp` comes from; RTCP has the next port. Where `rtsp` alone is set it goes along: the same
    address, and a free pair of ports unless `rtsp` keeps its own.
    """

    http: str = "127.0.0.1:8080"
    grpc: str = "127.0.0.1:50051"
    rtsp: str = "127.0.0.1:8554"
    rtsp_udp: str = "127.0.0.1:8556"
    rtsps: str = "127.0.0.1:8322"
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
    """How long a source outlives its last viewer; the bounds of what a stream and a viewer may hold."""

    linger_s: float = 15.0
    gop_cache_bytes: int = 16 * 1024 * 1024
    sink_queue_bytes: int = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Where a camera may be: networks in CIDR. `allow` wins over `deny`.

    Denied unless allowed: loopback, link-local, multicast and our own listeners. `tls_ca`: authorities (PEM) that issue
    the certificates of rtsps:// cameras; without, the first certificate of each is remembered and a change refused.
    """

    connect_timeout_s: float = 5.0
    stall_timeout_s: float = 5.0
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    tls_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How often a camera nobody watches is asked whether it is there; 0: never."""

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
    store_url: str = ""
    bench: bool = False

    @property
    def database_url(self) -> str:
        """sqlite:///PATH: the one chosen, else in the data directory."""
        return self.store_url or f"sqlite:///{self.data_dir / DATABASE}"


@dataclass(frozen=True, slots=True)
class Setting:
    """One option as `vidhub config check` shows it. source: "default", "file", "environment" or "flag"."""

    key: str
    value: str
    source: str


def load(
    *,
    file: Path | None = None,
    environment: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
) -> Config:
    """The options in force, checked.

    file: named by the caller, it must exist; None takes `vidhub.toml` of the working directory when there is one.
    flags: by dotted key ("listen.http"); None as a value means that the flag was not given.
    Raises InvalidArgument with one violation a mistake, each naming its key.
    """
    return _resolve(file, environment, flags or {})[0]


def explain(
    *,
    file: Path | None = None,
    environment: Mapping[str, str],
    flags: Mapping[str, object] | None = None,
) -> tuple[Setting, ...]:
    """Each option with the value in force and where it came from. Raises as `load` does."""
    config, sources = _resolve(file, environment, flags or {})
    return tuple(Setting(key, _shown(_value_of(config, key)), sources.get(key, "default")) for key in _known_keys())


def split_address(listener: str) -> tuple[str, int]:
    """Host and port of a checked listener: "[::1]:80" gives ("::1", 80)."""
    host, _, port = listener.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether this machine alone reaches it; of names only localhost is known to be so."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# How the three layers become one.


def _resolve(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]
) -> tuple[Config, dict[str, str]]:
    known = _known_keys()
    violations: list[Violation] = []
    values: dict[str, object] = {}
    sources: dict[str, str] = {}

    def take(key: str, shown: str, value: object, source: str) -> None:
        if key not in known:
            violations.append(_unknown(key, shown, source, known))
            return
        try:
            values[key] = _convert(known[key], value)
            sources[key] = source
        except ValueError as wrong:
            violations.append(Violation(key, "CONFIG_VALUE_INVALID", f"{shown}: {wrong}"))

    for key, value in _read_file(file, known).items():
        take(key, key, value, "file")
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in _NO_OPTIONS:
            take(name[len(PREFIX) :].lower().replace("__", "."), name, text, "environment")
    for key, value in flags.items():
        if value is not None:
            take(key, key, value, "flag")
    if "listen.rtsp" in values and "listen.rtsp_udp" not in values and (beside := _beside(str(values["listen.rtsp"]))):
        values["listen.rtsp_udp"], sources["listen.rtsp_udp"] = beside, f"listen.rtsp ({sources['listen.rtsp']})"
    if not violations:
        config = _build(values)
        violations.extend(_check(config))
    if violations:
        raise _error(violations)
    return _normalised(config), sources


def _read_file(file: Path | None, known: Mapping[str, object]) -> dict[str, object]:
    path = file or DEFAULT_FILE
    try:
        with path.open("rb") as handle:
            tree = tomllib.load(handle)
    except FileNotFoundError:
        if file is None:
            return {}
        raise InvalidArgument(
            "CONFIG_FILE_MISSING", f"there is no configuration file {path}: correct --config, or leave it out"
        ) from None
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as cause:
        raise InvalidArgument("CONFIG_FILE_UNREADABLE", f"{path}: {cause}") from cause
    return _flatten(tree, "", {key.partition(".")[0] for key in known if "." in key})


def _flatten(tree: Mapping[str, object], prefix: str, sections: set[str]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and (not prefix and (name in sections or value)):
            flat.update(_flatten(value, f"{key}.", sections))
        else:
            flat[key] = value
    return flat


def _known_keys() -> dict[str, object]:
    """Dotted key -> annotation, in the order of the dataclasses."""
    known: dict[str, object] = {}
    for name, kind in typing.get_type_hints(Config).items():
        if dataclasses.is_dataclass(kind):
            known.update({f"{name}.{inner}": hint for inner, hint in typing.get_type_hints(kind).items()})
        else:
            known[name] = kind
    return known


def _unknown(key: str, shown: str, source: str, known: Mapping[str, object]) -> Violation:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.6)
    if not near:  # a right name in the wrong section, or without one
        near = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]][:1]
    hint = ""
    if near:
        name = PREFIX + near[0].replace(".", "__").upper() if source == "environment" else near[0]
        hint = f": did you mean {name}?"
    return Violation(key, "CONFIG_KEY_UNKNOWN", f"{shown} is no option of vidhub{hint}")


def _convert(kind: object, value: object) -> object:
    """Raises ValueError with a sentence for people."""
    if kind is bool:
        if isinstance(value, bool):
            return value
        words = {"1": True, "true": True, "yes": True, "on": True}
        words |= {"0": False, "false": False, "no": False, "off": False}
        if isinstance(value, str) and value.strip().lower() in words:
            return words[value.strip().lower()]
        raise ValueError(f"{value!r} is neither true nor false")
    if kind is int or kind is float:
        return _number(kind, value)
    if kind is str:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is no text: put it in quotes")
        return value.strip()
    if kind == tuple[str, ...]:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
            raise ValueError(f"{value!r} is no list of texts")
        return tuple(part.strip() for part in parts if part.strip())
    assert kind is Path or isinstance(kind, types.UnionType), kind
    if not isinstance(value, str | Path):
        raise ValueError(f"{value!r} is no path")
    if not str(value).strip():
        if kind is Path:
            raise ValueError("a path is wanted")
        return None
    return Path(value)


def _number(kind: Callable[[str], int | float], value: object) -> int | float:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no number")
    try:
        number = kind(str(value).strip())
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise ValueError(f"{value!r} is not {wanted}") from None
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not finite")
    return number


def _build(values: Mapping[str, object]) -> Config:
    top: dict[str, object] = {}
    sections: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        section, dot, name = key.partition(".")
        if dot:
            sections.setdefault(section, {})[name] = value
        else:
            top[key] = value
    hints = typing.get_type_hints(Config)
    top.update({section: hints[section](**inner) for section, inner in sections.items()})
    return Config(**top)  # type: ignore[arg-type]  # each value was converted by its annotation


def _value_of(config: Config, key: str) -> object:
    value: object = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else re.sub(r"(://[^:/@]+:)[^@]+@", r"\1…@", str(value))


def _error(violations: list[Violation]) -> InvalidArgument:
    reason = violations[0].reason if len({violation.reason for violation in violations}) == 1 else "CONFIG_INVALID"
    return InvalidArgument(reason, "; ".join(v.description for v in violations), violations=violations)


# What must hold.

# (key, lowest, highest)
RANGES: tuple[tuple[str, float, float], ...] = (
    ("access.ticket_ttl_s", 0.1, 300),
    ("access.session_ttl_s", 1, 86_400),
    ("stream.linger_s", 0, 86_400),
    ("stream.gop_cache_bytes", 65_536, 1 << 30),
    ("stream.sink_queue_bytes", 4_096, 1 << 30),
    ("source.connect_timeout_s", 0.1, 300),
    ("source.stall_timeout_s", 0.1, 300),
    ("probe.interval_s", 0, 86_400),
)
LEVELS = ("province", "city", "district", "zone")
# Whose address clients are told.
_TOLD = ("grpc", "rtsp", "rtsps", "webrtc")
_CLEARTEXT = ("http", "rtsp", "rtsp_udp", "metrics", "sip")


def _check(config: Config) -> list[Violation]:
    found: list[Violation] = []

    def wrong(key: str, sentence: str, reason: str = "CONFIG_VALUE_INVALID") -> None:
        found.append(Violation(key, reason, f"{key}: {sentence}"))

    for key, lowest, highest in RANGES:
        value = _value_of(config, key)
        if not isinstance(value, int | float) or not lowest <= value <= highest:
            wrong(key, f"{value} is not between {lowest:g} and {highest:g}")
    if config.hub.level not in LEVELS:
        wrong("hub.level", f"{config.hub.level!r} is none of {', '.join(LEVELS)}")
    if not re.fullmatch(r"[1-9]\d{5}", config.hub.region):
        wrong("hub.region", f"{config.hub.region!r} is no division of GB/T 2260: 6 digits, as in 360600 for Yingtan")
    if config.hub.id and not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", config.hub.id):
        wrong("hub.id", "letters, digits and hyphens only, at most 63")
    if not config.hub.name or len(config.hub.name) > 100:
        wrong("hub.name", "between 1 and 100 characters")
    for name in (one.name for one in dataclasses.fields(config.listen)):
        _check_listener(config, name, wrong)
    for key, networks in (
        ("source.allow", config.source.allow),
        ("source.deny", config.source.deny),
        ("trusted_proxies", config.trusted_proxies),
    ):
        for network in networks:
            if not _is_network(network):
                wrong(key, f"{network!r} is no network: write it as 10.0.0.0/8")
    for address in config.advertise:
        if not _is_host(address):
            wrong("advertise", f"{address!r} is neither an address nor a host name")
    if config.public_url and not _is_origin(config.public_url):
        wrong("public_url", f"{config.public_url!r} is no http:// or https:// address without path")
    if config.store_url and not config.store_url.startswith("sqlite:///"):
        wrong("store_url", "only sqlite:///PATH is served by this version")
    if (config.tls_cert is None) != (config.tls_key is None):
        wrong("tls_cert", "tls_cert and tls_key go together: give both or none")
    files = (("tls_cert", config.tls_cert), ("tls_key", config.tls_key), ("source.tls_ca", config.source.tls_ca))
    for key, path in files:
        if path is not None and not path.is_file():
            wrong(key, f"there is no file {path}")
    return found


def _check_listener(config: Config, name: str, wrong: Callable[..., None]) -> None:
    key = f"listen.{name}"
    try:
        listener = _listener(getattr(config.listen, name))
    except ValueError as sentence:
        wrong(key, str(sentence))
        return
    if listener == OFF:
        return
    host = split_address(listener)[0]
    is_open = name in _CLEARTEXT and not (name == "http" and config.tls_cert is not None)
    if is_open and not is_loopback(host) and not config.allow_cleartext:
        remedy = "give tls_cert and tls_key" if name == "http" else "listen on a loopback address"
        wrong(
            key,
            f"{listener} is reachable from outside without TLS: {remedy}, or set allow_cleartext behind an ingress",
            "LISTENER_CLEARTEXT",
        )
    elif name in _TOLD and ipaddress.ip_address(host).is_unspecified and not config.advertise:
        wrong(
            "advertise",
            f"{key} is {listener}, and no client can reach {host}: say in advertise what clients are told",
            "ADVERTISE_MISSING",
        )


def _listener(text: str) -> str:
    """ADDRESS:PORT in full, or "off". Raises ValueError with a sentence."""
    if text.lower() == OFF:
        return OFF
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.startswith("[")):
        host, port = ("", text) if text.isdecimal() else (host, "")
    if not port.isdecimal() or not port.isascii() or int(port) > 65_535:
        raise ValueError(f"{text!r} is no listener: write ADDRESS:PORT, as in 127.0.0.1:8080, or off")
    bare = host.removeprefix("[").removesuffix("]")
    if bare in ("", "localhost"):
        bare = "127.0.0.1"
    try:
        address = ipaddress.ip_address(bare)
    except ValueError:
        raise ValueError(f"{text!r}: {host!r} is no IP address of this machine") from None
    return f"[{address}]:{int(port)}" if address.version == 6 else f"{address}:{int(port)}"


def _beside(rtsp: str) -> str:
    """Where media of this RTSP listener goes by UDP; "" where that is none. Else a second hub on one machine, whose
    listeners were all moved as far as its administrator knows of them, would meet the first one here."""
    try:
        listener = _listener(rtsp)
    except ValueError:
        return ""
    if listener == OFF:
        return OFF
    address, port = listener.rsplit(":", 1)
    default = ListenOptions()
    own, beside = (split_address(one)[1] for one in (default.rtsp, default.rtsp_udp))
    return f"{address}:{beside if int(port) == own else 0}"


def _normalised(config: Config) -> Config:
    listen = {one.name: _listener(getattr(config.listen, one.name)) for one in dataclasses.fields(config.listen)}
    return dataclasses.replace(
        config, listen=dataclasses.replace(config.listen, **listen), public_url=config.public_url.rstrip("/")
    )


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        labels = text.split(".")
        return len(text) <= 253 and all(re.fullmatch(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)", label) for label in labels)
    return True


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port_is_right = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and port_is_right
        and parts.username is None
        and parts.path in ("", "/")
        and not parts.query
        and not parts.fragment
    )
