"""A hub at work: a unit with cameras, people who may watch them, and the command line beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from support.hub import PASSWORD, PATIENCE_S, HubProcess, Person, UnitIdentity, camera_message, enrol, hub, person

from vidhub.v1 import camera_pb2, camera_service_pb2, camera_service_pb2_grpc

PATROL = {"kind": "patrol"}
# Cameras of the tests are on this machine, which a hub does not dial unless told to.
HERE = {"VIDHUB_SOURCE__ALLOW": "127.0.0.0/8"}


def camera_id(number: int) -> str:
    return camera_message(number).id


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        return dict(json.loads(self.out))

    @property
    def error(self) -> dict[str, Any]:
        return dict(json.loads(self.err.strip().splitlines()[-1])["error"])


async def cli(
    *words: str | Path, stdin: str = "", cwd: Path | None = None, at: Sequence[str] = (), **environment: str
) -> Done:
    """`vidhub --json WORDS`. at: as for `hub`."""
    process = await asyncio.create_subprocess_exec(
        *(*at, sys.executable, "-m", "vidhub.cli", "--json", *map(str, words)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path))), **environment},
    )
    async with asyncio.timeout(PATIENCE_S * 2):
        out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


@dataclass
class Site:
    """A running hub with an enrolled unit."""

    running: HubProcess
    unit: UnitIdentity

    async def register(self, number: int, url: str, *, username: str = "", password: str = "", sub: str = "") -> str:
        """A camera of the unit, by grpcio over mTLS; its id. sub: the URL of its sub stream, if it has one."""
        message = camera_message(number, url)
        message.streams[0].username, message.streams[0].password = username, password
        if sub:
            message.streams.add(profile=camera_pb2.STREAM_PROFILE_SUB, url=sub)
        async with self.unit.channel() as channel:
            stub = camera_service_pb2_grpc.CameraServiceStub(channel)
            await stub.RegisterCamera(camera_service_pb2.RegisterCameraRequest(camera=message), timeout=PATIENCE_S)
        return message.id

    async def operator(self, name: str = "zhang", *, purposes: tuple[str, ...] = ("patrol",)) -> dict[str, Any]:
        """A person who may watch Yingtan; the grant."""
        await self.running.ask("user_add", name=name, roles=["operator"], password=PASSWORD)
        return await self.grant(name, purposes=purposes)

    async def grant(
        self,
        name: str,
        *,
        purposes: tuple[str, ...] = ("patrol",),
        actions: tuple[str, ...] = ("view_live",),
        **scope: object,
    ) -> dict[str, Any]:
        return await self.running.ask(
            "grant_create",
            username=name,
            actions=list(actions),
            purposes=list(purposes),
            not_after=(datetime.now(UTC) + timedelta(days=1)).isoformat(),
            **(scope or {"region_prefixes": ["3606"]}),
        )

    async def camera(self, identifier: str) -> dict[str, Any]:
        return await self.running.ask("camera_show", id=identifier)

    async def until_state(self, identifier: str, state: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """Looks until the camera is in that state, "ONLINE"."""
        async with asyncio.timeout(within_s):
            while True:
                camera = await self.camera(identifier)
                if camera.get("state", "") == f"CAMERA_STATE_{state}":
                    return camera

    async def entries(self, *, action: str = "", result: str = "", **wanted: str) -> list[dict[str, Any]]:
        """Of the register of use, newest first."""
        found = (await self.running.ask("audit_list", action=action, limit=1000))["entries"]
        wanted = {**wanted, **({"result": result} if result else {})}
        return [entry for entry in found if all(entry.get(key) == value for key, value in wanted.items())]

    async def on_record(self, within_s: float = PATIENCE_S, **wanted: str) -> dict[str, Any]:
        """The newest entry like that, as soon as there is one."""
        async with asyncio.timeout(within_s):
            while True:
                if found := await self.entries(**wanted):
                    return found[0]


@contextlib.asynccontextmanager
async def site(data: Path, *flags: str, **environment: str) -> AsyncIterator[Site]:
    async with hub(data, *flags, **HERE, **environment) as running:
        yield Site(running, await enrol(running))


async def opened(caller: Person, identifier: str, **purpose: str) -> dict[str, Any]:
    """A session and its ticket."""
    answer = await caller.call("SessionService/OpenSession", cameraId=identifier, purpose=purpose or PATROL)
    assert "ticket" in answer, answer
    return answer


async def scrape(running: HubProcess) -> tuple[str, dict[str, float]]:
    """The text, and each sample by name and labels."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://{running.ready['metrics']}/metrics")
    assert answer.status_code == 200
    samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}"] = sample.value
    return answer.text, samples


__all__ = ["HERE", "PATIENCE_S", "PATROL", "Done", "Site", "camera_id", "cli", "opened", "person", "scrape", "site"]
