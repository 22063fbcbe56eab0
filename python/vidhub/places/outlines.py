"""Outlines of regions, and whether a place lies within one.

The file is a GeoJSON FeatureCollection (RFC 7946): each feature has `properties.code` (GB/T 2260, 6 digits),
`properties.name` and a Polygon or MultiPolygon of degrees; `about` says where it is from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidhub.errors import InvalidArgument

SHIPPED = Path(__file__).with_name("yingtan.geojson")
# How far outside an outline a place still counts as within: the outlines are drawn coarsely, and a place told in
# GCJ-02 for WGS-84 is off by some 600 m.
MARGIN_M = 1_000.0
LARGEST_BYTES = 16 * 1024 * 1024
MOST_POINTS = 200_000
_DEGREE_M = 111_195.0
# Places are judged by the middle of cells so wide (some 200 m): cameras stand close together, and a look at a cell that
# was asked for before costs nothing.
_CELLS_A_DEGREE = 500
MOST_CELLS = 65_536

Ring = tuple[tuple[float, float], ...]


def file_of(data_dir: Path) -> Path:
    """The city's own outlines, DATA/outlines.geojson, where there are any; else those that come with the release."""
    own = data_dir / "outlines.geojson"
    return own if own.exists() else SHIPPED


@dataclass(frozen=True, slots=True)
class _Region:
    name: str
    # (west, south, east, north), the margin included.
    box: tuple[float, float, float, float]
    # Outer rings and holes alike: a place within a hole crosses its edges too.
    rings: tuple[Ring, ...]


class Outlines:
    """The regions of one file, by code."""

    def __init__(self, regions: dict[str, _Region]) -> None:
        self._regions = regions
        self._cells: dict[tuple[str, int, int], bool] = {}

    @classmethod
    def read(cls, path: Path = SHIPPED) -> Outlines:
        """Raises InvalidArgument OUTLINES_NOT_READ, OUTLINES_INVALID."""
        try:
            if path.stat().st_size > LARGEST_BYTES:
                raise InvalidArgument("OUTLINES_INVALID", f"{path} is over 16 MiB: simplify the outlines")
            text = path.read_bytes()
        except OSError as cause:
            raise InvalidArgument("OUTLINES_NOT_READ", f"{path}: {cause.strerror}: give a GeoJSON file") from cause
        try:
            document = json.loads(text)
            regions = {code: region for code, region in map(_region, document["features"]) if code}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as cause:
            raise InvalidArgument(
                "OUTLINES_INVALID",
                f"{path} has no outlines: a FeatureCollection of polygons with properties.code is wanted",
            ) from cause
        if sum(len(ring) for region in regions.values() for ring in region.rings) > MOST_POINTS:
            raise InvalidArgument("OUTLINES_INVALID", f"{path} has over {MOST_POINTS} points: simplify the outlines")
        return cls(regions)

    @classmethod
    def of_data(cls, data_dir: Path) -> Outlines:
        """Those in force for a data directory. Raises as `read`."""
        return cls.read(file_of(data_dir))

    def name_of(self, code: str) -> str:
        """ "" for a region without an outline."""
        region = self._regions.get(code)
        return region.name if region else ""

    def is_outside(self, code: str, latitude: float, longitude: float) -> bool:
        """Whether a place is surely not in the region; False when nothing is known of the region's outline.

        A code without an outline of its own (a city, a development zone) is taken for the outlines of its prefecture.
        """
        cell = (code, math.floor(latitude * _CELLS_A_DEGREE), math.floor(longitude * _CELLS_A_DEGREE))
        found = self._cells.get(cell)
        if found is None:
            if len(self._cells) >= MOST_CELLS:
                self._cells.clear()
            found = self._cells[cell] = self._is_outside(
                code, (cell[1] + 0.5) / _CELLS_A_DEGREE, (cell[2] + 0.5) / _CELLS_A_DEGREE
            )
        return found

    def _is_outside(self, code: str, latitude: float, longitude: float) -> bool:
        own = self._regions.get(code)
        near = (own,) if own else tuple(self._of_prefecture(code))
        return bool(near) and not any(_holds(region, latitude, longitude) for region in near)

    def codes_at(self, latitude: float, longitude: float) -> tuple[str, ...]:
        """Regions that a place may lie in, margins included."""
        return tuple(code for code, region in self._regions.items() if _holds(region, latitude, longitude))

    def _of_prefecture(self, code: str) -> Iterator[_Region]:
        if code[2:4] != "00":
            yield from (region for other, region in self._regions.items() if other[:4] == code[:4])


def _region(feature: dict[str, Any]) -> tuple[str, _Region]:
    properties, geometry = feature["properties"], feature["geometry"]
    polygons = {"Polygon": lambda found: [found], "MultiPolygon": list}[geometry["type"]](geometry["coordinates"])
    rings = tuple(_ring(points) for polygon in polygons for points in polygon)
    longitudes = [point[0] for ring in rings for point in ring]
    latitudes = [point[1] for ring in rings for point in ring]
    high = MARGIN_M / _DEGREE_M
    wide = high / max(0.01, math.cos(math.radians(max(map(abs, latitudes)))))
    box = (min(longitudes) - wide, min(latitudes) - high, max(longitudes) + wide, max(latitudes) + high)
    return str(properties["code"]), _Region(str(properties.get("name", "")), box, rings)


def _ring(points: Sequence[Sequence[float]]) -> Ring:
    ring = tuple((float(point[0]), float(point[1])) for point in points)
    if len(ring) < 4 or ring[0] != ring[-1] or not all(math.isfinite(x) and math.isfinite(y) for x, y in ring):
        raise ValueError("no ring")
    if not all(abs(x) <= 180 and abs(y) <= 90 for x, y in ring):
        raise ValueError("no degrees")
    return ring


def _holds(region: _Region, latitude: float, longitude: float) -> bool:
    west, south, east, north = region.box
    if not (west <= longitude <= east and south <= latitude <= north):
        return False
    within = False
    nearest = math.inf
    # Metres around the place, on a plane: good enough for a few kilometres.
    wide = _DEGREE_M * math.cos(math.radians(latitude))
    for ring in region.rings:
        x1, y1 = (ring[0][0] - longitude) * wide, (ring[0][1] - latitude) * _DEGREE_M
        for point in ring[1:]:
            x2, y2 = (point[0] - longitude) * wide, (point[1] - latitude) * _DEGREE_M
            if (y1 > 0) != (y2 > 0) and x1 + (x2 - x1) * y1 / (y1 - y2) > 0:
                within = not within
            nearest = min(nearest, _distance_squared(x1, y1, x2, y2))
            x1, y1 = x2, y2
    return within or nearest <= MARGIN_M * MARGIN_M


def _distance_squared(x1: float, y1: float, x2: float, y2: float) -> float:
    """From the origin to the line between two points."""
    dx, dy = x2 - x1, y2 - y1
    length = dx * dx + dy * dy
    along = 0.0 if length == 0 else min(1.0, max(0.0, -(x1 * dx + y1 * dy) / length))
    x, y = x1 + along * dx, y1 + along * dy
    return x * x + y * y
