"""Cameras in tables: a header of dotted field paths, one camera a line. Read here out of CSV."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from vidhub.errors import InvalidArgument, Violation
from vidhub.v1 import camera_pb2

# Columns that name a stream instead of a list index.
PROFILES = {"main": camera_pb2.STREAM_PROFILE_MAIN, "sub": camera_pb2.STREAM_PROFILE_SUB}
COLUMNS = {profile: column for column, profile in PROFILES.items()}
# What the hub fills in is not for a file to say.
OUTPUT_ONLY = frozenset(
    (
        *("state", "state_time", "state_reason", "revision", "create_time", "update_time", "home_hub_id", "stale"),
        *("unit_name", "region_name", "warnings", "streams"),
    )
)
LONGEST_CELL = 8192
# What other programs put between cells.
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
# How people write that something is so.
_CLAIMS = {
    **dict.fromkeys(("yes", "true", "1", "是"), True),
    **dict.fromkeys(("no", "false", "0", "否"), False),
}
# What a spreadsheet makes of a number that it can't hold: 3.60603E+19.
_SCIENTIFIC = re.compile(r"\d(\.\d+)?E\+?\d+", re.IGNORECASE)
ROUNDED = Violation(
    "",
    "XLSX_NUMBER_ROUNDED",
    "the spreadsheet has rounded this number: format the column as text, then enter the number again",
)
# How spreadsheets write dates where Chinese is spoken. The year comes first, so none of them can be misread.
_DATE = re.compile(r"(\d{4})[-/.年](\d{1,2})[-/.月](\d{1,2})日?")
# Text that is digits: an input method may have made them wide.
_CODES = frozenset(("id", "region_code", "industry"))


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a camera, or what is wrong with it. line: as an editor counts."""

    line: int
    camera: camera_pb2.Camera
    violations: tuple[Violation, ...]


def read(path: Path) -> Iterator[Row]:
    """Reads the file row by row. Raises InvalidArgument FILE_NOT_READ, CSV_INVALID, CSV_COLUMN_UNKNOWN or
    CSV_COLUMN_DUPLICATE."""
    lines = _lines(path)
    header = check(_first(lines), path)
    yield from rows(header, lines)


def count(path: Path) -> int:
    """Lines that `read` takes for cameras. Raises as `read`: a file that can't be read to its end sends no camera."""
    lines = _lines(path)
    check(_first(lines), path)
    return sum(1 for _, cells in lines if any(cell.strip() for cell in cells))


def _first(lines: Iterable[tuple[int, list[str]]]) -> list[str]:
    """The first line that is not empty."""
    return next((cells for _, cells in lines if any(cell.strip() for cell in cells)), [])


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, strict=True)
            begin = 1
            for cells in lines:
                yield begin, cells
                begin = lines.line_num + 1
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_READ", f"{path}: {cause.strerror}: give the path of a CSV file") from cause
    except UnicodeDecodeError as cause:
        raise InvalidArgument("CSV_INVALID", f"{path} is not UTF-8: save it as CSV UTF-8") from cause
    except csv.Error as cause:
        raise InvalidArgument(
            "CSV_INVALID", f"{path}: {cause}: look for a quotation mark that is not closed, and save it as CSV UTF-8"
        ) from cause


