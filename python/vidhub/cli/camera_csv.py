"""Cameras in CSV: a header of dotted field paths, one camera a line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from vidhub.errors import InvalidArgument, Violation
from vidhub.v1 import camera_pb2

# Columns that name a stream instead of a list index.
PROFILES = {"main": camera_pb2.STREAM_PROFILE_MAIN, "sub": camera_pb2.STREAM_PROFILE_SUB}
# What the hub fills in is not for a file to say.
OUTPUT_ONLY = frozenset(
    ("state", "state_time", "state_reason", "revision", "create_time", "update_time", "home_hub_id", "stale", "streams")
)
LONGEST_CELL = 8192

if TYPE_CHECKING:
    from _csv import Reader


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a camera, or what is wrong with it. line: as an editor counts."""

    line: int
    camera: camera_pb2.Camera
    violations: tuple[Violation, ...]


def read(path: Path) -> Iterator[Row]:
    """Reads the file row by row. Raises InvalidArgument FILE_NOT_READ, CSV_INVALID or CSV_COLUMN_UNKNOWN."""
    csv.field_size_limit(LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _rows(csv.reader(file, strict=True), path)
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_READ", f"{path}: {cause.strerror}: give the path of a CSV file") from cause
    except UnicodeDecodeError as cause:
        raise InvalidArgument("CSV_INVALID", f"{path} is not UTF-8: save it as CSV UTF-8") from cause
    except csv.Error as cause:
        raise InvalidArgument("CSV_INVALID", f"{path}: {cause}") from cause


def _rows(lines: Reader, path: Path) -> Iterator[Row]:
    header = [name.strip() for name in next(lines, [])]
    if not any(header):
        raise InvalidArgument("CSV_INVALID", f"{path} is empty: the first line names the fields")
    unknown = [name for name in header if not _is_field(name)]
    if unknown or len(set(header)) != len(header):
        wrong = unknown or sorted({name for name in header if header.count(name) > 1})
        raise InvalidArgument(
            "CSV_COLUMN_UNKNOWN" if unknown else "CSV_COLUMN_DUPLICATE",
            f"{path}: column {wrong[0]!r} {'is no field of a camera' if unknown else 'stands there twice'}",
            violations=[
                Violation(name, "CSV_COLUMN_UNKNOWN", "write dotted paths, as in location.latitude") for name in wrong
            ],
        )
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        yield _row(lines.line_num, header, cells)


def _row(line: int, header: list[str], cells: list[str]) -> Row:
    camera = camera_pb2.Camera()
    violations: list[Violation] = []
    if len(cells) != len(header):
        violations.append(
            Violation("", "CSV_CELLS", f"the line has {len(cells)} cells, the header {len(header)}: check its commas")
        )
    for name, cell in zip(header, cells, strict=False):
        text = cell.strip()
        if not text:
            continue
        try:
            _set(camera, name, text)
        except ValueError as wrong:
            violations.append(Violation(name, "VALUE_INVALID", str(wrong)))
    return Row(line, camera, tuple(violations))


def _target(camera: camera_pb2.Camera, name: str) -> tuple[Message, str]:
    """The message that holds the field, and the field's name in it."""
    first, _, rest = name.partition(".")
    if first in PROFILES:
        stream = next((one for one in camera.streams if one.profile == PROFILES[first]), None)
        if stream is None:
            stream = camera.streams.add(profile=PROFILES[first])
        return stream, rest
    return (getattr(camera, first), rest) if rest else (camera, first)


def _is_field(name: str) -> bool:
    first, _, rest = name.partition(".")
    if first in PROFILES:
        field = camera_pb2.CameraStream.DESCRIPTOR.fields_by_name.get(rest)
        return field is not None and rest != "profile"
    field = camera_pb2.Camera.DESCRIPTOR.fields_by_name.get(first)
    if field is None or first in OUTPUT_ONLY:
        return False
    if field.message_type is None:
        return not rest
    return rest in field.message_type.fields_by_name


def _set(camera: camera_pb2.Camera, name: str, text: str) -> None:
    message, leaf = _target(camera, name)
    field = message.DESCRIPTOR.fields_by_name[leaf]
    setattr(message, leaf, _value(cast("FieldDescriptor", field), text))


def _value(field: FieldDescriptor, text: str) -> str | int | float:
    if field.type == FieldDescriptor.TYPE_STRING:
        return text
    if field.enum_type is not None:
        words = {value.name: value.number for value in field.enum_type.values}
        # Enum values carry their type as a prefix: PLACE_CATEGORY_SCHOOL is written "school".
        prefix = field.enum_type.values[0].name.removesuffix("UNSPECIFIED")
        word = text.upper()
        number = words.get(prefix + word, words.get(word))
        if number is None:
            known = ", ".join(
                value.removeprefix(prefix).lower() for value in words if not value.endswith("UNSPECIFIED")
            )
            raise ValueError(f"{text!r} is none of {known}")
        return number
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
    try:
        number = int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None
    if not 0 <= number < 2**32:
        raise ValueError(f"{text} is out of range: give 0 or more")
    return number
