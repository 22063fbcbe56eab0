"""Cities for the benches of links: whole hubs in this process, each with cameras of a district below it.

Reads commands from standard input, one JSON object a line, and answers each with one. The districts are not there: what
they would have told is put where it would have been kept, and their states come from here.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vidhub import config, logs
from vidhub.access.shares import EVERYTHING
from vidhub.app import App
from vidhub.catalogue.received import CHUNK, Chunk, Received
from vidhub.link import shared
from vidhub.model import (
    Camera,
    CameraState,
    CameraStream,
    HubLevel,
    HubSide,
    LegalRecord,
    LinkedHub,
    Location,
    Profile,
)
from vidhub.store import hubs

LISTENERS = ("http", "grpc", "rtsp", "rtsp_udp", "rtsps", "webrtc", "metrics")
NAMES = ("胜利西路与站江路口", "月湖公园北门", "门诊楼入口", "操场")
# In one call to the core.
TICK_S = 0.01


class City:
    def __init__(self, number: int, cameras: int) -> None:
        self.id = f"city-{number}"
        self.region = f"360{number + 1}00"
        self.district = f"district-{number}"
        self.ids = [f"{self.region[:4]}020011132{place:07d}" for place in range(cameras)]
        self.app: App

    async def start(self, folder: Path) -> None:
        flags = {f"listen.{name}": "127.0.0.1:0" for name in LISTENERS}
        told = {"HUB__ID": self.id, "HUB__NAME": self.id, "HUB__LEVEL": "city", "HUB__REGION": self.region}
        options = config.load(
            environment={f"VIDHUB_{key}": value for key, value in told.items()},
            flags={"data_dir": folder / self.id, **flags},
        )
        self.app = await App.open(options, online=True)
        await self.app.start()

    @property
    def parts(self) -> Any:
        return self.app._parts

    async def join(self, invitation: dict[str, Any]) -> None:
        upper = await self.parts.links.linking.join(self.parts.system, invitation)
        await self.parts.links.linking.accept(self.parts.system, upper.id)
        await self.parts.shares.create(self.parts.system, upper.id, EVERYTHING)

    async def fill(self, version: int, count: int) -> None:
        """What the district would have told: its first `count` cameras, as of this version."""
        hub = LinkedHub(
            self.district, self.district, HubLevel.DISTRICT, self.region[:4] + "02", HubSide.LOWER,
            joined=True, create_time=datetime.now(UTC),
        )  # fmt: skip
        await self.parts.store.write(lambda conn: hubs.put(conn, hub))
        for start in range(0, count, CHUNK):
            records = [self._record(place, version) for place in range(start, min(count, start + CHUNK))]
            await self.parts.received.take(self.district, Chunk(cameras=records))

    def states(self, places: Sequence[int], state: CameraState, reason: str) -> None:
        now = datetime.now(UTC)
        self.parts.core.apply_states([(self.ids[place], state, now, reason) for place in places])

    def _record(self, place: int, version: int) -> Received:
        camera = Camera(
            id=self.ids[place],
            name=f"{NAMES[place % 4]}{place:05d}号" + (f" v{version}" if version else ""),
            unit_id=f"u-{place % 40:02d}",
            region_code=self.region[:4] + "02",
            industry="11",
            place_category=1 + place % 12,
            location=Location(27.9 + place % 997 * 0.0005, 117.0 + place % 991 * 0.0005),
            streams=(CameraStream(Profile.MAIN), CameraStream(Profile.SUB)),
            legal=LegalRecord(),
            home_hub_id=self.district,
            unit_name=f"第{place % 40}中学",
        )
        return Received(camera, shared.digest(shared.offer(camera, frozenset(), self.id, camera.unit_name)))


async def main(folder: Path, count: int, cameras: int) -> None:
    cities = [City(number, cameras) for number in range(count)]
    for city in cities:
        await city.start(folder)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say({"ready": True})
    async for line in reader:
        command = json.loads(line)
        match command.pop("do"):
            case "join":
                for city, invitation in zip(cities, command["invitations"], strict=True):
                    await city.join(invitation)
            case "fill":
                for city in cities[: command.get("cities", count)]:
                    await city.fill(command["version"], command.get("cameras", cameras))
            case "states":
                await _states(cities, command["rate"], command["seconds"], command["of"])
            case "dark":
                cities[0].states(range(command["cameras"]), CameraState.OFFLINE, "no power")
            case "light":
                cities[0].states(range(command["cameras"]), CameraState.ONLINE, "")
            case "mark":
                for city in cities:
                    city.states([cameras - 1], CameraState.ONLINE, "mark")
            case "digest":
                told = cities[0].parts.links.desk
                found = await told.digest(cities[0].parts.system, command["hub"])
                revision = cities[0].parts.core.revision().number
                _say({"cameras": found.up[0], "sha256": found.up[1].hex(), "revision": revision})
                continue
        _say({"done": time.time()})
    for city in cities:
        await city.app.close()


async def _states(cities: Sequence[City], rate: int, seconds: float, of: str) -> None:
    """So many changes a second in all, each of another camera than the last."""
    each = max(1, round(rate * TICK_S))
    began, sent = time.monotonic(), 0
    while (due := (time.monotonic() - began)) < seconds:
        while sent < due * rate:
            city = cities[sent // each % len(cities)]
            start = sent // len(cities) % len(city.ids)
            turn = sent // len(cities) // len(city.ids)
            state = CameraState.ONLINE if turn % 2 == 0 else CameraState.OFFLINE
            city.states([(start + place) % len(city.ids) for place in range(each)], state, f"{of}, turn {turn}")
            sent += each
        await asyncio.sleep(TICK_S)


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    logs.configure()
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
