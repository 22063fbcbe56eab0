"""docs/reference/metrics.md against a hub that runs: every metric, its kind, its labels, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.cameras import gst_camera
from support.hub import person
from support.rtsp import RtspClient
from support.site import opened, scrape, site

pytestmark = pytest.mark.asyncio
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
# Nothing happens in a minute that these count; their labels are held by tests/unit/test_telemetry.py and
# test_compliance.py.
QUIET = {
    "vidhub_camera_records",
    "vidhub_link_up", "vidhub_link_lag_revisions", "vidhub_link_media_bytes_total", "vidhub_media_dropped_total",
    "vidhub_media_lost_packets_total",
}  # fmt: skip


def told() -> dict[str, tuple[str, frozenset[str]]]:
    """By name its kind and labels, as the page has them. A row may be of several, what differs behind a semicolon."""
    found = {}
    rows = (line for line in PAGE.read_text().splitlines() if line.startswith("| `vidhub_"))
    for names, kinds, labels in ([cell.strip() for cell in row.split("|")[1:4]] for row in rows):
        name = re.findall(r"`(\w+)`", names)
        kind = kinds.split(", ") if ", " in kinds else [kinds] * len(name)
        each = labels.split("; ") if "; " in labels else [labels] * len(name)
        for one, its_kind, its_labels in zip(name, kind, each, strict=True):
            found[one] = its_kind, frozenset(re.findall(r"`(\w+)`", its_labels))
    return found


async def test_the_page_has_every_metric_of_a_running_hub_and_no_other(tmp_path: Path):
    async with gst_camera(width=320, height=180, fps=10, key_interval=10) as camera, site(tmp_path / "data") as at:
        identifier = await at.register(1, camera.url)
        await at.operator("zhang")
        async with person(at.running, "zhang") as operator:
            session = await opened(operator, identifier)
            async with await RtspClient.connect(session["rtspUrl"]) as viewer:
                await viewer.watch()
                await viewer.until(lambda: viewer.pictures >= 10)
                text, _ = await scrape(at.running)
    exported = {}
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):  # when a counter began, as the library adds of itself
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        exported[name] = family.type, frozenset(labels)
    page = told()
    assert set(page) == set(exported)
    assert {name: kind for name, (kind, _) in page.items()} == {name: kind for name, (kind, _) in exported.items()}
    spoken = {name for name, (_, labels) in exported.items() if labels} | {
        n for n, (_, labels) in page.items() if not labels
    }
    assert {name: page[name] for name in spoken} == {name: exported[name] for name in spoken}
    assert set(page) - spoken <= QUIET
