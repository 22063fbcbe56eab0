"""Tables: for people on a terminal, and for programs a row a line."""

import pytest

from vidhub.cli.report import Settings


def test_a_row_stays_on_its_line_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["36060301111320000001", "word " * 100], ["36060301111320000002", None]]
    Settings().table({}, ["id", "why"], rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("36060301111320000001  word word")
    assert lines[1].rstrip().endswith("word")
