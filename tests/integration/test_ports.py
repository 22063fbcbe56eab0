"""The hub as whoever runs it sees it: how it starts and refuses to, what it counts, what it does when the disk is full
and how it stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import resource
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from support.cameras import gst_camera
from support.hub import PASSWORD, Ended, hub, person
from support.ports import free_port
from support.rtsp import RtspClient
from support.site import Site, camera_id, cli, opened, scrape, site
from support.whep import whep_viewer

from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc


async def refused(data: Path, *flags: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Exit code and error of a hub that does not get ready."""
    with pytest.raises(Ended) as ended:
        async with hub(data, *flags, **environment):
            pass
    return ended.value.status, json.loads(ended.value.said.strip().splitlines()[-1])["error"]


# How it refuses to start.


@pytest.mark.parametrize(
    ("flags", "environment", "reason", "named"),
    [
        ((), {"VIDHUB_STREAM__LINGER": "3"}, "CONFIG_KEY_UNKNOWN", "VIDHUB_STREAM__LINGER_S"),
        ((), {"VIDHUB_STREAM__LINGER_S": "soon"}, "CONFIG_VALUE_INVALID", "VIDHUB_STREAM__LINGER_S"),
        ((), {"VIDHUB_SOURCE__ALLOW": "everywhere"}, "CONFIG_VALUE_INVALID", "source.allow"),
        (("--http", "127.0.0.1"), {}, "CONFIG_VALUE_INVALID", "listen.http"),
        (("--http", "0.0.0.0:0"), {}, "LISTENER_CLEARTEXT", "listen.http"),
        (("--rtsp", "0.0.0.0:0"), {}, "LISTENER_CLEARTEXT", "listen.rtsp"),
        (("--metrics", "[::]:0"), {}, "LISTENER_CLEARTEXT", "listen.metrics"),
        (("--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.key"), {}, "CONFIG_VALUE_INVALID", "/nowhere.pem"),
    ],
)
async def test_a_mistake_in_the_options_is_named(tmp_path: Path, flags, environment, reason, named):
    status, error = await refused(tmp_path / "data", *flags, **environment)
    assert (status, error["reason"]) == (1, reason)
    assert named in error["message"]
    assert not (tmp_path / "data" / "vidhub.db").exists()


async def test_beyond_loopback_with_leave(tmp_path: Path):
    async with hub(tmp_path / "data", "--http", "0.0.0.0:0", "--allow-cleartext") as running:
        assert running.ready["http"].startswith("0.0.0.0:")


@pytest.mark.parametrize("damage", ["no folder", "no database"])
async def test_a_data_directory_that_is_none_is_named(tmp_path: Path, damage: str):
    place = tmp_path / "data"
    if damage == "no folder":
        place.write_text("a file")
    else:
        place.mkdir()
        (place / "vidhub.db").write_bytes(b"not a database, not at all" * 400)
    status, error = await refused(place)
    assert status == 1
    assert str(place) in error["message"] or "database" in error["message"]
    assert error["reason"] != "INTERNAL"


async def test_exit_codes_and_answers_of_the_command_line(tmp_path: Path):
    wrong = await cli("serve", "--no-such-flag")
    assert (wrong.status, wrong.error["reason"], wrong.out) == (2, "USAGE", "")
    nothing = await cli("--data-dir", tmp_path / "none", "camera", "list")
    assert (nothing.status, nothing.error["reason"]) == (1, "DATA_DIR_EMPTY")
    assert not (tmp_path / "none").exists()
    good = await cli("config", "check", "--data-dir", tmp_path, VIDHUB_STREAM__LINGER_S="7", cwd=tmp_path)
    assert good.status == 0, good.err
    rows = {row["key"]: (row["value"], row["source"]) for row in good.answer["settings"]}
    assert rows["stream.linger_s"] == ("7.0", "environment")
    assert rows["listen.http"] == ("127.0.0.1:8080", "default")
    (tmp_path / "vidhub.toml").write_text("[stream]\nlinger = 7\n[strem]\nx = 1\n")
    bad = await cli("config", "check", cwd=tmp_path)
    assert (bad.status, bad.error["reason"]) == (1, "CONFIG_KEY_UNKNOWN")
    assert "stream.linger_s" in bad.error["message"]
    assert "strem" in bad.error["message"]


# What each port answers to whoever has lost the way.


