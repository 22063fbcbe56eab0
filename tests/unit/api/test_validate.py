"""The rules of the protos."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from vidhub.api import METHODS, validate
from vidhub.errors import InvalidArgument
from vidhub.v1 import camera_pb2, camera_service_pb2, grant_service_pb2, link_service_pb2, session_service_pb2

REQUESTS = [method.request for method in METHODS.values() if method.service.startswith("vidhub.")]


def words(message: Message) -> dict[str, str]:
    return {row.field: row.reason for row in validate.violations(message)}


@pytest.mark.parametrize("request_class", REQUESTS, ids=lambda cls: cls.__name__)
def test_every_rule_compiles(request_class: type[Message]) -> None:
    validate.violations(request_class())


def unbounded(message: Message, path: str = "", seen: frozenset[str] = frozenset()) -> list[str]:
    """Fields of text or bytes that take a megabyte, and lists that take ten thousand."""
    found = []
    for field in message.DESCRIPTOR.fields:
        here = f"{path}{field.name}"
        kind = field.cpp_type
        probe = type(message)()
        if field.message_type is not None:
            if field.message_type.full_name.startswith("google.protobuf.") or field.message_type.full_name in seen:
                continue
            target = getattr(probe, field.name)
            inner = target.add() if field.is_repeated else target
            # A batch leaves its records to be judged one by one: they are looked at as records.
            if field.name != "cameras":
                found += unbounded(type(inner)(), f"{here}.", seen | {field.message_type.full_name})
            if field.is_repeated and not over(probe, field):
                found.append(here)
            continue
        if field.is_repeated:
            target = getattr(probe, field.name)
            target.extend([text_or_number(kind)] * 10_000)
        elif kind == FieldDescriptor.CPPTYPE_STRING:
            setattr(probe, field.name, "1" * 1_000_000)
        else:
            continue
        if not words(probe):
            found.append(here)
    return found


def text_or_number(kind: int) -> str | int:
    return "1" if kind == FieldDescriptor.CPPTYPE_STRING else 1


def over(probe: Message, field: FieldDescriptor) -> bool:
    """Whether a thousand and one of them are refused."""
    for _ in range(1_001):
        getattr(probe, field.name).add()
    return field.name in words(probe)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (camera_pb2.Camera(id="1"), {"id": "ID_INVALID"}),
        (camera_pb2.Camera(id="1" * 20), {}),
        (camera_pb2.Camera(name="x" * 129), {"name": "NAME_TOO_LONG"}),
        (camera_pb2.Camera(name="a\0b"), {"name": "NAME_INVALID"}),
        (camera_pb2.Camera(region_code="3606"), {"region_code": "REGION_UNKNOWN"}),
        (camera_pb2.Camera(industry="教育"), {"industry": "INDUSTRY_UNKNOWN"}),
        (camera_pb2.Camera(place_category=55), {"place_category": "PLACE_UNKNOWN"}),  # type: ignore[arg-type]
        (camera_pb2.Camera(place_category=90), {}),  # type: ignore[arg-type]
        (camera_pb2.Location(latitude=-90, longitude=180), {}),
        (camera_pb2.Location(longitude=float("inf")), {"longitude": "LOCATION_INVALID"}),
        (camera_pb2.CameraStream(profile=3), {"profile": "PROFILE_INVALID"}),  # type: ignore[arg-type]
        (camera_pb2.CameraStream(url="http://host/"), {"url": "URL_SCHEME"}),
        (camera_pb2.CameraStream(url="rtsp:///path"), {"url": "URL_SCHEME"}),
        (camera_pb2.CameraStream(url="rtsp://u@host/"), {"url": "URL_HAS_CREDENTIALS"}),
        (camera_pb2.CameraStream(url="rtsp://host/a b"), {"url": "URL_INVALID"}),
        (camera_pb2.CameraStream(url="RTSPS://[::1]:322/a@b?c=d"), {}),
        (camera_pb2.LegalRecord(signage_date="2026-13-01"), {"signage_date": "DATE_INVALID"}),
        (camera_pb2.DeviceRecord(ip_address="10.1.2"), {"ip_address": "DEVICE_INVALID"}),
        (camera_service_pb2.ListCamerasRequest(page_size=-1), {"page_size": "PAGE_SIZE_INVALID"}),
        (camera_service_pb2.ListCamerasRequest(page_size=1001), {"page_size": "PAGE_SIZE_INVALID"}),
        (camera_service_pb2.ListCamerasRequest(view=9), {"view": "VIEW_INVALID"}),  # type: ignore[arg-type]
        (camera_service_pb2.CameraFilter(states=[99]), {"states[0]": "STATES_INVALID"}),  # type: ignore[list-item]
        (session_service_pb2.OpenSessionRequest(), {"camera_id": "CAMERA_ID_MISSING"}),
        (session_service_pb2.OpenSessionRequest(camera_id="1", profile=7), {"profile": "PROFILE_INVALID"}),  # type: ignore[arg-type]
        (session_service_pb2.TerminateSessionRequest(session_id="s"), {"reason": "REASON_MISSING"}),
        (grant_service_pb2.Grant(actions=[0]), {"actions[0]": "ACTIONS_INVALID"}),  # type: ignore[list-item]
    ],
)
def test_a_broken_rule_has_a_stable_word(message: Message, expected: dict[str, str]) -> None:
    assert words(message) == expected


def test_no_purpose_is_for_the_domain_to_refuse_and_to_record() -> None:
    validate.check(session_service_pb2.OpenSessionRequest(camera_id="1" * 20))


def test_the_reason_is_the_violations_own_when_there_is_one_kind() -> None:
    with pytest.raises(InvalidArgument) as caught:
        validate.check(camera_pb2.Camera(name="a\0b"))
    assert caught.value.reason == "NAME_INVALID"
    with pytest.raises(InvalidArgument) as caught:
        validate.check(camera_pb2.Camera(name="a\0b", id="x"))
    assert caught.value.reason == "REQUEST_INVALID"


def test_no_description_repeats_what_was_sent() -> None:
    secret = "hunter2" * 100
    found = validate.violations(camera_pb2.CameraStream(password=secret, url=f"rtsp://u:{secret}@h/"))
    assert found
    assert not any("hunter2" in row.description for row in found)


def test_of_a_large_message_the_first_broken_rule_is_told_however_many_there_are() -> None:
    wrong = camera_pb2.CameraStream(url="gopher://")
    few = camera_pb2.Camera(streams=[wrong] * 20)
    assert len(validate.violations(few)) > 20
    many = camera_pb2.Camera(streams=[wrong] * 100_000)
    assert many.ByteSize() > validate.WHOLE_BYTES
    assert len(validate.violations(many)) == 1
    fine = camera_pb2.Camera(legal=camera_pb2.LegalRecord(place_basis="x" * 512), name="y" * 128)
    assert validate.violations(fine) == ()


def test_a_text_that_has_another_form_is_told_the_form_that_is_wanted() -> None:
    broken = {one.field: one.description for one in validate.violations(link_service_pb2.ViewRequest(trace_id="xyz"))}
    assert "^[0-9a-f]{32}$" in broken["trace_id"]
    broken = {one.field: one.description for one in validate.violations(link_service_pb2.LinkProblem(message="a\nb"))}
    assert broken == {"message": "control characters are not allowed here"}


def test_a_field_is_told_once_in_the_same_words() -> None:
    """NaN is neither finite nor within bounds."""
    place = camera_pb2.Camera(location=camera_pb2.Location(latitude=float("nan")))
    assert [row.field for row in validate.violations(place)] == ["location.latitude"]
