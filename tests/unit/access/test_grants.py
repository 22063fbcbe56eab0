"""Grants on a real store and core."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.domain import SYSTEM, Domain, camera, person, unit

from vidhub.access import grant_rules
from vidhub.access.grants import GrantFilter
from vidhub.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from vidhub.model import Action, CameraFilter, Grant, Role, Scope

APPROVER = person("lin", Role.APPROVER, department="审批科")
OPERATOR = person("zhang", Role.OPERATOR, department="指挥中心")


def wanted(**changed: object) -> Grant:
    now = datetime.now(UTC)
    fields: dict[str, object] = {
        "id": "",
        "username": "zhang",
        "department": "",
        "scope": Scope(region_prefixes=("3606",)),
        "actions": (Action.VIEW_LIVE,),
        "purposes": ("patrol",),
        "not_before": now,
        "not_after": now + timedelta(days=1),
        "reason": "夜间巡查",
    }
    return Grant(**{**fields, **changed})  # type: ignore[arg-type]


@pytest.fixture
async def ready(domain: Domain) -> Domain:
    await domain.add_user(OPERATOR)
    await domain.add_user(APPROVER)
    await domain.catalogue.register(unit("u1"), [camera(1)])
    await domain.catalogue.register(unit("u2"), [camera(2, region_code="360681", industry="42")])
    return domain


async def test_a_grant_takes_effect_and_is_on_record(ready):
    with pytest.raises(NotFound):
        await ready.catalogue.get(OPERATOR, camera(1).id)
    given = await ready.grants.create(APPROVER, wanted())
    assert given.id
    assert given.actions == (Action.LIST, Action.VIEW_LIVE)
    assert given.created_by == "user/lin"
    assert (await ready.catalogue.get(OPERATOR, camera(1).id)).id == camera(1).id
    (entry,) = await ready.entries("grant.create")
    assert (entry.record.principal, entry.record.grant_id) == ("user/lin", given.id)
    assert "夜间巡查" not in entry.record.principal


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"username": "", "department": ""}, "SUBJECT_INVALID"),
        ({"department": "指挥中心"}, "SUBJECT_INVALID"),
        ({"username": "nobody"}, "USER_UNKNOWN"),
        ({"username": "", "department": "无"}, "DEPARTMENT_UNKNOWN"),
        ({"scope": Scope()}, "SCOPE_EMPTY"),
        ({"scope": Scope(camera_ids=(camera(9).id,))}, "CAMERA_UNKNOWN"),
        ({"scope": Scope(unit_ids=("u9",))}, "UNIT_UNKNOWN"),
        ({"scope": Scope(region_prefixes=("99",))}, "REGION_UNKNOWN"),
        ({"scope": Scope(region_prefixes=("",))}, "REGION_UNKNOWN"),
        ({"scope": Scope(industries=("60",))}, "INDUSTRY_UNKNOWN"),
        ({"actions": ()}, "ACTIONS_MISSING"),
        ({"actions": (Action.PLAYBACK,)}, "ACTION_NOT_SERVED"),
        ({"purposes": ()}, "PURPOSES_MISSING"),
        ({"purposes": ("patrol", "fun")}, "PURPOSE_UNKNOWN"),
        ({"purposes": ("publish",)}, "PURPOSE_UNKNOWN"),
        ({"not_after": datetime(2020, 1, 1, tzinfo=UTC)}, "GRANT_ENDED"),
        ({"not_after": datetime.now(UTC) + timedelta(days=400)}, "GRANT_TOO_LONG"),
        ({"not_before": datetime.now(UTC) + timedelta(days=2)}, "GRANT_NEVER_BEGINS"),
    ],
)
async def test_a_grant_that_breaks_a_rule_is_refused_by_name(ready, changes, reason):
    with pytest.raises(InvalidArgument) as caught:
        await ready.grants.create(APPROVER, wanted(**changes))
    assert reason in {violation.reason for violation in caught.value.violations}
    assert (await ready.grants.list(APPROVER)).grants == ()


async def test_to_know_of_a_camera_needs_no_purpose(ready):
    given = await ready.grants.create(APPROVER, wanted(actions=(Action.LIST,), purposes=()))
    assert given.actions == (Action.LIST,)
    page = await ready.catalogue.list(OPERATOR, CameraFilter())
    assert page.total_size == 2


@pytest.mark.parametrize(
    "principal",
    [OPERATOR, unit(), person("a", Role.AUDITOR), person("u", Role.UNIT, unit_id="u1")],
)
async def test_who_may_not_give_gives_nothing(ready, principal):
    with pytest.raises(PermissionDenied, match="ROLE_NOT_PERMITTED"):
        await ready.grants.create(principal, wanted())
    with pytest.raises(PermissionDenied, match="ROLE_NOT_PERMITTED"):
        await ready.grants.revoke(principal, "g", "why")


async def test_nobody_grants_to_themselves(ready):
    both = replace(OPERATOR, roles=frozenset({Role.OPERATOR, Role.APPROVER}))
    for changes in ({}, {"username": "", "department": "指挥中心"}):
        with pytest.raises(PermissionDenied, match="GRANT_TO_SELF"):
            await ready.grants.create(both, wanted(**changes))
    # An approver who watches nothing may serve the department.
    await ready.grants.create(APPROVER, wanted(username="", department="审批科"))
    refused = await ready.entries("grant.refused")
    assert {entry.record.result for entry in refused} == {"GRANT_TO_SELF"}


async def test_a_revoked_grant_opens_nothing_and_is_revoked_once(ready):
    given = await ready.grants.create(APPROVER, wanted())
    with pytest.raises(InvalidArgument, match="REASON_MISSING"):
        await ready.grants.revoke(APPROVER, given.id, "  ")
    revoked = await ready.grants.revoke(APPROVER, given.id, "调岗")
    assert (revoked.revoke_reason, revoked.revoke_time is not None) == ("调岗", True)
    with pytest.raises(NotFound):
        await ready.catalogue.get(OPERATOR, camera(1).id)
    with pytest.raises(FailedPrecondition, match="GRANT_ENDED"):
        await ready.grants.revoke(APPROVER, given.id, "again")
    with pytest.raises(NotFound, match="GRANT_NOT_FOUND"):
        await ready.grants.revoke(APPROVER, "g1", "x")
    assert [entry.record.action for entry in await ready.entries("grant.revoke")] == ["grant.revoke"]


async def test_each_role_lists_what_is_theirs(ready):
    region = await ready.grants.create(APPROVER, wanted(scope=Scope(region_prefixes=("360681",))))
    team = await ready.grants.create(
        APPROVER, wanted(username="", department="指挥中心", scope=Scope(camera_ids=(camera(1).id,)))
    )
    other = await ready.grants.create(SYSTEM, wanted(username="lin", scope=Scope(unit_ids=("u2",))))
    for principal, ids in (
        (OPERATOR, {region.id, team.id}),
        (APPROVER, {region.id, team.id, other.id}),
        (person("aud", Role.AUDITOR), {region.id, team.id, other.id}),
        (unit("u1"), {team.id}),
        (unit("u2"), {region.id, other.id}),
        (person("clerk", Role.UNIT, unit_id="u2"), {region.id, other.id}),
        (person("wang", Role.OPERATOR), set()),
    ):
        page = await ready.grants.list(principal)
        assert {grant.id for grant in page.grants} == ids, principal.ref
    by_name = await ready.grants.list(APPROVER, GrantFilter(username="zhang"))
    assert {grant.id for grant in by_name.grants} == {region.id, team.id}
    by_camera = await ready.grants.list(APPROVER, GrantFilter(camera_id=camera(2).id))
    assert {grant.id for grant in by_camera.grants} == {region.id, other.id}
    await ready.grants.revoke(APPROVER, region.id, "x")
    assert len((await ready.grants.list(APPROVER)).grants) == 2
    assert len((await ready.grants.list(APPROVER, GrantFilter(include_ended=True))).grants) == 3


async def test_grants_come_in_pages(ready):
    given = [(await ready.grants.create(APPROVER, wanted())).id for _ in range(5)]
    seen, token = [], ""
    for _ in range(3):
        page = await ready.grants.list(APPROVER, page_size=2, page_token=token)
        seen += [grant.id for grant in page.grants]
        token = page.next_page_token
    assert (sorted(seen), token) == (sorted(given), "")
    with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
        await ready.grants.list(APPROVER, page_token="x")


async def test_lists_of_a_scope_narrow_each_other(ready):
    given = wanted(scope=Scope(region_prefixes=("3606",), industries=("42",)))
    await ready.grants.create(APPROVER, given)
    page = await ready.catalogue.list(OPERATOR, CameraFilter())
    assert [one.id for one in page.cameras] == [camera(2).id]


async def test_grants_are_found_by_what_they_say(ready):
    day = timedelta(days=1)
    now = datetime.now(UTC)
    patrol = await ready.grants.create(APPROVER, wanted(not_after=now + 2 * day))
    still = await ready.grants.create(
        APPROVER, wanted(actions=(Action.SNAPSHOT,), purposes=("traffic",), not_after=now + 9 * day)
    )
    all_of_them = await ready.grants.create(
        APPROVER, wanted(username="", department="指挥中心", not_after=now + 30 * day)
    )
    for found, given in (
        (GrantFilter(action=Action.SNAPSHOT), [still]),
        (GrantFilter(action=Action.LIST), [patrol, still, all_of_them]),
        (GrantFilter(purpose="patrol"), [patrol, all_of_them]),
        (GrantFilter(department="指挥中心"), [all_of_them]),
        (GrantFilter(username="zhang"), [patrol, still, all_of_them]),
        (GrantFilter(ends_within=3 * day), [patrol]),
        (GrantFilter(username="zhang", ends_within=10 * day, action=Action.VIEW_LIVE), [patrol]),
    ):
        assert (await ready.grants.list(APPROVER, found)).grants == tuple(given)


def test_the_console_offers_what_is_served() -> None:
    text = (Path(__file__).parents[3] / "console" / "src" / "grantwords.ts").read_text(encoding="utf-8")
    offered = re.search(r"SERVED_ACTIONS = \[([^\]]+)\]", text)
    assert offered is not None
    assert re.findall(r"Action\.(\w+)", offered[1]) == [action.name for action in grant_rules.SERVED]
