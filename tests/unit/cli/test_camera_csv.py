"""Cameras in CSV: each bad cell is told by line, field and remedy; a bad header refuses the file."""

from pathlib import Path

import pytest

from vidhub.cli import camera_csv
from vidhub.errors import InvalidArgument
from vidhub.v1 import camera_pb2

HEADER = "id,name,region_code,place_category,location.latitude,main.url,main.transport,sub.url,legal.retention_days"


def rows(tmp_path: Path, *lines: str) -> list[camera_csv.Row]:
    path = tmp_path / "cameras.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return list(camera_csv.read(path))


def test_a_line_becomes_a_camera(tmp_path: Path) -> None:
    (row,) = rows(
        tmp_path,
        HEADER,
        "36060200001320000001,东门,360602,School,28.24,rtsp://10.0.0.1/main,TCP,rtsp://10.0.0.1/sub,30",
    )
    assert row.line == 2
    assert not row.violations
    assert row.camera == camera_pb2.Camera(
        id="36060200001320000001",
        name="东门",
        region_code="360602",
        place_category=camera_pb2.PLACE_CATEGORY_SCHOOL,
        location=camera_pb2.Location(latitude=28.24),
        streams=[
            camera_pb2.CameraStream(
                profile=camera_pb2.STREAM_PROFILE_MAIN,
                url="rtsp://10.0.0.1/main",
                transport=camera_pb2.TRANSPORT_TCP,
            ),
            camera_pb2.CameraStream(profile=camera_pb2.STREAM_PROFILE_SUB, url="rtsp://10.0.0.1/sub"),
        ],
        legal=camera_pb2.LegalRecord(retention_days=30),
    )


def test_a_camera_without_an_address_is_one_that_its_unit_pushes(tmp_path: Path) -> None:
    pushed, sub, _ = rows(
        tmp_path, "name,main.url,sub.url", "东门,,", "西门,,rtsp://10.0.0.1/sub", "南门,rtsp://10.0.0.1/main,"
    )
    assert list(pushed.camera.streams) == [camera_pb2.CameraStream(profile=camera_pb2.STREAM_PROFILE_MAIN)]
    assert [stream.profile for stream in sub.camera.streams] == [camera_pb2.STREAM_PROFILE_SUB]
    (unsaid,) = rows(tmp_path, "name", "东门")
    assert not unsaid.camera.streams, "a file that says nothing of streams is not meant so"


def test_each_bad_cell_is_told_and_the_other_lines_stand(tmp_path: Path) -> None:
    good, bad = rows(tmp_path, HEADER, ",A,360602,school,28,,,,30", ",B,360602,castle,north,,,,-1")
    assert not good.violations
    assert bad.line == 3
    assert [violation.field for violation in bad.violations] == [
        "place_category",
        "location.latitude",
        "legal.retention_days",
    ]
    assert "school" in bad.violations[0].description


def test_a_claim_is_yes_or_no(tmp_path: Path) -> None:
    words = ("yes", "TRUE", "1", "是", "no", "false", "0", "否", "")
    found = rows(tmp_path, "name,legal.near_secret_unit", *(f"A,{word}" for word in words))
    assert [row.camera.legal.near_secret_unit for row in found] == [True] * 4 + [False] * 5
    assert not [row for row in found if row.violations]
    (bad,) = rows(tmp_path, "name,legal.near_secret_unit", "A,perhaps")
    assert [one.reason for one in bad.violations] == ["VALUE_INVALID"]


def test_line_numbers_are_those_of_an_editor(tmp_path: Path) -> None:
    lines = rows(tmp_path, "name,legal.scope", '"A","over\ntwo lines"', "", "B,x")
    assert [(row.line, row.camera.name) for row in lines] == [(2, "A"), (5, "B")]


def test_a_line_with_too_few_cells_is_told(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "name,region_code", "A")
    assert row.violations[0].reason == "CSV_CELLS"


