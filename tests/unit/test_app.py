"""The hub as a whole object: what it refuses, how it fails, how it stops."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from vidhub import app, config
from vidhub.app import App
from vidhub.app.parts import certificate_names, core_options
from vidhub.app.run import OPEN_FILES, SWITCH_S
from vidhub.config import Config, HubOptions
from vidhub.errors import FailedPrecondition, Internal, InvalidArgument, NotFound, Unavailable, VidhubError
from vidhub.identity import HubKeys
from vidhub.lockfile import DataLock
from vidhub.store import Store, meta

PORTS = {f"listen.{name}": "127.0.0.1:0" for name in ("http", "grpc", "rtsp", "rtsp_udp", "rtsps", "webrtc", "metrics")}
PASSWORD = "correct-horse-battery-42"


def options(data: Path, **flags: object) -> Config:
    return config.load(environment={"VIDHUB_HUB__ID": "yingtan"}, flags={"data_dir": data, **PORTS, **flags})


@contextlib.asynccontextmanager
async def running(data: Path, **flags: object) -> AsyncIterator[App]:
    hub = await App.open(options(data, **flags), online=True)
    try:
        await hub.start()
        yield hub
    finally:
        await hub.close()


async def is_clean(data: Path) -> bool:
    store = await Store.open(f"sqlite:///{data / 'vidhub.db'}")
    try:
        return await store.read(meta.was_clean_shutdown)
    finally:
        await store.close()


async def test_a_hub_opens_every_port_and_leaves_nothing_behind(tmp_path):
    data = tmp_path / "data"
    async with running(data) as hub:
        assert set(hub.addresses) == {"http", "grpc", "rtsp", "rtsp_udp", "rtsps", "webrtc", "metrics", "sip", "pid"}
        assert hub.addresses["sip"] is None
        assert (data / "admin.sock").stat().st_mode & 0o777 == 0o600
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"http://{hub.addresses['metrics']}/healthz")).status_code == 200
        address = str(hub.addresses["http"])
    assert await is_clean(data)
    assert not (data / "admin.sock").exists()
    with DataLock(data):
        pass
    host, _, port = address.rpartition(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=1)


def test_a_hub_shares_the_interpreter_in_short_turns_and_may_open_as_many_files_as_its_hard_limit(tmp_path):
    program = f"""
import os, resource, signal, sys
from pathlib import Path
from vidhub import config
from vidhub.app import run

def ready(_):
    print(sys.getswitchinterval(), *resource.getrlimit(resource.RLIMIT_NOFILE))
    os.kill(os.getpid(), signal.SIGTERM)

resource.setrlimit(resource.RLIMIT_NOFILE, (512, 2_048))
options = config.load(environment={{}}, flags={{"data_dir": Path({str(tmp_path / "data")!r}), **{PORTS!r}}})
run.serve(options, on_ready=ready)
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout.split()) == (0, [str(SWITCH_S), "2048", "2048"]), ended.stderr
    assert SWITCH_S <= 0.001
    assert OPEN_FILES >= 4 * 4_096, "four listeners take 4,096 connections each"


async def test_a_running_hub_gives_frames_of_open_sessions_alone(tmp_path):
    async with running(tmp_path / "data") as hub:
        with pytest.raises(NotFound) as unknown:
            async for _ in hub.frames("s-none", keyframes_only=True):
                pass
    assert unknown.value.reason == "SESSION_UNKNOWN"


async def test_a_part_that_dies_stops_the_hub_and_says_why(tmp_path):
    async with running(tmp_path / "data") as hub:
        ended = asyncio.create_task(hub.run(asyncio.Event()))

        async def broken() -> None:
            raise ZeroDivisionError("a fault of ours")

        hub._supervise("broken", broken())
        with pytest.raises(Internal, match=r"PART_DIED.*a fault of ours"):
            await asyncio.wait_for(ended, 30)


async def test_a_listener_that_dies_stops_the_hub(tmp_path):
    async with running(tmp_path / "data") as hub:
        ended = asyncio.create_task(hub.run(asyncio.Event()))
        await asyncio.sleep(0)
        metrics = next(task for task in asyncio.all_tasks() if task.get_name() == "metrics")
        metrics.cancel()
        with pytest.raises(Internal, match="LISTENER_DIED"):
            await asyncio.wait_for(ended, 30)


async def test_a_start_that_fails_gives_everything_back(tmp_path):
    data = tmp_path / "data"
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(Unavailable, match=r"LISTENER_IN_USE.*--metrics"),
    ):
        async with running(data, **{"listen.metrics": f"127.0.0.1:{taken.getsockname()[1]}"}):
            pass
    async with running(data):
        pass


async def test_gb28181_is_not_served_yet(tmp_path):
    with pytest.raises(FailedPrecondition, match=r"LISTENER_NOT_SERVED.*listen\.sip"):
        await App.open(options(tmp_path, **{"listen.sip": "127.0.0.1:0"}), online=True)


async def test_a_damaged_key_is_named_and_the_lock_is_given_back(tmp_path):
    async with running(tmp_path):
        pass
    (tmp_path / "keys" / "hub.key").write_bytes(b"nothing")
    with pytest.raises(FailedPrecondition, match="KEY_FILE_DAMAGED"):
        await App.open(options(tmp_path), online=True)
    with DataLock(tmp_path):
        pass


