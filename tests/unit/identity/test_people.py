"""People: accounts, logins, and everything that ends them."""

from __future__ import annotations

import asyncio
import stat
from typing import Any

import pytest
from argon2 import PasswordHasher
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from vidhub.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    VidhubError,
)
from vidhub.identity import People, logins
from vidhub.model import Principal, Role

PASSWORD = "晴天 with 7 clouds"
OTHER = "another good 1"


async def account(hub: Any, system: Principal, name: str = "zhang", role: Role = Role.OPERATOR) -> None:
    await hub.people.add(system, name, [role], password=PASSWORD, department="治安")


async def by(hub: Any, token: str) -> Principal:
    principal: Principal = await hub.authentication.by_bearer(token, "192.0.2.1")
    return principal


async def test_a_login_becomes_a_principal(hub: Any, system: Principal) -> None:
    await account(hub, system)
    login = await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1")
    principal = await by(hub, login.access_token)
    assert (principal.ref, principal.department, principal.roles) == ("user/zhang", "治安", {Role.OPERATOR})
    assert (principal.hub_id, principal.address, principal.must_change_password) == ("h1", "192.0.2.1", False)
    assert (login.expire_time - hub.clock.time).total_seconds() == 300
    assert (login.refresh_expire_time - hub.clock.time).total_seconds() == 12 * 3_600
    assert await hub.actions() == [("system", "user.add", "ok"), ("user/zhang", "auth.login", "ok")]


async def test_logins_that_ran_out_leave_the_memory(hub: Any, system: Principal, monkeypatch: Any) -> None:
    monkeypatch.setattr(logins, "FEW_LOGINS", 4)
    hub.people.logins._forget_at = 4
    await account(hub, system)
    for _ in range(12):
        await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1")
        hub.clock.advance(hours=5)
    assert len(hub.people.logins._live) <= 5


async def test_a_wrong_password_and_an_unknown_user_get_the_same_answer(hub: Any, system: Principal) -> None:
    await account(hub, system)
    said = []
    for name, password in (
        ("zhang", "wrong password"),
        ("nobody", PASSWORD),
        ("x" * 500, PASSWORD),
        ("zhang", "x" * 999),
    ):
        with pytest.raises(Unauthenticated) as caught:
            await hub.people.logins.login(name, password, "192.0.2.1")
        said.append((caught.value.reason, caught.value.message))
    assert set(said) == {("LOGIN_FAILED", "name or password is not right")}
    assert ("user/zhang", "auth.login", "LOGIN_FAILED") in await hub.actions()


async def test_an_unknown_user_costs_a_hash_too(hub: Any) -> None:
    hashed = 0
    verify = hub.people._hasher.verify

    async def counting(stored: str, password: str) -> bool:
        nonlocal hashed
        hashed += 1
        return bool(await verify(stored, password))

    hub.people._hasher.verify = counting
    with pytest.raises(Unauthenticated):
        await hub.people.logins.login("nobody", PASSWORD, "192.0.2.1")
    assert hashed == 1


async def test_guessing_is_slowed_for_the_guesser_alone(hub: Any, system: Principal) -> None:
    await account(hub, system)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await hub.people.logins.login("zhang", "wrong password", "192.0.2.66")
    with pytest.raises(ResourceExhausted, match="LOGIN_BACKOFF"):
        await hub.people.logins.login("zhang", PASSWORD, "192.0.2.66")
    await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1")
    hub.clock.advance(seconds=2)
    await hub.people.logins.login("zhang", PASSWORD, "192.0.2.66")
    await hub.people.logins.login("zhang", PASSWORD, "192.0.2.66")


async def test_the_wait_grows_and_many_guesses_at_once_gain_nothing(hub: Any, system: Principal) -> None:
    await account(hub, system)
    tries = (hub.people.logins.login("zhang", "wrong password", "192.0.2.66") for _ in range(50))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(r, Unauthenticated) for r in results) == 5
    for wait in (1, 2, 4, 8, 16):
        hub.clock.advance(seconds=wait - 0.5)
        with pytest.raises(ResourceExhausted):
            await hub.people.logins.login("zhang", "wrong password", "192.0.2.66")
        hub.clock.advance(seconds=0.5)
        with pytest.raises(Unauthenticated):
            await hub.people.logins.login("zhang", "wrong password", "192.0.2.66")


