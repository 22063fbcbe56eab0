"""Cameras in a workbook (.xlsx): the first sheet, with the header of `camera_csv.py`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vidhub.cli.camera_csv import Row, check, rows
from vidhub.errors import InvalidArgument, Violation

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

LARGEST_BYTES = 256 * 1024 * 1024
# A spreadsheet keeps 15 digits of a number; an id has 20.
_EXACT = 10**15
_ROUNDED = Violation(
    "",
    "XLSX_NUMBER_ROUNDED",
    "the spreadsheet has rounded this number: format the column as text, then enter the number again",
)


def read(path: Path) -> Iterator[Row]:
    """Reads the first sheet row by row. Raises InvalidArgument FILE_NOT_READ, XLSX_INVALID, and as `camera_csv`."""
    lines = _lines(path)
    yield from rows(_header(lines, path), lines)


def count(path: Path) -> int:
    """Lines that `read` takes for cameras. Raises as `read`."""
    lines = _lines(path)
    _header(lines, path)
    return sum(1 for _ in lines)


def _header(lines: Iterator[tuple[int, list[str | Violation]]], path: Path) -> list[str]:
    _, cells = next(lines, (0, []))
    return check([cell if isinstance(cell, str) else cell.reason for cell in cells], path)


def _lines(path: Path) -> Iterator[tuple[int, list[str | Violation]]]:
    """(line as the spreadsheet counts, its cells), without empty lines."""
    for number, cells in enumerate(_sheet(path).iter_rows(), start=1):
        if any(cell != "" for cell in cells):
            yield number, [_text(cell) for cell in cells]


def _sheet(path: Path) -> CalamineSheet:
    # Takes a moment to import, and few commands read a workbook.
    from python_calamine import CalamineError, load_workbook

    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InvalidArgument("XLSX_INVALID", f"{path} is over 256 MiB: split it")
        return load_workbook(path).get_sheet_by_index(0)
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_READ", f"{path}: {cause.strerror}: give the path of an .xlsx file") from cause
    except CalamineError as cause:
        raise InvalidArgument("XLSX_INVALID", f"{path} is no workbook: {cause}: save it as .xlsx or CSV") from cause


def _text(cell: object) -> str | Violation:
    """As one would write it in CSV."""
    match cell:
        case bool():
            return str(cell).lower()
        case int() | float() if abs(cell) >= _EXACT:
            return _ROUNDED
        case float():
            return str(int(cell)) if cell.is_integer() else repr(cell)
        case datetime():
            at_midnight = cell.time() == datetime.min.time()
            return cell.date().isoformat() if at_midnight else cell.isoformat()
        case date():
            return cell.isoformat()
        case _:
            return str(cell)
