"""JSON as the core writes it is what protobuf's own printer says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToJson, ParseError
from google.protobuf.timestamp_pb2 import Timestamp

from vidhub.api import METHODS, json_codec
from vidhub.api.json_codec import JsonCodec
from vidhub.errors import Internal
from vidhub.v1 import camera_pb2, camera_service_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

VALUES: dict[int, Any] = {
    1: 28.25,
    2: 0.5,
    3: -(2**40),
    4: 2**63,
    5: -7,
    8: True,
    9: '东门\u2028\n"',
    12: b"\x00\xff",
    13: 9,
    17: -5,
}


def fill(message: Message, depth: int = 4) -> None:
    """Every field, lists with two entries; of a choice the last."""
    if isinstance(message, Timestamp):
        message.seconds, message.nanos = 1_767_225_600, 123_000_000
        return
    for field in message.DESCRIPTOR.fields:
        held = getattr(message, field.name)
        if field.message_type is not None:
            if depth:
                for one in [held.add(), held.add()] if field.is_repeated else [held]:
                    one.SetInParent()
                    fill(one, depth - 1)
        elif field.is_repeated:
            held.extend([value(field)] * 2)
        else:
            setattr(message, field.name, value(field))


def value(field: FieldDescriptor) -> Any:
    return field.enum_type.values[-1].number if field.enum_type is not None else VALUES[field.type]


@pytest.mark.parametrize("path", [path for path in METHODS if path.startswith("vidhub.")])
def test_every_answer_is_written_as_protobuf_writes_it(path: str) -> None:
    message = METHODS[path].response()
    codec = JsonCodec()
    assert json.loads(codec.encode(message)) == {}
    fill(message)
    written = codec.encode(message)
    assert json.loads(written) == json.loads(MessageToJson(message))
    assert codec.decode(written, type(message)) == message


def test_an_enum_of_a_newer_version_is_its_number_and_no_number_is_written_so() -> None:
    message = camera_service_pb2.ListCamerasResponse(cameras=[camera_pb2.Camera(state=99)])  # type: ignore[arg-type]
    message.cameras[0].location.latitude = float("nan")
    assert json.loads(JsonCodec().encode(message)) == json.loads(MessageToJson(message))


def test_octets_in_any_order_are_written_as_protobuf_reads_them() -> None:
    """As no serialiser of ours writes them: twice, out of order, an idle zero, a field of a newer version."""
    page = camera_service_pb2.ListCamerasResponse
    name = page.DESCRIPTOR.full_name
    late = page(next_page_token="b", total_size=2).SerializeToString()
    early = page(cameras=[camera_pb2.Camera(id="1", state=camera_pb2.CAMERA_STATE_ONLINE)]).SerializeToString()
    for octets in (
        late + early,
        early + late + early,
        early + late + late,
        late + b"\x18\x00",
        late + b"\xfa\x07\x01x",
    ):
        written = json_codec._writer().write(name, octets)
        assert json.loads(written) == json.loads(MessageToJson(page.FromString(octets))), octets
    with pytest.raises(Internal, match="MESSAGE_INVALID"):
        json_codec._writer().write(name, early[:-1])


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '""',
        "null",
        "5",
        '{"filter": []}',
        '{"filter": ""}',
        '{"filter": {"within": []}}',
        '{"filter": {}, "filter": {}}',
        "[" * 100_000,
        '{"filter":' * 100_000,
        '{"pageSize": []}',
        '{"filter": 0}',
        "{} {}",
        "",
    ],
)
def test_what_is_no_object_is_no_message(text: str) -> None:
    """An empty list was taken for an empty filter, and listed everything."""
    with pytest.raises(ParseError):
        JsonCodec().decode(text.encode(), camera_service_pb2.ListCamerasRequest)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (camera_service_pb2.RegisterCamerasRequest, '{"cameras": [[]]}'),
        (camera_service_pb2.RegisterCamerasRequest, '{"cameras": [{"location": []}]}'),
        (camera_service_pb2.RegisterCamerasRequest, '{"cameras": [null]}'),
        (camera_service_pb2.RegisterCamerasRequest, '{"cameras": {}}'),
        (camera_service_pb2.UpdateCameraRequest, '{"updateMask": []}'),
        (camera_pb2.Camera, '{"stateTime": ""}'),
    ],
)
def test_nor_within_lists_and_types_of_protobuf_itself(kind: type[Message], text: str) -> None:
    with pytest.raises(ParseError):
        JsonCodec().decode(text.encode(), kind)


def test_a_message_is_read_by_either_name_of_its_fields_and_null_is_nothing() -> None:
    read = JsonCodec().decode(
        b'{"filter": {"region_prefix": "36", "within": null}, "pageSize": "5", "view": 2}',
        camera_service_pb2.ListCamerasRequest,
    )
    assert read == camera_service_pb2.ListCamerasRequest(
        filter=camera_service_pb2.CameraFilter(region_prefix="36"),
        page_size=5,
        view=camera_service_pb2.CAMERA_VIEW_FULL,
    )
    mask = JsonCodec().decode(b'{"updateMask": "name,legal.scope"}', camera_service_pb2.UpdateCameraRequest)
    assert list(mask.update_mask.paths) == ["name", "legal.scope"]


def test_what_is_no_message_of_the_api_is_not_written() -> None:
    with pytest.raises(Internal) as caught:
        JsonCodec().encode(Empty())
    assert caught.value.reason == "MESSAGE_UNKNOWN"
