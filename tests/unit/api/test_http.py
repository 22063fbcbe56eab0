"""The console's files and the port of metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from support.edges import Directory, serve

from vidhub.api.auth import Doorkeeper
from vidhub.api.http import CONTENT_SECURITY_POLICY, http_app
from vidhub.api.live import LiveCalls
from vidhub.api.metrics_http import metrics_app
from vidhub.telemetry import Telemetry
from vidhub.turns import Turns


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    (tmp_path / "console" / "assets").mkdir(parents=True)
    (tmp_path / "console" / "index.html").write_text("<title>vidhub</title>")
    (tmp_path / "console" / "favicon.svg").write_text("<svg/>")
    (tmp_path / "console" / "assets" / "app-1a2b.js").write_text("export {}")
    (tmp_path / "secret.txt").write_text("secret")
    app = http_app(
        {},
        doorkeeper=Doorkeeper(Directory(), lambda _: None),
        live=LiveCalls(),
        telemetry=Telemetry(),
        turns=Turns(),
        is_https=True,
        console=tmp_path / "console",
    )
    async with serve(app) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/index.html", "/cameras", "/cameras/36060211111321000001"])
async def test_the_page_is_asked_for_again_each_time(console: httpx.AsyncClient, path: str) -> None:
    answer = await console.get(path)
    assert (answer.status_code, answer.text) == (200, "<title>vidhub</title>")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["strict-transport-security"].startswith("max-age=")


async def test_hashed_files_are_kept_for_good(console: httpx.AsyncClient) -> None:
    answer = await console.get("/assets/app-1a2b.js")
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert (await console.get("/favicon.svg")).headers["cache-control"] == "no-cache"


async def test_the_outlines_of_regions_are_served_beside_it(console: httpx.AsyncClient) -> None:
    answer = await console.get("/places/outlines.geojson")
    assert answer.headers["content-type"] == "application/geo+json"
    assert {one["properties"]["code"] for one in answer.json()["features"]} == {"360602", "360603", "360681"}
    assert (await console.get("/places/outlines.py")).status_code == 404


@pytest.mark.parametrize("path", ["/assets/gone.js", "/assets/gone", "/gone.png"])
async def test_a_file_that_is_gone_is_not_the_page(console: httpx.AsyncClient, path: str) -> None:
    answer = await console.get(path)
    assert (answer.status_code, answer.json()["reason"]) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "path", ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/..%2f..%2fsecret.txt"]
)
async def test_no_path_leads_out_of_the_console(console: httpx.AsyncClient, path: str) -> None:
    assert "secret" not in (await console.get(path)).text


async def test_without_a_console_the_api_is_there_all_the_same(tmp_path: Path) -> None:
    app = http_app(
        {},
        doorkeeper=Doorkeeper(Directory(), lambda _: None),
        live=LiveCalls(),
        telemetry=Telemetry(),
        turns=Turns(),
        is_https=False,
        console=tmp_path,
    )
    async with serve(app) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/")).status_code == 404
        answer = await client.post("/vidhub.v1.CameraService/ListCameras", json={})
        assert (answer.status_code, "strict-transport-security" in answer.headers) == (401, False)


async def test_the_port_of_metrics_carries_three_paths_and_no_more() -> None:
    registry = CollectorRegistry()
    Counter("vidhub_things", "Things.", registry=registry).inc()
    trouble: dict[str, str | None] = {"alive": None, "ready": "starting"}
    app = metrics_app(registry, alive=lambda: trouble["alive"], ready=lambda: trouble["ready"])
    async with serve(app) as url, httpx.AsyncClient(base_url=url) as client:
        answer = await client.get("/metrics")
        assert "vidhub_things_total 1.0" in answer.text
        assert answer.headers["content-type"].startswith("text/plain; version=")
        assert (await client.get("/metrics", headers={"accept": "application/openmetrics-text"})).text.endswith(
            "# EOF\n"
        )
        assert (await client.get("/healthz")).text == "ok\n"
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.text) == (503, "starting\n")
        trouble["ready"] = None
        assert (await client.get("/readyz")).status_code == 200
        for path in ("/", "/vidhub.v1.SystemService/GetStatus", "/metrics/x"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/metrics")).status_code == 405