def test_operations_work_without_a_hub_and_do_not_mark_a_crash(tmp_path):
    data = tmp_path / "data"
    given = options(data)
    with pytest.raises(FailedPrecondition, match="DATA_DIR_EMPTY"):
        app.administer(given, "audit_verify", {})
    assert not data.exists()
    user = app.administer(given, "user_add", {"name": "root", "roles": ["administrator"], "password": PASSWORD})
    assert (user["name"], user["role"]) == ("root", "administrator")
    assert [one["name"] for one in app.administer(given, "user_list", {})["users"]] == ["root"]
    assert asyncio.run(is_clean(data))


def test_units_are_told_a_port_that_is_known(tmp_path):
    wanted = {"name": "一中", "region_code": "360602", "industry": "11"}
    with pytest.raises(FailedPrecondition, match="GRPC_PORT_UNKNOWN"):
        app.administer(options(tmp_path), "unit_token", wanted)
    with pytest.raises(FailedPrecondition, match="GRPC_OFF"):
        app.administer(options(tmp_path, **{"listen.grpc": "off"}), "unit_token", wanted)
    given = options(tmp_path, **{"listen.grpc": "127.0.0.1:50051", "advertise": "hub.example"})
    assert app.administer(given, "unit_token", wanted)["enrolment"]["hub"] == "hub.example:50051"


async def test_a_running_hub_answers_the_command_line_and_refuses_in_its_own_words(tmp_path):
    async with running(tmp_path) as hub:
        given = options(tmp_path)
        status = await asyncio.to_thread(app.administer, given, "status", {})
        assert (status["hub_id"], status["addresses"]["pid"]) == ("yingtan", hub.addresses["pid"])
        with pytest.raises(NotFound, match="CAMERA_NOT_FOUND"):
            await asyncio.to_thread(app.administer, given, "camera_show", {"id": "36060200111322000001"})
        with pytest.raises(InvalidArgument) as caught:
            await asyncio.to_thread(
                app.administer, given, "grant_create", {"actions": ["view_live"], "not_after": "2020-01-01"}
            )
        assert {one.reason for one in caught.value.violations} >= {"SUBJECT_INVALID", "SCOPE_EMPTY", "GRANT_ENDED"}


@pytest.mark.parametrize(
    ("operation", "arguments", "reason"),
    [
        ("user_delete", {}, "OPERATION_UNKNOWN"),
        ("user_suspend", {}, "ARGUMENT_INVALID"),
        ("user_suspend", {"name": 7}, "ARGUMENT_INVALID"),
        ("user_suspend", {"name": "x", "force": True}, "ARGUMENT_INVALID"),
        ("user_suspend", {"name": "nobody"}, "USER_UNKNOWN"),
        ("user_add", {"name": "x", "roles": ["king"], "password": PASSWORD}, "ROLE_UNKNOWN"),
        ("grant_create", {"actions": ["dance"], "not_after": "2030-01-01"}, "ACTION_UNKNOWN"),
        ("grant_create", {"actions": [], "not_after": "soon"}, "TIME_INVALID"),
        ("grant_create", {"actions": [], "not_after": "9999-12-31T23:59:59-14:00"}, "TIME_INVALID"),
        ("bench_ticket", {"camera_id": "x", "viewers": 1}, "BENCH_OFF"),
        ("bench_stall", {"milliseconds": 5_000}, "BENCH_OFF"),
        ("unit_revoke", {"unit_id": "none", "reason": "x"}, "UNIT_UNKNOWN"),
    ],
)
async def test_an_operation_says_what_is_wrong(tmp_path, operation, arguments, reason):
    hub = await App.open(options(tmp_path), online=False)
    try:
        with pytest.raises(VidhubError) as caught:
            await hub.operations.perform(operation, arguments)
        assert caught.value.reason == reason
    finally:
        await hub.close()


async def test_what_is_no_request_gets_an_answer(tmp_path):
    async with running(tmp_path) as hub:
        assert hub.addresses
        transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "admin.sock"))
        async with httpx.AsyncClient(transport=transport) as client:
            for body in (b"{", b"[]", b"7", b'"x"'):
                answer = await client.post("http://hub/user_list", content=body)
                assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "ARGUMENT_INVALID")
            assert (await client.get("http://hub/user_list")).status_code == 405


def test_the_core_is_told_addresses_alone_and_networks_in_full(tmp_path):
    given = config.load(
        environment={},
        flags={"advertise": "hub.example,192.0.2.1,[2001:db8::1]", "source.allow": "127.0.0.1", "listen.rtsp": "off"},
    )
    told = core_options(given, HubOptions(id="h"), HubKeys.open(tmp_path), "/run/app.sock")
    assert told["advertise"] == ["192.0.2.1", "2001:db8::1"]
    assert told["source"]["allow"] == ["127.0.0.1/32"]  # type: ignore[index]
    assert told["listen"]["rtsp"] is None  # type: ignore[index]
    assert told["tls"] is told["rtsps_certificate"] is None


def test_the_hubs_own_certificate_names_where_grpc_and_rtsps_are_reached():
    flags = {"listen.grpc": "127.0.0.2:1", "listen.rtsps": "[::]:1", "advertise": "hub.example,192.0.2.1"}
    given = config.load(environment={}, flags={**flags, "public_url": "https://wall.example:8443"})
    assert certificate_names(given) == {"127.0.0.2", "::", "hub.example", "192.0.2.1", "wall.example"}
