"""What crosses the edge comes back as it was."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from enum import Enum

import pytest
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from vidhub import model
from vidhub.api import convert
from vidhub.errors import InvalidArgument
from vidhub.v1 import (
    audit_service_pb2,
    auth_service_pb2,
    camera_pb2,
    camera_service_pb2,
    grant_service_pb2,
    session_service_pb2,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
DEGREES = st.floats(-90, 90)
SMALL = st.integers(0, 2**31)
STREAMS = st.builds(
    model.CameraStream,
    profile=st.sampled_from([model.Profile.MAIN, model.Profile.SUB]),
    url=TEXT,
    username=TEXT,
    password=TEXT,
    transport=st.integers(0, 2),
)
LEGALS = st.builds(
    model.LegalRecord,
    place_basis=TEXT,
    purpose=TEXT,
    scope=TEXT,
    retention_days=SMALL,
    signage_text=TEXT,
    signage_date=TEXT,
)
DEVICE_NUMBERS = {field.name: field.number for field in camera_pb2.DeviceRecord.DESCRIPTOR.fields}
DEVICES = st.fixed_dictionaries(
    {}, optional={"manufacturer": TEXT.filter(bool), "ptz_type": st.integers(1, 99), "height_m": st.floats(1, 9)}
).map(lambda found: tuple(sorted(found.items(), key=lambda pair: DEVICE_NUMBERS[pair[0]])))
CAMERAS = st.builds(
    model.Camera,
    id=TEXT,
    name=TEXT,
    unit_id=TEXT,
    region_code=TEXT,
    industry=TEXT,
    place_category=st.sampled_from(camera_pb2.PlaceCategory.values()),
    location=st.builds(model.Location, DEGREES, DEGREES, TEXT),
    streams=st.lists(STREAMS, max_size=2).map(tuple),
    legal=LEGALS,
    device=DEVICES,
    state=st.sampled_from(model.CameraState),
    state_time=st.none() | TIMES,
    state_reason=TEXT,
    revision=st.none() | st.builds(model.Revision, TEXT, SMALL),
    create_time=st.none() | TIMES,
    update_time=st.none() | TIMES,
    home_hub_id=TEXT,
    stale=st.booleans(),
)
WORDS = st.lists(TEXT, max_size=3).map(tuple)
# To publish is never granted, and so is no word of the API.
GRANTABLE = [action for action in model.Action if action is not model.Action.PUBLISH]
GRANTS = st.builds(
    model.Grant,
    id=st.just(""),
    username=TEXT,
    department=TEXT,
    scope=st.builds(model.Scope, WORDS, WORDS, WORDS, WORDS),
    actions=st.lists(st.sampled_from(GRANTABLE), unique=True).map(tuple),
    purposes=WORDS,
    not_before=TIMES,
    not_after=TIMES,
    reason=TEXT,
)


def given_by_caller(camera: model.Camera) -> model.Camera:
    """Without what is the hub's own, which no caller may say."""
    return replace(
        camera,
        state=model.CameraState.UNKNOWN,
        state_time=None,
        state_reason="",
        revision=None,
        create_time=None,
        update_time=None,
        home_hub_id="",
        stale=False,
    )


@given(CAMERAS)
def test_a_camera_comes_back_without_its_passwords(camera: model.Camera) -> None:
    message = convert.to_camera(camera)
    wire = camera_pb2.Camera.FromString(message.SerializeToString())
    bare = replace(camera, streams=tuple(replace(stream, password="") for stream in camera.streams))
    assert convert.from_camera(wire) == given_by_caller(bare)
    assert ParseDict(MessageToDict(wire), camera_pb2.Camera()) == wire


@given(CAMERAS)
def test_a_camera_shows_what_the_hub_knows_of_it(camera: model.Camera) -> None:
    message = convert.to_camera(camera)
    assert (message.state, message.state_reason, message.stale) == (camera.state, camera.state_reason, camera.stale)
    assert convert.from_time(message, "state_time") == camera.state_time
    assert convert.from_time(message, "create_time") == camera.create_time
    assert convert.from_revision(message, "revision") == camera.revision


@given(st.lists(TEXT, min_size=1, max_size=2))
def test_a_password_goes_in_and_never_out(passwords: list[str]) -> None:
    message = camera_pb2.Camera(streams=[camera_pb2.CameraStream(password=password) for password in passwords])
    camera = convert.from_camera(message)
    assert [stream.password for stream in camera.streams] == passwords
    assert not any(stream.password for stream in convert.to_camera(camera).streams)


@given(GRANTS)
def test_a_grant_comes_back(grant: model.Grant) -> None:
    wire = grant_service_pb2.Grant.FromString(convert.to_grant(grant).SerializeToString())
    assert convert.from_grant(wire, datetime.now(UTC)) == grant


