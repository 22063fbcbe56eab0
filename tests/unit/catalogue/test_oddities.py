"""What is odd in a record is told, to those who may see the record, and refuses nothing."""

import asyncio
from dataclasses import replace

import pytest
from support.domain import Domain, camera, person, unit

from vidhub.catalogue import oddities
from vidhub.catalogue.duplicates import Duplicates
from vidhub.model import CameraStream, LegalRecord, Location, Profile, Role
from vidhub.places import Outlines
from vidhub.store import duplicates

OUTLINES = Outlines.read()
SIGNED = LegalRecord("赣公通〔2025〕1号", "校园安全", "校门外", 30, "您已进入公共视频采集区域", "2025-04-01")
ADMIN = person("root", Role.ADMINISTRATOR)


def reasons(**changed: object) -> list[str]:
    return [one.reason for one in oddities.of(camera(legal=SIGNED, **changed), OUTLINES)]


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({}, []),
        ({"id": ""}, []),
        ({"location": Location(28.68, 115.86)}, ["LOCATION_OUTSIDE_REGION"]),
        ({"id": "36068100111322000001"}, ["ID_OTHER_REGION"]),
        # The city's own centre, and the province's, give ids to its districts.
        ({"id": "36060000111322000001"}, []),
        ({"id": "36000000111322000001"}, []),
        ({"id": "11010000111322000001"}, ["ID_OTHER_REGION"]),
        # A development zone lies in a county with another code.
        ({"id": "36060300111322000001", "region_code": "360691"}, []),
        ({"id": "36010300111322000001", "region_code": "360691"}, ["ID_OTHER_REGION"]),
        ({"id": "36060200421322000001"}, ["ID_OTHER_INDUSTRY"]),
        ({"id": "36060200111182000001"}, ["ID_NO_CAMERA"]),
        ({"id": "36060200111312000001"}, []),
    ],
)
def test_ids_and_places_are_held_against_region_and_industry(changed: dict[str, object], wanted: list[str]) -> None:
    assert reasons(**changed) == wanted


def test_a_camera_without_a_sign_is_told_of() -> None:
    for legal in (
        replace(SIGNED, signage_text=""),
        replace(SIGNED, signage_text=" \u3000"),
        replace(SIGNED, signage_date=""),
    ):
        (one,) = oddities.of(camera(legal=legal), OUTLINES)
        assert (one.field, one.reason) == ("legal.signage_text", "SIGN_MISSING")


async def test_what_is_odd_is_told_at_once_and_stands_in_the_record(domain: Domain) -> None:
    far = camera(2, legal=SIGNED, location=Location(28.68, 115.86))
    batch = [camera(1, legal=SIGNED), far, camera(3, name="")]
    for dry_run in (True, False):
        result = await domain.catalogue.register(unit(), batch, dry_run=dry_run)
        assert [(index, [one.reason for one in found]) for index, found in result.warned] == [
            (1, ["LOCATION_OUTSIDE_REGION"])
        ]
    for who, wanted in ((unit(), ["LOCATION_OUTSIDE_REGION"]), (ADMIN, ["LOCATION_OUTSIDE_REGION"])):
        assert [one.reason for one in (await domain.catalogue.get(who, far.id)).warnings] == wanted
    supervisor = person("li", Role.SUPERVISOR)
    assert (await domain.catalogue.get(supervisor, far.id)).warnings == ()


def stream(url: str) -> tuple[CameraStream, ...]:
    return (CameraStream(Profile.MAIN, url), CameraStream(Profile.SUB, url))


async def test_cameras_registered_twice_are_found_by_address_mac_and_place(domain: Domain) -> None:
    mac = (("mac", "00-11-22-33-44-55"),)
    batch = [
        # The same address for both streams of one camera is none of these.
        camera(1, streams=stream("rtsp://10.0.0.1/a"), device=mac),
        camera(2, streams=stream("rtsp://10.0.0.2/a"), device=(("mac", "00:11:22:33:44:55"),)),
        camera(3, streams=stream("rtsp://10.0.0.1/a")),
        camera(4, name="南门", streams=stream("")),
        camera(5, name="南门", streams=stream("")),
        camera(6, name="南门", streams=stream(""), location=Location(28.25, 117.03)),
    ]
    await domain.catalogue.register(unit(), [replace(one, legal=SIGNED) for one in batch])
    await domain.duplicates.look()
    found = {n: [one.reason for one in domain.duplicates.of(camera(n).id)] for n in range(1, 7)}
    assert found == {
        1: ["URL_DUPLICATE", "MAC_DUPLICATE"],
        2: ["MAC_DUPLICATE"],
        3: ["URL_DUPLICATE"],
        4: ["PLACE_DUPLICATE"],
        5: ["PLACE_DUPLICATE"],
        6: [],
    }
    shown = await domain.catalogue.get(unit(), camera(3).id)
    assert camera(1).id in shown.warnings[-1].description
    await domain.catalogue.retire(unit(), camera(1).id, "twice")
    await domain.duplicates.look()
    assert domain.duplicates.of(camera(3).id) == domain.duplicates.of(camera(2).id) == ()


async def test_a_change_of_the_catalogue_makes_one_look(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = asyncio.Queue[int]()
    whole = Duplicates.look

    async def look(self: Duplicates) -> None:
        await whole(self)
        looks.put_nowait(1)

    monkeypatch.setattr(Duplicates, "look", look)
    task = asyncio.create_task(domain.duplicates.run(look_s=0.001, pause_s=0.001))
    async with asyncio.timeout(30):
        await looks.get()
        same = [camera(n, name="南门", legal=SIGNED) for n in (1, 2)]
        await domain.catalogue.register(unit(), same)
        await looks.get()
    assert [one.reason for one in domain.duplicates.of(same[0].id)] == ["PLACE_DUPLICATE"]
    assert looks.empty()
    task.cancel()


async def test_what_one_look_finds_is_bounded(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MOST_GROUPS", 2)
    monkeypatch.setattr(duplicates, "MOST_IN_GROUP", 3)
    batch = [camera(n, name=f"门{n % 4}", streams=stream("")) for n in range(1, 41)]
    await domain.catalogue.register(unit(), batch)
    groups = await domain.store.read(lambda conn: duplicates.find(conn, "place"))
    assert [len(group) for group in groups] == [3, 3]
