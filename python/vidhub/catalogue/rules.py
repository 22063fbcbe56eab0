"""What a camera's record must say before it may be shared, beyond what the shape of the message settles.

The ground is LAW: State Council Order 799 (public-security video), Articles 7 to 10, 13, 14 and 17.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from urllib.parse import urlsplit

from vidhub.catalogue.ids import is_device_id
from vidhub.errors import Violation
from vidhub.model import Camera, CameraStream, Profile
from vidhub.store import industries

PLACES = range(1, 13)
FORBIDDEN_PLACES = range(90, 94)
OTHER_PUBLIC = 12
# Order 799, Article 17; "other public places" (Article 9) are exempt.
LEAST_RETENTION_DAYS = 30
MOST_RETENTION_DAYS = 36_500

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MAC = re.compile(r"[0-9A-Fa-f]{2}([-:][0-9A-Fa-f]{2}){5}")

# Longest text a field takes, as in protos/.
_LENGTHS = {"place_basis": 512, "purpose": 512, "scope": 512, "signage_text": 1_000, "consent": 500}
_DEVICE_LENGTH = 128
# Cameras hang in underpasses and stations, too.
_LOWEST_M = -1_000


def tidy(camera: Camera) -> Camera:
    """The record without stray blanks; a lone stream without profile is the main one."""
    alone = len(camera.streams) == 1
    if all(_is_tidy(stream, alone=alone) for stream in camera.streams):
        if camera.id == camera.id.strip() and camera.name == camera.name.strip():
            return camera
        return replace(camera, id=camera.id.strip(), name=camera.name.strip())
    streams = tuple(
        replace(stream, url=stream.url.strip(), profile=_profile(stream, alone=alone)) for stream in camera.streams
    )
    return replace(camera, id=camera.id.strip(), name=camera.name.strip(), streams=streams)


def _is_tidy(stream: CameraStream, *, alone: bool) -> bool:
    return stream.url == stream.url.strip() and not (alone and stream.profile is Profile.UNSPECIFIED)


def violations(camera: Camera, knows_region: Callable[[str], bool]) -> list[Violation]:
    """Every rule that the record breaks, each with what to do. knows_region: whether a code exists."""
    return [
        *_identity(camera, knows_region),
        *_place(camera),
        *_location(camera),
        *_streams(camera.streams),
        *_legal(camera),
        *_device(camera),
    ]


def _profile(stream: CameraStream, *, alone: bool) -> Profile:
    return Profile.MAIN if alone and stream.profile is Profile.UNSPECIFIED else stream.profile


def _identity(camera: Camera, knows_region: Callable[[str], bool]) -> Iterator[Violation]:
    if camera.id and not is_device_id(camera.id):
        yield Violation(
            "id", "ID_INVALID", "an id has 20 digits (GB/T 28181): correct it, or leave it empty for a new one"
        )
    if not camera.name:
        yield Violation("name", "NAME_MISSING", "give the camera a name that says where it stands")
    elif len(camera.name) > 128 or _CONTROL.search(camera.name):
        yield Violation("name", "NAME_INVALID", "a name has at most 128 characters, and no control characters")
    if not camera.region_code:
        yield Violation("region_code", "REGION_MISSING", "give the 6 digits of the division (GB/T 2260)")
    elif not knows_region(camera.region_code):
        yield Violation(
            "region_code",
            "REGION_UNKNOWN",
            f"{_short(camera.region_code)} is no division that this hub knows: give 6 digits of GB/T 2260, or a zone's",
        )
    if not camera.industry:
        yield Violation("industry", "INDUSTRY_MISSING", "give the 2 digits of the industry (GB/T 28181, Annex E)")
    elif not industries.knows(camera.industry):
        yield Violation(
            "industry",
            "INDUSTRY_UNKNOWN",
            f"{_short(camera.industry)} is no industry of GB/T 28181, Annex E: 11 is education, 42 manufacturing",
        )


def _place(camera: Camera) -> Iterator[Violation]:
    if camera.place_category == 0:
        yield Violation("place_category", "PLACE_MISSING", "say what kind of public place the camera sees")
    elif camera.place_category in FORBIDDEN_PLACES:
        yield Violation(
            "place_category",
            "PLACE_FORBIDDEN",
            "State Council Order 799, Article 8 forbids cameras in hotel rooms, dormitories, baths, toilets, changing "
            "rooms and other private places: remove the device",
        )
    elif camera.place_category not in PLACES:
        yield Violation("place_category", "PLACE_UNKNOWN", "take a kind of place from the list of PlaceCategory")


def _location(camera: Camera) -> Iterator[Violation]:
    place = camera.location
    if place.latitude == 0 and place.longitude == 0:
        yield Violation("location", "LOCATION_MISSING", "give latitude and longitude in degrees of WGS-84")
        return
    for name, value, most in (("latitude", place.latitude, 90), ("longitude", place.longitude, 180)):
        if not math.isfinite(value) or abs(value) > most:
            yield Violation(f"location.{name}", "LOCATION_INVALID", f"{name} lies between -{most} and {most} degrees")
    if len(place.address) > 256 or _CONTROL.search(place.address):
        yield Violation("location.address", "TEXT_INVALID", "at most 256 characters, and no control characters")


def _streams(streams: tuple[CameraStream, ...]) -> Iterator[Violation]:
    if not streams:
        yield Violation(
            "streams", "STREAM_MISSING", "give at least the main stream; its url is empty when the unit pushes"
        )
    seen: set[Profile] = set()
    for index, stream in enumerate(streams):
        where = f"streams[{index}]"
        if stream.profile not in (Profile.MAIN, Profile.SUB):
            yield Violation(f"{where}.profile", "PROFILE_INVALID", "a stream is the main or the sub stream: say which")
        elif stream.profile in seen:
            yield Violation(
                f"{where}.profile", "PROFILE_DUPLICATE", f"a camera has one {stream.profile.name.lower()} stream"
            )
        seen.add(stream.profile)
        yield from _url(f"{where}.url", stream.url)
        for name, text, most in (("username", stream.username, 128), ("password", stream.password, 256)):
            if len(text) > most or _CONTROL.search(text):
                yield Violation(
                    f"{where}.{name}", "TEXT_INVALID", f"at most {most} characters, and no control characters"
                )
        if stream.password and not stream.username:
            yield Violation(f"{where}.username", "USERNAME_MISSING", "a password needs the username it belongs to")


def _url(field: str, url: str) -> Iterator[Violation]:
    if not url:
        return
    shape = Violation(field, "URL_INVALID", "an address reads rtsp://host:554/path, at most 1024 characters")
    if len(url) > 1_024 or _CONTROL.search(url) or re.search(r"\s", url):
        yield shape
        return
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield shape
        return
    if parts.scheme.lower() not in ("rtsp", "rtsps"):
        yield Violation(field, "URL_SCHEME", "a camera is pulled by rtsp:// or rtsps://")
    elif parts.username is not None or parts.password is not None:
        yield Violation(
            field, "URL_HAS_CREDENTIALS", "take user and password out of the url: they have fields of their own"
        )
    elif not parts.hostname or port == 0 or parts.fragment:
        yield shape


def _legal(camera: Camera) -> Iterator[Violation]:
    legal = camera.legal
    for name, reason, remedy in (
        ("place_basis", "LEGAL_BASIS_MISSING", "name the ground of the installation and its document"),
        ("purpose", "LEGAL_PURPOSE_MISSING", "say what the camera is for"),
        ("scope", "LEGAL_SCOPE_MISSING", "say what the camera sees"),
    ):
        if not getattr(legal, name).strip():
            yield Violation(f"legal.{name}", reason, f"{remedy} (Order 799, Articles 7 to 14)")
    if legal.near_secret_unit and not legal.consent.strip():
        yield Violation(
            "legal.consent",
            "CONSENT_MISSING",
            "near a military or secret-bearing unit a camera needs that unit's consent beforehand: give its document "
            "and date (Order 799, Article 10)",
        )
    for name, most in _LENGTHS.items():
        if len(getattr(legal, name)) > most:
            yield Violation(f"legal.{name}", "TEXT_INVALID", f"at most {most} characters")
    if legal.retention_days == 0:
        yield Violation("legal.retention_days", "RETENTION_MISSING", "say for how many days recordings are kept")
    elif legal.retention_days > MOST_RETENTION_DAYS:
        yield Violation("legal.retention_days", "RETENTION_INVALID", f"at most {MOST_RETENTION_DAYS} days")
    elif legal.retention_days < LEAST_RETENTION_DAYS and camera.place_category != OTHER_PUBLIC:
        yield Violation(
            "legal.retention_days",
            "RETENTION_TOO_SHORT",
            f"Order 799, Article 17 asks for {LEAST_RETENTION_DAYS} days at least",
        )
    if legal.signage_date and not _is_date(legal.signage_date):
        yield Violation("legal.signage_date", "DATE_INVALID", "a date reads 2026-01-31 (ISO 8601)")


def _device(camera: Camera) -> Iterator[Violation]:
    checks: dict[str, tuple[Callable[[str], bool], str]] = {
        "ip_address": (_is_address, "an IP address, as in 10.1.2.3"),
        "mac": (
            lambda text: _MAC.fullmatch(text) is not None,
            "six pairs of hexadecimal digits, as in 00-11-22-33-44-55",
        ),
        "install_time": (_is_date, "a date or time of ISO 8601, as in 2026-01-31"),
    }
    for name, value in camera.device:
        if isinstance(value, str):
            check, remedy = checks.get(
                name, (lambda _: True, f"at most {_DEVICE_LENGTH} characters, and no control characters")
            )
            if value and (not check(value) or _CONTROL.search(value) or len(value) > _DEVICE_LENGTH):
                yield Violation(f"device.{name}", "DEVICE_INVALID", remedy)
        elif not math.isfinite(value) or value < (_LOWEST_M if name == "height_m" else 0):
            remedy = f"{_LOWEST_M} or more" if name == "height_m" else "a number that is not negative"
            yield Violation(f"device.{name}", "DEVICE_INVALID", remedy)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        return False
    return len(text) == 10 or text[10] in "T "


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _short(text: str) -> str:
    return repr(text if len(text) <= 20 else text[:20] + "…")
