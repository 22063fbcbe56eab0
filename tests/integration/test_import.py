"""An import by the command line: a table with bad lines, seen before, changed and run again."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import openpyxl
from support.hub import hub
from support.site import Done, cli

HEADER = (
    *("id", "name", "region_code", "industry", "place_category", "location.latitude", "location.longitude"),
    *("main.url", "main.username", "main.password", "sub.url", "legal.place_basis", "legal.purpose", "legal.scope"),
    *("legal.retention_days", "legal.signage_text", "legal.signage_date", "device.mac"),
)
LINES = 3_000
# Column -> (what stands in it, the rule that it breaks).
BAD = {
    "region_code": ("999999", "REGION_UNKNOWN"),
    "place_category": ("forbidden_dormitory", "PLACE_FORBIDDEN"),
    "location.latitude": ("north", "VALUE_INVALID"),
    "main.url": ("http://10.0.0.1/", "URL_SCHEME"),
    "legal.retention_days": ("7", "RETENTION_TOO_SHORT"),
    "device.mac": ("00-11", "DEVICE_INVALID"),
}


def line(number: int) -> dict[str, str]:
    url = f"rtsp://10.1.{number // 250}.{number % 250 + 1}/1"
    values = (
        *(f"360602001113220{number:05d}", f"东门{number}", "360602", "11", "school", "28.24", "117.05"),
        *(url, "admin", f"Kp{number}!", url + "sub", "799/7", "校园安全", "校门外", "30", "公共视频", "2025-04-01", ""),
    )
    return dict(zip(HEADER, values, strict=True))


def table(path: Path, lines: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, HEADER)
        writer.writeheader()
        writer.writerows(lines)
    return path


async def test_an_import_with_bad_lines_is_seen_before_made_and_seen_again(tmp_path: Path) -> None:
    lines = [line(number) for number in range(LINES)]
    bad: dict[int, tuple[str, str]] = {}
    for place in range(50, LINES, 100):
        column = list(BAD)[place // 100 % len(BAD)]
        lines[place][column] = BAD[column][0]
        bad[place + 2] = (column, BAD[column][1])
    lines[7]["location.longitude"] = "115.86"
    lines[-1]["id"] = lines[0]["id"]
    bad[LINES + 1] = ("id", "ID_DUPLICATE_IN_FILE")
    good = LINES - len(bad)
    file = table(tmp_path / "cameras.csv", lines)

    async def register(path: Path, *words: object) -> dict[str, Any]:
        done = await cli("camera", "register", path, "--identity", tmp_path / "u", *words)
        assert done.answer is not None, done.err
        return {"status": done.status, **done.answer}

    async with hub(tmp_path / "data") as running:
        words = ("unit", "token", "第一中学", "--region", "360602", "--industry", "11")
        assert (await cli("--data-dir", running.data, *words, "--out", tmp_path / "u.json")).status == 0
        assert (await cli("unit", "enrol", tmp_path / "u.json", "--out", tmp_path / "u")).status == 0

        # What can't be read to its end sends no camera.
        broken = table(tmp_path / "broken.csv", [line(number) for number in range(1_500)])
        with broken.open("a", encoding="utf-8") as out:
            out.write('"never closed')
        wrong = {"broken.csv": "CSV_INVALID", "none.csv": "FILE_NOT_READ", "cameras.pdf": "FILE_KIND_UNKNOWN"}
        for name, reason in wrong.items():
            done = await cli("camera", "register", tmp_path / name, "--identity", tmp_path / "u")
            assert (done.status, done.error["reason"]) == (1, reason)
        assert (await running.ask("status"))["cameras"] == 0

        seen = await register(file, "--dry-run", "--report", tmp_path / "report.csv")
        assert (await running.ask("status"))["cameras"] == 0
        made = await register(file)
        assert (await running.ask("status"))["cameras"] == good
        for answer in (seen, made):
            assert (answer["status"], answer["accepted"], answer["created"]) == (1, good, good)
            found = {
                one["line"]: (one["violations"][0]["field"], one["violations"][0]["reason"])
                for one in answer["rejected"]
            }
            assert found == bad
            assert [(one["line"], one["violations"][0]["reason"]) for one in answer["warned"]] == [
                (9, "LOCATION_OUTSIDE_REGION")
            ]
        with (tmp_path / "report.csv").open(encoding="utf-8-sig", newline="") as report:
            told = {(row["line"], row["kind"], row["rule"]) for row in csv.DictReader(report)}
        assert told == {
            ("9", "warning", "LOCATION_OUTSIDE_REGION"),
            *((str(number), "error", rule) for number, (_, rule) in bad.items()),
        }

        # The next delivery, as a workbook: one camera renamed, one with another password, one left out.
        workbook = openpyxl.Workbook()
        workbook.active.append(HEADER)
        later = [line(number) for number in range(5)]
        later[1]["name"], later[2]["main.password"] = "西门", "other"
        for one in later[:-1]:
            workbook.active.append([one[name] for name in HEADER])
        workbook.save(tmp_path / "later.xlsx")
        expected = [(3, ["name"]), (4, ["main.password"])]
        seen = await register(tmp_path / "later.xlsx", "--dry-run")
        assert (seen["status"], seen["created"], seen["changed"], seen["unchanged"]) == (0, 0, 2, 2)
        assert [(one["line"], one["fields"]) for one in seen["changes"]] == expected
        assert later[-1]["id"] in seen["missing"]
        assert len(seen["missing"]) == good - 4
        made = await register(tmp_path / "later.xlsx")
        assert (made["status"], made["changed"], made["unchanged"]) == (0, 2, 2)
        again = await register(tmp_path / "later.xlsx")
        assert (again["changed"], again["unchanged"]) == (0, 4)
        assert (await running.ask("audit_verify"))["intact"]
        assert "Kp3!" not in "".join(running.said)


async def test_a_file_that_names_all_cameras_retires_the_others(tmp_path: Path) -> None:
    async def register(*words: object) -> Done:
        return await cli("camera", "register", tmp_path / "cameras.csv", "--identity", tmp_path / "u", *words)

    async def listed() -> list[str]:
        answer = (await cli("camera", "list", "--identity", tmp_path / "u")).answer
        return [one["id"] for one in answer["cameras"]]

    lines = [line(number) for number in range(9)]
    ids = [one["id"] for one in lines]
    async with hub(tmp_path / "data") as running:
        words = ("unit", "token", "第一中学", "--region", "360602", "--industry", "11")
        assert (await cli("--data-dir", running.data, *words, "--out", tmp_path / "u.json")).status == 0
        assert (await cli("unit", "enrol", tmp_path / "u.json", "--out", tmp_path / "u")).status == 0
        table(tmp_path / "cameras.csv", lines)
        assert (await register("--retire-missing")).answer["retired"] == []  # nothing is missing: nobody is asked

        # Two are left out: nothing goes without a word of consent, nor while a line is wrong or without its id.
        table(tmp_path / "cameras.csv", lines[:7])
        assert (await register("--retire-missing", "--dry-run")).answer["missing"] == ids[7:]
        done = await register("--retire-missing")
        assert (done.status, done.answer["unchanged"], done.answer["retired"]) == (1, 7, [])
        assert done.error["reason"] == "RETIRE_NOT_CONFIRMED"
        for column, cell, rule in (("region_code", "999999", "REGION_UNKNOWN"), ("id", "", "ID_MISSING")):
            table(tmp_path / "cameras.csv", [{**lines[0], column: cell}, *lines[1:7]])
            done = await register("--retire-missing", "--yes")
            assert (done.status, done.error["reason"]) == (1, "RETIRE_AFTER_REJECTED")
            assert [one["violations"][0]["reason"] for one in done.answer["rejected"]] == [rule]
        assert await listed() == ids

        table(tmp_path / "cameras.csv", lines[:7])
        done = await register("--retire-missing", "--yes", "--report", tmp_path / "report.csv")
        assert (done.status, done.answer["retired"]) == (0, ids[7:])
        assert await listed() == ids[:7]
        with (tmp_path / "report.csv").open(encoding="utf-8-sig", newline="") as report:
            assert [(row["id"], row["kind"]) for row in csv.DictReader(report)] == [(one, "retired") for one in ids[7:]]
        found = (await cli("--data-dir", running.data, "audit", "list", "--action", "camera.retire")).answer
        assert sorted(one["resource"] for one in found["entries"]) == [f"camera/{one}" for one in ids[7:]]

        # More than half of them: perhaps the wrong file.
        table(tmp_path / "cameras.csv", lines[:3])
        done = await register("--retire-missing", "--yes")
        assert (done.error["reason"], done.answer["retired"]) == ("RETIRE_TOO_MANY", [])
        assert await listed() == ids[:7]
        assert (await register("--retire-missing", "--yes", "--retire-most")).answer["retired"] == ids[3:7]
        assert await listed() == ids[:3]

        # None at all: certainly.
        (tmp_path / "cameras.csv").write_text(",".join(lines[0]) + "\n", encoding="utf-8")
        done = await register("--retire-missing", "--yes", "--retire-most", "--report", tmp_path / "report.csv")
        assert (done.error["reason"], done.answer["retired"]) == ("RETIRE_ALL", [])
        with (tmp_path / "report.csv").open(encoding="utf-8-sig", newline="") as report:
            assert [(row["id"], row["kind"]) for row in csv.DictReader(report)] == [(one, "missing") for one in ids[:3]]
        assert await listed() == ids[:3]
