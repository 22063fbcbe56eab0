"""Administrators and accounts: one-time passwords, other roles, logins that others see and end."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from vidhub import paging
from vidhub.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    VidhubError,
)
from vidhub.identity import people
from vidhub.identity.directory import UserFilter
from vidhub.model import Principal, PrincipalKind, Role

PASSWORD = "晴天 with 7 clouds"


def person(name: str, *roles: Role) -> Principal:
    return Principal(PrincipalKind.USER, name, "h1", roles=frozenset(roles), address="192.0.2.9")


async def account(hub: Any, system: Principal, name: str = "zhang", *roles: Role, department: str = "治安") -> None:
    await hub.people.add(system, name, roles or [Role.OPERATOR], password=PASSWORD, department=department)


async def test_a_one_time_password_lets_in_until_it_is_changed_or_too_old(hub: Any, system: Principal) -> None:
    made = await hub.people.create(system, "zhang", [Role.OPERATOR], department="治安")
    assert (made.expire_time - hub.clock.time).total_seconds() == 72 * 3_600
    assert made.password not in repr(made)
    login = await hub.people.logins.login("zhang", made.password, "192.0.2.1")
    assert login.must_change_password
    caller = hub.people.logins.by_bearer(login.access_token, "192.0.2.1")
    changed = await hub.people.change_password(caller, made.password, PASSWORD)
    assert (changed.must_change_password, changed.password_expire_time) == (False, None)
    again = await hub.people.reset_password(system, "zhang")
    assert again.password != made.password
    with pytest.raises(Unauthenticated, match="LOGIN_FAILED"):
        await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1")
    hub.clock.advance(hours=72)
    with pytest.raises(PermissionDenied, match="PASSWORD_EXPIRED"):
        await hub.people.logins.login("zhang", again.password, "192.0.2.1")
    people_again, _ = await hub.again()
    with pytest.raises(PermissionDenied, match="PASSWORD_EXPIRED"):
        await people_again.logins.login("zhang", again.password, "192.0.2.1")
    people_again.close()
    assert ("user/zhang", "auth.login", "PASSWORD_EXPIRED") in await hub.actions()


async def test_one_time_passwords_are_legible_and_never_alike() -> None:
    found = {people.one_time_password() for _ in range(200)}
    assert len(found) == 200
    assert all(len(word) == 19 and word.count("-") == 3 and not set("0O1lIo") & set(word) for word in found)


async def test_other_roles_end_logins_and_sessions(hub: Any, system: Principal) -> None:
    await account(hub, system)
    cut: list[tuple[str, str]] = []
    hub.people.on_cut_off(lambda user, reason: cut.append((user.name, reason)))
    login = await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1")
    same = await hub.people.update(system, "zhang", display_name="  张 三 ")
    assert same.display_name == "张 三"
    assert hub.people.logins.by_bearer(login.access_token, "a").display_name == "张 三"
    assert cut == []
    await hub.people.update(system, "zhang", department="交警")
    assert cut == [("zhang", "POLICY_CHANGED")]
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        hub.people.logins.by_bearer(login.access_token, "a")
    fresh = await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1")
    await hub.people.update(system, "zhang", roles=[Role.SUPERVISOR])
    assert cut[-1] == ("zhang", "POLICY_CHANGED")
    assert len(cut) == 2
    with pytest.raises(Unauthenticated):
        hub.people.logins.by_bearer(fresh.access_token, "a")
    again, _ = await hub.again()
    assert (await again.get("zhang")).roles == {Role.SUPERVISOR}
    again.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"roles": [Role.ADMINISTRATOR, Role.OPERATOR]}, "ROLES_EXCLUDE"),
        ({"roles": [Role.ADMINISTRATOR, Role.SUPERVISOR, Role.APPROVER]}, "ROLES_EXCLUDE"),
        ({"roles": []}, "ROLE_MISSING"),
        ({"roles": [Role.UNIT]}, "UNIT_MISSING"),
        ({"unit_id": "nowhere"}, "UNIT_UNKNOWN"),
    ],
)
async def test_a_change_keeps_the_rules_of_roles(
    hub: Any, system: Principal, change: dict[str, Any], reason: str
) -> None:
    await account(hub, system)
    with pytest.raises(VidhubError, match=reason):
        await hub.people.update(system, "zhang", **change)
    assert (await hub.people.get("zhang")).roles == {Role.OPERATOR}


async def test_the_hub_is_never_without_an_administrator(hub: Any, system: Principal) -> None:
    await account(hub, system, "root", Role.ADMINISTRATOR)
    for act in (hub.people.suspend(system, "root"), hub.people.update(system, "root", roles=[Role.SUPERVISOR])):
        with pytest.raises(FailedPrecondition, match="LAST_ADMINISTRATOR"):
            await act
    await account(hub, system, "second", Role.ADMINISTRATOR)
    root = person("root", Role.ADMINISTRATOR)
    with pytest.raises(FailedPrecondition, match="SELF_CHANGE"):
        await hub.people.update(root, "root", roles=[Role.ADMINISTRATOR, Role.UNIT])
    await hub.people.update(root, "root", display_name="根")
    await hub.people.suspend(person("second", Role.ADMINISTRATOR), "root", "on leave")
    with pytest.raises(FailedPrecondition, match="LAST_ADMINISTRATOR"):
        await hub.people.suspend(root, "second")
    entry = (await hub.audit.list(action="user.suspend")).entries[0]
    assert json.loads(entry.record.detail_json) == {"reason": "on leave"}


async def test_accounts_are_bounded(hub: Any, system: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "MOST_USERS", 1)
    await account(hub, system)
    with pytest.raises(VidhubError, match="LIMIT_USERS"):
        await account(hub, system, "li")


async def test_people_are_found_by_page_and_by_what_they_are(hub: Any, system: Principal) -> None:
    for name in ("li", "wang", "zhang", "Zhao"):
        await account(hub, system, name, department="交警" if name == "li" else "治安")
    await hub.people.create(system, "chen", [Role.SUPERVISOR], display_name="陈队")
    await hub.people.suspend(system, "wang")

    async def names(**wanted: Any) -> list[str]:
        page = await hub.people.list_users(system, UserFilter(**wanted))
        assert page.total == len(page.users)
        return [user.name for user in page.users]

    assert await names(text="ZHA") == ["Zhao", "zhang"]
    assert await names(text="陈") == ["chen"]
    assert await names(state="new") == ["chen"]
    assert await names(state="suspended") == ["wang"]
    assert await names(department="交警") == ["li"]
    assert await names(roles=frozenset({Role.SUPERVISOR, Role.AUDITOR})) == ["chen"]
    seen, token = [], ""
    while True:
        page = await hub.people.list_users(system, page_size=2, page_token=token)
        seen += [user.name for user in page.users]
        assert (page.total, page.departments) == (5, ("交警", "治安"))
        token = page.next_page_token
        if not token:
            break
    assert seen == ["Zhao", "chen", "li", "wang", "zhang"]
    another = paging.token("users", "another question", "li")
    with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
        await hub.people.list_users(system, UserFilter(text="z"), page_token=another)
    for role in (Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR):
        assert (await hub.people.list_users(person("a", role))).total == 5
    for role in (Role.OPERATOR, Role.UNIT):
        with pytest.raises(PermissionDenied, match="ROLE_MISSING"):
            await hub.people.list_users(person("a", role))


async def test_logins_are_seen_and_ended_by_their_owner(hub: Any, system: Principal) -> None:
    await account(hub, system)
    await account(hub, system, "li")
    await account(hub, system, "root", Role.ADMINISTRATOR)
    for minute, client in ((1, "Firefox"), (2, "Chrome\x00\n" + "x" * 900)):
        hub.clock.advance(minutes=minute)
        await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1", client=client)
    other = await hub.people.logins.login("li", PASSWORD, "192.0.2.2")
    zhang, li = person("zhang", Role.OPERATOR), person("li", Role.OPERATOR)
    own = hub.people.logins.under_way(zhang).logins
    assert [(one.username, one.login.source_address, one.login.client[:7]) for one in own] == [
        ("zhang", "192.0.2.1", "Chrome "),
        ("zhang", "192.0.2.1", "Firefox"),
    ]
    assert len(own[0].login.client) == 200
    assert own[0].login.client.isprintable()
    with pytest.raises(PermissionDenied, match="ROLE_MISSING"):
        hub.people.logins.under_way(zhang, username="li")
    with pytest.raises(NotFound, match="LOGIN_UNKNOWN"):
        await hub.people.logins.end(li, own[0].login.id)
    with pytest.raises(NotFound, match="LOGIN_UNKNOWN"):
        await hub.people.logins.end(zhang, "unknown")
    with pytest.raises(FailedPrecondition, match="LOGIN_CURRENT"):
        await hub.people.logins.end(replace(zhang, login_id=own[0].login.id), own[0].login.id)
    await hub.people.logins.end(zhang, own[0].login.id)
    assert [one.login.client for one in hub.people.logins.under_way(zhang).logins] == ["Firefox"]
    root = person("root", Role.ADMINISTRATOR)
    assert len(hub.people.logins.under_way(root, username="*").logins) == 2
    assert hub.people.logins.under_way(root).logins == ()
    [of_li] = hub.people.logins.under_way(root, username="li").logins
    await hub.people.logins.end(root, of_li.login.id)
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        hub.people.logins.by_bearer(other.access_token, "a")
    assert [(who, result) for who, action, result in await hub.actions() if action == "auth.end_login"] == [
        ("user/zhang", "ok"),
        ("user/root", "ok"),
    ]


async def test_logins_come_in_pages_and_outlive_a_restart(hub: Any, system: Principal) -> None:
    await account(hub, system)
    for _ in range(5):
        hub.clock.advance(seconds=1)
        await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1", client="c")
    again, _ = await hub.again()
    seen, token = [], ""
    while True:
        page = again.logins.under_way(person("zhang"), page_size=2, page_token=token)
        seen += [one.login for one in page.logins]
        token = page.next_page_token
        if not token:
            break
    assert [one.create_time for one in seen] == sorted((one.create_time for one in seen), reverse=True)
    assert len(seen) == 5
    assert {(one.source_address, one.client) for one in seen} == {("192.0.2.1", "c")}
    again.close()
