"""Sharing rules: who makes them, what they may name, what they let a linked hub see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.domain import SYSTEM, Domain, camera, domain_of, person, unit

from vidhub.access import shares
from vidhub.access.beyond import Asked
from vidhub.access.grants import GrantFilter
from vidhub.access.shares import EVERYTHING
from vidhub.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from vidhub.model import (
    Action,
    HubLevel,
    HubSide,
    LinkedHub,
    Principal,
    PrincipalKind,
    Profile,
    Purpose,
    Revision,
    Role,
    Scope,
)
from vidhub.store import hubs, meta, sessions

CITY = LinkedHub(
    "city", "市平台", HubLevel.CITY, "360600", HubSide.UPPER, joined=True, create_time=datetime.now(UTC)
)  # fmt: skip
REGION = Scope(region_prefixes=("3606",))


@pytest.fixture
async def domain(tmp_path: Path) -> AsyncIterator[Domain]:
    async with domain_of(tmp_path) as found:
        await found.store.write(lambda conn: hubs.put(conn, CITY))
        await found.catalogue.register(unit(), [camera(number) for number in range(1, 6)])
        yield found


def sees(domain: Domain) -> set[str]:
    return {one for number in range(1, 6) if domain.shares.camera("city", one := camera(number).id) is not None}


async def test_a_rule_lets_the_hub_see_and_taking_it_back_ends_that(domain: Domain) -> None:
    changed: list[str] = []
    domain.shares.on_changed(changed.append)
    assert sees(domain) == set()
    share = await domain.shares.create(SYSTEM, "city", Scope(camera_ids=(camera(1).id, camera(2).id)))
    assert share.actions == (Action.LIST, Action.VIEW_LIVE)
    assert "patrol" in share.purposes
    assert len(share.purposes) == 7
    assert sees(domain) == {camera(1).id, camera(2).id}
    hub = Principal(PrincipalKind.HUB, "city")
    assert domain.core.authorise(hub, Action.VIEW_LIVE, camera(1).id, "patrol").grant_id == share.id
    assert not domain.core.authorise(hub, Action.SNAPSHOT, camera(1).id, "patrol").allowed
    await domain.shares.delete_of(SYSTEM, "city", share.scope)
    assert sees(domain) == set()
    assert changed == ["city", "city"]
    entries = [
        (one.record.action, one.record.grant_id) for one in await domain.entries() if "share" in one.record.action
    ]
    assert entries == [("share.create", share.id), ("share.delete", share.id)]


async def test_every_change_of_rules_takes_a_revision_that_outlives_a_restart(domain: Domain, tmp_path: Path) -> None:
    before = domain.core.revision()
    await domain.shares.create(SYSTEM, "city", EVERYTHING)
    after = await domain.store.read(meta.revision)
    assert domain.shares.changed_at("city") == after.number == before.number + 1 == domain.core.revision().number
    async with domain_of(tmp_path) as again:
        assert again.shares.changed_at("city") == after.number
        assert len(sees(again)) == 5


async def test_a_rule_given_while_the_clock_ran_ahead_holds_when_it_is_set_right(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain.shares, "_clock", lambda: datetime.now(UTC) + timedelta(minutes=10))
    await domain.shares.create(SYSTEM, "city", REGION)
    assert len(sees(domain)) == 5


async def test_a_rule_of_the_same_scope_is_replaced(domain: Domain) -> None:
    await domain.shares.create(SYSTEM, "city", REGION)
    share = await domain.shares.create(SYSTEM, "city", REGION, actions=[Action.LIST], fields=["device", "legal"])
    assert domain.shares.of("city") == (share,)
    assert share.fields == ("legal", "device")
    assert domain.shares.fields_for("city", camera(1)) == {"legal", "device"}
    assert domain.shares.fields_for("city", camera(1, region_code="110101")) == frozenset()


async def test_a_rule_that_is_changed_keeps_the_views_that_it_still_permits(domain: Domain) -> None:
    share = await domain.shares.create(SYSTEM, "city", REGION, purposes=["patrol", "incident"])
    viewer = Principal(PrincipalKind.USER, "li@city", hub_id="city", roles=frozenset({Role.OPERATOR}))

    async def watch(kind: str) -> str:
        asked = Asked("city", f"by-{kind}", ("city",), datetime.now(UTC) + timedelta(hours=1))
        return (await domain.foreign.open(viewer, camera(1).id, Purpose(kind), Profile.AUTO, asked)).id

    patrol, incident = await watch("patrol"), await watch("incident")
    wider = await domain.shares.create(SYSTEM, "city", REGION, purposes=["patrol", "incident", "traffic"])
    assert (wider.id, domain.book.viewer(patrol) is not None) == (share.id, True)
    await domain.shares.create(SYSTEM, "city", REGION, purposes=["incident"])
    async with asyncio.timeout(30):
        while len(left := await domain.store.read(sessions.load_open)) > 1:  # noqa: ASYNC110 - the store has no event
            await asyncio.sleep(0.01)
    assert [one.id for one in left] == [incident]
    gone = await domain.store.read(lambda conn: sessions.get(conn, patrol))
    assert gone is not None
    assert gone.end_reason == "GRANT_REVOKED"
    (standing,) = domain.shares.of("city")
    assert standing.purposes == ("incident",)


@pytest.mark.parametrize(
    ("reason", "scope", "given"),
    [
        ("SCOPE_EMPTY", Scope(), {}),
        ("SCOPE_TOO_LONG", Scope(unit_ids=("u1",) * 1_001), {}),
        ("CAMERA_UNKNOWN", Scope(camera_ids=("36060200111322099999",)), {}),
        ("UNIT_UNKNOWN", Scope(unit_ids=("nobody",)), {}),
        ("REGION_UNKNOWN", Scope(region_prefixes=("99",)), {}),
        ("INDUSTRY_UNKNOWN", Scope(industries=("77",)), {}),
        ("PURPOSE_UNKNOWN", REGION, {"purposes": ["fun"]}),
        ("ACTION_NOT_SERVED", REGION, {"actions": [Action.TALK]}),
        ("FIELD_UNKNOWN", REGION, {"fields": ["password"]}),
    ],
)
async def test_what_a_rule_may_not_say(domain: Domain, reason: str, scope: Scope, given: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await domain.shares.create(SYSTEM, "city", scope, **given)  # type: ignore[arg-type]
    assert {one.reason for one in refused.value.violations} == {reason}
    assert domain.shares.all() == ()


async def test_rules_are_an_administrator_s_and_only_for_hubs_that_have_joined(domain: Domain) -> None:
    for role in set(Role) - {Role.ADMINISTRATOR}:
        with pytest.raises(PermissionDenied):
            await domain.shares.create(person("li", role), "city", REGION)
    share = await domain.shares.create(person("chen", Role.ADMINISTRATOR), "city", REGION)
    with pytest.raises(PermissionDenied):
        await domain.shares.delete(person("li", Role.SUPERVISOR), share.id)
    with pytest.raises(NotFound) as unknown:
        await domain.shares.create(SYSTEM, "nowhere", REGION)
    assert unknown.value.reason == "HUB_NOT_FOUND"
    await domain.store.write(lambda conn: hubs.put(conn, replace(CITY, id="invited-1", name="县平台", joined=False)))
    with pytest.raises(FailedPrecondition, match="HUB_NOT_JOINED: 县平台"):
        await domain.shares.create(SYSTEM, "invited-1", REGION)
    for share_id in ("s-none", ""):
        with pytest.raises(NotFound) as gone:
            await domain.shares.delete(SYSTEM, share_id)
        assert gone.value.reason == "SHARE_NOT_FOUND"


async def test_rules_are_bounded(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "MOST_SHARES", 2)
    for number in (1, 2):
        await domain.shares.create(SYSTEM, "city", Scope(camera_ids=(camera(number).id,)))
    await domain.shares.create(SYSTEM, "city", Scope(camera_ids=(camera(2).id,)), actions=[Action.LIST])
    with pytest.raises(ResourceExhausted) as refused:
        await domain.shares.create(SYSTEM, "city", Scope(camera_ids=(camera(3).id,)))
    assert refused.value.reason == "LIMIT_SHARES"


async def test_a_rule_is_no_grant_of_people(domain: Domain) -> None:
    share = await domain.shares.create(SYSTEM, "city", REGION)
    assert (await domain.grants.list(SYSTEM, GrantFilter(include_ended=True))).grants == ()
    with pytest.raises(FailedPrecondition) as refused:
        await domain.grants.revoke(SYSTEM, share.id, "by mistake")
    assert refused.value.reason == "GRANT_IS_SHARE"
    zhang = await domain.add_user(person("zhang", Role.OPERATOR))
    assert not domain.core.authorise(zhang, Action.VIEW_LIVE, camera(1).id, Purpose("patrol").kind).allowed


async def test_a_preview_counts_what_is_new(domain: Domain) -> None:
    await domain.shares.create(SYSTEM, "city", Scope(camera_ids=(camera(1).id,)))
    seen = await domain.shares.preview(person("li", Role.SUPERVISOR), "city", EVERYTHING)
    assert (seen.cameras, seen.added, len(seen.sample)) == (5, 4, 5)
    domain.remote.put("city", [camera(5)])
    assert (await domain.shares.preview(SYSTEM, "city", EVERYTHING)).cameras == 4, "what came from it does not go back"
    with pytest.raises(InvalidArgument):
        await domain.shares.preview(SYSTEM, "city", Scope())
    assert len(domain.shares.of("city")) == 1


async def test_a_scope_is_the_same_in_whatever_order_it_is_written(domain: Domain) -> None:
    one, two = camera(1).id, camera(2).id
    first = await domain.shares.create(SYSTEM, "city", Scope(camera_ids=(one, two)))
    changed = await domain.shares.create(SYSTEM, "city", Scope(camera_ids=(two, one)), actions=[Action.LIST])
    assert (changed.id, len(domain.shares.of("city"))) == (first.id, 1)
    await domain.shares.delete_of(SYSTEM, "city", Scope(camera_ids=(two, one)))
    assert sees(domain) == set()


async def test_a_preview_tells_the_whole_rule_and_what_goes_with_it(domain: Domain) -> None:
    """Who leaves out what may be done gives the widest: it is said before."""
    seen = await domain.shares.preview(SYSTEM, "city", REGION)
    assert (seen.share.actions, len(seen.share.purposes)) == ((Action.LIST, Action.VIEW_LIVE), 7)
    seen = await domain.shares.preview(
        SYSTEM, "city", REGION, actions=[Action.LIST], purposes=["patrol"], fields=["legal"]
    )
    assert (seen.share.actions, seen.share.purposes, seen.share.fields) == ((Action.LIST,), ("patrol",), ("legal",))
    assert domain.shares.all() == ()
    for given in ({"purposes": ["nope"]}, {"fields": ["password"]}):
        with pytest.raises(InvalidArgument):
            await domain.shares.preview(SYSTEM, "city", REGION, **given)


async def test_a_preview_counts_what_no_other_rule_shares(domain: Domain) -> None:
    wide, narrow = Scope(camera_ids=(camera(1).id, camera(2).id)), Scope(camera_ids=(camera(2).id,))
    assert (await domain.shares.preview(SYSTEM, "city", wide)).alone == 2
    for scope in (wide, narrow):
        await domain.shares.create(SYSTEM, "city", scope)
    assert [(await domain.shares.preview(SYSTEM, "city", scope)).alone for scope in (wide, narrow)] == [1, 0]


async def test_rules_that_an_end_has_left_go_at_the_next_start(domain: Domain) -> None:
    await domain.shares.create(SYSTEM, "city", EVERYTHING)
    await domain.shares.start(SYSTEM, {"city"})
    assert len(sees(domain)) == 5
    # The hub was stopped between the end of the link and that of its rules.
    await domain.shares.start(SYSTEM, set())
    assert sees(domain) == set()
    assert domain.shares.all() == ()


async def test_ids_are_those_of_the_cameras_that_it_may_know_of(
    domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def both() -> tuple[list[str], list[str]]:
        seen = [camera.id async for page in domain.shares.visible("city") for camera in page]
        return seen, [one async for page in domain.shares.visible_ids("city") for one in page]

    assert await both() == ([], [])
    monkeypatch.setattr(shares, "_PAGE", 2)
    await domain.shares.create(SYSTEM, "city", EVERYTHING)
    domain.remote.put("city", [camera(5)])
    seen, ids = await both()
    assert ids == seen == [camera(number).id for number in range(1, 5)]


def test_a_camera_at_a_revision_is_else_the_same() -> None:
    one, revision = camera(1, unit_name="一中"), Revision("e", 7)
    assert one.at(revision) == replace(one, revision=revision)
