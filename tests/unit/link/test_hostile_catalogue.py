"""A peer that tells what is not its to tell: refused by name, on record, and nobody else pays for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection
from support.catalogues import Joined, Sharing, in_step, joined, sharing, until
from support.domain import SYSTEM, camera

from vidhub.api import convert
from vidhub.errors import Unavailable
from vidhub.link import shared
from vidhub.link.sending import MOST_ASKED, WINDOW
from vidhub.model import HubSide, Revision, Scope
from vidhub.store import remote_cameras
from vidhub.v1 import link_service_pb2 as pb


def record(number: int, **changed: Any) -> Any:
    message = shared.offer(camera(number, unit_id="u9"), frozenset(), "district", "")
    for name, value in changed.items():
        setattr(message, name, value)
    return message


async def answers(link: Joined, name: str, count: int = 1) -> list[Any]:
    """What the upper side said by that name, once there is so much of it."""

    def found() -> list[Any]:
        return [getattr(one, name) for one in link.said if one.WhichOneof("body") == name]

    await until(lambda: len(found()) >= count)
    return found()


async def refused(link: Joined, reason: str) -> None:
    """Looks until the upper side has told of it."""
    await until(lambda: any(one.problem.reason == reason for one in link.said))


@pytest.fixture
async def ready(district: Sharing, city: Sharing) -> Sharing:
    """The district, which shares camera 1."""
    await district.register(1)
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    return district


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("REGION_NOT_OF_PEER", {"region_code": "360603"}),
        ("PATH_CYCLE", {"home_hub_id": "city"}),
        ("NAME_INVALID", {"name": "\x07"}),
        ("PLACE_FORBIDDEN", {"place_category": 91}),
    ],
)
async def test_one_bad_camera_is_refused_and_the_rest_is_taken(
    ready: Sharing, city: Sharing, reason: str, change: dict[str, Any]
) -> None:
    async with joined(ready, city) as link:
        await in_step(ready, city)
        at = ready.domain.core.revision()
        delta = pb.CatalogueDelta(epoch=at.epoch, after=at.number, number=at.number)
        delta.upserts.extend([record(5), record(6, **change), record(7)])
        link.lower.send(catalogue_delta=delta)
        await until(lambda: {camera(5).id, camera(7).id} <= city.ids())
        assert camera(6).id not in city.ids()
        told = (await answers(link, "camera_conflicts", 2))[-1]
        assert [(one.camera_id, one.reason) for one in told.conflicts] == [(camera(6).id, reason)]
        assert told.total == 1
        await until(lambda: ready.out.refused("city", camera(6).id))
    entries = await city.domain.entries("catalogue.refused")
    assert [(one.record.principal, one.record.result) for one in entries] == [("hub/district", reason)]


async def test_a_camera_that_breaks_a_rule_later_goes(ready: Sharing, city: Sharing) -> None:
    async with joined(ready, city) as link:
        await in_step(ready, city)
        at = ready.domain.core.revision()
        delta = pb.CatalogueDelta(epoch=at.epoch, after=at.number, number=at.number)
        delta.upserts.append(record(1, region_code="360603"))
        link.lower.send(catalogue_delta=delta)
        await until(lambda: city.ids() == set())


Change = Callable[[Revision], pb.CatalogueDelta]


@pytest.mark.parametrize(
    "delta",
    [
        lambda at: pb.CatalogueDelta(epoch=at.epoch, after=at.number + 5, number=at.number + 9),
        lambda at: pb.CatalogueDelta(epoch="another", after=at.number, number=at.number + 1),
        lambda at: pb.CatalogueDelta(epoch=at.epoch, after=at.number, number=at.number - 1),
        lambda at: pb.CatalogueDelta(epoch=at.epoch, after=at.number, number=2**63),
    ],
    ids=["of the future", "of another epoch", "backwards", "past all numbers"],
)
async def test_a_delta_that_does_not_go_on_is_refused(ready: Sharing, city: Sharing, delta: Change) -> None:
    async with joined(ready, city) as link:
        await in_step(ready, city)
        message = delta(ready.domain.core.revision())
        message.upserts.append(record(5))
        link.lower.send(catalogue_delta=message)
        await refused(link, "REVISION_UNKNOWN")
        assert city.ids() == {camera(1).id}
        assert link.upper.is_open
        await ready.register(2)
        await in_step(ready, city)


@pytest.mark.parametrize(
    "message",
    [
        {"catalogue_delta": pb.CatalogueDelta(upserts=[record(1)] * 501)},
        {"catalogue_delta": pb.CatalogueDelta(removed=["1" * 20] * 2_001)},
        {"catalogue_range": pb.CatalogueRange(cameras=[record(2), record(1)])},
        {"catalogue_range": pb.CatalogueRange(after="4", last="3")},
        {"catalogue_digest": pb.CatalogueDigest()},
        {"catalogue_digest": pb.CatalogueDigest(ranges=[pb.RangeDigest(after="5", last="")])},
        {"camera_states": pb.CameraStates(states=[pb.CameraStates.State(camera_id="1" * 20, state=2)] * 2_001)},
        {"catalogue_ack": pb.CatalogueAck()},
        {"catalogue_difference": pb.CatalogueDifference()},
        {"camera_conflicts": pb.CameraConflicts(total=3)},
    ],
    ids=lambda message: next(iter(message)),
)
async def test_malformed_messages_end_nothing(ready: Sharing, city: Sharing, message: dict[str, Any]) -> None:
    async with joined(ready, city) as link:
        await in_step(ready, city)
        link.lower.send(**message)
        await ready.register(2)
        await in_step(ready, city)
        assert city.ids() == {camera(1).id, camera(2).id}
        assert link.upper.is_open


async def test_ranges_with_holes_are_no_digest(ready: Sharing, city: Sharing) -> None:
    async with joined(ready, city) as link:
        await in_step(ready, city)
        at = convert.to_revision(Revision("evil", 9))
        whole = bytes(32)
        ranges = [pb.RangeDigest(last="3" * 20, sha256=whole), pb.RangeDigest(after="4" * 20, sha256=whole)]
        link.lower.send(catalogue_digest=pb.CatalogueDigest(revision=at, ranges=ranges))
        await refused(link, "DIGEST_INVALID")
        # Nor may a range come that no digest has asked for.
        link.lower.send(catalogue_range=pb.CatalogueRange(revision=at, final=True))
        await refused(link, "REVISION_UNKNOWN")
        assert city.ids() == {camera(1).id}


async def test_what_is_ours_or_another_link_s_can_t_be_removed(ready: Sharing, city: Sharing, tmp_path: Path) -> None:
    (own,) = await city.register(50)
    async with sharing(tmp_path / "other", "other", "360603") as other:
        (theirs,) = await other.register(60, region_code="360603")
        await other.know(city, HubSide.UPPER)
        await other.share(city)
        async with joined(other, city) as beside, joined(ready, city) as link:
            await in_step(other, city)
            await in_step(ready, city)
            before, at = city.domain.core.revision(), ready.domain.core.revision()
            delta = pb.CatalogueDelta(epoch=at.epoch, after=at.number, number=at.number, removed=[own, theirs])
            link.lower.send(catalogue_delta=delta)
            # The whole space of ids, empty: only what came by this link may go.
            span = pb.RangeDigest(after="", last="", sha256=bytes(32))
            revision = convert.to_revision(at)
            link.lower.send(catalogue_digest=pb.CatalogueDigest(revision=revision, ranges=[span]))
            link.lower.send(catalogue_range=pb.CatalogueRange(revision=revision, final=True))

            def removed() -> set[str]:
                return {one.camera_id for one in city.domain.core.changes_since(before, 100) if one.removed}

            await until(lambda: removed() == {camera(1).id})
            assert {own, theirs} <= city.ids()
            assert beside.upper.is_open


async def test_the_one_that_was_there_keeps_the_id_until_it_goes(ready: Sharing, city: Sharing, tmp_path: Path) -> None:
    async with sharing(tmp_path / "other", "other", "360602") as other:
        await other.register(1, name="后来的")
        await other.know(city, HubSide.UPPER)
        await other.share(city)
        async with joined(ready, city):
            await in_step(ready, city)
            async with joined(other, city) as late:
                told = (await answers(late, "camera_conflicts", 2))[-1].conflicts
                assert [(one.reason, one.holder_hub_id) for one in told] == [("CAMERA_ID_TAKEN", "district")]
                assert (await in_step(other, city))[0] == 0, "what is not taken does not count"
                assert (await city.domain.catalogue.get(SYSTEM, camera(1).id)).name == "东门1"
                await ready.domain.shares.delete_of(SYSTEM, "city", Scope(region_prefixes=tuple("123456789")))
                await until(lambda: city.domain.remote.link_of(camera(1).id) == "other")
                assert (await in_step(other, city))[0] == 1
                assert (await city.domain.catalogue.get(SYSTEM, camera(1).id)).name == "后来的"
                left = await city.domain.store.read(lambda conn: remote_cameras.conflict_count(conn, "other"))
                assert left == 0


async def test_conflicts_are_bounded_the_oldest_go(
    ready: Sharing, city: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_cameras, "MOST_CONFLICTS", 100)
    async with joined(ready, city) as link:
        await in_step(ready, city)
        at = ready.domain.core.revision()
        for start in range(100, 500, 100):
            delta = pb.CatalogueDelta(epoch=at.epoch, after=at.number, number=at.number)
            delta.upserts.extend(record(number, region_code="110101") for number in range(start, start + 100))
            link.lower.send(catalogue_delta=delta)
        await answers(link, "catalogue_ack", 5)
        kept = await city.domain.store.read(lambda conn: remote_cameras.conflicts(conn, "district", 1_000))
        assert len(kept) == 100
    folded = await city.domain.entries("catalogue.refused")
    counted = sum(json.loads(one.record.detail_json).get("refused", 0) for one in folded)
    more = sum(json.loads(one.record.detail_json).get("folded", 0) for one in folded)
    assert counted + 100 * more == 400


async def test_a_million_cameras_at_once_wait_and_harm_no_neighbour(
    ready: Sharing, city: Sharing, tmp_path: Path
) -> None:
    """They are pushed without waiting for any confirmation; what waits is bounded, and the other link goes on."""
    async with sharing(tmp_path / "other", "other", "360603") as other:
        await other.know(city, HubSide.UPPER)
        await other.share(city)
        async with joined(other, city) as beside, joined(ready, city) as link:
            await in_step(ready, city)
            at = ready.domain.core.revision()
            flood = pb.CatalogueDelta(epoch=at.epoch, after=at.number, number=at.number)
            flood.upserts.extend(record(number) for number in range(2, 502))

            async def pour() -> None:
                for _ in range(2_000):
                    await link.lower.send_bulk(catalogue_delta=flood)

            pouring = asyncio.create_task(pour())
            try:
                for number in range(60, 70):
                    await other.register(number, region_code="360603")
                    await in_step(other, city)
                waiting = sum(inbox.qsize() for inbox in link.upper._inboxes.values())
                assert waiting <= 64
                assert beside.upper.is_open
            finally:
                pouring.cancel()
                await asyncio.gather(pouring, return_exceptions=True)


async def test_wishes_for_ranges_are_bounded_and_name_nothing_that_is_not_shared(
    district: Sharing, city: Sharing
) -> None:
    shown, hidden = await district.register(1, 2)
    await district.know(city, HubSide.UPPER)
    await district.share(city, Scope(camera_ids=(shown,)))
    async with joined(district, city) as link:
        await in_step(district, city)
        wish = pb.RangeDigest(after="", last="", sha256=bytes(32))
        for _ in range(5):
            link.upper.send(catalogue_difference=pb.CatalogueDifference(ranges=[wish] * 900))
        await answers(link, "catalogue_ack", 3)
        sender = district.out._tellings["city"].sender
        assert len(sender._asked) <= MOST_ASKED
        assert len(sender._pending) <= WINDOW
        assert hidden.encode() not in b"".join(one.SerializeToString() for one in link.sent)


async def test_a_rule_that_moves_in_the_middle_of_a_comparison_holds(district: Sharing, city: Sharing) -> None:
    await district.register(*range(1, 1_501))
    await district.know(city, HubSide.UPPER)
    await district.share(city)
    async with joined(district, city):
        await until(lambda: len(city.ids()) > 200)
        await district.domain.shares.delete_of(SYSTEM, "city", Scope(region_prefixes=tuple("123456789")))
        kept = camera(7).id
        await district.share(city, Scope(camera_ids=(kept,)))
        assert (await in_step(district, city))[0] == 1
        assert city.ids() == {kept}


async def test_a_receiver_that_can_t_write_is_compared_with_again(
    ready: Sharing, city: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when its disk is full for a moment: nothing is lost, and nobody has to do anything."""
    failing = [True, True]
    whole = remote_cameras.digests

    def digests(conn: Connection, hub_id: str) -> list[tuple[str, bytes]]:
        if failing:
            failing.pop()
            raise Unavailable("STORE_UNAVAILABLE", "the disk is full")
        return whole(conn, hub_id)

    monkeypatch.setattr(remote_cameras, "digests", digests)
    async with joined(ready, city) as link:
        await until(lambda: city.ids() == {camera(1).id})
        assert failing == []
        await in_step(ready, city)
        write = city.domain.received._write
        broken = [True]

        def once(*words: Any) -> Any:
            if broken:
                broken.pop()
                raise Unavailable("STORE_UNAVAILABLE", "the disk is full")
            return write(*words)

        monkeypatch.setattr(city.domain.received, "_write", once)
        await ready.register(2)
        await in_step(ready, city)
        assert broken == []
        assert city.ids() == {camera(1).id, camera(2).id}
        assert link.upper.is_open
