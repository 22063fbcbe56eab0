"""Metrics: a custom collector that reads every figure once per scrape, and the few counters Python bumps itself.

This module knows no other part of the hub: it takes callables. Labels come from small closed sets, so that no series
grows with cameras or viewers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

CAMERA_STATES = ("unspecified", "unknown", "online", "offline", "refused", "invalid", "quarantined", "retired")
REQUEST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class CoreSnapshot(TypedDict):
    """What `Core.snapshot()` answers. Words as in the contract's label values.

    streams: (source, streams running). sinks: (sink, connected). flows: (direction, protocol, octets, packets).
    links: (hub, direction, RTP payload octets), of 64 hubs and "other". dropped: (reason, packets). lost: (protocol,
    packets). authorisations: (decision, action, count). first_picture: upper bounds in seconds, observations per bucket
    (not cumulative, one more than bounds), sum in seconds.
    """

    streams: Sequence[tuple[str, int]]
    sinks: Sequence[tuple[str, int]]
    flows: Sequence[tuple[str, str, int, int]]
    links: Sequence[tuple[str, str, int]]
    dropped: Sequence[tuple[str, int]]
    lost: Sequence[tuple[str, int]]
    authorisations: Sequence[tuple[str, str, int]]
    source_reconnects: int
    first_picture: tuple[Sequence[float], Sequence[int], float]


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """One link to another hub."""

    peer: str
    is_up: bool
    lag_revisions: int


@dataclass(frozen=True, slots=True)
class HouseFigures:
    """Of the disk that the data directory is on: octets, and octets free for us. certificate_ends: (which, when).
    backup_time: of the newest backup, 0 when there was none. Times are Unix seconds."""

    size_bytes: int
    free_bytes: int
    certificate_ends: tuple[tuple[str, float], ...]
    backup_time: float


@dataclass(frozen=True, slots=True)
class ComplianceFigures:
    """records: (state, region code, industry, this hub's own cameras). units: (state, this hub's units)."""

    records: tuple[tuple[str, str, str, int], ...]
    units: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class AlarmFigures:
    """begun: (kind, events since the start). lasting, unacknowledged: events that are so now. stalled_s: seconds for
    which the control plane stood still."""

    begun: tuple[tuple[str, int], ...]
    lasting: int
    unacknowledged: int
    store_failures: int
    stalls: int
    stalled_s: float
    clock_jumps: int


class RequestMetrics:
    """Counts calls of one edge by method and code. `known` are the methods that may become labels."""

    def __init__(self, edge: str, known: Iterable[str], registry: CollectorRegistry) -> None:
        self._known = frozenset(known)
        self._requests = Counter(
            f"vidhub_{edge}_requests", f"Calls answered on the {edge} edge.", ["method", "code"], registry=registry
        )
        self._seconds = Histogram(
            f"vidhub_{edge}_request_seconds",
            f"Time from the start of a call on the {edge} edge to its status.",
            ["method"],
            buckets=REQUEST_BUCKETS_S,
            registry=registry,
        )
        # By label and code, so that the library does not look them up by their texts at each call.
        self._series: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def observe(self, method: str, code: str, seconds: float) -> None:
        """method: "vidhub.v1.CameraService/GetCamera"; a stranger's spelling becomes "unknown"."""
        label = method if method in self._known else "unknown"
        found = self._series.get((label, code))
        if found is None:
            found = self._series[label, code] = self._requests.labels(label, code), self._seconds.labels(label)
        count, time = found
        count.inc()
        time.observe(seconds)


