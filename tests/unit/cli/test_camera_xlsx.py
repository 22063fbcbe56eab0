"""Cameras in a workbook, as people keep them."""

import zipfile
from datetime import date, datetime
from pathlib import Path

import openpyxl
import pytest

from vidhub.cli import camera_xlsx
from vidhub.errors import InvalidArgument
from vidhub.v1 import camera_pb2

HEADER = ("id", "name", "region_code", "location.latitude", "main.url", "legal.retention_days", "legal.signage_date")


def book(tmp_path: Path, *lines: tuple[object, ...], first_line: int = 1) -> Path:
    workbook = openpyxl.Workbook()
    for number, cells in enumerate(lines, start=first_line):
        for column, cell in enumerate(cells, start=1):
            workbook.active.cell(number, column, cell)
    workbook.create_sheet("notes").append(["not", "cameras"])
    path = tmp_path / "cameras.XLSX"
    workbook.save(path)
    return path


def test_numbers_and_dates_are_read_as_one_would_write_them(tmp_path: Path) -> None:
    line = ("36060200111322000007", "东门", 360602, 28.24, "rtsp://10.0.0.1/1", 30, date(2025, 4, 1))
    path = book(tmp_path, HEADER, (), line, (None, "西门", "360602", 28, None, 30, datetime(2025, 4, 2)))
    assert camera_xlsx.count(path) == 2
    first, second = camera_xlsx.read(path)
    assert (first.line, second.line) == (3, 4)
    assert first.camera == camera_pb2.Camera(
        id="36060200111322000007",
        name="东门",
        region_code="360602",
        location=camera_pb2.Location(latitude=28.24),
        streams=[camera_pb2.CameraStream(profile=camera_pb2.STREAM_PROFILE_MAIN, url="rtsp://10.0.0.1/1")],
        legal=camera_pb2.LegalRecord(retention_days=30, signage_date="2025-04-01"),
    )
    assert (second.camera.location.latitude, second.camera.legal.signage_date) == (28, "2025-04-02")


def test_a_number_that_the_spreadsheet_has_rounded_is_told(tmp_path: Path) -> None:
    """An id typed into a cell of numbers: the last digits are gone."""
    (row,) = camera_xlsx.read(book(tmp_path, HEADER, (36060200111322000007, "东门")))
    assert [(one.field, one.reason) for one in row.violations] == [("id", "XLSX_NUMBER_ROUNDED")]
    assert "text" in row.violations[0].description


def test_empty_lines_above_the_header_do_not_matter(tmp_path: Path) -> None:
    (row,) = camera_xlsx.read(book(tmp_path, HEADER, ("", "东门"), first_line=4))
    assert (row.line, row.camera.name) == (5, "东门")


