"""Cameras in a workbook (.xlsx): the first sheet that is not hidden, with the header of `camera_csv.py`."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from xml.parsers import expat

from vidhub.cli.camera_csv import ROUNDED, Row, check, rows
from vidhub.errors import InvalidArgument, Violation

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

LARGEST_BYTES = 256 * 1024 * 1024
# A workbook is packed: a few MiB of it may be many GiB.
LARGEST_UNPACKED_BYTES = 1024 * 1024 * 1024
# The reader makes room for every cell between the first and the last that hold something.
MOST_CELLS = 20_000_000
# A spreadsheet keeps 15 digits of a number; an id has 20.
_EXACT = 10**15
_REFERENCE = re.compile(r"([A-Z]{1,3})0*([1-9][0-9]{0,6})", re.IGNORECASE)
_ROW = re.compile(r"0*([1-9][0-9]{0,6})")


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
    from python_calamine import CalamineError, SheetVisibleEnum, load_workbook

    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise InvalidArgument("XLSX_INVALID", f"{path} is over 256 MiB: split it")
        _check_extent(path)
        workbook = load_workbook(path)
        visible = [one.name for one in workbook.sheets_metadata if one.visible == SheetVisibleEnum.Visible]
        return workbook.get_sheet_by_name(visible[0]) if visible else workbook.get_sheet_by_index(0)
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_READ", f"{path}: {cause.strerror}: give the path of an .xlsx file") from cause
    except (CalamineError, zipfile.BadZipFile, expat.ExpatError, NotImplementedError, RuntimeError) as cause:
        raise InvalidArgument("XLSX_INVALID", f"{path} is no workbook: {cause}: save it as .xlsx or CSV") from cause


def _check_extent(path: Path) -> None:
    """That reading the file takes no more memory than its cameras do. Raises InvalidArgument XLSX_INVALID."""
    with zipfile.ZipFile(path) as archive:
        if sum(one.file_size for one in archive.infolist()) > LARGEST_UNPACKED_BYTES:
            raise InvalidArgument("XLSX_INVALID", f"{path} unpacks to more than 1 GiB: split it")
        # A sheet may stand anywhere: the relations of the workbook say where.
        for one in archive.infolist():
            if one.filename.lower().endswith(".xml"):
                with archive.open(one) as part:
                    extent = _Extent()
                    while block := part.read(1024 * 1024):
                        extent.feed(block)
                if extent.cells > MOST_CELLS:
                    raise InvalidArgument(
                        "XLSX_INVALID",
                        f"{path}: cell {extent.last} holds something, far from the cameras: empty it, or save as CSV",
                    )


class _Extent:
    """The rectangle of cells that hold something, of the XML of a sheet; of another part there are none."""

    def __init__(self) -> None:
        self.last = ""
        self._is_sheet = False
        # Where the next cell stands that does not say where: behind the last, in the row that is open.
        self._row, self._column = 0, 1
        self._cell: tuple[int, int] | None = None
        self._rows = [0, 0]
        self._columns = [0, 0]
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        # Nothing that a spreadsheet writes has a DTD, with entities to unfold.
        self._parser.StartDoctypeDeclHandler = self._refuse

    def feed(self, block: bytes) -> None:
        try:
            self._parser.Parse(block)
        except ValueError as cause:  # an encoding that expat does not know
            raise expat.ExpatError(str(cause)) from cause

    @property
    def cells(self) -> int:
        return (self._rows[1] - self._rows[0] + 1) * (self._columns[1] - self._columns[0] + 1)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]  # the reader goes by local names too
        if name == "sheetData":
            self._is_sheet = True
        elif not self._is_sheet:
            return
        elif name == "row":
            self._row, self._column = _row(attributes.get("r")) or self._row + 1, 1
        elif name == "c":
            row, column = _place(attributes.get("r")) or (max(self._row, 1), self._column)
            self._cell = row, column
            self._column = column + 1
        # A cell without a value is one that was only coloured.
        elif self._cell is not None and name in ("v", "is"):
            self._grow(*self._cell)
            self._cell = None

    def _grow(self, row: int, column: int) -> None:
        for ends, place in ((self._rows, row), (self._columns, column)):
            if not ends[0] or place < ends[0]:
                ends[0] = place
            if place > ends[1]:
                ends[1] = place
                self.last = _reference(row, column)

    def _refuse(self, *_: object) -> None:
        raise expat.ExpatError("a document type of its own")


def _row(number: str | None) -> int | None:
    if number is None:
        return None
    found = _ROW.fullmatch(number)
    if found is None:
        raise expat.ExpatError("a row that is no number")
    return int(found[1])


def _place(reference: str | None) -> tuple[int, int] | None:
    """Row and column of B7, counted from 1."""
    if reference is None:
        return None
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise expat.ExpatError("a cell that is nowhere")
    column = 0
    for letter in found[1].upper():
        column = column * 26 + ord(letter) - 64
    return int(found[2]), column


def _reference(row: int, column: int) -> str:
    letters = ""
    while column:
        column, digit = divmod(column - 1, 26)
        letters = chr(65 + digit) + letters
    return f"{letters}{row}"


def _text(cell: object) -> str | Violation:
    """As one would write it in CSV."""
    match cell:
        case bool():
            return str(cell).lower()
        case int() | float() if abs(cell) >= _EXACT:
            return ROUNDED
        case float():
            return str(int(cell)) if cell.is_integer() else repr(cell)
        case datetime():
            at_midnight = cell.time() == datetime.min.time()
            return cell.date().isoformat() if at_midnight else cell.isoformat()
        case date():
            return cell.isoformat()
        case _:
            return str(cell)
