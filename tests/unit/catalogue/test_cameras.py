"""The catalogue on a real store and core."""

import json
from dataclasses import replace

import pytest
from support.domain import SYSTEM, Domain, camera, person, unit

from vidhub.catalogue import registration
from vidhub.errors import AlreadyExists, InvalidArgument, NotFound, PermissionDenied
from vidhub.model import CameraFilter, CameraState, CameraStream, LegalRecord, Location, Profile, Role
from vidhub.store import cameras

ADMIN = person("root", Role.ADMINISTRATOR)


async def stored(domain: Domain, camera_id: str):
    return await domain.store.read(lambda conn: cameras.get(conn, camera_id, domain.secrets))


async def test_a_registered_camera_is_durable_listed_and_on_record(domain):
    got = await domain.catalogue.register_one(unit(), camera())
    assert (got.unit_id, got.streams[0].url, got.streams[0].password) == ("u1", "rtsp://10.0.0.1/1", "")
    assert got.revision is not None
    assert got.revision.number == 1
    page = await domain.catalogue.list(ADMIN, CameraFilter())
    assert [(one.id, one.revision.number) for one in page.cameras] == [(got.id, 1)]
    (entry,) = await domain.entries("camera.register")
    assert (entry.record.principal, entry.record.resource) == ("unit/u1", f"camera/{got.id}")
    assert "hunter22" not in repr(entry)


async def test_an_empty_id_is_assigned_and_never_twice(domain):
    taken = camera(id="36060200111322000002")
    result = await domain.catalogue.register(unit(), [taken, *(camera(id="") for _ in range(3))])
    assert result.ids[0] == taken.id
    assert len(set(result.ids)) == 4
    assert all(one.startswith("36060200111322") and len(one) == 20 for one in result.ids)
    await domain.catalogue.retire(unit(), result.ids[3], "gone")
    again = await domain.catalogue.register(unit(), [camera(id="")])
    assert again.ids[0] not in result.ids


async def test_an_equal_record_makes_no_revision_and_no_entry(domain):
    first = await domain.catalogue.register(unit(), [camera(1), camera(2)])
    before = len(await domain.entries())
    second = await domain.catalogue.register(unit(), [camera(1), camera(2)])
    assert (second.ids, second.revision) == (first.ids, first.revision)
    assert len(await domain.entries()) == before
    third = await domain.catalogue.register(unit(), [camera(1), camera(2, name="西门")])
    assert third.revision.number == first.revision.number + 1


async def test_another_units_id_is_taken_and_nothing_else_is_said(domain):
    await domain.catalogue.register_one(unit("u1"), camera())
    with pytest.raises(AlreadyExists) as caught:
        await domain.catalogue.register_one(unit("u2"), camera(name="mine"))
    assert caught.value.reason == "CAMERA_ID_TAKEN"
    assert "u1" not in str(caught.value)
    assert (await stored(domain, camera().id)).name == camera().name


async def test_another_unit_can_not_be_named(domain):
    with pytest.raises(PermissionDenied, match="UNIT_NOT_YOURS"):
        await domain.catalogue.register_one(unit("u1"), camera(unit_id="u2"))


async def test_who_is_no_unit_registers_nothing(domain):
    for principal in (ADMIN, person("zhang", Role.OPERATOR), SYSTEM, person("x", Role.UNIT)):
        with pytest.raises(PermissionDenied, match="ROLE_NOT_PERMITTED"):
            await domain.catalogue.register(principal, [camera()])


async def test_a_batch_takes_the_good_and_names_the_bad(domain):
    batch = [
        camera(1),
        camera(2, place_category=90),
        camera(3, region_code="999999", name=""),
        camera(1, name="again"),
        camera(4),
    ]
    result = await domain.catalogue.register(unit(), batch)
    assert result.ids == (camera(1).id, "", "", "", camera(4).id)
    found = {row.index: {violation.reason for violation in row.violations} for row in result.rejected}
    assert found == {
        1: {"PLACE_FORBIDDEN"},
        2: {"REGION_UNKNOWN", "NAME_MISSING"},
        3: {"ID_DUPLICATE_IN_BATCH"},
    }
    assert domain.telemetry.registry.get_sample_value("vidhub_registrations_total", {"result": "accepted"}) == 2
    assert domain.telemetry.registry.get_sample_value("vidhub_registrations_total", {"result": "rejected"}) == 3


async def test_a_thousand_go_in_chunks_with_one_entry_each(domain):
    batch = [camera(number) for number in range(1, 1_001)]
    result = await domain.catalogue.register(unit(), batch, bulk=True)
    assert (len(set(result.ids)), result.rejected) == (1_000, ())
    details = [json.loads(entry.record.detail_json) for entry in await domain.entries("camera.register")]
    assert [detail["count"] for detail in details] == [200] * 5
    assert len({detail["ids_sha256"] for detail in details}) == 5
    page = await domain.catalogue.list(ADMIN, CameraFilter(), page_size=1)
    assert page.total_size == 1_000
    with pytest.raises(InvalidArgument, match="BATCH_TOO_LARGE"):
        await domain.catalogue.register(unit(), [*batch, camera(2_000)])


