"""Tables: for people on a terminal, and for programs a row a line."""

import os
from pathlib import Path

import pytest

from vidhub.cli.report import Settings, private_file
from vidhub.errors import InvalidArgument


def test_a_row_stays_on_its_line_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["36060301111320000001", "word " * 100], ["36060301111320000002", None]]
    Settings().table({}, ["id", "why"], rows)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("36060301111320000001  word word")
    assert lines[1].rstrip().endswith("word")


def test_a_private_file_replaces_a_file_and_nothing_else(tmp_path: Path) -> None:
    """`--out /dev/stdout`, as root, would take /dev/stdout away from the whole machine."""
    path = tmp_path / "unit.json"
    path.write_text("before")
    private_file(path, "key")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("key", 0o600)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "folder").mkdir()
    for name in ("fifo", "link", "folder"):
        with pytest.raises(InvalidArgument) as caught:
            private_file(tmp_path / name, "key")
        assert caught.value.reason == "FILE_NOT_WRITTEN"
    assert (tmp_path / "fifo").is_fifo()
    assert (tmp_path / "link").is_symlink()