async def test_a_suspended_user_is_told_only_after_the_right_password(hub: Any, system: Principal) -> None:
    await account(hub, system)
    login = await hub.people.logins.login("zhang", PASSWORD, "a")
    suspended, ended = [], []
    hub.people.on_cut_off(lambda user, reason: suspended.append((user.name, reason)))
    hub.people.logins.on_ended(lambda ids, reason: ended.append((len(ids), reason)))
    await hub.people.suspend(system, "zhang")
    assert (suspended, ended) == ([("zhang", "USER_SUSPENDED")], [(1, "USER_SUSPENDED")])
    with pytest.raises(Unauthenticated, match="USER_SUSPENDED"):
        await by(hub, login.access_token)
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await hub.people.logins.refresh(login.refresh_token, "a")
    with pytest.raises(Unauthenticated, match="LOGIN_FAILED"):
        await hub.people.logins.login("zhang", "wrong password", "a")
    with pytest.raises(PermissionDenied, match="USER_SUSPENDED"):
        await hub.people.logins.login("zhang", PASSWORD, "a")
    await hub.people.resume(system, "zhang")
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await by(hub, login.access_token)
    await hub.people.logins.login("zhang", PASSWORD, "a")


async def test_access_tokens_expire_and_refresh_tokens_rotate(hub: Any, system: Principal) -> None:
    await account(hub, system)
    first = await hub.people.logins.login("zhang", PASSWORD, "a")
    hub.clock.advance(minutes=5)
    with pytest.raises(Unauthenticated, match="TOKEN_EXPIRED"):
        await by(hub, first.access_token)
    second = await hub.people.logins.refresh(first.refresh_token, "a")
    assert second.refresh_token != first.refresh_token
    assert second.refresh_expire_time == first.refresh_expire_time
    assert (await by(hub, second.access_token)).login_id
    hub.clock.advance(hours=12)
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await hub.people.logins.refresh(second.refresh_token, "a")


async def test_a_refresh_token_used_twice_ends_the_whole_login(hub: Any, system: Principal) -> None:
    await account(hub, system)
    other = await hub.people.logins.login("zhang", PASSWORD, "b")
    first = await hub.people.logins.login("zhang", PASSWORD, "a")
    second = await hub.people.logins.refresh(first.refresh_token, "a")
    with pytest.raises(Unauthenticated, match="TOKEN_REUSED"):
        await hub.people.logins.refresh(first.refresh_token, "thief")
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await by(hub, second.access_token)
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await hub.people.logins.refresh(second.refresh_token, "a")
    assert await by(hub, other.access_token), "another login of the same person goes on"
    assert ("user/zhang", "auth.refresh", "TOKEN_REUSED") in await hub.actions()


async def test_of_two_refreshes_at_once_one_is_a_reuse(hub: Any, system: Principal) -> None:
    await account(hub, system)
    first = await hub.people.logins.login("zhang", PASSWORD, "a")
    results = await asyncio.gather(
        *(hub.people.logins.refresh(first.refresh_token, "a") for _ in range(2)), return_exceptions=True
    )
    assert sum(isinstance(r, Unauthenticated) for r in results) >= 1


@pytest.mark.parametrize(
    ("token", "reason"), [("", "TOKEN_MISSING"), ("x", "TOKEN_INVALID"), ("\ud800", "TOKEN_INVALID")]
)
async def test_a_refresh_token_that_is_none(hub: Any, token: str, reason: str) -> None:
    with pytest.raises(Unauthenticated, match=reason):
        await hub.people.logins.refresh(token, "a")


async def test_logout_ends_the_login_at_once_and_for_ever(hub: Any, system: Principal) -> None:
    await account(hub, system)
    login = await hub.people.logins.login("zhang", PASSWORD, "a")
    await hub.people.logins.logout(login.refresh_token, "a")
    await hub.people.logins.logout(login.refresh_token, "a")
    await hub.people.logins.logout("unknown", "a")
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await by(hub, login.access_token)
    people, _ = await hub.again()
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        people.logins.by_bearer(login.access_token, "a")
    people.close()
    second = await hub.people.logins.login("zhang", PASSWORD, "a")
    await hub.people.logins.end_login(await by(hub, second.access_token))
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await by(hub, second.access_token)


async def test_logins_outlive_a_restart(hub: Any, system: Principal) -> None:
    await account(hub, system)
    login = await hub.people.logins.login("zhang", PASSWORD, "a")
    people: People
    people, _ = await hub.again()
    assert people.logins.by_bearer(login.access_token, "a").id == "zhang"
    assert (await people.logins.refresh(login.refresh_token, "a")).user.name == "zhang"
    people.close()


async def test_logins_of_one_person_are_bounded(hub: Any, system: Principal) -> None:
    await account(hub, system)
    logins = []
    for _ in range(17):
        hub.clock.advance(seconds=1)
        logins.append(await hub.people.logins.login("zhang", PASSWORD, "a"))
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await by(hub, logins[0].access_token)
    assert await by(hub, logins[1].access_token)


