"""The command line itself: options anywhere, exit codes, errors as people and programs read them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidhub.cli import hoist

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["user", "list", "--json"], ["--json", "user", "list"]),
        (["user", "list", "--data-dir", "d"], ["--data-dir", "d", "user", "list"]),
        (["user", "list", "--data-dir=d"], ["--data-dir=d", "user", "list"]),
        (["--config", "c", "serve"], ["--config", "c", "serve"]),
        (["view", "--", "--json"], ["view", "--", "--json"]),
        (["serve", "--data-dir"], ["--data-dir", "serve"]),
    ],
)
def test_common_options_may_stand_anywhere(words: list[str], expected: list[str]) -> None:
    assert hoist(words) == expected


def vidhub(*words: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vidhub.cli", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_wrong_usage_ends_with_2(tmp_path: Path) -> None:
    assert vidhub("user", "ad", cwd=tmp_path).returncode == 2
    answer = vidhub("--json", "grant", "revoke", cwd=tmp_path)
    assert answer.returncode == 2
    assert json.loads(answer.stderr)["error"]["reason"] == "USAGE"
    assert answer.stdout == ""


@pytest.mark.parametrize(
    "line",
    [
        ("hub", "share", "yingtan", "--region", "360602", "--unit", ""),
        ("hub", "share", "yingtan", "--all", "--purpose", ""),
        ("hub", "unshare", "yingtan", "--region", "360602", "--camera", ","),
        ("grant", "create", "--user", "li", "--unit", " ", "--action", "list", "--until", "2030-01-01T00:00:00Z"),
    ],
)
def test_an_option_that_says_nothing_widens_nothing(tmp_path: Path, line: tuple[str, ...]) -> None:
    answer = vidhub("--json", *line, cwd=tmp_path)
    assert (answer.returncode, json.loads(answer.stderr)["error"]["reason"]) == (2, "USAGE")


def test_a_group_without_a_command_says_how_it_is_used_once(tmp_path: Path) -> None:
    answer = vidhub("unit", cwd=tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.lower().count("usage: vidhub unit") == 1
    assert "enrol" in answer.stderr
    assert answer.stderr.splitlines()[-1] == "USAGE: name a command: `vidhub unit --help` says more"
    as_json = vidhub("unit", "--json", cwd=tmp_path)
    assert json.loads(as_json.stderr)["error"]["message"] == "name a command: `vidhub unit --help` says more"


def test_wrong_usage_names_the_help(tmp_path: Path) -> None:
    answer = vidhub("unit", "token", "第一中学", cwd=tmp_path)
    assert answer.stderr.splitlines()[-1] == "USAGE: Missing option '--region': see `vidhub unit token --help`"


@pytest.mark.parametrize("words", [("version",), ("version", "--json"), ("--help",)])
def test_an_answer_that_can_not_be_written_is_a_failure_with_a_reason(tmp_path: Path, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        answer = subprocess.run(
            [sys.executable, "-m", "vidhub.cli", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert "FILE_UNAVAILABLE" in answer.stderr


def test_a_terminal_that_knows_no_chinese_gets_marks_and_json_stays_utf_8(tmp_path: Path) -> None:
    poor = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "PYTHONIOENCODING": "ascii"}

    def said(*words: str) -> bytes:
        command = [sys.executable, "-m", "vidhub.cli", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=poor, input=b"correct horse\n", capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said("user", "add", "zhang", "--role", "operator", "--department", "指挥中心", "--password-stdin")
    assert "????" in said("user", "list").decode("ascii")
    assert json.loads(said("user", "list", "--json").decode("utf-8"))["users"][0]["department"] == "指挥中心"


def test_a_failure_ends_with_1_and_says_reason_and_remedy(tmp_path: Path) -> None:
    answer = vidhub("unit", "enrol", "nothing.json", "--out", "unit", "--json", cwd=tmp_path)
    assert answer.returncode == 1
    error = json.loads(answer.stderr)["error"]
    assert error["reason"] == "FILE_NOT_READ"
    assert "nothing.json" in error["message"]


def test_a_wrong_configuration_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "vidhub.toml").write_text("[stream]\nlingr_s = 3\n")
    answer = vidhub("config", "check", "--json", cwd=tmp_path)
    assert answer.returncode == 1
    error = json.loads(answer.stderr)["error"]
    assert "stream.lingr_s" in json.dumps(error)
    assert "linger_s" in json.dumps(error)


def test_people_are_kept_in_the_data_directory_before_the_first_start(tmp_path: Path) -> None:
    add = ("user", "add", "zhang", "--role", "operator", "--department", "指挥中心", "--password-stdin", "--json")
    added = vidhub(*add, cwd=tmp_path, stdin="correct horse battery\n")
    assert added.returncode == 0, added.stderr
    user = json.loads(added.stdout)
    assert user["name"] == "zhang"
    assert user["role"] == "operator"
    again = vidhub(*add, cwd=tmp_path, stdin="correct horse battery\n")
    assert again.returncode == 1
    assert json.loads(again.stderr)["error"]["reason"]
    listed = json.loads(vidhub("--json", "user", "list", cwd=tmp_path).stdout)
    assert {one["name"] for one in listed["users"]} == {"zhang"}
    assert "correct horse" not in added.stdout + added.stderr + json.dumps(listed)


def test_a_region_that_can_be_none_is_refused_and_not_found_empty(tmp_path: Path) -> None:
    vidhub(
        "user", "add", "zhang", "--role", "operator", "--password-stdin", cwd=tmp_path, stdin="correct horse battery\n"
    )
    answer = vidhub("camera", "list", "--region", "余江", "--json", cwd=tmp_path)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert json.loads(answer.stderr.splitlines()[-1])["error"]["reason"] == "REGION_PREFIX_INVALID"
    assert json.loads(vidhub("camera", "list", "--region", "3606", "--json", cwd=tmp_path).stdout)["cameras"] == []
