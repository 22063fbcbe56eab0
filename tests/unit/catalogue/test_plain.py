"""The short way of a record and the long one say the same; the short one takes nothing that the long one refuses."""

from __future__ import annotations

from dataclasses import replace

from google.protobuf.internal.encoder import _VarintBytes
from hypothesis import given, settings
from hypothesis import strategies as st
from support.domain import Domain, unit
from support.hub import camera_message

from vidhub.api import convert, validate
from vidhub.catalogue import oddities, records, rules
from vidhub.core import PlainRecord, RecordBatch, camera_of
from vidhub.model import Camera
from vidhub.places import Outlines
from vidhub.store import cameras
from vidhub.v1 import camera_pb2

UNIT = "u1"


def whole() -> camera_pb2.Camera:
    """A record with every field set that a unit fills in."""
    message = camera_message(7)
    message.id = "36060200111322000007"
    del message.streams[:]
    for profile, channel in ((1, 101), (2, 102)):
        message.streams.add(
            profile=camera_pb2.StreamProfile.Name(profile),
            url=f"rtsp://10.0.0.7:554/Streaming/Channels/{channel}?transport=tcp",
            username="admin",
            password="Kp7!",
            transport=camera_pb2.TRANSPORT_TCP,
        )
    message.location.address = "胜利西路"
    message.legal.signage_text, message.legal.signage_date = "您已进入\n公共视频采集区域", "2025-04-30"
    for field in message.device.DESCRIPTOR.fields:
        setattr(message.device, field.name, {9: "text", 13: 3, 1: 2.5}[field.type])
    message.device.mac, message.device.ip_address = "00-11-22-33-44-fF", "10.0.0.7"
    message.device.install_time = "2024-06-01"
    message.device.max_view_distance_m = 80
    return message


def read(*messages: bytes) -> list[PlainRecord | None]:
    """As `RegisterCameras` reads them; None for what wants a closer look, whose octets are given back as they came."""
    octets = b"".join(b"\x0a" + _VarintBytes(len(message)) + message for message in messages)
    batch = RecordBatch.of(octets)
    assert batch is not None
    assert len(batch) == len(messages)
    found = batch.read(0, len(messages), UNIT)
    assert [one for one in found if isinstance(one, bytes)] == [
        message for message, one in zip(messages, found, strict=True) if isinstance(one, bytes)
    ]
    return [None if isinstance(one, bytes) else one for one in found]


def plain(message: camera_pb2.Camera) -> PlainRecord | None:
    (found,) = read(message.SerializeToString())
    return found


def long_way(message: camera_pb2.Camera) -> Camera:
    """The record as the rules and the store see it; fails when a rule is broken."""
    assert validate.violations(message) == ()
    camera = rules.tidy(convert.from_camera(message))
    assert rules.violations(camera, lambda _: True) == []
    assert camera.unit_id in ("", UNIT)
    return records.succeed(None, replace(camera, unit_id=UNIT))


def test_both_ways_find_the_same_odd_in_a_sign() -> None:
    """Of blanks alone there is none."""
    message, outlines = whole(), Outlines.read()
    for text, date, is_missing in (
        ("标志", "2026-01-01", False),
        (" \u3000\u00a0", "2026-01-01", True),
        ("标志", "", True),
    ):
        message.legal.signage_text, message.legal.signage_date = text, date
        record = plain(message)
        assert record is not None
        short, long = oddities.of(record, outlines), oddities.of(long_way(message), outlines)
        assert short == long
        assert ("SIGN_MISSING" in {one.reason for one in short}) is is_missing


def same(record: PlainRecord, message: camera_pb2.Camera) -> bool:
    one, other = camera_of(record, UNIT), long_way(message)
    assert (record.id, record.name, record.region_code, record.industry) == (
        one.id,
        one.name,
        one.region_code,
        one.industry,
    )
    return records.same(one, other)


def test_a_good_record_takes_the_short_way() -> None:
    for message in (whole(), camera_message(1)):
        record = plain(message)
        assert record is not None
        assert same(record, message)


TEXTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "",
            " ",
            "a ",
            "\x00",
            "a\nb",
            "\x85",
            "\u2028",
            "\u3000x",
            "x" * 16,
            "x" * 17,
            "rtsp://h/" + "a" * 1_016,
            "汉" * 64,
            "汉" * 65,
        ]
    ),
    st.sampled_from(["0" * 20, "36060200111322000007", "360602", "36060a", "11", "9", "000000", "٣٦٠٦٠٢"]),
    st.sampled_from(["2025-02-29", "2024-02-29", "2025-13-01", "0000-01-01", "2025-04-31", "2025-04-30T10:00:00Z"]),
    st.sampled_from(["1.2.3.4", "01.2.3.4", "1.2.3", "::1", "00:11:22:33:44:55", "00:11:22:33:44:5g", "001122334455"]),
    st.sampled_from(
        [
            *(
                "rtsp://h",
                "RTSP://h",
                "rtsps://h:554/a?b=c",
                "rtsp://h:0/",
                "rtsp://h:99999/",
                "rtsp://u:p@h/",
                "rtsp://",
            ),
            *(
                "rtsp://h:/x",
                "rtsp:///x",
                "rtsp://[::1]/x",
                "rtsp://h/a b",
                "rtsp://h/#x",
                "http://h/",
                "rtsp://h/@",
                "rtsp://é/",
            ),
            *(
                "rtsp://h/@",
                "rtsp://h?x@y",
                "rtsp://:554/x",
                "rtsp://h/\\",
                "rtsp://h/" + "a" * 1_015,
            ),
        ]
    ),
    st.integers(1, 1_100).map("x".__mul__),
    st.integers(1_010, 1_020).map(lambda n: "rtsp://h/" + "a" * n),
)
NUMBERS = {
    1: st.floats(allow_nan=True),
    13: st.integers(0, 2**32 - 1) | st.integers(0, 100) | st.sampled_from([29, 30, 36_500, 36_501]),
    14: st.integers(-1, 100),
    8: st.booleans(),
    4: st.integers(0, 2**64 - 1),
}


