"""Sessions with which a unit pushes its own cameras: without a grant, but on record and ended like any other."""

import asyncio
import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection
from support.domain import Domain, camera, domain_of, person, unit

from vidhub.access.addresses import MediaAddresses
from vidhub.access.sessions import MOST_PER_PRINCIPAL
from vidhub.errors import InvalidArgument, NotFound, PermissionDenied
from vidhub.model import CameraStream, PrincipalKind, Profile, Purpose, Role
from vidhub.store import certificates, sessions
from vidhub.store.certificates import Certificate

UNIT = unit("u1")
PUBLISH = Purpose("publish")
CAMERA = camera(1).id


async def set_up(domain: Domain) -> Domain:
    pushed = camera(1, streams=(CameraStream(Profile.MAIN, ""),))
    await domain.catalogue.register(UNIT, [pushed, camera(2)])
    domain.sessions.serve_at(MediaAddresses("https://hub.example", "hub.example:8554"))
    return domain


@pytest.fixture
async def ready(domain: Domain) -> Domain:
    return await set_up(domain)


async def end_reason(domain: Domain, session_id: str) -> str:
    """Of a session, once its end is on record."""
    async with asyncio.timeout(30):
        while True:
            found = await domain.store.read(lambda conn: sessions.get(conn, session_id))
            assert found is not None
            if found.end_time is not None:
                return found.end_reason
            await asyncio.sleep(0)


async def test_a_unit_opens_one_for_its_own_camera_and_learns_where_to_push(ready):
    opened = await ready.sessions.open(UNIT, CAMERA, PUBLISH)
    assert opened.whip_url == f"https://hub.example/whip/{CAMERA}"
    assert (opened.whep_url, opened.mse_url, opened.watermark) == ("", "", "")
    assert opened.rtsp_url == f"rtsp://hub.example:8554/{CAMERA}?ticket={opened.ticket.text}"
    claims = json.loads(base64.urlsafe_b64decode(opened.ticket.text.split(".")[1] + "=="))
    assert (claims["op"], claims["cam"], claims["sid"]) == ("publish", CAMERA, opened.session.id)
    (entry,) = await ready.entries("session.open")
    record = entry.record
    assert (record.principal, record.resource, record.purpose_kind) == ("unit/u1", f"camera/{CAMERA}", "publish")
    assert (record.grant_id, record.source_address, record.session_id) == ("", "192.0.2.7", opened.session.id)
    renewed = await ready.sessions.renew(UNIT, opened.session.id)
    assert renewed.session.expire_time >= opened.session.expire_time


@pytest.mark.parametrize(
    ("asked", "given"),
    [(Profile.AUTO, Profile.MAIN), (Profile.UNSPECIFIED, Profile.MAIN), (Profile.SUB, Profile.SUB)],
)
async def test_what_is_not_the_sub_stream_is_the_main_one(ready, asked, given):
    assert (await ready.sessions.open(UNIT, CAMERA, PUBLISH, profile=asked)).session.profile is given


@pytest.mark.parametrize(
    ("principal", "camera_id", "kind", "reason"),
    [
        (unit("u2"), CAMERA, NotFound, "CAMERA_NOT_FOUND"),
        (UNIT, camera(99).id, NotFound, "CAMERA_NOT_FOUND"),
        (person("zhang", Role.OPERATOR), CAMERA, InvalidArgument, "PURPOSE_UNKNOWN"),
        (person("desk", Role.UNIT, unit_id="u1"), CAMERA, InvalidArgument, "PURPOSE_UNKNOWN"),
        (person("root", Role.ADMINISTRATOR), CAMERA, InvalidArgument, "PURPOSE_UNKNOWN"),
    ],
)
async def test_nobody_else_pushes_a_camera_and_who_tries_is_on_record(ready, principal, camera_id, kind, reason):
    with pytest.raises(kind) as caught:
        await ready.sessions.open(principal, camera_id, PUBLISH)
    assert caught.value.reason == reason
    (entry,) = await ready.entries("session.refused")
    assert (entry.record.principal, entry.record.result) == (principal.ref, reason)
    assert ready.core.counts()["sessions"] == 0