async def test_forged_tokens_are_refused(hub: Any, system: Principal) -> None:
    await account(hub, system)
    login = await hub.people.logins.login("zhang", PASSWORD, "a")
    genuine = OKPKey.import_key(hub.keys.access_pem)
    tickets = OKPKey.import_key(hub.keys.hub_pem)
    algorithm = "Ed25519"
    claims = jwt.decode(login.access_token, genuine, algorithms=[algorithm]).claims
    alien = OKPKey.generate_key("Ed25519")
    secret = OctKey.import_key("a shared secret of thirty-two by")

    def sign(key: Any, alg: str = algorithm, **changes: Any) -> str:
        return str(jwt.encode({"alg": alg}, {**claims, **changes}, key, algorithms=[alg]))

    assert await by(hub, sign(genuine))
    for token in (
        sign(alien),
        sign(tickets),
        sign(secret, "HS256"),
        sign(genuine, aud="ticket"),
        sign(genuine, iss="h2"),
        sign(genuine, exp="soon"),
        sign(genuine, exp=9e99),
        sign(genuine, sub=None),
        login.access_token[:-2],
        login.access_token + "x",
        "a.b.c",
        "eyJhbGciOiJub25lIn0." + login.access_token.split(".")[1] + ".",
        "x" * 10_000,
        "\ud800",
        "平台",
    ):
        with pytest.raises(Unauthenticated, match="TOKEN_INVALID"):
            await by(hub, token)
    with pytest.raises(Unauthenticated, match="TOKEN_MISSING"):
        await by(hub, "")
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await by(hub, sign(genuine, lid="unknown"))
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await by(hub, sign(genuine, sub="unknown"))


async def test_the_first_administrator(hub: Any, system: Principal) -> None:
    assert await hub.people.ensure_first_administrator()
    assert not await hub.people.ensure_first_administrator()
    path = hub.folder / "initial-password"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    password = path.read_text().strip()
    login = await hub.people.logins.login("admin", password, "a")
    assert login.must_change_password
    principal = await by(hub, login.access_token)
    assert principal.must_change_password
    with pytest.raises(InvalidArgument, match="PASSWORD_TOO_WEAK"):
        await hub.people.change_password(principal, password, "admin12345")
    assert path.exists()
    await hub.people.change_password(principal, password, OTHER)
    assert not path.exists()
    assert not (await by(hub, login.access_token)).must_change_password
    people, _ = await hub.again()
    assert not await people.ensure_first_administrator()
    assert not (await people.logins.login("admin", OTHER, "a")).must_change_password
    people.close()


async def test_a_changed_password_ends_the_other_logins(hub: Any, system: Principal) -> None:
    await account(hub, system)
    here = await hub.people.logins.login("zhang", PASSWORD, "a")
    there = await hub.people.logins.login("zhang", PASSWORD, "b")
    with pytest.raises(Unauthenticated, match="PASSWORD_WRONG"):
        await hub.people.change_password(await by(hub, here.access_token), "wrong password", OTHER)
    await hub.people.change_password(await by(hub, here.access_token), PASSWORD, OTHER)
    assert await by(hub, here.access_token)
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await by(hub, there.access_token)
    with pytest.raises(Unauthenticated, match="LOGIN_FAILED"):
        await hub.people.logins.login("zhang", PASSWORD, "a")
    await hub.people.set_password(system, "zhang", PASSWORD)
    with pytest.raises(Unauthenticated, match="LOGIN_REVOKED"):
        await by(hub, here.access_token)
    await hub.people.logins.login("zhang", PASSWORD, "a")


@pytest.mark.parametrize(
    "password",
    ["", "short", "nine char", "zhangzhang"[:9], "aaaaaaaaaaaa", "1234567890", "QWERTYUIOP", "password1234", "x" * 300],
)
async def test_weak_passwords_are_refused_without_repeating_them(hub: Any, system: Principal, password: str) -> None:
    with pytest.raises(InvalidArgument, match="PASSWORD_TOO_WEAK") as caught:
        await hub.people.add(system, "zhang", [Role.OPERATOR], password=password)
    assert not password or password not in caught.value.message


@pytest.mark.parametrize("password", ["zhangwei2026", "ZhangWei2026", "2026zhangwei"])
async def test_the_name_is_no_password(hub: Any, system: Principal, password: str) -> None:
    with pytest.raises(InvalidArgument, match="PASSWORD_TOO_WEAK"):
        await hub.people.add(system, "zhangwei", [Role.OPERATOR], password=password)


async def test_the_same_characters_typed_elsewhere_are_the_same_password(hub: Any, system: Principal) -> None:
    await hub.people.add(system, "zhang", [Role.OPERATOR], password="caf\u00e9 au lait")
    await hub.people.logins.login("zhang", "cafe\u0301 au lait", "a")


