"""A backup of a hub at work, killed or not, and the hub that comes back of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import pytest
from support.cameras import gst_camera
from support.hub import HubProcess, UnitIdentity, camera_message, enrol, hub, person
from support.ports import standing
from support.rtsp import RtspClient
from support.site import HERE, camera_id, cli, opened, site

from vidhub.v1 import camera_service_pb2, camera_service_pb2_grpc

BATCH = 200
PATIENCE_S = 60.0


async def register(unit: UnitIdentity, first: int, count: int, stop: asyncio.Event | None = None) -> list[str]:
    """In batches, until `stop`; the ids answered."""

    async def requests() -> AsyncIterator[camera_service_pb2.RegisterCamerasRequest]:
        for start in range(first, first + count, BATCH):
            if stop is not None and stop.is_set():
                return
            cameras = [camera_message(number) for number in range(start, start + BATCH)]
            yield camera_service_pb2.RegisterCamerasRequest(cameras=cameras)

    answered: list[str] = []
    async with unit.channel() as channel:
        async for answer in camera_service_pb2_grpc.CameraServiceStub(channel).RegisterCameras(requests()):
            assert not answer.rejected
            answered += answer.ids
    return answered


async def cameras_of(running: HubProcess) -> list[str]:
    return [one["id"] for one in (await running.ask("camera_list"))["cameras"]]


async def test_a_backup_amid_a_registration_is_of_one_moment(tmp_path: Path):
    data, file = tmp_path / "data", tmp_path / "hub.backup"
    async with hub(data) as running:
        unit = await enrol(running)
        before = await register(unit, 1, 2_000)
        stop = asyncio.Event()
        registering = asyncio.create_task(register(unit, 2_001, 90_000, stop))
        taken = await cli("--data-dir", data, "backup", file)
        assert not registering.done()  # else nothing was proved
        stop.set()
        after = await registering
        assert (taken.status, taken.answer["keys"], taken.answer["hub_id"]) == (0, True, "yingtan"), taken.err
        (entry,) = (await running.ask("audit_list", action="hub.backup"))["entries"]
        assert json.loads(entry["detailJson"])["sha256"] == taken.answer["sha256"]
        assert (await running.ask("audit_verify"))["intact"]
        assert await running.end() == 0
    back = tmp_path / "back"
    done = await cli("--data-dir", back, "restore", file)
    assert done.status == 0, done.err
    assert done.answer["register"]["intact"]
    async with hub(back) as running:
        ids = await cameras_of(running)
        assert len(ids) == len(set(ids)) == done.answer["cameras"]
        assert len(ids) % BATCH == 0
        assert set(before) <= set(ids) < {*before, *after}
        verdict = await running.ask("audit_verify")
        assert (verdict["intact"], len(verdict["restores"])) == (True, 1)
        # What it holds is what its register says: an entry for each batch.
        entries = (await running.ask("audit_list", action="camera.register", limit=1000))["entries"]
        assert len(entries) == len(ids) // BATCH


async def test_the_hub_that_comes_back_knows_its_units_and_those_who_watch_list_again(tmp_path: Path):
    data, file, back = tmp_path / "data", tmp_path / "hub.backup", tmp_path / "back"
    where = standing("grpc")
    async with hub(data, *where) as running:
        unit = await enrol(running)
        await register(unit, 1, BATCH)
        async with unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            revision = (await stub.ListCameras(camera_service_pb2.ListCamerasRequest())).revision
        assert (await cli("--data-dir", data, "backup", file)).status == 0
        await register(unit, BATCH + 1, BATCH)
        assert await running.end() == 0
    done = await cli("--data-dir", back, "restore", file)
    assert (done.status, done.answer["cameras"]) == (0, BATCH), done.err
    async with hub(back, *where):
        async with unit.channel() as channel:  # by the certificate it had
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            listed = await stub.ListCameras(camera_service_pb2.ListCamerasRequest(page_size=1))
            assert listed.total_size == BATCH
            assert listed.revision.epoch == done.answer["epoch"] != revision.epoch
            request = camera_service_pb2.WatchCamerasRequest(**{"from": revision})
            with pytest.raises(grpc.aio.AioRpcError) as told:
                await anext(aiter(stub.WatchCameras(request, timeout=PATIENCE_S)))
            assert told.value.code() is grpc.StatusCode.OUT_OF_RANGE
            camera = await stub.GetCamera(camera_service_pb2.GetCameraRequest(id=camera_id(1)))
            assert camera.camera.streams[0].url.startswith("rtsp://192.0.2.")
        assert sorted(await register(unit, BATCH + 1, BATCH)) == [
            camera_id(number) for number in range(BATCH + 1, 2 * BATCH + 1)
        ]


@pytest.mark.parametrize("ended", [None, signal.SIGTERM, signal.SIGKILL], ids=["running", "stopped", "killed"])
async def test_who_watched_then_is_on_record_as_lost_and_watches_again(tmp_path: Path, ended: signal.Signals | None):
    data, file, back = tmp_path / "data", tmp_path / "hub.backup", tmp_path / "back"
    async with gst_camera(width=320, height=180, fps=10, key_interval=10) as camera:
        async with site(data) as place:
            identifier = await place.register(1, camera.url, username="admin", password="hunter22")
            await place.operator("zhang")
            async with person(place.running, "zhang") as caller:
                session = (await opened(caller, identifier))["session"]["id"]
            if ended is not None:
                assert await place.running.end(ended) in (0, -signal.SIGKILL)
            assert (await cli("--data-dir", data, "backup", file)).status == 0
        done = await cli("--data-dir", back, "restore", file)
        assert (done.status, done.answer["sessions_lost"]) == (0, 1), done.err
        async with hub(back, **HERE) as running, person(running, "zhang") as caller:
            closings = (await running.ask("audit_list", action="session.close"))["entries"]
            mine = [one for one in closings if one["sessionId"] == session]
            assert [json.loads(one["detailJson"])["end_reason"] for one in mine] == ["SESSION_LOST"]
            assert (await caller.call("SessionService/RenewSession", sessionId=session))["reason"] == "SESSION_ENDED"
            url = (await opened(caller, identifier))["rtspUrl"]
            async with await RtspClient.connect(url) as rtsp:
                await rtsp.watch()
                await rtsp.until(lambda: rtsp.pictures > 2)


@contextlib.asynccontextmanager
async def command(*words: str | Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vidhub.cli", "--json", *map(str, words)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))},
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def killed_when(process: asyncio.subprocess.Process, reached: Callable[[], bool]) -> bool:
    """Whether it was killed before it ended by itself."""
    async with asyncio.timeout(PATIENCE_S):
        while not reached():
            if process.returncode is not None:
                return False
            await asyncio.sleep(0.001)  # a tight loop would take the processor from whom we watch
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    return await process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped hub of 2,000 cameras."""
    data = tmp_path_factory.mktemp("filled") / "data"

    async def fill() -> None:
        async with hub(data) as running:
            await register(await enrol(running), 1, 2_000)
            assert await running.end() == 0

    asyncio.run(fill())
    return data


