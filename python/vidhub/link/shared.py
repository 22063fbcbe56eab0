"""A camera's record as it goes over a link: what goes, what goes only by a field group, and what never leaves a hub.

`RULES` names every field of `vidhub.v1.Camera`; a test holds it to the proto and to what `offer` and `taken` do.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime

from vidhub.api import convert
from vidhub.api.validate import first_violation
from vidhub.catalogue.ids import is_device_id
from vidhub.catalogue.rules import FORBIDDEN_PLACES, PLACES
from vidhub.model import Camera, CameraState, CameraStream, LegalRecord, Location, Profile
from vidhub.v1 import camera_pb2

GOES, NEVER = "goes", "never"
# Addresses of devices are nobody's business above, whatever is shared.
_NEVER_OF_DEVICE = frozenset({"mac", "ip_address"})
_DEVICE = frozenset(field.name for field in camera_pb2.DeviceRecord.DESCRIPTOR.fields) - _NEVER_OF_DEVICE
# Where secret units lie is told to nobody beyond this hub.
_NEVER_OF_LEGAL = frozenset({"near_secret_unit", "consent"})
_LEGAL = frozenset(field.name for field in camera_pb2.LegalRecord.DESCRIPTOR.fields) - _NEVER_OF_LEGAL

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
    **{f"legal.{name}": NEVER for name in _NEVER_OF_LEGAL},
    **{f"device.{name}": "device" for name in _DEVICE},
    **{f"device.{name}": NEVER for name in _NEVER_OF_DEVICE},
    **{f"streams.{name}": NEVER for name in
       ("url", "username", "password", "transport", "codec", "width", "height", "frame_rate")},
    **dict.fromkeys(("revision", "create_time", "update_time", "stale", "region_name", "warnings"), NEVER),
}  # fmt: skip

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HUB_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
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
    if "legal" in fields and (legal := replace(camera.legal, near_secret_unit=False, consent="")) != _NO_LEGAL:
        message.legal.CopyFrom(convert.to_legal(legal))
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

    The rules of the proto, and those of registration for what `taken` reads of it.
    """
    if not is_device_id(message.id):
        return "ID_INVALID"
    if not message.name:
        return "NAME_MISSING"
    if len(message.unit_name) > 128 or _CONTROL.search(message.unit_name):  # of output the proto says nothing
        return "UNIT_NAME_INVALID"
    if not message.region_code:
        return "REGION_MISSING"
    if not message.industry:
        return "INDUSTRY_MISSING"
    if message.place_category not in PLACES:
        return "PLACE_FORBIDDEN" if message.place_category in FORBIDDEN_PLACES else "PLACE_UNKNOWN"
    if not _HUB_ID.fullmatch(message.home_hub_id):
        return "HOME_HUB_ID_INVALID"
    profiles = [stream.profile for stream in message.streams]
    if len(set(profiles)) < len(profiles) or any(one not in _PROFILES for one in profiles):
        return "PROFILE_INVALID"
    if message.state not in (camera_pb2.CAMERA_STATE_UNSPECIFIED, camera_pb2.CAMERA_STATE_QUARANTINED):
        return "STATE_INVALID"
    if message.HasField("state_time") and _moment(message) is None:
        return "STATE_TIME_INVALID"
    found = first_violation(message)
    return found.reason if found else ""


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


def _moment(message: camera_pb2.Camera) -> datetime | None:
    if not message.HasField("state_time"):
        return None
    try:
        return message.state_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        return None