async def test_grpc_is_shown_the_other_port(tmp_path: Path):
    async with hub(tmp_path / "data") as running:
        async with httpx.AsyncClient(trust_env=False) as client:
            for kind in ("application/grpc", "application/grpc+proto", "application/grpc-web"):
                answer = await client.post(
                    f"{running.url}/vidhub.v1.CameraService/ListCameras", headers={"Content-Type": kind}
                )
                assert answer.status_code == 415, kind
            # Metrics and probes are on their own port only.
            for path in ("/metrics", "/healthz", "/readyz"):
                answer = await client.get(running.url + path)
                assert answer.status_code == 404 or "text/html" in answer.headers["Content-Type"]
                assert "vidhub_" not in answer.text
        async with grpc.aio.insecure_channel(running.ready["http"]) as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await stub.ListCameras(camera_service_pb2.ListCamerasRequest(), timeout=20)
        assert told.value.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
        assert "415" in str(told.value.details())
        # And no stranger speaks to 50051.
        async with grpc.aio.secure_channel(
            running.ready["grpc"], grpc.ssl_channel_credentials((running.data / "ca.pem").read_bytes())
        ) as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as stranger:
                await stub.ListCameras(camera_service_pb2.ListCamerasRequest(), timeout=20)
        assert stranger.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_grpc_is_told_the_port_in_use(tmp_path: Path):
    """Where the port is chosen beforehand, the answer names it."""
    port = free_port()
    async with hub(tmp_path / "data", "--grpc", f"127.0.0.1:{port}") as running:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{running.url}/x", headers={"Content-Type": "application/grpc"})
        assert answer.status_code == 415
        assert str(port) in answer.text


# What it counts.


async def promtool(text: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(30):
        out, _ = await process.communicate(text.encode())
    return f"{process.returncode}: {out.decode()}"


@contextlib.asynccontextmanager
async def watched(data: Path, **environment: str) -> AsyncIterator[Site]:
    async with (
        gst_camera(width=320, height=180, fps=10, key_interval=10) as camera,
        site(data, VIDHUB_STREAM__LINGER_S="0", **environment) as place,
    ):
        await place.register(1, camera.url)
        await place.operator("zhang")
        await place.until_state(camera_id(1), "ONLINE")
        yield place


async def test_metrics_move_and_stay_bounded(tmp_path: Path):
    async with watched(tmp_path / "data") as place, person(place.running, "zhang") as caller:
        before_text, before = await scrape(place.running)
        session = await opened(caller, camera_id(1))
        async with (
            await RtspClient.connect(session["rtspUrl"]) as rtsp,
            whep_viewer(session["whepUrl"], session["ticket"]) as whep,
        ):
            await rtsp.watch()
            await rtsp.until(lambda: rtsp.pictures > 20)
            await whep.until(lambda: whep.pictures > 10)
            text, during = await scrape(place.running)
        refused = await caller.call("SessionService/OpenSession", cameraId=camera_id(1), purpose={"kind": "traffic"})
        assert refused["reason"] == "PURPOSE_NOT_GRANTED"
        async with asyncio.timeout(30):
            while True:
                _, after = await scrape(place.running)
                if after["vidhub_streams{source=rtsp_pull}"] == 0:
                    break
        for found in (before_text, text):
            assert await promtool(found) == "0: "

        def moved(name: str, late: dict[str, float] = during) -> float:
            return late.get(name, 0.0) - before.get(name, 0.0)

        assert during["vidhub_streams{source=rtsp_pull}"] == 1
        assert during["vidhub_sessions{sink=rtsp}"] == during["vidhub_sessions{sink=whep}"] == 1
        assert after["vidhub_sessions{sink=rtsp}"] == 0
        assert moved("vidhub_first_picture_seconds_count{}") == 2
        received = sum(len(packet.payload) + 12 for packet in rtsp.packets)
        told = "vidhub_media_bytes_total{direction=out,protocol=rtsp_tcp}"
        assert 0 < moved(told) <= received * 1.5
        assert after[told] - before.get(told, 0) >= received
        for name in (
            "vidhub_media_bytes_total{direction=in,protocol=rtsp_tcp}",
            "vidhub_media_packets_total{direction=in,protocol=rtsp_tcp}",
            "vidhub_media_packets_total{direction=out,protocol=rtsp_tcp}",
            "vidhub_media_bytes_total{direction=out,protocol=webrtc_udp}",
            "vidhub_authorisations_total{action=view_live,decision=allow}",
            "vidhub_audit_entries_total{}",
        ):
            assert moved(name) > 0, name
        assert moved("vidhub_authorisations_total{action=view_live,decision=deny}", after) > 0
        assert during["vidhub_registrations_total{result=accepted}"] == 1
        assert during["vidhub_cameras{industry=11,region=360602,state=online}"] == 1
        assert during["vidhub_grpc_requests_total{code=OK,method=vidhub.v1.CameraService/RegisterCamera}"] == 1
        # Nothing in it grows with cameras, viewers or what strangers ask for.
        assert not [name for name in during if re.search(r"\d{20}|zhang|127\.0", name)]
        async with httpx.AsyncClient(trust_env=False) as client:
            for number in range(50):
                await client.post(f"{place.running.url}/vidhub.v1.Nobody/Method{number}", json={})
                await client.post(f"{place.running.url}/whep/{number:020d}", content=b"x")
        _, late = await scrape(place.running)
        assert len(set(late) - set(after)) < 40
        assert not any("Nobody" in name for name in late)


async def test_health_is_told_on_the_metrics_port_and_by_grpc(tmp_path: Path):
    async with hub(tmp_path / "data") as running, httpx.AsyncClient(trust_env=False) as client:
        base = f"http://{running.ready['metrics']}"
        for path in ("/healthz", "/readyz"):
            answer = await client.get(base + path)
            assert (answer.status_code, answer.text) == (200, "ok\n")
        assert (await client.get(base + "/nothing")).status_code == 404


# When the store does not take any more.


async def test_a_full_disk_opens_nothing_and_cuts_nothing(tmp_path: Path):
    """No audit, no video: opening and renewing fail and say why; who watches goes on; with room all is as before."""
    async with watched(tmp_path / "data") as place, person(place.running, "zhang") as caller:
        session = await opened(caller, camera_id(1))
        async with await RtspClient.connect(session["rtspUrl"]) as rtsp:
            await rtsp.watch()
            await rtsp.until(lambda: rtsp.pictures > 2)
            pid = place.running.ready["pid"]
            no_limit = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            # As a disk without a free block: no file grows.
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, no_limit[1]))
            for method, message in [
                ("SessionService/OpenSession", {"cameraId": camera_id(1), "purpose": {"kind": "patrol"}}),
                ("SessionService/RenewSession", {"sessionId": session["session"]["id"]}),
            ]:
                answer = await caller.call(method, **message)
                assert (answer["code"], answer["reason"]) == ("unavailable", "STORE_UNAVAILABLE"), answer
                assert "disk" in answer["message"]
            seen = rtsp.pictures
            await rtsp.until(lambda: rtsp.pictures > seen + 5)
            # It ends all the same, at once, even though nobody can write that down yet.
            closing = asyncio.create_task(
                caller.call("SessionService/CloseSession", sessionId=session["session"]["id"])
            )
            assert (await rtsp.end())[0] == "SESSION_CLOSED"
            resource.prlimit(pid, resource.RLIMIT_FSIZE, no_limit)
            await closing
        again = await opened(caller, camera_id(1))
        assert again["session"]["id"] != session["session"]["id"]
        entry = await place.on_record(action="session.close", sessionId=session["session"]["id"])
        assert "SESSION_CLOSED" in entry["detailJson"]
        assert (await place.running.ask("audit_verify"))["intact"]
        assert await place.running.end() == 0


