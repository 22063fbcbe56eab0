"""What the command line calls: a hub that runs, or one operation on a hub."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import uvloop

from vidhub import logs
from vidhub.api.admin import error_from_json
from vidhub.api.asgi import PrivateDirectory
from vidhub.app.hub import ADMIN_SOCKET, App
from vidhub.config import DATABASE, Config
from vidhub.doctor import examine_files, ports
from vidhub.errors import FailedPrecondition, Unavailable, VidhubError
from vidhub.link.probe import Hop, to_dict

# How long a command waits for a hub that holds the data directory and is about to answer, or to be gone.
PATIENCE_S = 15.0
# Operations that may make a data directory.
_FIRST = ("user_add", "unit_token", "hub_invite", "hub_join")


# How long a thread keeps the interpreter while another waits for it. A call gives it up a few times and has to get it
# back from the writer, which is busy with an import: at Python's own 5 ms, people wait for most of that each time.
SWITCH_S = 0.0005

# Several times the connections that all listeners take together.
OPEN_FILES = 65_536

# SIGHUP comes when the terminal that the hub was started from is closed: no reason to leave sessions without an end.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(config: Config, *, on_ready: Callable[[dict[str, object]], None]) -> int:
    """Runs a hub until one of ENDING; a second one does not wait for viewers. Raises what starting raises."""
    logs.configure()
    sys.setswitchinterval(SWITCH_S)
    _allow_connections()
    uvloop.run(_serve(config, on_ready))
    return 0


async def _serve(config: Config, on_ready: Callable[[dict[str, object]], None]) -> None:
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ENDING:
        # Whoever ignores it means it: `nohup`.
        if signal.getsignal(number) is signal.SIG_IGN:
            continue
        loop.add_signal_handler(number, lambda: hurry.set() if stop.is_set() else stop.set())
    app = await App.open(config, online=True)
    try:
        await app.start()
        _settle()
        on_ready(app.addresses)
        await app.run(stop)
    finally:
        await app.close(hurry)


def _allow_connections() -> None:
    """Shells and service managers give a process 1,024 open files, for the sake of those that know select() alone; each
    connection is one, and the listeners take more. What the hard limit allows is ours to take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _settle() -> None:
    """What start-up has made stays for good: the collector need not go through it again, for which it held every call
    up some 40 ms, once in 20,000 registrations."""
    gc.collect()
    gc.freeze()


def administer(config: Config, operation: str, arguments: Mapping[str, object]) -> dict[str, Any]:
    """One operation of `AdminOperations`: by the running hub, or on the store when none runs."""
    logs.configure()
    return asyncio.run(_administer(config, operation, dict(arguments)))


def examine(config: Config, *, hub: str, camera_id: str) -> dict[str, Any]:
    """What `vidhub doctor` prints: told by the running hub, by one that is opened, or by what can be seen of neither.

    Raises NotFound HUB_NOT_FOUND or CAMERA_NOT_FOUND, and where one link or camera is asked for what opening raises.
    """
    try:
        return administer(config, "examine", {"hub": hub, "camera_id": camera_id})
    except VidhubError as error:
        if hub or camera_id:
            raise
        failed = Hop("hub", error.reason, error.message, "see the checks below")
        found = [failed, *examine_files(config), *ports.of_stopped(config.listen)]
        return {"checks": [to_dict(check) for check in found]}


async def _administer(config: Config, operation: str, arguments: dict[str, object]) -> dict[str, Any]:
    # What only reads must not leave a new hub behind where somebody misspelt a directory.
    if operation not in _FIRST and not config.store_url and not (config.data_dir / DATABASE).exists():
        raise FailedPrecondition("DATA_DIR_EMPTY", f"there is no hub in {config.data_dir}: check --data-dir")
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            app = await App.open(config, online=False)
        except FailedPrecondition as held:
            if held.reason != "HUB_RUNNING":
                raise
            answer = await _ask(config.data_dir, operation, arguments)
            if answer is not None:
                return answer
            if time.monotonic() > deadline:
                raise
            # It holds the directory and does not answer yet, or no longer: nothing but time will tell.
            await asyncio.sleep(0.1)
        else:
            try:
                return await app.operations.perform(operation, arguments)
            finally:
                await app.close()


async def _ask(data_dir: Path, operation: str, arguments: dict[str, object]) -> dict[str, Any] | None:
    """None when nobody answers on the socket."""
    directory = PrivateDirectory(data_dir)
    try:
        transport = httpx.AsyncHTTPTransport(uds=directory.address(ADMIN_SOCKET))
        async with httpx.AsyncClient(transport=transport, timeout=httpx.Timeout(120, connect=5)) as client:
            answer = await client.post(f"http://hub/{operation}", json=arguments)
    except httpx.ConnectError:
        return None
    except httpx.HTTPError as cause:
        raise Unavailable("HUB_SILENT", "the running hub did not answer: see its log, and try again") from cause
    finally:
        directory.close()
    document = answer.json()
    if answer.status_code != 200:
        raise error_from_json(document)
    return dict(document)