async def test_to_push_is_no_right_to_watch(ready):
    with pytest.raises(PermissionDenied, match="ROLE_SEES_NO_VIDEO"):
        await ready.sessions.open(UNIT, CAMERA, Purpose("patrol"))


async def test_a_unit_pushes_more_cameras_than_a_person_watches(ready):
    for _ in range(MOST_PER_PRINCIPAL + 1):
        await ready.sessions.open(UNIT, CAMERA, PUBLISH)
    assert len((await ready.sessions.list(UNIT)).sessions) == MOST_PER_PRINCIPAL + 1


async def test_owner_and_supervision_see_and_end_it(ready):
    first = (await ready.sessions.open(UNIT, CAMERA, PUBLISH)).session
    second = (await ready.sessions.open(UNIT, camera(2).id, PUBLISH)).session
    supervisor = person("sup", Role.SUPERVISOR)
    for principal in (UNIT, supervisor):
        assert {one.id for one in (await ready.sessions.list(principal)).sessions} == {first.id, second.id}
    assert (await ready.sessions.list(unit("u2"))).sessions == ()
    await ready.sessions.terminate(supervisor, first.id, "维修")
    await ready.sessions.close(UNIT, second.id)
    assert await end_reason(ready, first.id) == "SESSION_TERMINATED"
    assert await end_reason(ready, second.id) == "SESSION_CLOSED"


async def test_it_ends_with_the_camera_and_with_the_units_certificates(ready):
    retired = (await ready.sessions.open(UNIT, CAMERA, PUBLISH)).session
    cut = (await ready.sessions.open(UNIT, camera(2).id, PUBLISH)).session
    await ready.catalogue.retire(UNIT, CAMERA, "gone")
    assert await end_reason(ready, retired.id) == "CAMERA_RETIRED"
    assert ready.book.end_all_of(PrincipalKind.UNIT, "u1", "CERTIFICATE_REVOKED") == 1
    assert await end_reason(ready, cut.id) == "CERTIFICATE_REVOKED"


async def test_who_is_cut_off_while_opening_pushes_nothing(ready):
    opening = asyncio.create_task(ready.sessions.open(UNIT, CAMERA, PUBLISH))
    await asyncio.sleep(0)
    ready.book.end_all_of(PrincipalKind.UNIT, "u1", "CERTIFICATE_REVOKED")
    with pytest.raises(PermissionDenied, match="CERTIFICATE_REVOKED"):
        await opening
    assert ready.core.counts()["sessions"] == 0


def certificate(conn: Connection, fingerprint: str, **changed: object) -> None:
    now = datetime.now(UTC)
    fields = {"not_before": now, "not_after": now + timedelta(days=1), "create_time": now, **changed}
    certificates.insert(conn, Certificate(fingerprint, "unit", "u1", **fields))  # type: ignore[arg-type]


async def test_after_a_clean_stop_a_unit_with_a_good_certificate_goes_on(tmp_path):
    async with domain_of(tmp_path) as first:
        await set_up(first)
        await first.store.write(lambda conn: certificate(conn, "f1"))
        kept = (await first.sessions.open(UNIT, CAMERA, PUBLISH, profile=Profile.SUB)).session
    async with domain_of(tmp_path) as second:
        await second.reload(was_clean=True)
        renewed = await second.sessions.renew(UNIT, kept.id)
        assert (renewed.session.rtsp_password, renewed.session.profile) == (kept.rtsp_password, Profile.SUB)
        await second.store.write(lambda conn: certificates.revoke(conn, ["f1"], datetime.now(UTC), "stolen"))
    async with domain_of(tmp_path) as third:
        await third.reload(was_clean=True)
        assert await end_reason(third, kept.id) == "CERTIFICATE_REVOKED"
        assert third.core.counts()["sessions"] == 0