def some(place: Path, pattern: str, octets: int = 0) -> Callable[[], bool]:
    """A file like that is there, of more than so many octets."""

    def there() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return any(path.stat().st_size >= octets for path in place.glob(pattern))
        return False

    return there


BACKUP_MOMENTS = {
    "it begins": (".vidhub-backup-*", 0),
    "the database is being copied": (".vidhub-backup-*/files/vidhub.db", 0),
    "the database is there": (".vidhub-backup-*/files/vidhub.db", 1_000_000),
    "the keys are there": (".vidhub-backup-*/files/keys/hub.key", 0),
    "the file is being packed": (".vidhub-backup-*/backup", 1),
    "the file is there": ("hub.backup", 1),
}


@pytest.mark.parametrize("moment", BACKUP_MOMENTS)
async def test_a_backup_that_is_killed_leaves_a_whole_file_or_none(filled: Path, tmp_path: Path, moment: str):
    data = Path(shutil.copytree(filled, tmp_path / "data"))
    there = tmp_path / "there"
    there.mkdir()
    pattern, octets = BACKUP_MOMENTS[moment]
    async with command("--data-dir", data, "backup", there / "hub.backup") as process:
        killed = await killed_when(process, some(there, pattern, octets))
    assert killed or moment == "the file is there"
    left = {path.name for path in there.iterdir() if not path.name.startswith(".")}
    if left:
        assert left == {"hub.backup"}
        assert (await cli("--data-dir", tmp_path / "back", "restore", there / "hub.backup")).status == 0
    # Keys that it left in its workplace are removed by the next one; the hub is as it was.
    assert (await cli("--data-dir", data, "backup", there / "next.backup")).status == 0
    assert {path.name for path in there.iterdir()} == {*left, "next.backup"}
    done = await cli("--data-dir", tmp_path / "again", "restore", there / "next.backup")
    assert (done.status, done.answer["cameras"]) == (0, 2_000)


RESTORE_MOMENTS = {
    "it begins": (".vidhub-restore-*", 0),
    "it unpacks": (".vidhub-restore-*/data/vidhub.db", 1),
    "the keys are there": (".vidhub-restore-*/data/keys/secrets.json", 1),
    "the database is open": (".vidhub-restore-*/data/vidhub.db-wal", 0),
    "the epoch is new": (".vidhub-restore-*/data/vidhub.db.opened", 1),
    "it is there": ("data/vidhub.db", 1),
}