@pytest.mark.parametrize("name", ["", "a b", "-x", ".x", "x" * 65, "a/b", "a\n", "привет", "é", "a@b"])
async def test_names_that_are_none(hub: Any, system: Principal, name: str) -> None:
    with pytest.raises(InvalidArgument, match="NAME_INVALID"):
        await hub.people.add(system, name, [Role.OPERATOR], password=PASSWORD)


@pytest.mark.parametrize("name", ["zhang", "张伟", "a.b-c_d", "李四2", "x" * 64, "7"])
async def test_names_that_are_some(hub: Any, system: Principal, name: str) -> None:
    assert (await hub.people.add(system, name, [Role.OPERATOR], password=PASSWORD)).name == name


@pytest.mark.parametrize(
    ("roles", "unit", "reason"),
    [
        ([], "", "ROLE_MISSING"),
        ([Role.ADMINISTRATOR, Role.OPERATOR], "", "ROLES_EXCLUDE"),
        ([Role.ADMINISTRATOR, Role.AUDITOR], "", "ROLES_EXCLUDE"),
        ([Role.APPROVER, Role.AUDITOR], "", "ROLES_EXCLUDE"),
        ([Role.UNIT], "", "UNIT_MISSING"),
        ([Role.UNIT], "nowhere", "UNIT_UNKNOWN"),
    ],
)
async def test_roles_that_do_not_go(hub: Any, system: Principal, roles: list[Role], unit: str, reason: str) -> None:
    with pytest.raises(VidhubError, match=reason):
        await hub.people.add(system, "zhang", roles, password=PASSWORD, unit_id=unit)


async def test_a_unit_has_people(hub: Any, system: Principal) -> None:
    token = await hub.units.create_token(system, "一中", "360602", "11", "h:1")
    await hub.people.add(system, "laoshi", [Role.UNIT], password=PASSWORD, unit_id=token.unit_id)
    login = await hub.people.logins.login("laoshi", PASSWORD, "a")
    assert (await by(hub, login.access_token)).unit_id == token.unit_id


async def test_names_are_taken_once_whatever_their_case(hub: Any, system: Principal) -> None:
    await account(hub, system, "Zhang")
    results = await asyncio.gather(account(hub, system, "zhang"), account(hub, system, "ZHANG"), return_exceptions=True)
    assert all(isinstance(r, AlreadyExists) for r in results)


async def test_who_may_do_what(hub: Any, system: Principal, operator: Principal) -> None:
    await account(hub, system)
    for act in (
        hub.people.add(operator, "li", [Role.ADMINISTRATOR], password=PASSWORD),
        hub.people.set_password(operator, "zhang", OTHER),
        hub.people.suspend(operator, "zhang"),
        hub.people.resume(operator, "zhang"),
        hub.people.list_users(operator),
        hub.people.change_password(system, PASSWORD, OTHER),
    ):
        with pytest.raises(PermissionDenied):
            await act
    for act in (
        hub.people.suspend(system, "nobody"),
        hub.people.set_password(system, "nobody", OTHER),
        hub.people.get("nobody"),
    ):
        with pytest.raises(NotFound, match="USER_UNKNOWN"):
            await act
    await hub.people.add(system, "root", [Role.ADMINISTRATOR], password=PASSWORD)
    login = await hub.people.logins.login("root", PASSWORD, "a")
    with pytest.raises(FailedPrecondition, match="SELF_SUSPENSION"):
        await hub.people.suspend(await by(hub, login.access_token), "root")
    assert [u.name for u in (await hub.people.list_users(system)).users] == ["root", "zhang"]


async def test_a_stronger_setting_takes_over_old_hashes(hub: Any, system: Principal) -> None:
    await account(hub, system)
    stronger = await People.open(
        hub.store,
        hub.audit,
        hub.keys,
        hub_id="h1",
        data_dir=hub.folder,
        hasher=PasswordHasher(time_cost=2, memory_cost=16, parallelism=1),
        clock=hub.clock,
    )
    await stronger.logins.login("zhang", PASSWORD, "a")
    with_new = await hub.store.read(
        lambda conn: conn.exec_driver_sql("SELECT password_hash FROM users WHERE name = 'zhang'").scalar_one()
    )
    assert "m=16,t=2" in with_new
    await stronger.logins.login("zhang", PASSWORD, "a")
    stronger.close()


async def test_no_password_or_token_is_in_the_files(hub: Any, system: Principal) -> None:
    await account(hub, system)
    login = await hub.people.logins.login("zhang", PASSWORD, "a")
    await hub.people.logins.refresh(login.refresh_token, "a")
    for path in hub.folder.glob("vidhub.db*"):
        data = path.read_bytes()
        for secret in (PASSWORD, login.refresh_token, login.access_token):
            assert secret.encode() not in data
    assert login.refresh_token not in repr(login)
