"""Sessions: on record before the picture, ended once whoever ends them, and known across restarts."""

import asyncio
import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection
from support.domain import SYSTEM, Domain, camera, domain_of, person, unit

from vidhub.access.addresses import MediaAddresses
from vidhub.access.sessions import MOST_PER_PRINCIPAL
from vidhub.errors import (
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from vidhub.model import Action, Grant, PrincipalKind, Profile, Purpose, Role, Scope, Session
from vidhub.store import grants, meta, sessions, users

OPERATOR = person("zhang", Role.OPERATOR, department="指挥中心")
SUPERVISOR = person("sup", Role.SUPERVISOR)
PATROL = Purpose("patrol")
CAMERA = camera(1).id


async def give(domain: Domain, **changed: object) -> Grant:
    now = datetime.now(UTC)
    fields: dict[str, object] = {
        "id": "",
        "username": "zhang",
        "department": "",
        "scope": Scope(region_prefixes=("3606",)),
        "actions": (Action.VIEW_LIVE,),
        "purposes": ("patrol", "investigation"),
        "not_before": now,
        "not_after": now + timedelta(hours=1),
    }
    return await domain.grants.create(SYSTEM, Grant(**{**fields, **changed}))  # type: ignore[arg-type]


async def set_up(domain: Domain) -> Domain:
    await domain.add_user(OPERATOR)
    await domain.catalogue.register(unit("u1"), [camera(1), camera(2)])
    domain.sessions.serve_at(MediaAddresses("https://hub.example", "hub.example:8554"))
    return domain


@pytest.fixture
async def ready(domain: Domain) -> Domain:
    await set_up(domain)
    domain.given = await give(domain)  # type: ignore[attr-defined]
    return domain


async def row(domain: Domain, session_id: str) -> Session:
    found = await domain.store.read(lambda conn: sessions.get(conn, session_id))
    assert found is not None
    return found


async def ended(domain: Domain, session_id: str) -> Session:
    """The session once its end is on record."""
    deadline = time.monotonic() + 30
    while (found := await row(domain, session_id)).end_time is None:
        assert time.monotonic() < deadline, "the session did not end"
    return found


async def closings(domain: Domain, session_id: str) -> list[str]:
    found = [entry.record for entry in await domain.entries("session.close") if entry.record.session_id == session_id]
    assert all(record.principal == "user/zhang" for record in found)
    return [json.loads(record.detail_json)["end_reason"] for record in found]


async def test_a_session_is_on_record_before_its_ticket(ready):
    opened = await ready.sessions.open(OPERATOR, CAMERA, Purpose("investigation", "A-17", "note"))
    session = opened.session
    (entry,) = await ready.entries("session.open")
    record = entry.record
    assert (record.principal, record.resource, record.session_id) == ("user/zhang", f"camera/{CAMERA}", session.id)
    assert (record.purpose_kind, record.purpose_reference) == ("investigation", "A-17")
    assert (record.grant_id, record.source_address) == (ready.given.id, "192.0.2.8")
    assert opened.whep_url == f"https://hub.example/whep/{CAMERA}"
    assert opened.mse_url == f"wss://hub.example/mse/{CAMERA}"
    assert opened.rtsp_url == f"rtsp://hub.example:8554/{CAMERA}?ticket={opened.ticket.text}"
    assert re.fullmatch(r"Zhang \d{4}-\d\d-\d\d \d\d:\d\d 192\.0\.2\.8", opened.watermark)
    assert re.fullmatch(r"[A-Za-z0-9]{24}", session.rtsp_password)
    assert len(opened.ticket.text) <= 320
    assert session.profile is Profile.AUTO
    assert (session.expire_time - session.open_time) == timedelta(seconds=600)
    for secret in (opened.ticket.text, session.rtsp_password):
        assert secret not in repr(opened)
        assert secret not in repr(await ready.entries())


async def test_a_session_ends_with_its_grant_at_the_latest(domain):
    await set_up(domain)
    given = await give(domain, not_after=datetime.now(UTC) + timedelta(seconds=90))
    opened = await domain.sessions.open(OPERATOR, CAMERA, PATROL)
    assert abs((opened.session.expire_time - given.not_after).total_seconds()) < 1


@pytest.mark.parametrize(
    ("principal", "camera_id", "purpose", "kind", "reason"),
    [
        (OPERATOR, CAMERA, Purpose(""), InvalidArgument, "PURPOSE_MISSING"),
        (OPERATOR, CAMERA, Purpose("fun"), InvalidArgument, "PURPOSE_UNKNOWN"),
        (OPERATOR, CAMERA, Purpose("publish"), InvalidArgument, "PURPOSE_UNKNOWN"),
        (OPERATOR, CAMERA, Purpose("investigation"), InvalidArgument, "PURPOSE_REFERENCE_MISSING"),
        (OPERATOR, CAMERA, Purpose("traffic"), PermissionDenied, "PURPOSE_NOT_GRANTED"),
        (OPERATOR, camera(99).id, PATROL, NotFound, "CAMERA_NOT_FOUND"),
        (person("wang", Role.OPERATOR), CAMERA, PATROL, PermissionDenied, "NO_GRANT"),
        (person("root", Role.ADMINISTRATOR), CAMERA, PATROL, PermissionDenied, "ROLE_SEES_NO_VIDEO"),
        (SUPERVISOR, CAMERA, PATROL, PermissionDenied, "ROLE_SEES_NO_VIDEO"),
        (unit("u1"), CAMERA, PATROL, PermissionDenied, "ROLE_SEES_NO_VIDEO"),
    ],
)
async def test_a_refusal_has_its_reason_and_is_on_record(ready, principal, camera_id, purpose, kind, reason):
    with pytest.raises(kind) as caught:
        await ready.sessions.open(principal, camera_id, purpose)
    assert caught.value.reason == reason
    assert caught.value.on_record
    (entry,) = await ready.entries("session.refused")
    assert (entry.record.principal, entry.record.result) == (principal.ref, reason)
    assert await ready.entries("session.open") == []
    assert ready.core.counts()["sessions"] == 0


async def test_a_person_has_so_many_sessions_and_gets_places_back(ready):
    opened = [await ready.sessions.open(OPERATOR, CAMERA, PATROL) for _ in range(MOST_PER_PRINCIPAL)]
    with pytest.raises(ResourceExhausted, match="LIMIT_SESSIONS"):
        await ready.sessions.open(OPERATOR, CAMERA, PATROL)
    await ready.sessions.close(OPERATOR, opened[0].session.id)
    await ready.sessions.open(OPERATOR, CAMERA, PATROL)


async def test_closing_ends_once_and_is_on_record_once(ready):
    session = (await ready.sessions.open(OPERATOR, CAMERA, PATROL)).session
    for _ in range(2):
        await ready.sessions.close(OPERATOR, session.id)
    assert (await row(ready, session.id)).end_reason == "SESSION_CLOSED"
    assert await closings(ready, session.id) == ["SESSION_CLOSED"]
    for principal, session_id in ((person("wang", Role.OPERATOR), session.id), (OPERATOR, "s0")):
        with pytest.raises(NotFound, match="SESSION_NOT_FOUND"):
            await ready.sessions.close(principal, session_id)
    with pytest.raises(NotFound, match="SESSION_UNKNOWN"):
        ready.core.issue_ticket(session.id, 60)


async def test_a_revoked_grant_ends_its_sessions(ready):
    session = (await ready.sessions.open(OPERATOR, CAMERA, PATROL)).session
    await ready.grants.revoke(SYSTEM, ready.given.id, "over")
    assert (await ended(ready, session.id)).end_reason == "GRANT_REVOKED"
    assert await closings(ready, session.id) == ["GRANT_REVOKED"]
    with pytest.raises(FailedPrecondition, match="SESSION_ENDED"):
        await ready.sessions.renew(OPERATOR, session.id)


async def test_a_retired_camera_ends_its_sessions(ready):
    session = (await ready.sessions.open(OPERATOR, CAMERA, PATROL)).session
    await ready.catalogue.retire(unit("u1"), CAMERA, "gone")
    assert (await ended(ready, session.id)).end_reason == "CAMERA_RETIRED"


async def test_a_camera_that_leaves_the_grants_scope_ends_its_sessions(domain):
    await set_up(domain)
    await give(domain, scope=Scope(region_prefixes=("360602",)))
    session = (await domain.sessions.open(OPERATOR, CAMERA, PATROL)).session
    await domain.catalogue.register(unit("u1"), [camera(1, region_code="360681")])
    assert (await ended(domain, session.id)).end_reason == "POLICY_CHANGED"


async def test_a_suspended_user_loses_what_is_open(ready):
    first = (await ready.sessions.open(OPERATOR, CAMERA, PATROL)).session
    assert ready.book.end_all_of(PrincipalKind.USER, "zhang", "USER_SUSPENDED") == 1
    assert (await ended(ready, first.id)).end_reason == "USER_SUSPENDED"


async def test_who_is_cut_off_while_opening_gets_no_picture(ready):
    opening = asyncio.create_task(ready.sessions.open(OPERATOR, CAMERA, PATROL))
    await asyncio.sleep(0)  # it waits for the writer now
    ready.book.end_all_of(PrincipalKind.USER, "zhang", "USER_SUSPENDED")
    with pytest.raises(PermissionDenied, match="USER_SUSPENDED"):
        await opening
    assert ready.core.counts()["sessions"] == 0
    (entry,) = await ready.entries("session.open")
    assert (await ended(ready, entry.record.session_id)).end_reason == "USER_SUSPENDED"


async def test_a_grant_revoked_while_opening_gives_no_picture(ready):
    opening = asyncio.create_task(ready.sessions.open(OPERATOR, CAMERA, PATROL))
    await asyncio.sleep(0)
    ready.core.remove_grant(ready.given.id, "GRANT_REVOKED")
    with pytest.raises(PermissionDenied, match="NO_GRANT"):
        await opening
    assert ready.core.counts()["sessions"] == 0


async def test_a_caller_who_goes_while_opening_leaves_a_session_that_ends(ready):
    opening = asyncio.create_task(ready.sessions.open(OPERATOR, CAMERA, PATROL))
    await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    left = (await ready.sessions.list(OPERATOR)).sessions
    assert len(left) == ready.core.counts()["sessions"]


async def test_who_goes_before_anything_was_written_keeps_no_place(ready):
    free = threading.Event()
    held = asyncio.create_task(ready.store.write(lambda _: free.wait(10)))
    await asyncio.sleep(0)
    asked = [asyncio.create_task(ready.sessions.open(OPERATOR, CAMERA, PATROL)) for _ in range(MOST_PER_PRINCIPAL)]
    await asyncio.sleep(0)
    for opening in asked:
        opening.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    free.set()
    await held
    await ready.sessions.open(OPERATOR, CAMERA, PATROL)


async def test_a_session_ends_when_its_time_is_over(ready):
    session = (await ready.sessions.open(OPERATOR, CAMERA, PATROL)).session
    # As if it had been given so little: to open one may take longer.
    ready.core.renew_session(session.id, datetime.now(UTC) + timedelta(seconds=0.1))
    assert (await ended(ready, session.id)).end_reason == "SESSION_EXPIRED"
    with pytest.raises(FailedPrecondition, match="SESSION_ENDED"):
        await ready.sessions.renew(OPERATOR, session.id)


async def test_renewing_gives_time_and_a_fresh_ticket(ready):
    opened = await ready.sessions.open(OPERATOR, CAMERA, PATROL)
    renewed = await ready.sessions.renew(OPERATOR, opened.session.id)
    assert renewed.session.expire_time > opened.session.expire_time
    assert renewed.ticket.text != opened.ticket.text
    assert (await row(ready, opened.session.id)).expire_time == renewed.session.expire_time
    assert len(await ready.entries("session.renew")) == 1
    with pytest.raises(NotFound, match="SESSION_NOT_FOUND"):
        await ready.sessions.renew(person("wang", Role.OPERATOR), opened.session.id)


async def test_terminating_is_for_owner_and_supervision_with_a_reason(ready):
    session = (await ready.sessions.open(OPERATOR, CAMERA, PATROL)).session
    with pytest.raises(InvalidArgument, match="REASON_MISSING"):
        await ready.sessions.terminate(SUPERVISOR, session.id, " ")
    with pytest.raises(PermissionDenied, match="ROLE_NOT_PERMITTED"):
        await ready.sessions.terminate(OPERATOR, session.id, "x")
    with pytest.raises(NotFound, match="SESSION_NOT_FOUND"):
        await ready.sessions.terminate(unit("u2"), session.id, "x")
    await ready.sessions.terminate(unit("u1"), session.id, "校庆")
    assert (await row(ready, session.id)).end_reason == "SESSION_TERMINATED"
    assert await closings(ready, session.id) == ["SESSION_TERMINATED"]
    (entry,) = await ready.entries("session.terminate")
    assert (entry.record.principal, json.loads(entry.record.detail_json)["reason"]) == ("unit/u1", "校庆")
    with pytest.raises(FailedPrecondition, match="SESSION_ENDED"):
        await ready.sessions.terminate(SUPERVISOR, session.id, "again")


async def test_each_lists_what_concerns_them(ready):
    mine = (await ready.sessions.open(OPERATOR, CAMERA, PATROL)).session
    over = (await ready.sessions.open(OPERATOR, camera(2).id, PATROL)).session
    await ready.sessions.close(OPERATOR, over.id)
    for principal, ids in (
        (OPERATOR, {mine.id}),
        (SUPERVISOR, {mine.id}),
        (unit("u1"), {mine.id}),
        (unit("u2"), set()),
        (person("wang", Role.OPERATOR), set()),
    ):
        page = await ready.sessions.list(principal)
        assert {session.id for session in page.sessions} == ids, principal.ref
    for principal, ids in ((SUPERVISOR, set()), (unit("u1"), set()), (OPERATOR, {mine.id})):
        page = await ready.sessions.list(principal, own=True)
        assert {session.id for session in page.sessions} == ids, principal.ref
    seen = await ready.sessions.list(SUPERVISOR)
    assert seen.camera_names == {CAMERA: ready.core.get_camera(SUPERVISOR, CAMERA).name}
    both = await ready.sessions.list(SUPERVISOR, include_ended=True, page_size=1)
    assert [session.id for session in both.sessions] == [over.id]
    rest = await ready.sessions.list(SUPERVISOR, include_ended=True, page_size=1, page_token=both.next_page_token)
    assert [session.id for session in rest.sessions] == [mine.id]
    assert rest.next_page_token == ""


async def test_no_audit_no_video(ready, monkeypatch):
    def full(*_: object) -> None:
        raise Unavailable("STORE_UNAVAILABLE", "the disk is full")

    opened = await ready.sessions.open(OPERATOR, CAMERA, PATROL)
    with monkeypatch.context() as broken:
        broken.setattr(ready.audit, "append", full)
        with pytest.raises(Unavailable):
            await ready.sessions.open(OPERATOR, CAMERA, PATROL)
        with pytest.raises(Unavailable):
            await ready.sessions.renew(OPERATOR, opened.session.id)
        assert ready.core.counts()["sessions"] == 1
        # What must end ends at once; its record follows when the disk has room.
        with pytest.raises(Unavailable):
            await ready.sessions.close(OPERATOR, opened.session.id)
        assert ready.core.counts()["sessions"] == 0
        # Who asks meanwhile is told how it ended.
        (told,) = (await ready.sessions.list(OPERATOR, include_ended=True)).sessions
        assert (told.end_reason, told.end_time is not None) == ("SESSION_CLOSED", True)
        assert (await ready.sessions.list(OPERATOR)).sessions == ()
    assert (await ended(ready, opened.session.id)).end_reason == "SESSION_CLOSED"
    assert await closings(ready, opened.session.id) == ["SESSION_CLOSED"]


async def test_a_crash_closes_what_it_left_open(tmp_path):
    async with domain_of(tmp_path) as first:
        await set_up(first)
        await give(first)
        session = (await first.sessions.open(OPERATOR, CAMERA, PATROL)).session
    async with domain_of(tmp_path) as second:
        await second.reload(was_clean=False)
        assert (await row(second, session.id)).end_reason == "SESSION_LOST"
        assert await closings(second, session.id) == ["SESSION_LOST"]
        assert second.core.counts()["sessions"] == 0


async def test_after_a_clean_stop_a_session_goes_on(tmp_path):
    async with domain_of(tmp_path) as first:
        await set_up(first)
        given = await give(first)
        kept, revoked, expired = [(await first.sessions.open(OPERATOR, CAMERA, PATROL)).session for _ in range(3)]
    async with domain_of(tmp_path) as second:

        def meanwhile(conn: Connection) -> None:
            sessions.renew(conn, expired.id, datetime.now(UTC) - timedelta(seconds=1))
            assert meta.get(conn, "hub") == ""

        await second.store.write(meanwhile)
        await second.reload(was_clean=True)
        assert second.core.counts()["sessions"] == 2
        renewed = await second.sessions.renew(OPERATOR, kept.id)
        assert renewed.session.rtsp_password == kept.rtsp_password
        assert (await row(second, expired.id)).end_reason == "SESSION_EXPIRED"
        await second.grants.revoke(SYSTEM, given.id, "over")
        assert (await ended(second, revoked.id)).end_reason == "GRANT_REVOKED"


async def test_who_lost_the_right_meanwhile_does_not_go_on(tmp_path):
    async with domain_of(tmp_path) as first:
        await set_up(first)
        given = await give(first)
        session = (await first.sessions.open(OPERATOR, CAMERA, PATROL)).session
        await first.store.write(lambda conn: grants.revoke(conn, given.id, datetime.now(UTC), "x"))
    async with domain_of(tmp_path) as second:
        await second.reload(was_clean=True)
        assert (await row(second, session.id)).end_reason == "POLICY_CHANGED"
    async with domain_of(tmp_path) as third:
        await give(third)
        session = (await third.sessions.open(OPERATOR, CAMERA, PATROL)).session
        await third.store.write(lambda conn: users.set_suspended(conn, "zhang", True))
    async with domain_of(tmp_path) as fourth:
        await fourth.reload(was_clean=True)
        assert (await row(fourth, session.id)).end_reason == "USER_SUSPENDED"


async def test_a_ticket_for_load_programs_is_on_record_too(ready):
    opened = await ready.sessions.open_for_bench(CAMERA, 200)
    (entry,) = await ready.entries("session.open")
    assert (entry.record.principal, entry.record.session_id) == ("system", opened.session.id)
    with pytest.raises(InvalidArgument):
        await ready.sessions.open_for_bench(CAMERA, 0)
    with pytest.raises(NotFound):
        await ready.sessions.open_for_bench(camera(99).id, 1)