@pytest.mark.parametrize("moment", RESTORE_MOMENTS)
async def test_a_restore_that_is_killed_leaves_a_whole_hub_or_none(filled: Path, tmp_path: Path, moment: str):
    file, there = tmp_path / "hub.backup", tmp_path / "there"
    source = Path(shutil.copytree(filled, tmp_path / "source"))
    assert (await cli("--data-dir", source, "backup", file)).status == 0
    there.mkdir()
    pattern, octets = RESTORE_MOMENTS[moment]
    async with command("--data-dir", there / "data", "restore", file) as process:
        killed = await killed_when(process, some(there, pattern, octets))
    assert killed or moment == "it is there"
    if not (there / "data").exists():
        done = await cli("--data-dir", there / "data", "restore", file)
        assert (done.status, done.answer["cameras"]) == (0, 2_000), done.err
        assert {path.name for path in there.iterdir()} == {"data"}
    verdict = await cli("--data-dir", there / "data", "audit", "verify")
    assert (verdict.status, len(verdict.answer["restores"])) == (0, 1)


async def test_the_commands_say_by_name_why_they_will_not(filled: Path, tmp_path: Path):
    file = tmp_path / "hub.backup"
    assert (await cli("--data-dir", tmp_path / "nothing", "backup", file)).error["reason"] == "DATA_DIR_EMPTY"
    assert not (tmp_path / "nothing").exists()
    data = Path(shutil.copytree(filled, tmp_path / "data"))
    assert (await cli("--data-dir", data, "backup", tmp_path / "no" / "folder")).error["reason"] == "FILE_NOT_WRITTEN"
    assert (await cli("--data-dir", data, "backup", file)).status == 0
    assert (await cli("--data-dir", data, "backup", file)).error["reason"] == "FILE_EXISTS"
    async with hub(data):
        refused = await cli("--data-dir", data, "restore", file)
        assert (refused.status, refused.error["reason"]) == (1, "HUB_RUNNING")
    assert (await cli("--data-dir", data, "restore", file)).error["reason"] == "DATA_DIR_NOT_EMPTY"
    there = tmp_path / "there"
    assert (await cli("--data-dir", there, "restore", tmp_path / "none")).error["reason"] == "FILE_NOT_READ"
    elsewhere = await cli("--data-dir", there, "restore", file, VIDHUB_STORE_URL=f"sqlite:///{tmp_path}/else.db")
    assert elsewhere.error["reason"] == "STORE_URL_SET"
    assert not there.exists()


async def test_a_mount_is_refused_and_a_directory_in_it_is_taken(filled: Path, tmp_path: Path):
    """Where a volume is mounted nothing can appear by one rename; in it, it can."""
    source = Path(shutil.copytree(filled, tmp_path / "source"))
    file, mounted = tmp_path / "hub.backup", tmp_path / "mounted"
    mounted.mkdir()
    assert (await cli("--data-dir", source, "backup", file)).status == 0
    script = 'mount -t tmpfs none "$1"; $VIDHUB --data-dir "$1" restore "$2"; $VIDHUB --data-dir "$1/data" restore "$2"'
    status, out, err = await among_mounts(script, mounted, file)
    assert json.loads(err.splitlines()[0])["error"]["reason"] == "DATA_DIR_MOUNTED"
    assert (status, json.loads(out)["cameras"]) == (0, 2_000)


async def test_a_full_disk_is_said_and_nothing_is_left_on_it(filled: Path, tmp_path: Path):
    source = Path(shutil.copytree(filled, tmp_path / "source"))
    file, full = tmp_path / "hub.backup", tmp_path / "full"
    full.mkdir()
    assert (await cli("--data-dir", source, "backup", file)).status == 0
    script = (
        'mount -t tmpfs -o size=$4 none "$1"; $VIDHUB --data-dir "$2" backup "$1/b"; '
        '$VIDHUB --data-dir "$1/d" restore "$3"; ls -A "$1"'
    )
    database = (source / "vidhub.db").stat().st_size
    # The copy of the database has no room; it has, and the file beside it has none.
    for octets, reason in ((database // 2, "STORE_UNAVAILABLE"), (database + 64 * 1024, "FILE_NOT_WRITTEN")):
        _, out, err = await among_mounts(script, full, source, file, str(octets))
        assert [json.loads(line)["error"]["reason"] for line in err.splitlines() if line.startswith("{")] == [
            reason,
            "DISK_FULL",
        ]
        assert out == ""
    # Nobody says that a backup was made.
    entries = (await cli("--data-dir", source, "audit", "list", "--action", "hub.backup")).answer["entries"]
    assert len(entries) == 1


async def among_mounts(script: str, *words: str | Path) -> tuple[int | None, str, str]:
    """Runs it where what it mounts is its own; $VIDHUB is the command."""
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "sh", "-c", script, "sh", *map(str, words)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))),
            "VIDHUB": f"{sys.executable} -m vidhub.cli --json",
        },
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()
