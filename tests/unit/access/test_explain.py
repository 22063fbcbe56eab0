"""Why somebody may or may not: each step, each grant."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.domain import SYSTEM, Domain, camera, person, unit

from vidhub.access import explain
from vidhub.access.explain import Check, Explainer, Explanation
from vidhub.errors import InvalidArgument, NotFound, PermissionDenied
from vidhub.model import Action, Grant, Purpose, Role, Scope, WeeklyHours
from vidhub.store import users

APPROVER = person("lin", Role.APPROVER)
OPERATOR = person("zhang", Role.OPERATOR, department="指挥中心")
DAY = timedelta(days=1)


def wanted(**changed: object) -> Grant:
    now = datetime.now(UTC)
    grant = Grant(
        "", "zhang", "", Scope(region_prefixes=("3606",)), (Action.VIEW_LIVE,), ("patrol",), now, now + DAY, "夜间巡查"
    )
    return replace(grant, **changed)


@pytest.fixture
async def ready(domain: Domain) -> Domain:
    await domain.add_user(OPERATOR)
    await domain.catalogue.register(unit("u1"), [camera(1)])
    return domain


async def asked(
    ready: Domain,
    who: str = "zhang",
    action: Action = Action.VIEW_LIVE,
    purpose: str = "patrol",
    *,
    principal: object = SYSTEM,
    number: int = 1,
) -> Explanation:
    explainer = Explainer(store=ready.store, core=ready.core, purposes=ready.sessions._purposes)
    return await explainer.explain(principal, who, camera(number).id, action, purpose)  # type: ignore[arg-type]


def failing(found: Explanation) -> dict[Check, str]:
    return {step.check: step.reason for step in found.steps if not step.passed}


async def test_what_is_allowed_names_the_grant_and_the_policy(ready: Domain) -> None:
    given = await ready.grants.create(APPROVER, wanted())
    found = await asked(ready)
    assert (found.allowed, found.reason, found.decision.grant_id) == (True, "", given.id)
    assert failing(found) == {}
    assert [step.check for step in found.steps] == list(Check)
    assert list(found.decision.rules) == ["view-by-grant"]
    assert found.decision.valid_until == given.not_after
    assert [(one.grant.id, one.misses) for one in found.grants] == [(given.id, ())]


async def test_each_grant_says_why_it_does_not_apply(ready: Domain) -> None:
    later = datetime.now() + timedelta(hours=2)
    night = WeeklyHours(
        (later.isoweekday(),), later.hour * 60 + later.minute, (later.hour * 60 + later.minute + 60) % 1440
    )
    await ready.catalogue.register(unit("u2"), [camera(2, region_code="360681")])
    month = datetime.now(UTC) + 30 * DAY
    expected = {}
    for reason, grant in (
        ("GRANT_NOT_BEGUN", wanted(not_before=datetime.now(UTC) + DAY, not_after=month)),
        ("OUTSIDE_HOURS", wanted(weekly_hours=(night,), not_after=month)),
        ("SCOPE", wanted(scope=Scope(region_prefixes=("360681",)))),
        ("ACTION", wanted(actions=(Action.LIST,))),
        ("PURPOSE", wanted(purposes=("traffic",), username="", department="指挥中心")),
    ):
        expected[(await ready.grants.create(APPROVER, grant)).id] = {reason}
    revoked = await ready.grants.create(APPROVER, wanted(purposes=("traffic",)))
    await ready.grants.revoke(APPROVER, revoked.id, "调岗")
    expected[revoked.id] = {"GRANT_REVOKED", "PURPOSE"}
    found = await asked(ready)
    assert {one.grant.id: {miss.reason for miss in one.misses} for one in found.grants} == expected
    assert [len(one.misses) for one in found.grants] == [1, 1, 1, 1, 1, 2], "the closest first"
    assert (found.allowed, found.reason) == (False, "PURPOSE_NOT_GRANTED")
    assert failing(found) == {Check.GRANT: "PURPOSE_NOT_GRANTED", Check.POLICY: "PURPOSE_NOT_GRANTED"}
    hours = next(miss for one in found.grants for miss in one.misses if miss.reason == "OUTSIDE_HOURS")
    assert "next from" in hours.message


async def test_the_answer_is_the_one_that_a_session_would_get(ready: Domain) -> None:
    for purpose in ("patrol", "fun", "", "publish"):
        found = await asked(ready, purpose=purpose)
        with pytest.raises((InvalidArgument, PermissionDenied)) as caught:
            await ready.sessions.open(OPERATOR, camera(1).id, Purpose(purpose))
        assert (found.allowed, found.reason) == (False, caught.value.reason)


async def test_roles_that_see_no_video_and_the_policy_that_says_so(ready: Domain) -> None:
    both = await ready.add_user(person("wang", Role.OPERATOR, Role.SUPERVISOR))
    await ready.grants.create(APPROVER, wanted(username=both.id))
    found = await asked(ready, "wang")
    assert failing(found) == {Check.ROLE: "ROLE_SEES_NO_VIDEO", Check.POLICY: "ROLE_SEES_NO_VIDEO"}
    assert list(found.decision.rules) == ["no-video-for-roles"]
    assert "supervisor" in found.steps[1].message
    teacher = await ready.add_user(person("laoshi", Role.UNIT, unit_id="u1"))
    assert failing(await asked(ready, teacher.id, Action.LIST)) == {}
    assert (await asked(ready, teacher.id)).reason == "ROLE_SEES_NO_VIDEO"
    other = await ready.add_user(person("laoshi2", Role.UNIT, unit_id="u2"))
    assert failing(await asked(ready, other.id, Action.LIST))[Check.ROLE] == "ROLE_NOT_PERMITTED"
    assert (await asked(ready, "wang", Action.LIST, "")).allowed


async def test_an_account_that_may_not_log_in_is_told_first(ready: Domain) -> None:
    await ready.grants.create(APPROVER, wanted())
    user = await ready.store.read(lambda conn: users.by_name(conn, "zhang"))
    assert user is not None
    await ready.store.write(lambda conn: users.set_password(conn, user.id, "-", must_change=True))
    found = await asked(ready)
    assert (found.allowed, found.reason) == (False, "PASSWORD_CHANGE_REQUIRED")
    await ready.store.write(lambda conn: users.set_suspended(conn, user.id, True))
    found = await asked(ready)
    assert (found.allowed, found.reason, failing(found)) == (False, "USER_SUSPENDED", {Check.ACCOUNT: "USER_SUSPENDED"})


async def test_who_may_ask(ready: Domain) -> None:
    await ready.grants.create(APPROVER, wanted())
    for role in (Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR, Role.ADMINISTRATOR):
        assert (await asked(ready, principal=person("a", role))).allowed
    assert (await asked(ready, principal=OPERATOR)).allowed
    for stranger in (person("li", Role.OPERATOR), unit("u1"), person("u", Role.UNIT, unit_id="u1")):
        with pytest.raises(PermissionDenied, match="ROLE_NOT_PERMITTED"):
            await asked(ready, principal=stranger)


async def test_what_is_not_there_is_told_alike_to_those_who_may_not_know(ready: Domain) -> None:
    with pytest.raises(NotFound, match="USER_UNKNOWN"):
        await asked(ready, "nobody")
    with pytest.raises(NotFound, match="CAMERA_NOT_FOUND"):
        await asked(ready, number=9)
    with pytest.raises(NotFound, match="CAMERA_NOT_FOUND"):
        await asked(ready, principal=OPERATOR)
    with pytest.raises(InvalidArgument, match="ACTION_NOT_SERVED"):
        await asked(ready, action=Action.PLAYBACK)


async def test_so_many_grants_are_told(ready: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "MOST_GRANTS", 2)
    for _ in range(3):
        newest = await ready.grants.create(APPROVER, wanted())
    found = await asked(ready)
    assert (len(found.grants), found.left_off, found.grants[0].grant.id) == (2, 1, newest.id)
