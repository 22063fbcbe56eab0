"""What of a camera's record leaves the hub, and what may come in."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from support.domain import camera

from vidhub.access.shares import FIELD_GROUPS
from vidhub.link import shared
from vidhub.model import CameraState, CameraStream, LegalRecord, Location, Profile
from vidhub.v1 import camera_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

_WHOLE = {"state_time", "revision", "create_time", "update_time", "warnings"}


def fields(kind: Descriptor, prefix: str = "") -> Iterator[str]:
    """Every field of the record by its path."""
    for field in kind.fields:
        if field.message_type is not None and field.name not in _WHOLE:
            yield from fields(field.message_type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def is_set(message: Message, path: str) -> bool:
    first, _, rest = path.partition(".")
    value: Any = getattr(message, first)
    if not rest:
        return any(field.name == first for field, _ in message.ListFields())
    return any(is_set(one, rest) for one in (value if first == "streams" else [value]))


def full() -> Any:
    """A camera with every field set."""
    device: dict[str, str | int | float] = {}
    for field in camera_pb2.DeviceRecord.DESCRIPTOR.fields:
        is_text = field.cpp_type == field.CPPTYPE_STRING
        device[field.name] = f"text of {field.name}" if is_text else 7
    now = datetime.now(UTC)
    return camera(
        1,
        unit_id="u1",
        location=Location(28.1, 117.1, "胜利路"),
        streams=(CameraStream(Profile.MAIN, "rtsp://10.0.0.1/1", "admin", "hunter22", 1, "h264", 1920, 1080, 25.0),),
        legal=LegalRecord("basis", "purpose", "scope", 30, "sign", "2026-01-01", True, "consent of the garrison"),
        device=tuple(device.items()),
        state=CameraState.QUARANTINED,
        state_time=now,
        state_reason="by law",
        create_time=now,
        update_time=now,
        stale=True,
    )


def test_every_field_of_the_record_has_its_rule():
    assert set(fields(camera_pb2.Camera.DESCRIPTOR)) == set(shared.RULES)
    assert set(shared.RULES.values()) == {shared.GOES, shared.NEVER, *FIELD_GROUPS}


@pytest.mark.parametrize("groups", [(), *((group,) for group in FIELD_GROUPS), FIELD_GROUPS])
def test_what_leaves_is_what_the_rules_say(groups: tuple[str, ...]):
    message = shared.offer(full(), frozenset(groups), "here", "某中学")
    for path, rule in shared.RULES.items():
        assert is_set(message, path) == (rule == shared.GOES or rule in groups), path
    assert message.home_hub_id == "here"
    text = message.SerializeToString()
    secrets = (b"hunter22", b"rtsp", b"text of mac", b"ip_address", b"garrison")
    assert [secret for secret in secrets if secret in text] == []


def test_what_comes_in_is_what_left_and_never_more():
    record = full()
    message = shared.offer(record, frozenset(FIELD_GROUPS), "here", "某中学")
    assert shared.offer(shared.taken(message), frozenset(FIELD_GROUPS), "there", "某中学") == message
    message.streams[0].url, message.streams[0].password = "rtsp://192.0.2.1/", "x"
    message.device.ip_address, message.revision.number, message.stale = "192.0.2.1", 7, True
    taken = shared.taken(message)
    assert taken.streams == (CameraStream(Profile.MAIN),)
    assert (taken.revision, taken.stale, dict(taken.device).get("ip_address")) == (None, False, None)


def good() -> camera_pb2.Camera:
    device = {key: value for key, value in full().device if not isinstance(value, str)}
    record = camera(1, unit_id="u1", device=tuple({**device, "install_time": "2026-01-01"}.items()))
    return shared.offer(record, frozenset(FIELD_GROUPS), "here", "某中学")


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("ID_INVALID", {"id": "36"}),
        ("NAME_MISSING", {"name": ""}),
        ("NAME_INVALID", {"name": "a\nb"}),
        ("UNIT_NAME_INVALID", {"unit_name": "某中学\n"}),
        ("UNIT_ID_TOO_LONG", {"unit_id": "u" * 65}),
        ("REGION_UNKNOWN", {"region_code": "36060"}),
        ("INDUSTRY_UNKNOWN", {"industry": "1a"}),
        ("PLACE_FORBIDDEN", {"place_category": 90}),
        ("PLACE_UNKNOWN", {"place_category": 55}),
        ("HOME_HUB_ID_INVALID", {"home_hub_id": "a b"}),
        ("LOCATION_INVALID", {"location.latitude": math.nan}),
        ("LOCATION_INVALID", {"location.longitude": 180.5}),
        ("ADDRESS_TOO_LONG", {"location.address": "x" * 257}),
        ("STATE_INVALID", {"state": camera_pb2.CAMERA_STATE_ONLINE}),
        ("STATE_REASON_TOO_LONG", {"state_reason": "x" * 257}),
        ("STATE_TIME_INVALID", {"state_time.seconds": 2**60}),
        ("RETENTION_DAYS_INVALID", {"legal.retention_days": 40_000}),
        ("DATE_INVALID", {"legal.signage_date": "yesterday"}),
        ("PTZ_TYPE_INVALID", {"device.ptz_type": 100}),
        ("HEIGHT_M_INVALID", {"device.height_m": math.inf}),
        ("MODEL_TOO_LONG", {"device.model": "x" * 129}),
    ],
)
def test_a_record_that_breaks_a_rule_is_named(reason: str, change: dict[str, Any]):
    message = good()
    assert shared.broken(message) == ""
    for path, value in change.items():
        *outer, name = path.split(".")
        place: Any = message
        for one in outer:
            place = getattr(place, one)
        setattr(place, name, value)
    assert shared.broken(message) == reason


def test_streams_are_main_and_sub_once_each():
    message = good()
    message.streams.add(profile=camera_pb2.STREAM_PROFILE_MAIN)
    assert shared.broken(message) == "PROFILE_INVALID"
    message.streams[1].profile = camera_pb2.STREAM_PROFILE_AUTO
    assert shared.broken(message) == "PROFILE_INVALID"