def test_a_hidden_sheet_is_not_the_first(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(["说明"])
    workbook.active.sheet_state = "hidden"
    sheet = workbook.create_sheet("摄像机")
    sheet.append(HEADER)
    sheet.append(("", "东门"))
    workbook.save(tmp_path / "cameras.xlsx")
    (row,) = camera_xlsx.read(tmp_path / "cameras.xlsx")
    assert row.camera.name == "东门"


def test_a_cell_far_away_is_refused_before_room_is_made_for_all_between(tmp_path: Path) -> None:
    """One cell in the last corner: 17 thousand million cells, and the reader would end the process."""
    workbook = openpyxl.Workbook()
    workbook.active.append(HEADER)
    workbook.active.cell(1_048_576, 16_384, "x")
    workbook.save(tmp_path / "cameras.xlsx")
    with pytest.raises(InvalidArgument, match="XFD1048576") as caught:
        camera_xlsx.count(tmp_path / "cameras.xlsx")
    assert caught.value.reason == "XLSX_INVALID"


def rewritten(tmp_path: Path, sheet: str, *, name: str = "xl/worksheets/sheet1.xml") -> Path:
    """A workbook whose sheet is this XML, at this place."""
    source, path = book(tmp_path, HEADER), tmp_path / "rewritten.xlsx"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for one in old.infolist():
            if one.filename == "xl/worksheets/sheet1.xml":
                new.writestr(name, sheet)
            else:
                data = old.read(one)
                if one.filename == "xl/_rels/workbook.xml.rels":
                    data = data.replace(b"/xl/worksheets/sheet1.xml", f"/{name}".encode())
                new.writestr(one.filename, data)
    return path


MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
FAR = '<c r="XFD1048576"><v>1</v></c>'


@pytest.mark.parametrize(
    ("sheet", "name", "last"),
    [
        pytest.param(
            f'<x:worksheet xmlns:x="{MAIN}"><x:sheetData><x:row><x:c r="A1"><x:v>1</x:v></x:c></x:row>'
            '<x:row r="1048576"><x:c r="XFD1048576"><x:v>1</x:v></x:c></x:row></x:sheetData></x:worksheet>',
            "xl/worksheets/sheet1.xml",
            "XFD1048576",
            id="with a prefix",
        ),
        pytest.param(
            f'<worksheet xmlns="{MAIN}"><sheetData><row><c r="a1"><v>1</v></c></row><row>{FAR.lower()}</row>'
            "</sheetData></worksheet>",
            "xl/worksheets/sheet1.xml",
            "XFD1048576",
            id="in small letters",
        ),
        pytest.param(
            f'<worksheet xmlns="{MAIN}"><sheetData><row><c r="A1"><v>1</v></c></row><row>{FAR}</row></sheetData>'
            "</worksheet>",
            "xl/elsewhere.XML",
            "XFD1048576",
            id="at another place",
        ),
        pytest.param(
            f'<worksheet xmlns="{MAIN}"><sheetData><row><c><v>1</v></c>{"<c/>" * 20}</row><row r="1000000">'
            f"{'<c/>' * 20}<c><v>1</v></c></row></sheetData></worksheet>",
            "xl/worksheets/sheet1.xml",
            "U1000000",
            id="by position",
        ),
    ],
)
def test_a_cell_far_away_is_seen_however_it_is_written(tmp_path: Path, sheet: str, name: str, last: str) -> None:
    with pytest.raises(InvalidArgument, match=f"cell {last} ") as caught:
        camera_xlsx.count(rewritten(tmp_path, sheet, name=name))
    assert caught.value.reason == "XLSX_INVALID"


@pytest.mark.parametrize("place", ["1A", "A", "AAAA1", ""])
def test_a_cell_that_is_nowhere_is_refused(tmp_path: Path, place: str) -> None:
    sheet = f'<worksheet xmlns="{MAIN}"><sheetData><row><c r="{place}"><v>1</v></c></row></sheetData></worksheet>'
    with pytest.raises(InvalidArgument) as caught:
        camera_xlsx.count(rewritten(tmp_path, sheet))
    assert caught.value.reason == "XLSX_INVALID"


def test_cells_without_a_place_are_read_by_position(tmp_path: Path) -> None:
    text = "".join(f'<c t="inlineStr"><is><t>{one}</t></is></c>' for one in ("name", "region_code"))
    line = text.replace("name", "东门").replace("region_code", "360602")
    sheet = f'<worksheet xmlns="{MAIN}"><sheetData><row>{text}</row><row>{line}</row></sheetData></worksheet>'
    (row,) = camera_xlsx.read(rewritten(tmp_path, sheet))
    assert (row.line, row.camera.name, row.camera.region_code) == (2, "东门", "360602")


def test_cells_that_are_only_coloured_do_not_count(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(HEADER)
    workbook.active.append(("", "东门"))
    workbook.active.cell(1_048_576, 16_384).fill = openpyxl.styles.PatternFill("solid", fgColor="FFFF00")
    workbook.save(tmp_path / "cameras.xlsx")
    assert camera_xlsx.count(tmp_path / "cameras.xlsx") == 1


def test_a_workbook_that_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    path = book(tmp_path, HEADER)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("bomb", "w", force_zip64=True) as out,
    ):
        block = bytes(16 * 1024 * 1024)
        for _ in range(65):
            out.write(block)
    with pytest.raises(InvalidArgument, match="unpacks") as caught:
        camera_xlsx.count(path)
    assert caught.value.reason == "XLSX_INVALID"


def test_a_sheet_with_entities_of_its_own_is_refused(tmp_path: Path) -> None:
    source = book(tmp_path, HEADER, ("", "东门"))
    path = tmp_path / "entities.xlsx"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
        for one in old.infolist():
            data = old.read(one)
            if one.filename == "xl/worksheets/sheet1.xml":
                data = b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + data
            new.writestr(one, data)
    with pytest.raises(InvalidArgument) as caught:
        camera_xlsx.count(path)
    assert caught.value.reason == "XLSX_INVALID"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ((), "CSV_INVALID"),
        ((("nmae",),), "CSV_COLUMN_UNKNOWN"),
        (((36060200111322000007,),), "CSV_COLUMN_UNKNOWN"),
        ((("name", "name"),), "CSV_COLUMN_DUPLICATE"),
    ],
)
def test_a_wrong_header_is_told_before_anything_is_sent(
    tmp_path: Path, lines: tuple[tuple[object, ...], ...], reason: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        camera_xlsx.count(book(tmp_path, *lines))
    assert caught.value.reason == reason


@pytest.mark.parametrize("content", [b"", b"name\nA\n", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cameras.xlsx"
    path.write_bytes(content)
    with pytest.raises(InvalidArgument) as caught:
        camera_xlsx.count(path)
    assert caught.value.reason == "XLSX_INVALID"
    with pytest.raises(InvalidArgument) as caught:
        camera_xlsx.count(tmp_path / "nowhere.xlsx")
    assert caught.value.reason == "FILE_NOT_READ"
