"""What an import says to people."""

import pytest

from vidhub.cli import camera
from vidhub.cli.camera_import import Report


def test_a_dry_run_says_what_would_change_and_what_the_file_lacks(capsys: pytest.CaptureFixture[str]) -> None:
    found = Report(
        accepted=2,
        created=1,
        changed=1,
        changes=[{"line": 3, "id": "36060200111322000007", "fields": ["name", "main.password"]}],
        missing=["36060200111322000009"],
        before=2,
    )
    camera.tell(found, dry_run=True, report=None)
    assert capsys.readouterr().out.splitlines() == [
        "line 3: 36060200111322000007 would change name, main.password",
        "not in the file: 36060200111322000009",
        "2 would be accepted (1 new, 1 changed, 0 unchanged), 0 rejected, 0 with warnings",
        "1 of 2 cameras are not in the file: --retire-missing takes them out",
    ]


def test_findings_are_told_by_line_field_and_rule_and_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    bad = {"field": "region_code", "reason": "REGION_UNKNOWN", "description": "give 6 digits"}
    rejected = [{"line": line, "id": "", "violations": [bad]} for line in range(2, 2 + camera.TOLD + 3)]
    camera.tell(Report(rejected=rejected), dry_run=False, report=None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "line 2: region_code: give 6 digits (REGION_UNKNOWN)"
    assert lines[-2] == "… and 3 more findings: give --report FILE for all"
    assert len(lines) == camera.TOLD + 2