@st.composite
def altered(draw: st.DrawFn) -> camera_pb2.Camera:
    """A good record with up to three fields set to anything, or cleared, wherever they are."""
    message = whole()
    for _ in range(draw(st.integers(1, 3))):
        parts = [message, message.location, message.legal, message.device, *message.streams]
        part = draw(st.sampled_from(parts))
        field = draw(st.sampled_from([one for one in part.DESCRIPTOR.fields if one.message_type is None]))
        if draw(st.integers(0, 5)) == 0:
            part.ClearField(field.name)
            continue
        value = draw(TEXTS if field.type == field.TYPE_STRING else NUMBERS[field.type])
        setattr(part, field.name, value)
    if draw(st.integers(0, 9)) == 0:
        del message.streams[draw(st.integers(0, len(message.streams))) :]
    return message


@settings(max_examples=400)
@given(altered())
def test_what_takes_the_short_way_keeps_the_rules(message: camera_pb2.Camera) -> None:
    record = plain(message)
    if record is not None:
        assert same(record, message)


@settings(max_examples=200)
@given(st.binary(max_size=80), st.integers(0, 400))
def test_bytes_that_are_no_record_are_for_others_to_judge(octets: bytes, place: int) -> None:
    good = whole().SerializeToString()
    (first, second, third) = read(octets, good[:place], good[:place] + octets + good[place:])
    assert first is None
    for record in (second, third):
        assert record is None or camera_of(record, UNIT).name


async def test_both_ways_store_the_same(domain: Domain) -> None:
    message = whole()
    record = plain(message)
    assert record is not None
    result = await domain.catalogue.register(unit(UNIT), [record, long_way(message)])
    assert [row.violations[0].reason for row in result.rejected] == ["ID_DUPLICATE_IN_BATCH"]
    other = whole()
    other.id = "36060200111322000008"
    await domain.catalogue.register(unit(UNIT), [long_way(other)])
    short, long = await domain.store.read(lambda conn: cameras.list_full(conn, [message.id, other.id], domain.secrets))
    assert records.same(replace(long, id=short.id), short)
    assert short.streams[1].password == "Kp7!"
    assert domain.core.get_camera(unit(UNIT), short.id).name == short.name


async def test_what_records_share_and_what_they_do_not_is_stored_as_each_says(domain: Domain) -> None:
    """Every text of a record changes, or stays as it was in the one before, by turns."""
    given: list[camera_pb2.Camera] = []
    for number in range(6):
        message = whole()
        message.id = f"3606020011132200{number:04d}"
        message.region_code = ("360602", "360602", "360681")[number % 3]
        message.industry = ("11", "12", "12")[number % 3]
        for stream in message.streams:
            stream.username, stream.password = f"user{number // 2}", f"{stream.profile}-{number}"
        legal = message.legal
        legal.place_basis, legal.purpose, legal.scope = f"依据{number // 2}", f"目的{number // 3}", 'a"b\\c'
        legal.signage_text, legal.signage_date = f"公告{number % 2}", f"2025-04-0{1 + number // 2}"
        message.device.management_unit = f'月湖"{number // 2}\\分局'
        given.append(message)
    records_read = [plain(message) for message in given]
    await domain.catalogue.register(unit(UNIT), [one for one in records_read if one is not None])
    stored = await domain.store.read(
        lambda conn: cameras.list_full(conn, [message.id for message in given], domain.secrets)
    )
    assert len(stored) == 6
    for message, one in zip(given, stored, strict=True):
        assert records.same(replace(one, unit_id=UNIT), long_way(message)), message.id


async def test_records_without_ids_and_known_ones_stand_in_one_batch(domain: Domain) -> None:
    """New plain records, one of another region, one that is known and one that changed it: each its own way."""
    await domain.catalogue.register(unit(UNIT), [plain_as("36060200111322000001")])
    batch = [plain_as(""), plain_as("36060200111322000001"), plain_as("36060200111322000002"), plain_as("")]
    unknown = whole()
    unknown.region_code, unknown.id = "999999", ""
    result = await domain.catalogue.register(unit(UNIT), [*batch, plain(unknown)])
    assert result.ids[1:3] == ("36060200111322000001", "36060200111322000002")
    assert len({*result.ids}) == 5
    assert [(row.index, row.violations[0].reason) for row in result.rejected] == [(4, "REGION_UNKNOWN")]
    assert [(one.index, one.kind.name) for one in result.changes] == [(1, "UNCHANGED")]
    renamed = whole()
    renamed.id, renamed.name = "36060200111322000001", "西门"
    renamed.streams[0].password = "other"
    renamed.device.ClearField("mac")
    again = await domain.catalogue.register(unit(UNIT), [plain(renamed)], dry_run=True)
    assert [(one.kind.name, one.fields) for one in again.changes] == [
        ("CHANGED", ("name", "main.password", "device.mac"))
    ]


def plain_as(camera_id: str) -> PlainRecord:
    message = whole()
    message.id = camera_id
    record = plain(message)
    assert record is not None
    return record
