"""A camera's record as it goes over a link: what goes, what goes only by a field group, and what never leaves a hub.

`RULES` names every field of `vidhub.v1.Camera`; a test holds it to the proto and to what `offer` and `taken` do.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from vidhub.api import convert
from vidhub.catalogue.ids import is_device_id
from vidhub.catalogue.rules import PLACES
from vidhub.model import Camera, CameraState, CameraStream, LegalRecord, Location, Profile
from vidhub.v1 import camera_pb2

GOES, NEVER = "goes", "never"
# Addresses of devices are nobody's business above, whatever is shared.
_NEVER_OF_DEVICE = frozenset({"mac", "ip_address"})
_DEVICE = frozenset(field.name for field in camera_pb2.DeviceRecord.DESCRIPTOR.fields) - _NEVER_OF_DEVICE
_LEGAL = frozenset(field.name for field in camera_pb2.LegalRecord.DESCRIPTOR.fields)

# Field -> "goes", "never", or the field group that it belongs to. The state goes only as a quarantine; what comes and
# goes is told apart (`CameraStates`). Revision and times are each hub's own, and so is what it saw of a stream.
RULES = {
    **dict.fromkeys(
        ("id", "name", "unit_id", "region_code", "industry", "place_category", "location.latitude",
         "location.longitude", "streams.profile", "state", "state_time", "state_reason", "home_hub_id", "unit_name"),
        GOES,
    ),
    "location.address": "location.address",
    **{f"legal.{name}": "legal" for name in _LEGAL},
    **{f"device.{name}": "device" for name in _DEVICE},
    **{f"device.{name}": NEVER for name in _NEVER_OF_DEVICE},
    **{f"streams.{name}": NEVER for name in
       ("url", "username", "password", "transport", "codec", "width", "height", "frame_rate")},
    **dict.fromkeys(("revision", "create_time", "update_time", "stale", "region_name"), NEVER),
}  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HUB_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REGION = re.compile(r"[0-9]{6}")
_INDUSTRY = re.compile(r"[0-9]{2}")
_DATE = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])")
_LEGAL_LENGTHS = {"place_basis": 512, "purpose": 512, "scope": 512, "signage_text": 1_000}
_DEVICE_LENGTHS = {
    **{"capture_position_type": 64, "install_time": 32, "industrial_classification": 16, "pole_number": 64},
    **dict.fromkeys(("manufacturer", "model", "point_common_name", "management_unit", "contact_info"), 128),
}
_DEVICE_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("ptz_type", "direction_type", "room_type", "supply_light_type", "point_type"), (0, 99)),
    **{"horizontal_field_angle": (0, 360), "max_view_distance_m": (0, 100_000), "height_m": (-1_000, 10_000)},
    "record_save_days": (0, 36_500),
}
_MAIN_AND_SUB = (Profile.MAIN, Profile.SUB)
_PROFILES = {int(profile): CameraStream(profile) for profile in _MAIN_AND_SUB}
_STREAMS = {profile: camera_pb2.CameraStream(profile=int(profile)) for profile in _MAIN_AND_SUB}  # type: ignore[arg-type]


def offer(camera: Camera, fields: frozenset[str], hub_id: str, unit_name: str) -> camera_pb2.Camera:
    """The record as a linked hub gets it. fields: groups that go along; hub_id: this hub, whose own cameras bear it;
    unit_name: what people call the camera's unit."""
    place = camera.location
    message = camera_pb2.Camera(
        id=camera.id,
        name=camera.name,
        unit_id=camera.unit_id,
        region_code=camera.region_code,
        industry=camera.industry,
        place_category=camera.place_category,  # type: ignore[arg-type]
        location=camera_pb2.Location(
            latitude=place.latitude,
            longitude=place.longitude,
            address=place.address if "location.address" in fields else "",
        ),
        streams=[_STREAMS[stream.profile] for stream in camera.streams if stream.profile in _STREAMS],
        home_hub_id=camera.home_hub_id or hub_id,
        unit_name=unit_name[:128],
    )
    if camera.state is CameraState.QUARANTINED:
        message.state = camera_pb2.CAMERA_STATE_QUARANTINED
        message.state_reason = camera.state_reason[:256]
        if camera.state_time is not None:
            message.state_time.FromDatetime(camera.state_time)
    if "legal" in fields and camera.legal != LegalRecord():
        message.legal.CopyFrom(convert.to_legal(camera.legal))
    if "device" in fields and camera.device:
        for name, value in camera.device:
            if name in _DEVICE:
                setattr(message.device, name, value)
    return message


def digest(message: camera_pb2.Camera) -> bytes:
    """SHA-256 of the record as it goes over the link."""
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()


