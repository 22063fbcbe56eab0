"""What Prometheus, Grafana and Kubernetes ask of a hub that runs is what it answers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from support.cameras import gst_camera
from support.hub import person
from support.manifests import ROOT, alert_rules, metrics_in, one, selectors_in
from support.rtsp import RtspClient
from support.site import cli, opened, scrape, site

# Labels that Prometheus adds, and those of a histogram.
ADDED = {"instance", "job", "le"}


def expressions() -> list[str]:
    panels = json.loads((ROOT / "ops" / "grafana" / "vidhub.json").read_text())["panels"]
    return [rule["expr"] for rule in alert_rules()] + [
        target["expr"] for panel in panels for target in panel["targets"]
    ]


async def test_every_metric_that_is_named_is_in_a_scrape_and_so_is_every_label(tmp_path: Path):
    async with gst_camera(width=320, height=180, fps=10, key_interval=10) as camera, site(tmp_path / "data") as place:
        identifier = await place.register(1, camera.url)
        await place.operator("zhang")
        async with person(place.running, "zhang") as caller:
            url = (await opened(caller, identifier))["rtspUrl"]
            async with await RtspClient.connect(url) as rtsp:
                await rtsp.watch()
                await rtsp.until(lambda: rtsp.pictures > 2)
                text, _ = await scrape(place.running)
    labels: dict[str, set[str]] = {}
    values: dict[tuple[str, str], set[str]] = {}
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(family.type, ("",))
        for suffix in suffixes:
            labels.setdefault(family.name + suffix, set())
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
            for label, value in sample.labels.items():
                values.setdefault((sample.name, label), set()).add(value)
    named = {name for expression in expressions() for name in metrics_in(expression)}
    assert named <= labels.keys()
    reference = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    # The library adds when each of its own series began, as `_created`.
    ours = [name for name in labels if name.startswith("vidhub_") and not name.endswith("_created")]
    seen = {re.sub(r"_(bucket|count|sum)$", "", name) for name in ours}
    assert seen == set(re.findall(r"`(vidhub_\w+)`", reference))
    for metric, label, operator, value in (each for query in expressions() for each in selectors_in(query)):
        if label in ADDED or not labels[metric]:  # no link here, so no sample of it
            continue
        assert label in labels[metric], (metric, label)
        if operator == "=":
            # A value with a slip in it would match nothing, and nobody would hear of it.
            assert value in values[metric, label] or value in reference or value in _words(), (metric, label, value)
        elif label != "method":
            assert all(word in _words() or word in reference for word in value.split("|")), (metric, label, value)


def _words() -> set[str]:
    """Words that the code writes as values of labels."""
    from grpc import StatusCode

    from vidhub.telemetry import CAMERA_STATES

    return {*CAMERA_STATES, *(code.name for code in StatusCode), "in", "out", "allow", "deny", "view_live"}


async def test_the_probes_of_the_manifests_are_answered(tmp_path: Path):
    container = one("base", "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    paths = {container[name]["httpGet"]["path"] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    async with site(tmp_path / "data") as place, httpx.AsyncClient(trust_env=False) as client:
        for path in paths:
            answer = await client.get(f"http://{place.running.ready['metrics']}{path}")
            assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_a_backup_is_seen_by_its_time_now_and_after_a_restart(tmp_path: Path):
    data = tmp_path / "data"
    async with site(data) as place:
        _, before = await scrape(place.running)
        assert before["vidhub_backup_time_seconds{}"] == 0
        taken = await cli("--data-dir", data, "backup", tmp_path / "b")
        assert taken.status == 0, taken.err
        _, after = await scrape(place.running)
        ends = {name for name in after if name.startswith("vidhub_certificate_end_seconds")}
        assert ends == {
            "vidhub_certificate_end_seconds{certificate=authority}",
            "vidhub_certificate_end_seconds{certificate=server}",
        }
        assert 0 < after["vidhub_data_free_bytes{}"] <= after["vidhub_data_size_bytes{}"]
        assert after["vidhub_certificate_end_seconds{certificate=server}"] > after["vidhub_backup_time_seconds{}"] > 1e9
        assert await place.running.end() == 0
    async with site(data) as place:
        _, again = await scrape(place.running)
        assert abs(again["vidhub_backup_time_seconds{}"] - after["vidhub_backup_time_seconds{}"]) < 2
