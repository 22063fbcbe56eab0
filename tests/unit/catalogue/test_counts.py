"""What the catalogue tells of many cameras at once: counts by group, and points for a map."""

from dataclasses import replace

import pytest
from support.domain import Domain, camera, person, unit

from vidhub.errors import InvalidArgument
from vidhub.model import CameraCount, CameraCounts, CameraFilter, CameraGrouping, CameraState, Location, Role

ADMIN = person("root", Role.ADMINISTRATOR)
EVERY = CameraFilter()


@pytest.fixture
async def filled(domain: Domain) -> Domain:
    """Four cameras of two units, two of one region and two of another."""
    yuehu = [camera(number, location=Location(28.24 + number / 1000, 117.03)) for number in (1, 2)]
    guixi = [replace(camera(number), id=f"360681001213220{number:05d}", region_code="360681") for number in (3, 4)]
    await domain.catalogue.register(unit("u1"), [*yuehu, guixi[0]])
    await domain.catalogue.register(unit("u2"), [replace(guixi[1], industry="12")])
    return domain


def plain(counts: CameraCounts) -> list[tuple[str, int]]:
    return [(row.key, row.cameras) for row in counts.groups]


async def test_cameras_are_counted_by_region_unit_and_industry(filled: Domain) -> None:
    count = filled.catalogue.count
    assert plain(await count(ADMIN, EVERY, CameraGrouping.REGION)) == [("360602", 2), ("360681", 2)]
    assert plain(await count(ADMIN, EVERY, CameraGrouping.REGION, region_digits=4)) == [("3606", 4)]
    assert plain(await count(ADMIN, EVERY, CameraGrouping.INDUSTRY)) == [("11", 3), ("12", 1)]
    in_guixi = CameraFilter(region_prefix="360681")
    found = await count(ADMIN, in_guixi, CameraGrouping.UNIT)
    assert plain(found) == [("u1", 1), ("u2", 1)]
    assert (found.total.cameras, found.left_out, found.revision.number) == (2, 0, 2)


async def test_each_counts_what_they_may_know_of(filled: Domain) -> None:
    assert plain(await filled.catalogue.count(unit("u2"), EVERY, CameraGrouping.UNIT)) == [("u2", 1)]
    nobody = await filled.catalogue.count(person("zhang", Role.OPERATOR), EVERY, CameraGrouping.NONE)
    assert (nobody.groups, nobody.total.cameras) == ((), 0)


async def test_cameras_of_a_link_that_is_down_are_counted_apart_under_their_unit_s_name(filled: Domain) -> None:
    foreign = replace(
        camera(9), id="36060300121322000009", region_code="360603", unit_id="school", unit_name="余江中学",
        home_hub_id="yujiang",
    )  # fmt: skip
    revision = filled.core.revision().number + 1
    filled.core.apply_cameras(revision, [foreign])
    filled.remote.put("yujiang", [foreign])
    yujiang = CameraFilter(region_prefix="360603")
    (row,) = (await filled.catalogue.count(ADMIN, yujiang, CameraGrouping.UNIT)).groups
    assert row == CameraCount("school", (), 1, "余江中学")
    assert (await filled.catalogue.points(ADMIN, yujiang)).stale == [0]
    filled.remote.link_up("yujiang")
    (row,) = (await filled.catalogue.count(ADMIN, yujiang, CameraGrouping.UNIT)).groups
    assert row == CameraCount("school", ((CameraState.UNKNOWN, 1),), 0, "余江中学")
    assert (await filled.catalogue.points(ADMIN, yujiang)).stale == []
    filled.remote.stale_below([(foreign.id, True)])
    assert filled.remote.stale_ids() == [foreign.id]


async def test_points_are_pages_of_columns(filled: Domain) -> None:
    first = await filled.catalogue.points(ADMIN, EVERY, page_size=3)
    assert (len(first.ids), first.total_size) == (3, 4)
    assert list(zip(first.latitudes_e6, first.longitudes_e6, first.states, strict=True))[:2] == [
        (28_241_000, 117_030_000, CameraState.UNKNOWN),
        (28_242_000, 117_030_000, CameraState.UNKNOWN),
    ]
    rest = await filled.catalogue.points(ADMIN, EVERY, page_size=3, page_token=first.next_page_token)
    assert (len(rest.ids), rest.next_page_token) == (1, "")
    with pytest.raises(InvalidArgument, match="PAGE_TOKEN_INVALID"):
        await filled.catalogue.points(unit("u2"), EVERY, page_token=first.next_page_token)
    assert list((await filled.catalogue.points(unit("u2"), EVERY)).ids) == [rest.ids[0]]