@pytest.mark.parametrize(
    "column",
    [
        "nmae",
        "location",
        "location.altitude",
        "main",
        "main.profile",
        "state",
        "streams.url",
        "revision.number",
        "warnings.reason",
        "unit_name",
    ],
)
def test_an_unknown_column_is_named(tmp_path: Path, column: str) -> None:
    with pytest.raises(InvalidArgument, match=f"column '{column}'") as caught:
        rows(tmp_path, f"name,{column}", "A,B")
    assert caught.value.reason == "CSV_COLUMN_UNKNOWN"


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument) as caught:
        rows(tmp_path, "name,name", "A,B")
    assert caught.value.reason == "CSV_COLUMN_DUPLICATE"
    (violation,) = caught.value.violations
    assert (violation.field, violation.reason) == ("name", "CSV_COLUMN_DUPLICATE")


@pytest.mark.parametrize(("separator", "called"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_other_separators_are_called_by_name(tmp_path: Path, separator: str, called: str) -> None:
    with pytest.raises(InvalidArgument, match=f"separates its cells by {called}: save it as CSV UTF-8, with commas"):
        rows(tmp_path, separator.join(("name", "region_code")), separator.join(("A", "360603")))


def test_what_spreadsheets_leave_about_does_not_matter(tmp_path: Path) -> None:
    """Empty lines above the header, columns without a name behind it, dates as one writes them in China."""
    header = "name,region_code,legal.signage_date,legal.retention_days,,"
    (first, second, third) = rows(
        tmp_path,
        "",
        ",,,,,",
        header,
        "东门,360602,2026/9/1,30,,",
        "西门,３６０６０２,2026年12月31日,３０,,",
        "南门,360602,2026-02-03,30, ,",
    )
    assert not (*first.violations, *second.violations, *third.violations)
    assert [row.line for row in (first, second, third)] == [4, 5, 6]
    assert [row.camera.legal.signage_date for row in (first, second, third)] == [
        "2026-09-01",
        "2026-12-31",
        "2026-02-03",
    ]
    assert (second.camera.region_code, second.camera.legal.retention_days) == ("360602", 30)


def test_text_behind_the_last_column_is_told(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "name,region_code,", "东门,360602,seen")
    assert [one.reason for one in row.violations] == ["CSV_CELLS"]


@pytest.mark.parametrize("text", ["3.60603E+19", "3.606e19", "3E+19"])
def test_an_id_that_a_spreadsheet_has_rounded_says_so(tmp_path: Path, text: str) -> None:
    (row,) = rows(tmp_path, "id,name", f"{text},A")
    assert [(one.field, one.reason) for one in row.violations] == [("id", "XLSX_NUMBER_ROUNDED")]


@pytest.mark.parametrize("text", ["1_000", "30.0", "30天", "0x1e", "4294967296"])
def test_what_is_no_whole_number_is_told(tmp_path: Path, text: str) -> None:
    (row,) = rows(tmp_path, "name,legal.retention_days", f"A,{text}")
    assert [(one.field, one.reason) for one in row.violations] == [("legal.retention_days", "VALUE_INVALID")]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_another_separator_is_named(tmp_path: Path, separator: str) -> None:
    with pytest.raises(InvalidArgument, match="with commas") as caught:
        rows(tmp_path, separator.join(("id", "name")), separator.join(("", "A")))
    assert caught.value.reason == "CSV_INVALID"


def test_a_title_above_the_header_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="the first line names the fields") as caught:
        rows(tmp_path, "登记表,,登记表,,", "id,name,,,", ",A,,,")
    assert [one.field for one in caught.value.violations] == ["登记表", ""]


@pytest.mark.parametrize("content", [b"", b"name\n\xff\xfe\n", b'name\n"open', b"name\n" + b"x" * 10_000])
def test_what_is_no_csv_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cameras.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidArgument) as caught:
        list(camera_csv.read(path))
    assert caught.value.reason == "CSV_INVALID"


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "cameras.csv"
    path.write_text("name\nA\n", encoding="utf-8-sig")
    assert [row.camera.name for row in camera_csv.read(path)] == ["A"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"nowhere\.csv"):
        list(camera_csv.read(tmp_path / "nowhere.csv"))
