"""What Prometheus reads."""

from __future__ import annotations

import shutil
import subprocess

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from vidhub.telemetry import AlarmFigures, CoreSnapshot, HouseFigures, LinkFigures, Telemetry


def snapshot() -> CoreSnapshot:
    return CoreSnapshot(
        streams=[("rtsp_pull", 2)],
        sinks=[("rtsp", 1), ("whep", 3)],
        flows=[("in", "rtsp_tcp", 1200, 1), ("out", "webrtc_udp", 3600, 3)],
        links=[("upper", "out", 10), ("upper", "in", 0)],
        dropped=[("slow_viewer", 4)],
        lost=[("rtsp_udp", 9)],
        authorisations=[("allow", "view_live", 5), ("deny", "view_live", 6)],
        source_reconnects=7,
        first_picture=([0.1, 1.0], [2, 1, 1], 12.5),
    )


def hub() -> tuple[Telemetry, list[str]]:
    asked: list[str] = []

    def read_snapshot() -> CoreSnapshot:
        asked.append("snapshot")
        return snapshot()

    telemetry = Telemetry()
    telemetry.watch(
        snapshot=read_snapshot,
        camera_counts=lambda: [(2, "360602", "11", 8), (99, "360603", "12", 1)],
        audit_entries=lambda: 42,
        links=lambda: [LinkFigures("upper", True, 3)],
        version="0.1.0",
    )
    telemetry.watch_house(lambda: HouseFigures(1000, 250, (("server", 1.9e9),), 1.8e9))
    telemetry.watch_alarms(lambda: AlarmFigures((("disk.low", 2),), 1, 3, 4, 5, 6.5, 7))
    telemetry.registered(accepted=3, rejected=1)
    requests = telemetry.requests("grpc", ["vidhub.v1.CameraService/GetCamera"])
    requests.observe("vidhub.v1.CameraService/GetCamera", "OK", 0.02)
    requests.observe("made.up/Method", "UNIMPLEMENTED", 0.001)
    return telemetry, asked


def scrape(telemetry: Telemetry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(telemetry.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_scrape_carries_every_figure_of_the_contract() -> None:
    figures = scrape(hub()[0])
    expected = {
        ("vidhub_cameras", (("industry", "11"), ("region", "360602"), ("state", "online"))): 8,
        ("vidhub_cameras", (("industry", "12"), ("region", "360603"), ("state", "unspecified"))): 1,
        ("vidhub_streams", (("source", "rtsp_pull"),)): 2,
        ("vidhub_sessions", (("sink", "whep"),)): 3,
        ("vidhub_media_bytes_total", (("direction", "out"), ("protocol", "webrtc_udp"))): 3600,
        ("vidhub_media_packets_total", (("direction", "in"), ("protocol", "rtsp_tcp"))): 1,
        ("vidhub_media_dropped_total", (("reason", "slow_viewer"),)): 4,
        ("vidhub_media_lost_packets_total", (("protocol", "rtsp_udp"),)): 9,
        ("vidhub_source_reconnects_total", ()): 7,
        ("vidhub_authorisations_total", (("action", "view_live"), ("decision", "deny"))): 6,
        ("vidhub_registrations_total", (("result", "accepted"),)): 3,
        ("vidhub_registrations_total", (("result", "rejected"),)): 1,
        ("vidhub_audit_entries_total", ()): 42,
        ("vidhub_link_up", (("peer", "upper"),)): 1,
        ("vidhub_link_lag_revisions", (("peer", "upper"),)): 3,
        ("vidhub_link_media_bytes_total", (("direction", "out"), ("peer", "upper"))): 10,
        ("vidhub_first_picture_seconds_count", ()): 4,
        ("vidhub_first_picture_seconds_sum", ()): 12.5,
        ("vidhub_first_picture_seconds_bucket", (("le", "1.0"),)): 3,
        ("vidhub_first_picture_seconds_bucket", (("le", "+Inf"),)): 4,
        ("vidhub_grpc_requests_total", (("code", "OK"), ("method", "vidhub.v1.CameraService/GetCamera"))): 1,
        ("vidhub_grpc_request_seconds_count", (("method", "vidhub.v1.CameraService/GetCamera"),)): 1,
        ("vidhub_data_size_bytes", ()): 1000,
        ("vidhub_data_free_bytes", ()): 250,
        ("vidhub_certificate_end_seconds", (("certificate", "server"),)): 1.9e9,
        ("vidhub_backup_time_seconds", ()): 1.8e9,
        ("vidhub_build_info", (("version", "0.1.0"),)): 1,
    }
    assert {key: figures.get(key) for key in expected} == expected


def test_a_method_nobody_serves_becomes_no_label_of_its_own() -> None:
    methods = {dict(labels).get("method") for name, labels in scrape(hub()[0]) if name.startswith("vidhub_grpc")}
    assert methods == {"vidhub.v1.CameraService/GetCamera", "unknown"}


def test_the_core_is_read_once_per_scrape_and_not_before() -> None:
    telemetry, asked = hub()
    assert asked == []
    scrape(telemetry)
    assert asked == ["snapshot"]


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is not installed: apt-get install prometheus"
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=generate_latest(hub()[0].registry),
        capture_output=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
