"""What goes in comes out, for each noun."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from vidhub.model import (
    Action,
    Camera,
    CameraState,
    Grant,
    Profile,
    Purpose,
    Revision,
    Role,
    Scope,
    Session,
    Unit,
    User,
)
from vidhub.store import Secrets, Store, cameras, certificates, grants, meta, sessions, units, users
from vidhub.store.certificates import Certificate

MakeCamera = Callable[..., Camera]
HOUR = timedelta(hours=1)


async def test_cameras_come_back_whole(store: Store, secrets: Secrets, make_camera: MakeCamera, now: datetime) -> None:
    given = [make_camera(i) for i in range(1, 4)]
    await store.write(lambda conn: cameras.upsert_many(conn, given, secrets, revision=7, now=now))
    epoch = await store.read(meta.epoch)
    expected = [replace(c, revision=Revision(epoch, 7), create_time=now, update_time=now) for c in given]
    assert await store.read(lambda conn: list(cameras.load_all(conn, secrets))) == expected
    ids = [given[2].id, "unknown", given[0].id]
    assert await store.read(lambda conn: cameras.list_full(conn, ids, secrets)) == [expected[2], expected[0]]
    assert await store.read(cameras.count) == 3
    without = await store.read(lambda conn: cameras.get(conn, given[0].id))
    assert without is not None
    assert [s.password for s in without.streams] == ["", ""]
    assert await store.read(lambda conn: cameras.get(conn, "unknown")) is None


async def test_the_core_gets_its_rows(store: Store, secrets: Secrets, make_camera: MakeCamera, now: datetime) -> None:
    given = [make_camera(1), make_camera(2, streams=()), make_camera(3, state=CameraState.QUARANTINED)]
    given += [make_camera(4, state=CameraState.RETIRED), make_camera(5)]
    await store.write(lambda conn: cameras.upsert_many(conn, given, secrets, revision=7, now=now))
    rows = await store.read(lambda conn: list(cameras.load_rows(conn, secrets)))
    assert rows == [
        (
            c.id,
            c.name,
            "u1",
            "360602",
            "11",
            5,
            28.26,
            117.07,
            c.state is CameraState.QUARANTINED,
            7,
            [(int(s.profile), s.url, s.username, s.password, s.transport) for s in c.streams],
            "",
        )
        for c in given
        if c.state is not CameraState.RETIRED
    ]


async def test_an_upsert_replaces_all_but_the_time_of_creation(
    store: Store, secrets: Secrets, make_camera: MakeCamera, now: datetime
) -> None:
    old = make_camera(1)
    new = replace(old, name="西门", streams=old.streams[:1], device=(), home_hub_id="h2")
    await store.write(lambda conn: cameras.upsert_many(conn, [old], secrets, revision=1, now=now))
    await store.write(lambda conn: cameras.upsert_many(conn, [new], secrets, revision=2, now=now + HOUR))
    epoch = await store.read(meta.epoch)
    found = await store.read(lambda conn: cameras.get(conn, old.id, secrets))
    assert found == replace(new, revision=Revision(epoch, 2), create_time=now, update_time=now + HOUR)


async def test_only_lasting_states_last(store: Store, secrets: Secrets, make_camera: MakeCamera, now: datetime) -> None:
    online = make_camera(1, state=CameraState.ONLINE, state_time=now, state_reason="seen")
    dark = make_camera(2, state=CameraState.QUARANTINED, state_time=now, state_reason="by law")

    def work(conn: Connection) -> list[CameraState]:
        cameras.upsert_many(conn, [online, dark], secrets, revision=1, now=now)
        assert cameras.set_state(conn, online.id, CameraState.RETIRED, "gone", revision=2, now=now)
        assert not cameras.set_state(conn, "unknown", CameraState.RETIRED, "gone", revision=2, now=now)
        return [c.state for c in cameras.load_all(conn, include_retired=True)]

    assert await store.write(work) == [CameraState.RETIRED, CameraState.QUARANTINED]
    assert [c.id for c in await store.read(lambda conn: list(cameras.load_all(conn)))] == [dark.id]


async def test_what_the_hub_saw_of_a_stream_is_kept(
    store: Store, secrets: Secrets, make_camera: MakeCamera, now: datetime
) -> None:
    def work(conn: Connection) -> bool:
        cameras.upsert_many(conn, [make_camera(1)], secrets, revision=1, now=now)
        seen = {"codec": "h264", "width": 1920, "height": 1080, "frame_rate": 25.0}
        assert not cameras.set_stream_media(conn, "unknown", Profile.MAIN, **seen)  # type: ignore[arg-type]
        return cameras.set_stream_media(conn, make_camera(1).id, Profile.MAIN, **seen)  # type: ignore[arg-type]

    assert await store.write(work)
    found = await store.read(lambda conn: cameras.get(conn, make_camera(1).id))
    assert found is not None
    assert (found.streams[0].codec, found.streams[0].width, found.streams[1].codec) == ("h264", 1920, "")


async def test_no_password_is_in_the_files(
    store: Store, secrets: Secrets, make_camera: MakeCamera, now: datetime
) -> None:
    await store.write(lambda conn: cameras.upsert_many(conn, [make_camera(1)], secrets, revision=1, now=now))
    for path in store.path.parent.glob("vidhub.db*"):
        assert b"main-secret-1" not in path.read_bytes()


def grant(number: int, now: datetime, **changes: object) -> Grant:
    fields: dict[str, object] = {
        "id": f"g{number}",
        "username": "zhang",
        "department": "",
        "scope": Scope(region_prefixes=("3606",), industries=("11", "55")),
        "actions": (Action.VIEW_LIVE, Action.SNAPSHOT),
        "purposes": ("patrol", "incident"),
        "not_before": now,
        "not_after": now + HOUR,
        "reason": "值班",
        "created_by": "user/li",
        "create_time": now,
    }
    return Grant(**{**fields, **changes})  # type: ignore[arg-type]


async def test_grants(store: Store, now: datetime) -> None:
    given = [grant(1, now), grant(2, now, username="", department="治安"), grant(3, now, not_after=now)]

    def insert(conn: Connection) -> None:
        for g in given:
            grants.insert(conn, g)

    await store.write(insert)
    assert await store.read(lambda conn: grants.get(conn, "g1")) == given[0]
    assert await store.read(lambda conn: grants.get(conn, "none")) is None
    assert await store.read(lambda conn: grants.load_active(conn, now)) == given[:2]
    page = await store.read(lambda conn: grants.list_page(conn, username="zhang", department="治安", limit=2))
    assert [g.id for g in page] == ["g1", "g2"]
    page = await store.read(lambda conn: grants.list_page(conn, username="zhang", department="治安", after="g2"))
    assert [g.id for g in page] == ["g3"]
    page = await store.read(lambda conn: grants.list_page(conn, matches=lambda g: g.id != "g1", limit=1))
    assert [g.id for g in page] == ["g2"]
    assert await store.write(lambda conn: grants.revoke(conn, "g1", now, "ended"))
    assert not await store.write(lambda conn: grants.revoke(conn, "g1", now, "again"))
    revoked = await store.read(lambda conn: grants.get(conn, "g1"))
    assert revoked == replace(given[0], revoke_time=now, revoke_reason="ended")
    assert await store.read(lambda conn: grants.list_page(conn, active_at=now)) == given[1:2]


def session(number: int, now: datetime, **changes: object) -> Session:
    fields: dict[str, object] = {
        "id": f"s{number}",
        "camera_id": "36060200111320000001",
        "principal": "user/zhang",
        "viewer_name": "张三",
        "purpose": Purpose("investigation", "案2026-1", "note"),
        "grant_id": "g1",
        "profile": Profile.AUTO,
        "open_time": now + timedelta(seconds=number),
        "expire_time": now + HOUR,
        "rtsp_user": f"s{number}",
        "rtsp_password": "pw" * 12,
    }
    return Session(**{**fields, **changes})  # type: ignore[arg-type]


async def test_sessions(store: Store, secrets: Secrets, make_camera: MakeCamera, now: datetime) -> None:
    given = [session(1, now), session(2, now, principal="unit/u1"), session(3, now, camera_id="other")]

    def insert(conn: Connection) -> None:
        cameras.upsert_many(conn, [make_camera(1)], secrets, revision=1, now=now)
        for s in given:
            sessions.insert(conn, s, secrets)

    await store.write(insert)
    assert await store.read(lambda conn: sessions.get(conn, "s1", secrets)) == given[0]
    assert await store.read(lambda conn: sessions.get(conn, "s1")) == replace(given[0], rtsp_password="")
    assert await store.read(lambda conn: sessions.load_open(conn, secrets)) == given
    assert await store.write(lambda conn: sessions.renew(conn, "s1", now + 2 * HOUR))
    assert await store.write(lambda conn: sessions.end(conn, "s1", now, "SESSION_CLOSED"))
    assert not await store.write(lambda conn: sessions.end(conn, "s1", now, "SESSION_EXPIRED"))
    assert not await store.write(lambda conn: sessions.renew(conn, "s1", now + 3 * HOUR))
    ended = await store.read(lambda conn: sessions.get(conn, "s1", secrets))
    assert ended is not None
    assert (ended.end_reason, ended.rtsp_password, ended.expire_time) == ("SESSION_CLOSED", "", now + 2 * HOUR)

    async def ids(**question: object) -> list[str]:
        found = await store.read(lambda conn: sessions.list_page(conn, **question))  # type: ignore[arg-type]
        return [s.id for s in found]

    assert await ids() == ["s3", "s2"]
    assert await ids(include_ended=True) == ["s3", "s2", "s1"]
    assert await ids(include_ended=True, limit=1, after="s3") == ["s2"]
    assert await ids(include_ended=True, camera_unit_id="u1") == ["s2", "s1"]
    assert await ids(include_ended=True, principal="user/zhang", camera_id="other") == ["s3"]
    assert await ids(include_ended=True, after="unknown") == []


async def test_units(store: Store, now: datetime) -> None:
    unit = Unit("u1", "一中", "360602", "11", "invited", now)
    await store.write(lambda conn: units.put(conn, unit))
    assert await store.write(lambda conn: units.set_state(conn, "u1", "enrolled"))
    assert not await store.write(lambda conn: units.set_state(conn, "u2", "enrolled"))
    enrolled = replace(unit, state="enrolled")
    assert await store.read(lambda conn: units.get(conn, "u1")) == enrolled
    assert await store.read(lambda conn: units.by_name(conn, "一中")) == enrolled
    assert await store.read(units.load) == [enrolled]
    with pytest.raises(IntegrityError):
        await store.write(lambda conn: units.put(conn, replace(unit, id="u2")))


async def test_certificates(store: Store, now: datetime) -> None:
    claim = Certificate("f1", "claim", "u1", now, now + HOUR, now, token_id="t1")
    await store.write(lambda conn: certificates.insert(conn, claim))
    assert await store.read(lambda conn: certificates.get(conn, "f1")) == claim
    assert await store.read(lambda conn: list(certificates.load(conn, now))) == [claim]
    assert await store.read(lambda conn: list(certificates.load(conn, now + HOUR))) == []
    assert await store.write(lambda conn: certificates.burn(conn, "f1", now))
    assert not await store.write(lambda conn: certificates.burn(conn, "f1", now))
    assert await store.write(lambda conn: certificates.revoke(conn, ["f1", "f2"], now, "why")) == 1
    found = await store.read(lambda conn: certificates.of_subject(conn, "claim", "u1"))
    assert found == [replace(claim, use_time=now, revoke_time=now, revoke_reason="why")]


async def test_users_and_their_logins(store: Store, now: datetime) -> None:
    user = User("i1", "zhang", "张三", "治安", "", frozenset({Role.OPERATOR, Role.SUPERVISOR}), False, True, now)
    login = users.Login("l1", "i1", now + HOUR, now)

    def insert(conn: Connection) -> None:
        users.insert(conn, user, "hash")
        users.insert_login(conn, login)
        users.insert_refresh(conn, b"1" * 32, "l1")

    await store.write(insert)
    user = replace(user, login_time=now)
    assert await store.read(users.load) == [user]
    assert await store.read(lambda conn: users.by_name(conn, "zhang")) == user
    assert await store.read(lambda conn: users.live_logins(conn, now)) == [login]
    assert await store.write(lambda conn: users.use_refresh(conn, b"1" * 32, now)) == ("l1", True)
    assert await store.write(lambda conn: users.use_refresh(conn, b"1" * 32, now)) == ("l1", False)
    assert await store.write(lambda conn: users.use_refresh(conn, b"2" * 32, now)) is None
    await store.write(lambda conn: users.revoke_logins(conn, ["l1"], now, "LOGOUT"))
    assert await store.read(lambda conn: users.live_logins(conn, now)) == []
    assert await store.write(lambda conn: users.forget_logins(conn, now + HOUR)) == 1
    assert await store.read(lambda conn: users.login_of_refresh(conn, b"1" * 32)) is None


async def test_used_refresh_tokens_are_bounded(store: Store, now: datetime) -> None:
    user = User("i1", "zhang", "", "", "", frozenset({Role.OPERATOR}), False, False, now)

    def work(conn: Connection) -> int:
        users.insert(conn, user, "hash")
        users.insert_login(conn, users.Login("l1", "i1", now + HOUR, now))
        for i in range(600):
            users.insert_refresh(conn, i.to_bytes(32, "big"), "l1")
            users.use_refresh(conn, i.to_bytes(32, "big"), now + timedelta(seconds=i))
        return int(conn.exec_driver_sql("SELECT count(*) FROM refresh_tokens").scalar_one())

    assert await store.write(work) <= 513