async def test_a_dry_run_changes_nothing_and_says_the_same(domain):
    await domain.catalogue.register_one(unit("u2"), camera(9))
    before = len(await domain.entries())
    result = await domain.catalogue.register(unit(), [camera(1), camera(2, name=""), camera(9)], dry_run=True)
    assert result.ids == (camera(1).id, "", "")
    assert [(row.index, row.violations[0].reason) for row in result.rejected] == [
        (1, "NAME_MISSING"),
        (2, "CAMERA_ID_TAKEN"),
    ]
    assert len(await domain.entries()) == before
    assert await stored(domain, camera(1).id) is None


async def test_a_password_is_kept_until_the_stream_is_another(domain):
    stream = camera().streams[0]
    await domain.catalogue.register_one(unit(), camera())
    bare = replace(stream, password="")
    await domain.catalogue.register_one(unit(), camera(name="renamed", streams=(bare,)))
    assert (await stored(domain, camera().id)).streams[0].password == "hunter22"
    moved = replace(bare, url="rtsp://10.9.9.9/1")
    await domain.catalogue.register_one(unit(), camera(streams=(moved,)))
    assert (await stored(domain, camera().id)).streams[0].password == ""


async def test_what_the_hub_saw_of_a_stream_is_not_for_the_unit_to_say(domain):
    stream = replace(camera().streams[0], codec="h265", width=4096)
    await domain.catalogue.register_one(unit(), camera(streams=(stream,)))
    await domain.store.write(
        lambda conn: cameras.set_stream_media(
            conn, camera().id, Profile.MAIN, codec="h264", width=1920, height=1080, frame_rate=25.0
        )
    )
    got = await domain.catalogue.register_one(unit(), camera(streams=(stream,), name="renamed"))
    assert (got.streams[0].codec, got.streams[0].width) == ("h264", 1920)


async def test_an_update_changes_the_masked_fields_alone(domain):
    await domain.catalogue.register_one(unit(), camera())
    wanted = camera(name="新名", industry="42", location=Location(1.0, 2.0, "新址"))
    got = await domain.catalogue.update(unit(), wanted, ["name", "location.address"])
    assert (got.name, got.industry, got.location) == ("新名", "11", Location(28.24, 117.03, "新址"))
    assert [entry.record.action for entry in await domain.entries()][-1] == "camera.update"
    assert (await stored(domain, got.id)).streams[0].password == "hunter22"
    device = await domain.catalogue.update(unit(), camera(device=(("model", "DS-2"),)), ["device.model"])
    assert device.device == (("model", "DS-2"),)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (["nmae"], "MASK_UNKNOWN_FIELD"),
        (["location.height"], "MASK_UNKNOWN_FIELD"),
        (["name.x"], "MASK_UNKNOWN_FIELD"),
        (["streams.url"], "MASK_UNKNOWN_FIELD"),
        (["unit_id"], "MASK_FIELD_READ_ONLY"),
        (["state"], "MASK_FIELD_READ_ONLY"),
    ],
)
async def test_a_mask_names_what_it_may(domain, mask, reason):
    await domain.catalogue.register_one(unit(), camera())
    with pytest.raises(InvalidArgument) as caught:
        await domain.catalogue.update(unit(), camera(), mask)
    assert caught.value.reason == reason
    assert caught.value.violations[0].field == mask[0]


async def test_an_update_keeps_the_rules_and_the_owner(domain):
    await domain.catalogue.register_one(unit(), camera())
    with pytest.raises(InvalidArgument) as caught:
        await domain.catalogue.update(unit(), camera(place_category=92), ["place_category"])
    assert [(one.field, one.reason) for one in caught.value.violations] == [("place_category", "PLACE_FORBIDDEN")]
    for principal, one in ((unit("u2"), camera()), (unit(), camera(7))):
        with pytest.raises(NotFound, match="CAMERA_NOT_FOUND"):
            await domain.catalogue.update(principal, one, ["name"])


async def test_a_retired_camera_is_gone_and_its_id_stays_its_units(domain):
    await domain.catalogue.register_one(unit(), camera())
    with pytest.raises(NotFound, match="CAMERA_NOT_FOUND"):
        await domain.catalogue.retire(unit("u2"), camera().id, "not mine")
    with pytest.raises(InvalidArgument, match="REASON_MISSING"):
        await domain.catalogue.retire(unit(), camera().id, " ")
    await domain.catalogue.retire(unit(), camera().id, "拆除")
    for _ in range(2):
        with pytest.raises(NotFound):
            await domain.catalogue.get(ADMIN, camera().id)
    with pytest.raises(NotFound):
        await domain.catalogue.retire(SYSTEM, camera().id, "again")
    with pytest.raises(AlreadyExists):
        await domain.catalogue.register_one(unit("u2"), camera())
    got = await domain.catalogue.register_one(unit(), camera())
    assert got.state is CameraState.UNKNOWN


