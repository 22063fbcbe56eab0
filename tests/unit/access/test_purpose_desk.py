"""The register of purposes as its keepers change it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from support.domain import SYSTEM, Domain, camera, person, unit

from vidhub.access import purpose_desk
from vidhub.access.purpose_desk import PurposeDesk
from vidhub.access.purposes import Purposes
from vidhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied, VidhubError
from vidhub.model import Action, Grant, Purpose, Role, Scope
from vidhub.store import purposes
from vidhub.store.purposes import DEFAULTS, PurposeKind

FLOOD = PurposeKind("flood_2026", "防汛", "Flood control", wants_reference=True)


@dataclass
class Kept:
    domain: Domain
    register: Purposes
    desk: PurposeDesk


@pytest.fixture
def kept(domain: Domain) -> Kept:
    register = domain.sessions._purposes
    return Kept(domain, register, PurposeDesk(store=domain.store, audit=domain.audit, purposes=register))


async def test_a_kind_is_added_changed_retired_and_brought_back(kept: Kept) -> None:
    supervisor = person("duizhang", Role.SUPERVISOR)
    await kept.desk.create(supervisor, FLOOD)
    assert kept.register.kinds() == (*DEFAULTS, FLOOD)
    with pytest.raises(InvalidArgument, match="PURPOSE_REFERENCE_MISSING"):
        kept.register.check(Purpose("flood_2026"))
    free = await kept.desk.update(supervisor, PurposeKind("flood_2026", "防汛抗旱", "Floods and droughts"))
    assert kept.register.check(Purpose("flood_2026")).kind == "flood_2026"
    retired = await kept.desk.retire(supervisor, "flood_2026", "the river is down")
    assert retired.retire_time is not None
    assert kept.desk.list() == DEFAULTS
    assert kept.desk.list(include_retired=True) == (*DEFAULTS, retired)
    with pytest.raises(InvalidArgument, match="PURPOSE_RETIRED"):
        kept.register.check(Purpose("flood_2026"))
    assert kept.register.unknown(["flood_2026", "patrol"]) == ["flood_2026"]
    for act in (kept.desk.update(supervisor, FLOOD), kept.desk.retire(supervisor, "flood_2026", "again")):
        with pytest.raises(VidhubError, match="PURPOSE_UNKNOWN"):
            await act
    await kept.desk.create(supervisor, free)
    assert Purposes(await kept.domain.store.read(purposes.load)).kinds() == (*DEFAULTS, free), "as a restart finds it"
    entries = [
        (e.record.action, e.record.resource) for e in await kept.domain.entries() if "purpose" in e.record.action
    ]
    steps = ("create", "update", "retire", "create")
    assert entries == [(f"purpose.{step}", "purpose/flood_2026") for step in steps]
    last = (await kept.domain.entries("purpose.retire"))[0].record
    assert json.loads(last.detail_json)["reason"] == "the river is down"


async def test_a_view_for_a_retired_purpose_is_not_renewed(kept: Kept) -> None:
    domain = kept.domain
    operator = await domain.add_user(person("zhang", Role.OPERATOR))
    await domain.catalogue.register(unit("u1"), [camera(1)])
    now = datetime.now(UTC)
    scope = Scope(region_prefixes=("3606",))
    wanted = Grant("", "zhang", "", scope, (Action.VIEW_LIVE,), ("patrol",), now, now + timedelta(days=1))
    await domain.grants.create(person("lin", Role.APPROVER), wanted)
    opened = await domain.sessions.open(operator, camera(1).id, Purpose("patrol"))
    await domain.sessions.renew(operator, opened.session.id)
    await kept.desk.retire(SYSTEM, "patrol", "no more")
    with pytest.raises(FailedPrecondition, match="PURPOSE_RETIRED"):
        await domain.sessions.renew(operator, opened.session.id)
    with pytest.raises(InvalidArgument, match="PURPOSE_RETIRED"):
        await domain.sessions.open(operator, camera(1).id, Purpose("patrol"))


@pytest.mark.parametrize("kind", ["", "Patrol", "7", "a-b", "a b", "publish", "x" * 33, "防汛"])
async def test_kinds_that_are_none(kept: Kept, kind: str) -> None:
    with pytest.raises(InvalidArgument, match="PURPOSE_INVALID") as caught:
        await kept.desk.create(SYSTEM, PurposeKind(kind, "", "x" * 65))
    assert [one.field for one in caught.value.violations] == ["purpose.kind", "purpose.name", "purpose.name_en"]


async def test_who_keeps_the_register(kept: Kept) -> None:
    for role in set(Role) - {Role.SUPERVISOR, Role.ADMINISTRATOR}:
        who = person("a", role)
        for act in (
            kept.desk.create(who, FLOOD),
            kept.desk.update(who, DEFAULTS[0]),
            kept.desk.retire(who, "patrol", "why"),
        ):
            with pytest.raises(PermissionDenied, match="ROLE_NOT_PERMITTED"):
                await act
    await kept.desk.create(person("root", Role.ADMINISTRATOR), FLOOD)


async def test_the_register_has_bounds(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VidhubError, match="PURPOSE_EXISTS"):
        await kept.desk.create(SYSTEM, DEFAULTS[0])
    with pytest.raises(InvalidArgument, match="REASON_MISSING"):
        await kept.desk.retire(SYSTEM, "patrol", " ")
    monkeypatch.setattr(purpose_desk, "MOST_IN_FORCE", len(DEFAULTS))
    with pytest.raises(VidhubError, match="LIMIT_PURPOSES"):
        await kept.desk.create(SYSTEM, FLOOD)
    monkeypatch.setattr(purpose_desk, "MOST_EVER", len(DEFAULTS))
    for kind in DEFAULTS[1:]:
        await kept.desk.retire(SYSTEM, kind.kind, "test")
    with pytest.raises(VidhubError, match="LIMIT_PURPOSES"):
        await kept.desk.create(SYSTEM, FLOOD)
    with pytest.raises(FailedPrecondition, match="PURPOSE_LAST"):
        await kept.desk.retire(SYSTEM, DEFAULTS[0].kind, "test")
