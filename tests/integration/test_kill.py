"""kill -9 at the worst moment: what was answered is there, once and whole, and the register of use is intact."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from sqlalchemy import Connection
from support.cameras import gst_camera
from support.hub import camera_message, enrol, hub, person
from support.ports import standing
from support.rtsp import RtspClient
from support.site import HERE, camera_id, cli, opened, site

from vidhub.store import Store
from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

MANY = 20_000
LINES = 8_000
BATCH = 200


async def test_a_kill_amid_a_registration_of_20000_loses_nothing_that_was_answered(tmp_path: Path, record_property):
    data = tmp_path / "data"
    answered: list[str] = []
    room = asyncio.Condition()
    async with hub(data) as running:
        unit = await enrol(running)

        async def requests() -> AsyncIterator[camera_service_pb2.RegisterCamerasRequest]:
            for start in range(1, MANY + 1, BATCH):
                async with room:  # a few at once: the hub is not through with them all when the first half is answered
                    await room.wait_for(lambda start=start: len(answered) > start - 10 * BATCH)
                cameras = [camera_message(number) for number in range(start, start + BATCH)]
                yield camera_service_pb2.RegisterCamerasRequest(cameras=cameras)

        async with unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            with contextlib.suppress(grpc.aio.AioRpcError):
                async for answer in stub.RegisterCameras(requests()):
                    assert not answer.rejected
                    answered += answer.ids
                    if len(answered) == MANY // 2:
                        running.process.send_signal(signal.SIGKILL)
                    async with room:
                        room.notify_all()
        assert await running.end(signal.SIGKILL) == -signal.SIGKILL
    assert MANY // 2 <= len(answered) < MANY
    async with hub(data) as running:
        found = (await running.ask("camera_list"))["cameras"]
        ids = [one["id"] for one in found]
        assert len(ids) == len(set(ids))
        assert set(answered) <= set(ids)
        assert len(ids) % BATCH == 0
        assert (await running.ask("status"))["cameras"] == len(ids)
        # None by halves: the first and last of those answered, and the last of all, with their streams.
        for identifier in (answered[0], answered[-1], max(ids)):
            whole = await running.ask("camera_show", id=identifier)
            assert (whole["streams"][0]["url"], whole["legal"]["retentionDays"]) != ("", 0)
        verdict = await running.ask("audit_verify")
        assert (verdict["intact"], verdict["first_bad"]) == (True, None)
        assert await running.end() == 0
    record_property("answered", len(answered))
    record_property("there", len(ids))
    with contextlib.closing(sqlite3.connect(data / "vidhub.db")) as store:
        assert store.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert store.execute("SELECT count(*) FROM cameras").fetchone() == (len(ids),)
        lonely = "SELECT count(*) FROM cameras WHERE id NOT IN (SELECT camera_id FROM camera_streams)"
        assert store.execute(lonely).fetchone() == (0,)
        # Each batch that is there is on record, once.
        entries = store.execute("SELECT count(*) FROM audit_entries WHERE action = 'camera.register'").fetchone()
        assert entries == (len(ids) // BATCH,)


async def test_an_import_that_was_cut_off_is_simply_run_again(tmp_path: Path):
    """By the command line, from CSV: the second run leaves every camera once."""
    data, file = tmp_path / "data", tmp_path / "cameras.csv"
    fields = ("id", "name", "region_code", "industry", "place_category", "location.latitude", "location.longitude")
    legal = ("legal.place_basis", "legal.purpose", "legal.scope", "legal.retention_days")
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([*fields, "main.url", *legal])
        for number in range(1, LINES + 1):
            row = [camera_id(number), f"东门{number}", "360602", "11", "school", 28.24, 117.03]
            writer.writerow([*row, "rtsp://192.0.2.1/1", "799/7", "校园安全", "校门外", 30])
    where = standing("grpc")
    async with hub(data, *where) as running:
        words = ("unit", "token", "第一中学", "--region", "360602", "--industry", "11")
        assert (await cli("--data-dir", data, *words, "--out", tmp_path / "u.json")).status == 0
        assert (await cli("unit", "enrol", tmp_path / "u.json", "--out", tmp_path / "u")).status == 0
        importing = asyncio.create_task(cli("camera", "register", file, "--identity", tmp_path / "u"))
        async with asyncio.timeout(60):
            while (await running.ask("status"))["cameras"] < 1_000:
                pass
        running.process.send_signal(signal.SIGKILL)
        cut = await importing
        assert cut.status == 1
        assert cut.error["reason"] in ("HUB_UNREACHABLE", "UNAVAILABLE")
    async with hub(data, *where) as running:
        again = await cli("camera", "register", file, "--identity", tmp_path / "u")
        assert (again.status, again.answer["accepted"], again.answer["rejected"]) == (0, LINES, [])
        assert again.answer["created"] + again.answer["unchanged"] == LINES
        assert 1_000 <= again.answer["unchanged"] < LINES
        ids = [one["id"] for one in (await running.ask("camera_list"))["cameras"]]
        assert sorted(ids) == [camera_id(number) for number in range(1, LINES + 1)]
        assert (await running.ask("audit_verify"))["intact"]


async def test_every_connection_to_the_store_waits_for_the_disk(tmp_path: Path):
    """FULL is 2. Asked of each connection in turn, the writer's and the readers'."""
    store = await Store.open(f"sqlite:///{tmp_path / 'vidhub.db'}")

    def ask(conn: Connection) -> tuple[int, str]:
        return (
            conn.exec_driver_sql("PRAGMA synchronous").scalar_one(),
            conn.exec_driver_sql("PRAGMA journal_mode").scalar_one(),
        )

    try:
        assert await store.write(ask) == (2, "wal")
        assert set(await asyncio.gather(*(store.read(ask) for _ in range(8)))) == {(2, "wal")}
    finally:
        await store.close()


async def test_who_watched_when_the_hub_died_is_on_record_as_lost(tmp_path: Path):
    data = tmp_path / "data"
    async with gst_camera(width=320, height=180, fps=10, key_interval=10) as camera:
        async with site(data) as place:
            identifier = await place.register(1, camera.url)
            await place.operator("zhang")
            async with person(place.running, "zhang") as caller:
                session = await opened(caller, identifier)
                async with await RtspClient.connect(session["rtspUrl"]) as rtsp:
                    await rtsp.watch()
                    await rtsp.until(lambda: rtsp.pictures > 2)
                    assert await place.running.end(signal.SIGKILL) == -signal.SIGKILL
                    await asyncio.wait_for(rtsp.closed, 30)
        async with hub(data, **HERE) as running, person(running, "zhang") as caller:
            closings = (await running.ask("audit_list", action="session.close"))["entries"]
            mine = [one for one in closings if one["sessionId"] == session["session"]["id"]]
            assert [json.loads(one["detailJson"])["end_reason"] for one in mine] == ["SESSION_LOST"]
            refused = await caller.call("SessionService/RenewSession", sessionId=session["session"]["id"])
            assert refused["reason"] == "SESSION_ENDED"
            # The old ticket is of a session that is no more.
            async with await RtspClient.connect(_at(session["rtspUrl"], running.ready["rtsp"])) as rtsp:
                reply = await rtsp.describe()
                assert (reply.status, reply.reason) == (401, "SESSION_UNKNOWN")


async def test_after_a_clean_stop_a_viewer_renews_and_goes_on(tmp_path: Path):
    data = tmp_path / "data"
    async with gst_camera(width=320, height=180, fps=10, key_interval=10) as camera:
        async with site(data) as place:
            identifier = await place.register(1, camera.url)
            await place.operator("zhang")
            async with person(place.running, "zhang") as caller:
                session = await opened(caller, identifier)
                async with await RtspClient.connect(session["rtspUrl"]) as rtsp:
                    await rtsp.watch()
                    await rtsp.until(lambda: rtsp.pictures > 2)
                    ending = asyncio.create_task(place.running.end())
                    assert (await rtsp.end())[0] == "HUB_DRAINING"
                    assert await ending == 0
        async with hub(data, **HERE) as running, person(running, "zhang") as caller:
            renewed = await caller.call("SessionService/RenewSession", sessionId=session["session"]["id"])
            url = f"rtsp://{running.ready['rtsp']}/{identifier}?ticket={renewed['ticket']}"
            async with await RtspClient.connect(url) as rtsp:
                await rtsp.watch()
                await rtsp.until(lambda: rtsp.pictures > 2)
            login = await RtspClient.connect(f"rtsp://{running.ready['rtsp']}/{identifier}")
            async with login:
                assert (await login.log_in(session["rtspUser"], session["rtspPassword"])).status == 200


def _at(url: str, address: str) -> str:
    """The same with another host and port."""
    return f"rtsp://{address}/{url.split('/', 3)[3]}"
