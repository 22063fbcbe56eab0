"""What is owed to an upper hub of which a link was ended: kept before the link goes, and no cause of unrest."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.peers import SYSTEM, Bench

from vidhub.errors import InvalidArgument
from vidhub.link.keys import LinkIdentity, LinkKeys
from vidhub.link.leaving import Farewells
from vidhub.link.linking import Linking
from vidhub.link.links import Links
from vidhub.model import HubLevel, HubSide, LinkedHub
from vidhub.mtls import new_key

UPPER = LinkedHub(
    "jiangxi", "江西省", HubLevel.PROVINCE, "360000", HubSide.UPPER, joined=True, link_address="127.0.0.1:1"
)


@dataclass
class Leaver:
    folder: Path
    keys: LinkKeys
    identity: LinkIdentity
    farewells: Farewells
    linking: Linking

    @property
    def kept(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir())


@pytest.fixture
async def leaver(bench: Bench, tmp_path: Path) -> Leaver:
    folder, key = tmp_path / "links", new_key()
    keys, farewells = LinkKeys(folder), Farewells(folder, None)  # type: ignore[arg-type]  # nobody is greeted
    identity = keys.save(UPPER.id, (await bench.enrol(await bench.invite(), key)).certificate_pem, key)
    await bench.peers.joined(SYSTEM, UPPER)
    return Leaver(folder, keys, identity, farewells, Linking(bench.peers, Links(), keys, farewells))


async def test_what_is_owed_is_kept_before_the_link_goes(bench: Bench, leaver: Leaver) -> None:
    seen: list[list[str]] = []
    bench.peers.on_changed(lambda _: seen.append(leaver.kept))
    await leaver.linking.end(SYSTEM, UPPER.name, "区划调整")
    assert seen[0] == [".leaving-jiangxi.json", "jiangxi.pem"]
    assert leaver.kept == [".leaving-jiangxi.json"]


async def test_nothing_is_owed_for_a_link_that_stands(bench: Bench, leaver: Leaver) -> None:
    with pytest.raises(InvalidArgument, match="REASON_MISSING"):
        await leaver.linking.end(SYSTEM, UPPER.id, " ")
    assert leaver.kept == ["jiangxi.pem"]
    assert bench.peers.get(UPPER.id) is not None


async def test_the_end_goes_on_though_the_key_can_t_be_removed(
    bench: Bench, leaver: Leaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "unlink", _refuse)
    told: list[str] = []

    async def ended(hub_id: str) -> None:
        told.append(hub_id)

    bench.peers.on_ended(ended)
    await leaver.linking.end(SYSTEM, UPPER.id, "区划调整")
    assert told == [UPPER.id]


def _refuse(_path: Path, missing_ok: bool = False) -> None:
    raise PermissionError(13, "Permission denied")


async def turns() -> None:
    """Enough for what would begin anew at once to have done so."""
    for _ in range(50):
        await asyncio.to_thread(int)


async def test_what_can_t_be_removed_is_tried_again_later(leaver: Leaver, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[Path] = []
    loop, tried = asyncio.get_running_loop(), asyncio.Event()

    def refuse(path: Path, missing_ok: bool = False) -> None:
        attempts.append(path)
        loop.call_soon_threadsafe(tried.set)
        _refuse(path)

    # Over already: nobody is dialled.
    leaver.farewells.owe(UPPER, replace(leaver.identity, not_after=datetime.now(UTC) - timedelta(days=1)))
    leaver.farewells.begin(UPPER.id)
    monkeypatch.setattr(Path, "unlink", refuse)
    running = asyncio.create_task(leaver.farewells.run())
    async with asyncio.timeout(30):
        await tried.wait()
        await turns()
    assert len(attempts) == 1
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})


async def test_a_time_without_its_zone_is_left_alone(leaver: Leaver, monkeypatch: pytest.MonkeyPatch) -> None:
    leaver.farewells.owe(UPPER, leaver.identity)
    leaver.farewells.begin(UPPER.id)
    file = leaver.folder / ".leaving-jiangxi.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "until": "2026-12-01T00:00:00"}))
    started: list[object] = []
    keep = leaver.farewells._keep

    def note(owed: object) -> object:
        started.append(owed)
        return keep(owed)  # type: ignore[arg-type]

    monkeypatch.setattr(leaver.farewells, "_keep", note)
    running = asyncio.create_task(leaver.farewells.run())
    async with asyncio.timeout(30):
        await turns()
    assert started == []
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})