def check(names: Sequence[str], path: Path) -> list[str]:
    """The header, without the columns at its end that have no name. Raises InvalidArgument CSV_INVALID,
    CSV_COLUMN_UNKNOWN or CSV_COLUMN_DUPLICATE."""
    header = [name.strip() for name in names]
    while header and not header[-1]:
        header.pop()
    if not header:
        raise InvalidArgument("CSV_INVALID", f"{path} is empty: the first line names the fields")
    if len(header) == 1 and (separator := next((one for one in _SEPARATORS if one in header[0]), "")):
        raise InvalidArgument(
            "CSV_INVALID", f"{path} separates its cells by {_SEPARATORS[separator]}: save it as CSV UTF-8, with commas"
        )
    # Each once: a title above the header leaves many cells empty.
    unknown = list(dict.fromkeys(name for name in header if not _is_field(name)))
    if unknown:
        raise InvalidArgument(
            "CSV_COLUMN_UNKNOWN",
            f"{path}: column {unknown[0]!r} is no field of a camera: "
            "the first line names the fields, as in id,name,location.latitude",
            violations=[
                Violation(name, "CSV_COLUMN_UNKNOWN", "write dotted paths, as in location.latitude") for name in unknown
            ],
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise InvalidArgument(
            "CSV_COLUMN_DUPLICATE",
            f"{path}: column {twice[0]!r} stands there twice: keep one of them",
            violations=[Violation(name, "CSV_COLUMN_DUPLICATE", "keep one of the columns") for name in twice],
        )
    return header


def rows(header: Sequence[str], lines: Iterable[tuple[int, Sequence[str | Violation]]]) -> Iterator[Row]:
    """A camera for each line that is not empty. A cell is its text, or what is wrong with it."""
    for line, cells in lines:
        if any(isinstance(cell, Violation) or cell.strip() for cell in cells):
            yield _row(line, header, cells)


def _row(line: int, header: Sequence[str], cells: Sequence[str | Violation]) -> Row:
    camera = camera_pb2.Camera()
    violations: list[Violation] = []
    # Spreadsheets write empty cells behind the last column.
    if not any(isinstance(cell, Violation) or cell.strip() for cell in cells[len(header) :]):
        cells = cells[: len(header)]
    if len(cells) != len(header):
        violations.append(
            Violation("", "CSV_CELLS", f"the line has {len(cells)} cells, the header {len(header)}: check its commas")
        )
    for name, cell in zip(header, cells, strict=False):
        if isinstance(cell, Violation):
            violations.append(replace(cell, field=name))
            continue
        text = cell.strip()
        if not text:
            continue
        if name == "id" and _SCIENTIFIC.fullmatch(text):
            violations.append(replace(ROUNDED, field=name))
            continue
        try:
            _set(camera, name, text)
        except ValueError as wrong:
            violations.append(Violation(name, "VALUE_INVALID", str(wrong)))
    if not camera.streams and "main.url" in header:
        # Left empty: the unit pushes the camera.
        camera.streams.add(profile=PROFILES["main"])
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
    setattr(message, leaf, _reader(name)(text))


Value = str | int | float


@cache
def _reader(name: str) -> Callable[[str], Value]:
    """What makes a value of a cell of this column, or raises ValueError with what is wrong. Once for each column: to
    ask descriptors for each cell takes ten times as long as to read it."""
    first, _, rest = name.partition(".")
    camera, stream = camera_pb2.Camera.DESCRIPTOR, camera_pb2.CameraStream.DESCRIPTOR
    found = stream.fields_by_name[rest] if first in PROFILES else camera.fields_by_name[first]
    if found.message_type is not None:
        found = found.message_type.fields_by_name[rest]
    field = cast("FieldDescriptor", found)
    read = _of_kind(field)
    is_date = field.name.endswith("_date")
    if field.type == FieldDescriptor.TYPE_STRING and field.name not in _CODES and not is_date:
        return read
    return lambda text: read(_plain(text, is_date=is_date))


def _of_kind(field: FieldDescriptor) -> Callable[[str], Value]:
    if field.enum_type is not None:
        words = {value.name: value.number for value in field.enum_type.values}
        # Enum values carry their type as a prefix: PLACE_CATEGORY_SCHOOL is written "school".
        return partial(_word, words, field.enum_type.values[0].name.removesuffix("UNSPECIFIED"))
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return str
        case FieldDescriptor.TYPE_BOOL:
            return _claim
        case FieldDescriptor.TYPE_DOUBLE | FieldDescriptor.TYPE_FLOAT:
            return _number
        case _:
            return _whole


def _plain(text: str, *, is_date: bool) -> str:
    """What is no free text, in plain digits; a date as ISO 8601 writes it."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    date = _DATE.fullmatch(plain) if is_date else None
    return plain if date is None else f"{date[1]}-{date[2]:0>2}-{date[3]:0>2}"


def _word(words: Mapping[str, int], prefix: str, text: str) -> int:
    word = text.upper()
    number = words.get(prefix + word, words.get(word))
    if number is None:
        known = ", ".join(value.removeprefix(prefix).lower() for value in words if not value.endswith("UNSPECIFIED"))
        raise ValueError(f"{text!r} is none of {known}")
    return number


def _claim(text: str) -> bool:
    is_so = _CLAIMS.get(text.lower())
    if is_so is None:
        raise ValueError(f"{text!r} is neither yes nor no")
    return is_so


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def _whole(text: str) -> int:
    # int() would take 1_000 as well.
    if not re.fullmatch(r"[+-]?\d+", text):
        raise ValueError(f"{text!r} is not a whole number")
    number = int(text)
    if not 0 <= number < 2**32:
        raise ValueError(f"{text} is out of range: give 0 or more")
    return number
