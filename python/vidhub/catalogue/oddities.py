"""What is odd in a record that keeps the rules: no reason to refuse it, but to look again."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from vidhub.core import PlainRecord
from vidhub.errors import Violation
from vidhub.model import Camera
from vidhub.places import Outlines

# GB/T 28181-2022, Annex E: digits 11 to 13 of an id that say camera and network camera.
CAMERA_TYPES = ("131", "132")
# From here on a county's code is a development zone's of our own; see `store/regions.py`.
_FIRST_ZONE = "91"


def of(record: Camera | PlainRecord, outlines: Outlines) -> tuple[Violation, ...]:
    """Everything odd in a record that keeps the rules."""
    if isinstance(record, PlainRecord):
        camera_id, region, industry, latitude, longitude, has_sign = record.brief
    else:
        camera_id, region, industry = record.id, record.region_code, record.industry
        latitude, longitude = record.location.latitude, record.location.longitude
        has_sign = bool(record.legal.signage_text.strip() and record.legal.signage_date)
    found: list[Violation] = []
    if outlines.is_outside(region, latitude, longitude):
        found.append(
            Violation(
                "location",
                "LOCATION_OUTSIDE_REGION",
                f"the place is outside {outlines.name_of(region) or region}: check latitude, longitude and region_code",
            )
        )
    if camera_id:
        found += _of_id(camera_id[:13], region, industry)
    if not has_sign:
        found.append(
            Violation(
                "legal.signage_text",
                "SIGN_MISSING",
                "put up a conspicuous sign, then give its text and date (Order 799, Article 13)",
            )
        )
    return tuple(found)


@lru_cache(4_096)
def _of_id(camera_id: str, region: str, industry: str) -> tuple[Violation, ...]:
    """An id tells where it was given: 8 digits of the centre, 2 of the industry, 3 of the type (Annex E)."""
    return tuple(_judged(camera_id, region, industry))


def _judged(camera_id: str, region: str, industry: str) -> Iterator[Violation]:
    centre = camera_id[:6]
    while centre.endswith("00"):  # a city's centre gives ids to its districts
        centre = centre[:-2]
    wanted = region[:4] if region[4:] >= _FIRST_ZONE else region
    if not wanted.startswith(centre[: len(wanted)]):
        yield Violation("id", "ID_OTHER_REGION", f"the id is of region {camera_id[:6]}, not {region}: check both")
    if camera_id[8:10] != industry:
        yield Violation(
            "id", "ID_OTHER_INDUSTRY", f"the id is of industry {camera_id[8:10]}, not {industry}: check both"
        )
    if camera_id[10:13] not in CAMERA_TYPES:
        yield Violation(
            "id",
            "ID_NO_CAMERA",
            f"type {camera_id[10:13]} in the id is no camera: 131 and 132 are (GB/T 28181, Annex E)",
        )