class Telemetry:
    """The hub's metrics. `registry` is our own, so nothing another library registers shows up at `/metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        registrations = Counter(
            "vidhub_registrations", "Camera records accepted and rejected.", ["result"], registry=self.registry
        )
        self._accepted = registrations.labels("accepted")
        self._rejected = registrations.labels("rejected")

    def registered(self, *, accepted: int, rejected: int) -> None:
        """Counts the records of one registration, unless it was a dry run."""
        self._accepted.inc(accepted)
        self._rejected.inc(rejected)

    def requests(self, edge: str, known: Iterable[str]) -> RequestMetrics:
        """The counters of one edge: "grpc" or "connect"; to be asked for once per edge."""
        return RequestMetrics(edge, known, self.registry)

    def watch(
        self,
        *,
        snapshot: Callable[[], CoreSnapshot],
        camera_counts: Callable[[], Iterable[tuple[int, str, str, int]]],
        audit_entries: Callable[[], int],
        links: Callable[[], Iterable[LinkFigures]] = tuple,
        version: str = "",
    ) -> None:
        """Adds the figures that are read at each scrape, each callable once.

        camera_counts: (state, region code, industry, cameras). audit_entries: entries written since the start.
        """
        self.registry.register(_HubCollector(snapshot, camera_counts, audit_entries, links, version))

    def watch_alarms(self, figures: Callable[[], AlarmFigures]) -> None:
        """Adds what people were told of; `figures` is asked once a scrape."""
        self.registry.register(_AlarmCollector(figures))

    def watch_compliance(self, figures: Callable[[], ComplianceFigures]) -> None:
        """Adds what the supervisor asks for; `figures` is asked once a scrape."""
        self.registry.register(_ComplianceCollector(figures))

    def watch_house(self, figures: Callable[[], HouseFigures]) -> None:
        """Adds what runs out unseen; `figures` is asked once a scrape."""
        self.registry.register(_HouseCollector(figures))


class _AlarmCollector(Collector):
    def __init__(self, figures: Callable[[], AlarmFigures]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        """Nothing: otherwise registering would read every figure."""
        return ()

    def collect(self) -> Iterator[Metric]:
        found = self._figures()
        begun = CounterMetricFamily("vidhub_events", "Events since the start, by kind.", labels=["kind"])
        for kind, count in found.begun:
            begun.add_metric([kind], count)
        yield begun
        yield GaugeMetricFamily("vidhub_events_lasting", "Events that last.", value=found.lasting)
        yield GaugeMetricFamily(
            "vidhub_events_unacknowledged", "Events that ask for somebody and got nobody.", value=found.unacknowledged
        )
        yield CounterMetricFamily(
            "vidhub_store_failures", "Times the store began to refuse writes.", value=found.store_failures
        )
        yield CounterMetricFamily(
            "vidhub_stalls", "Times the control plane stood still for more than a second.", value=found.stalls
        )
        yield CounterMetricFamily("vidhub_stalled_seconds", "For how long it stood still.", value=found.stalled_s)
        yield CounterMetricFamily("vidhub_clock_jumps", "Times the clock was set.", value=found.clock_jumps)


class _ComplianceCollector(Collector):
    def __init__(self, figures: Callable[[], ComplianceFigures]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        """Nothing: otherwise registering would read every figure."""
        return ()

    def collect(self) -> Iterator[Metric]:
        found = self._figures()
        records = GaugeMetricFamily(
            "vidhub_camera_records",
            "Records of the hub's own cameras: complete, incomplete, or overdue.",
            labels=["state", "region", "industry"],
        )
        for state, region, industry, cameras in found.records:
            records.add_metric([state, region, industry], cameras)
        yield records
        units = GaugeMetricFamily(
            "vidhub_units", "The hub's own units: connected, waiting to be, or overdue.", labels=["state"]
        )
        for state, count in found.units:
            units.add_metric([state], count)
        yield units


class _HouseCollector(Collector):
    def __init__(self, figures: Callable[[], HouseFigures]) -> None:
        self._figures = figures

    def describe(self) -> Iterable[Metric]:
        """Nothing: otherwise registering would read every figure."""
        return ()

    def collect(self) -> Iterator[Metric]:
        house = self._figures()
        yield GaugeMetricFamily(
            "vidhub_data_size_bytes", "The disk that the data directory is on.", value=house.size_bytes
        )
        yield GaugeMetricFamily("vidhub_data_free_bytes", "What is free of it for the hub.", value=house.free_bytes)
        ends = GaugeMetricFamily(
            "vidhub_certificate_end_seconds", "When a certificate ends, in Unix time.", labels=["certificate"]
        )
        for certificate, end in house.certificate_ends:
            ends.add_metric([certificate], end)
        yield ends
        yield GaugeMetricFamily(
            "vidhub_backup_time_seconds",
            "When the newest backup was made, in Unix time; 0: never.",
            value=house.backup_time,
        )


class _HubCollector(Collector):
    def __init__(
        self,
        snapshot: Callable[[], CoreSnapshot],
        camera_counts: Callable[[], Iterable[tuple[int, str, str, int]]],
        audit_entries: Callable[[], int],
        links: Callable[[], Iterable[LinkFigures]],
        version: str,
    ) -> None:
        self._snapshot = snapshot
        self._camera_counts = camera_counts
        self._audit_entries = audit_entries
        self._links = links
        self._version = version

    def describe(self) -> Iterable[Metric]:
        """Nothing: otherwise registering would read every figure."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from _core_metrics(self._snapshot())
        cameras = GaugeMetricFamily(
            "vidhub_cameras", "Registered cameras by what is known of them.", labels=["state", "region", "industry"]
        )
        for state, region, industry, count in self._camera_counts():
            word = CAMERA_STATES[state] if 0 <= state < len(CAMERA_STATES) else "unspecified"
            cameras.add_metric([word, region, industry], count)
        yield cameras
        yield CounterMetricFamily(
            "vidhub_audit_entries", "Entries appended to the register of use.", value=self._audit_entries()
        )
        yield from _link_metrics(self._links())
        if self._version:
            build = GaugeMetricFamily("vidhub_build_info", "The version that runs; always 1.", labels=["version"])
            build.add_metric([self._version], 1)
            yield build