def taken(message: camera_pb2.Camera) -> Camera:
    """The record as this hub keeps it: what may come over a link, and nothing else. Check it with `broken` first."""
    is_cut_off = message.state == camera_pb2.CAMERA_STATE_QUARANTINED
    place = message.location
    return Camera(
        message.id,
        message.name,
        message.unit_id,
        message.region_code,
        message.industry,
        message.place_category,
        Location(place.latitude, place.longitude, place.address),
        tuple([_PROFILES[stream.profile] for stream in message.streams]),
        _legal(message.legal) if message.HasField("legal") else _NO_LEGAL,
        tuple((field.name, value) for field, value in message.device.ListFields() if field.name in _DEVICE)
        if message.HasField("device")
        else (),
        CameraState.QUARANTINED if is_cut_off else CameraState.UNKNOWN,
        _moment(message) if is_cut_off else None,
        message.state_reason if is_cut_off else "",
        home_hub_id=message.home_hub_id,
        unit_name=message.unit_name,
    )


def broken(message: camera_pb2.Camera) -> str:
    """The rule that a received record breaks, as a stable word; "" for none.

    The rules of the proto and of registration for what `taken` reads, at a fraction of protovalidate's cost: a hundred
    thousand records come at once.
    """
    if not is_device_id(message.id):
        return "ID_INVALID"
    if not 0 < len(message.name) <= 128 or _CONTROL.search(message.name):
        return "NAME_INVALID"
    if len(message.unit_id) > 64 or _CONTROL.search(message.unit_id):
        return "UNIT_ID_INVALID"
    if len(message.unit_name) > 128 or _CONTROL.search(message.unit_name):
        return "UNIT_NAME_INVALID"
    if not _REGION.fullmatch(message.region_code):
        return "REGION_UNKNOWN"
    if not _INDUSTRY.fullmatch(message.industry):
        return "INDUSTRY_UNKNOWN"
    if message.place_category not in PLACES:
        return "PLACE_FORBIDDEN" if 90 <= message.place_category <= 93 else "PLACE_UNKNOWN"
    if not _HUB_ID.fullmatch(message.home_hub_id):
        return "HOME_HUB_ID_INVALID"
    place = message.location
    if not (-90 <= place.latitude <= 90 and -180 <= place.longitude <= 180):
        return "LOCATION_INVALID"
    if place.address and (len(place.address) > 256 or _CONTROL.search(place.address)):
        return "ADDRESS_INVALID"
    profiles = [stream.profile for stream in message.streams]
    if len(profiles) > 2 or len(set(profiles)) < len(profiles) or any(one not in _PROFILES for one in profiles):
        return "PROFILE_INVALID"
    if message.state not in (camera_pb2.CAMERA_STATE_UNSPECIFIED, camera_pb2.CAMERA_STATE_QUARANTINED):
        return "STATE_INVALID"
    if message.state_reason and not is_reason(message.state_reason):
        return "STATE_REASON_INVALID"
    if message.HasField("state_time") and _moment(message) is None:
        return "STATE_TIME_INVALID"
    if message.HasField("legal") and not _is_legal(message.legal):
        return "LEGAL_INVALID"
    if message.HasField("device") and not _is_device(message.device):
        return "DEVICE_INVALID"
    return ""


def is_reason(text: str) -> bool:
    """Whether it may be the reason of a state."""
    return len(text) <= 256 and not _CONTROL.search(text)


_NO_LEGAL = LegalRecord()


def _legal(message: camera_pb2.LegalRecord) -> LegalRecord:
    return LegalRecord(
        place_basis=message.place_basis,
        purpose=message.purpose,
        scope=message.scope,
        retention_days=message.retention_days,
        signage_text=message.signage_text,
        signage_date=message.signage_date,
    )


def _is_legal(message: camera_pb2.LegalRecord) -> bool:
    return (
        all(len(getattr(message, name)) <= most for name, most in _LEGAL_LENGTHS.items())
        and message.retention_days <= 36_500
        and (not message.signage_date or _DATE.fullmatch(message.signage_date) is not None)
    )


def _is_device(message: camera_pb2.DeviceRecord) -> bool:
    values: Iterable[tuple[str, object]] = ((field.name, value) for field, value in message.ListFields())
    for name, value in values:
        if isinstance(value, str):
            if name in _DEVICE_LENGTHS and (len(value) > _DEVICE_LENGTHS[name] or _CONTROL.search(value)):
                return False
        elif isinstance(value, int | float) and name in _DEVICE_RANGES:
            least, most = _DEVICE_RANGES[name]
            if not (math.isfinite(value) and least <= value <= most):
                return False
    return True


def _moment(message: camera_pb2.Camera) -> datetime | None:
    if not message.HasField("state_time"):
        return None
    try:
        return message.state_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        return None