async def test_a_quarantine_is_not_lifted_by_registering_again(domain):
    await domain.catalogue.register_one(unit(), camera())
    row = replace(await stored(domain, camera().id), state=CameraState.QUARANTINED, state_reason="Art. 8")
    again = registration.records.succeed(row, camera(name="renamed"))
    assert (again.state, again.state_reason) == (CameraState.QUARANTINED, "Art. 8")


async def test_addresses_are_for_the_own_unit_and_administrators(domain):
    await domain.catalogue.register_one(unit(), camera(device=(("ip_address", "10.0.0.1"), ("model", "DS-2"))))
    for principal, sees in (
        (unit(), True),
        (person("clerk", Role.UNIT, unit_id="u1"), True),
        (ADMIN, True),
        (SYSTEM, True),
        (person("sup", Role.SUPERVISOR), False),
        (person("aud", Role.AUDITOR, unit_id="u1"), False),
    ):
        got = await domain.catalogue.get(principal, camera().id)
        page = await domain.catalogue.list(principal, CameraFilter(), full=True)
        for one in (got, *page.cameras):
            assert bool(one.streams[0].url) is sees
            assert bool(one.streams[0].username) is sees
            assert ("ip_address" in dict(one.device)) is sees
            assert dict(one.device)["model"] == "DS-2"
            assert one.streams[0].password == ""


async def test_secret_units_are_for_those_who_see_addresses_and_who_oversee(domain):
    legal = LegalRecord("ground", "purpose", "scope", 30, "", "", True, "consent of 2026-01-31")
    with pytest.raises(InvalidArgument) as caught:
        await domain.catalogue.register_one(unit(), camera(legal=replace(legal, consent="")))
    assert [(one.field, one.reason) for one in caught.value.violations] == [("legal.consent", "CONSENT_MISSING")]
    await domain.catalogue.register_one(unit(), camera(legal=legal))
    for principal, sees in (
        (unit(), True),
        (ADMIN, True),
        (person("sup", Role.SUPERVISOR), True),
        (person("aud", Role.AUDITOR), True),
        (person("app", Role.APPROVER), False),
        (person("zhang", Role.OPERATOR), False),
    ):
        told = registration.records.shown(principal, await stored(domain, camera().id))
        assert told.legal == (legal if sees else replace(legal, near_secret_unit=False, consent=""))
    with pytest.raises(InvalidArgument) as caught:
        await domain.catalogue.update(unit(), camera(legal=replace(legal, consent="")), ["legal.consent"])
    assert caught.value.violations[0].reason == "CONSENT_MISSING"


async def test_a_basic_list_has_no_addresses_at_all(domain):
    await domain.catalogue.register_one(unit(), camera())
    (one,) = (await domain.catalogue.list(unit(), CameraFilter())).cameras
    assert one.streams == (CameraStream(Profile.MAIN),)


async def test_units_and_operators_see_their_own(domain):
    await domain.catalogue.register(unit("u1"), [camera(1)])
    await domain.catalogue.register(unit("u2"), [camera(2)])
    for principal, ids in (
        (unit("u1"), [camera(1).id]),
        (unit("u2"), [camera(2).id]),
        (person("zhang", Role.OPERATOR), []),
        (person("sup", Role.SUPERVISOR), [camera(1).id, camera(2).id]),
    ):
        page = await domain.catalogue.list(principal, CameraFilter())
        assert [one.id for one in page.cameras] == ids
        assert page.total_size == len(ids)
    with pytest.raises(NotFound, match="CAMERA_NOT_FOUND"):
        await domain.catalogue.get(unit("u1"), camera(2).id)


async def test_pages_follow_each_other_and_their_token_fits_one_question(domain):
    await domain.catalogue.register(unit(), [camera(number) for number in range(1, 6)])
    seen, token = [], ""
    for _ in range(3):
        page = await domain.catalogue.list(ADMIN, CameraFilter(), page_size=2, page_token=token)
        seen += [one.id for one in page.cameras]
        token = page.next_page_token
    assert (seen, token) == ([camera(number).id for number in range(1, 6)], "")
    token = (await domain.catalogue.list(ADMIN, CameraFilter(), page_size=2)).next_page_token
    for principal, wanted in ((ADMIN, CameraFilter(region_prefix="36")), (unit(), CameraFilter())):
        with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
            await domain.catalogue.list(principal, wanted, page_token=token)


async def test_secrets_are_sealed_in_the_file(domain, tmp_path):
    await domain.catalogue.register_one(unit(), camera())
    await domain.store.close()
    for path in tmp_path.glob("vidhub.db*"):
        assert b"hunter22" not in path.read_bytes()