def test_a_grant_without_a_beginning_holds_at_once_and_without_an_end_not_at_all() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    message = grant_service_pb2.Grant(not_after=convert.to_time(now))
    assert convert.from_grant(message, now).not_before == now
    with pytest.raises(InvalidArgument, match="NOT_AFTER_MISSING"):
        convert.from_grant(grant_service_pb2.Grant(), now)


@pytest.mark.parametrize("seconds", [2**62, -(2**62), 253402300800])
def test_a_time_of_no_calendar_is_refused(seconds: int) -> None:
    message = audit_service_pb2.ListEntriesRequest(to=Timestamp(seconds=seconds))
    with pytest.raises(InvalidArgument, match="TIME_INVALID"):
        convert.from_time(message, "to")


@given(
    st.builds(
        model.Session,
        id=TEXT,
        camera_id=TEXT,
        principal=TEXT,
        viewer_name=TEXT,
        purpose=st.builds(model.Purpose, TEXT, TEXT, TEXT),
        grant_id=TEXT,
        profile=st.sampled_from(model.Profile),
        open_time=TIMES,
        expire_time=TIMES,
        rtsp_password=st.just("hunter2"),
        end_reason=TEXT,
    )
)
def test_a_session_shows_everything_but_its_password(session: model.Session) -> None:
    message = convert.to_session(session)
    assert convert.from_purpose(message.purpose) == session.purpose
    assert (message.id, message.camera_id, message.grant_id) == (session.id, session.camera_id, session.grant_id)
    assert convert.from_time(message, "expire_time") == session.expire_time
    assert (message.viewer_name, message.end_reason, message.profile) == (
        session.viewer_name,
        session.end_reason,
        session.profile,
    )
    assert b"hunter2" not in message.SerializeToString()


def test_a_filter_is_read_whole() -> None:
    message = camera_service_pb2.CameraFilter(
        region_prefix="36",
        unit_ids=["u"],
        industries=["11"],
        place_categories=["PLACE_CATEGORY_ROAD"],
        states=["CAMERA_STATE_ONLINE"],
        text="t",
        within=camera_service_pb2.Circle(latitude=1, longitude=2, radius_m=3),
    )
    assert convert.from_filter(message) == model.CameraFilter(
        "36", ("u",), ("11",), (1,), (2,), "t", model.Circle(1, 2, 3)
    )
    assert convert.from_filter(camera_service_pb2.CameraFilter()) == model.CameraFilter()


def test_an_entry_shows_all_it_holds() -> None:
    record = model.AuditRecord(*(f"value {n}" for n in range(12)))
    entry = model.AuditEntry("c", 7, datetime(2026, 1, 1, tzinfo=UTC), record, b"p", b"h")
    message = convert.to_entry(entry)
    texts = {name: getattr(record, name) for name in record.__dataclass_fields__}
    assert {name: getattr(message, name) for name in texts} == texts
    assert (message.chain_id, message.seq, message.previous_hash, message.hash) == ("c", 7, b"p", b"h")


def test_watch_events_are_told_apart() -> None:
    camera = model.Camera("i", "n", "u", "r", "11", 1, model.Location(1, 2), (), model.LegalRecord())
    events: list[tuple[model.WatchEvent, str]] = [
        (model.CameraUpserted(camera), "upserted"),
        (model.CameraRemoved("i"), "removed_id"),
        (model.CameraStateChange("i", model.CameraState.OFFLINE, "r", 3, stale=True), "state"),
        (model.Synced(model.Revision("e", 1)), "synced"),
    ]
    for event, kind in events:
        assert convert.to_watch_event(event).WhichOneof("event") == kind


@pytest.mark.parametrize(
    ("words", "numbers", "prefix"),
    [
        (model.Role, auth_service_pb2.Role, "ROLE_"),
        (GRANTABLE, grant_service_pb2.Action, "ACTION_"),
        (model.CameraState, camera_pb2.CameraState, "CAMERA_STATE_"),
        (model.Profile, camera_pb2.StreamProfile, "STREAM_PROFILE_"),
    ],
)
def test_the_enums_of_the_model_are_those_of_the_protos(words: Iterable[Enum], numbers: object, prefix: str) -> None:
    names = {re.sub(f"^{prefix}", "", name) for name, _ in numbers.items()}  # type: ignore[attr-defined]
    assert {member.name for member in words} | {"UNSPECIFIED"} == names
    for member in words:
        if isinstance(member.value, int):
            assert numbers.Value(prefix + member.name) == member.value  # type: ignore[attr-defined]


def test_roles_have_their_numbers() -> None:
    assert convert.to_roles([model.Role.ADMINISTRATOR, model.Role.OPERATOR]) == [
        auth_service_pb2.ROLE_OPERATOR,
        auth_service_pb2.ROLE_ADMINISTRATOR,
    ]
    assert session_service_pb2.Session(profile=3).profile == model.Profile.AUTO  # type: ignore[arg-type]