def _core_metrics(core: CoreSnapshot) -> Iterator[Metric]:
    streams = GaugeMetricFamily("vidhub_streams", "Streams running, by what brings them in.", labels=["source"])
    for source, count in core["streams"]:
        streams.add_metric([source], count)
    yield streams
    sessions = GaugeMetricFamily("vidhub_sessions", "Connected sinks, by protocol.", labels=["sink"])
    for sink, count in core["sinks"]:
        sessions.add_metric([sink], count)
    yield sessions
    octets = CounterMetricFamily("vidhub_media_bytes", "RTP octets moved.", labels=["direction", "protocol"])
    packets = CounterMetricFamily("vidhub_media_packets", "RTP packets moved.", labels=["direction", "protocol"])
    for direction, protocol, octet_count, packet_count in core["flows"]:
        octets.add_metric([direction, protocol], octet_count)
        packets.add_metric([direction, protocol], packet_count)
    yield octets
    yield packets
    links = CounterMetricFamily(
        "vidhub_link_media_bytes", "RTP payload octets between hubs, without headers.", labels=["peer", "direction"]
    )
    for peer, direction, octet_count in core["links"]:
        links.add_metric([peer, direction], octet_count)
    yield links
    dropped = CounterMetricFamily("vidhub_media_dropped", "Media dropped, by why.", labels=["reason"])
    for reason, count in core["dropped"]:
        dropped.add_metric([reason], count)
    yield dropped
    lost = CounterMetricFamily(
        "vidhub_media_lost_packets", "RTP packets that viewers report as lost on their way.", labels=["protocol"]
    )
    for protocol, count in core["lost"]:
        lost.add_metric([protocol], count)
    yield lost
    yield CounterMetricFamily(
        "vidhub_source_reconnects", "Times a source connected again.", value=core["source_reconnects"]
    )
    yield _histogram(
        "vidhub_first_picture_seconds", "From the viewer's request to the first picture sent.", *core["first_picture"]
    )
    decisions = CounterMetricFamily("vidhub_authorisations", "Decisions of policy.", labels=["decision", "action"])
    for decision, action, count in core["authorisations"]:
        decisions.add_metric([decision, action], count)
    yield decisions


def _histogram(name: str, help_: str, bounds: Sequence[float], counts: Sequence[int], total: float) -> Metric:
    buckets: list[tuple[str, float]] = []
    seen = 0
    for bound, count in zip(bounds, counts, strict=False):
        seen += count
        buckets.append((str(float(bound)), seen))
    buckets.append(("+Inf", sum(counts)))
    return HistogramMetricFamily(name, help_, buckets=buckets, sum_value=total)


def _link_metrics(links: Iterable[LinkFigures]) -> Iterator[Metric]:
    up = GaugeMetricFamily("vidhub_link_up", "Whether the link to another hub stands.", labels=["peer"])
    lag = GaugeMetricFamily("vidhub_link_lag_revisions", "Revisions the other side has yet to see.", labels=["peer"])
    for link in links:
        up.add_metric([link.peer], int(link.is_up))
        lag.add_metric([link.peer], link.lag_revisions)
    yield up
    yield lag