async def test_a_locked_database_is_said_and_waited_out(tmp_path: Path):
    async with watched(tmp_path / "data") as place, person(place.running, "zhang") as caller:
        other = sqlite3.connect(tmp_path / "data" / "vidhub.db", isolation_level=None)
        with contextlib.closing(other):
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.create_task(
                caller.call("SessionService/OpenSession", cameraId=camera_id(1), purpose={"kind": "patrol"})
            )
            # Reading goes on meanwhile, and so do the probes.
            found = await caller.call("CameraService/ListCameras")
            assert len(found["cameras"]) == 1
            answer = await asyncio.wait_for(waiting, 40)
            assert (answer["code"], answer["reason"]) == ("unavailable", "STORE_UNAVAILABLE"), answer
            assert "another program holds the database" in answer["message"]
            other.execute("ROLLBACK")
        assert await opened(caller, camera_id(1))


# How it stops.


async def test_a_stop_tells_everybody_and_ends_well(tmp_path: Path):
    async with watched(tmp_path / "data") as place, person(place.running, "zhang") as caller:
        session = await opened(caller, camera_id(1))
        async with (
            await RtspClient.connect(session["rtspUrl"]) as rtsp,
            whep_viewer(session["whepUrl"], session["ticket"]) as whep,
            place.unit.channel() as channel,
        ):
            await rtsp.watch()
            await rtsp.until(lambda: rtsp.pictures > 2)
            await whep.until(lambda: whep.pictures > 2)
            watch = camera_service_pb2_grpc.CameraServiceStub(channel).WatchCameras(
                camera_service_pb2.WatchCamerasRequest()
            )
            assert await asyncio.wait_for(watch.read(), 10)
            ending = asyncio.create_task(place.running.end())
            assert (await rtsp.end())[0] == "HUB_DRAINING"
            await whep.end()
            with pytest.raises(grpc.aio.AioRpcError) as cut:
                await asyncio.wait_for(_drained(watch), 15)
            assert cut.value.code() is grpc.StatusCode.UNAVAILABLE
            assert await ending == 0
        assert [path for path in (tmp_path / "data").rglob("*") if path.is_socket()] == []
        assert not any("Traceback" in line for line in place.running.said), "".join(place.running.said)
        log = "".join(place.running.said)
        for secret in (PASSWORD, session["ticket"], session["rtspPassword"]):
            assert secret not in log


async def _drained(watch: Any) -> None:
    while await watch.read() is not grpc.aio.EOF:
        pass
