"""The outlines of Yingtan, and files that are none."""

import json
from pathlib import Path

import pytest

from vidhub.errors import InvalidArgument
from vidhub.places import MARGIN_M, SHIPPED, Outlines


def test_the_shipped_file_says_where_it_is_from() -> None:
    document = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert all(document["about"][key] for key in ("source", "date", "datum", "licence"))
    found = {feature["properties"]["code"]: feature["properties"]["name"] for feature in document["features"]}
    assert found == {"360602": "月湖区", "360603": "余江区", "360681": "贵溪市"}


@pytest.mark.parametrize(
    ("code", "latitude", "longitude", "outside"),
    [
        ("360602", 28.239, 117.05, False),
        ("360603", 28.337, 116.879, False),
        ("360681", 28.239, 117.206, False),
        # 余江 is not 月湖, and Nanchang is neither.
        ("360602", 28.337, 116.70, True),
        ("360681", 28.68, 115.86, True),
        # A development zone and the city itself: anywhere in the city.
        ("360691", 28.239, 117.05, False),
        ("360600", 28.239, 117.206, False),
        ("360691", 28.68, 115.86, True),
        # No outline, no word.
        ("360102", 0.1, 0.1, False),
        ("360000", 28.68, 115.86, False),
    ],
)
def test_a_place_far_from_its_region_is_outside(code: str, latitude: float, longitude: float, outside: bool) -> None:
    assert Outlines.read().is_outside(code, latitude, longitude) is outside


def test_holes_are_outside_and_edges_have_a_margin(tmp_path: Path) -> None:
    outer = [[117, 28], [118, 28], [118, 29], [117, 29], [117, 28]]
    hole = [[117.4, 28.4], [117.4, 28.6], [117.6, 28.6], [117.6, 28.4], [117.4, 28.4]]
    outlines = Outlines.read(write(tmp_path, "Polygon", [outer, hole]))
    assert not outlines.is_outside("360699", 28.2, 117.2)
    assert outlines.is_outside("360699", 28.5, 117.5)
    degree = MARGIN_M / 111_195
    assert not outlines.is_outside("360699", 28 - degree * 0.8, 117.5)
    assert outlines.is_outside("360699", 28 - degree * 1.2, 117.5)
    assert outlines.codes_at(28.2, 117.2) == ("360699",)


def test_what_is_remembered_of_places_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidhub.places.outlines.MOST_CELLS", 8)
    outlines = Outlines.read()
    for step in range(40):
        assert outlines.is_outside("360602", 28.239 + step * 0.1, 117.05) is (step > 0)
    assert len(outlines._cells) <= 8


def write(directory: Path, kind: str, coordinates: object) -> Path:
    feature = {"properties": {"code": "360699", "name": "z"}, "geometry": {"type": kind, "coordinates": coordinates}}
    path = directory / "z.geojson"
    path.write_text(json.dumps({"features": [feature]}))
    return path


@pytest.mark.parametrize(
    "coordinates",
    [[], [[[0, 0], [1, 1], [0, 0]]], [[[0, 0], [1, 0], [1, 1], [0, 1]]], [[["a"]]], None, [[[0, 95]] * 5]],
)
def test_what_is_no_outline_is_refused(tmp_path: Path, coordinates: object) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Outlines.read(write(tmp_path, "Polygon", coordinates))
    assert refused.value.reason == "OUTLINES_INVALID"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="nowhere") as refused:
        Outlines.read(tmp_path / "nowhere.geojson")
    assert refused.value.reason == "OUTLINES_NOT_READ"
