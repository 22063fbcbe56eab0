"""What is connected, online, complete and overdue; and that the metrics say the same."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.domain import SYSTEM, Domain, camera, unit

from vidhub.api.admin_compliance import ComplianceOperations
from vidhub.compliance import RECORD_STATES, Compliance, Row
from vidhub.model import Camera, CameraState, CameraStream, LegalRecord, Profile, Unit
from vidhub.store import completeness, regions, units
from vidhub.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
DEVICE = (
    ("manufacturer", "海康威视"),
    ("model", "DS-2CD"),
    ("install_time", "2026-01-01"),
    ("management_unit", "第一中学"),
    ("contact_info", "0701-1234567"),
)


def complete(number: int, **changed: object) -> Camera:
    bare = camera(number, **changed)
    return replace(
        bare,
        streams=(*bare.streams, CameraStream(Profile.SUB, f"rtsp://10.0.0.{number}/2")),
        legal=LegalRecord("赣公通〔2025〕1号", "校园安全", "校门外", 30, "视频监控区域", "2026-01-02"),
        device=DEVICE,
    )


class Clock:
    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def compliance(domain: Domain, clock: Clock) -> Compliance:
    """Unit u1: two complete cameras and an incomplete one in Yuehu; u2: one incomplete, of another industry, in Guixi;
    late and new: none."""
    await domain.catalogue.register(unit("u1"), [complete(1), complete(2), camera(3)])
    await domain.catalogue.register(
        unit("u2"), [camera(4, id="36068100121322000004", region_code="360681", industry="12")]
    )
    late, new = clock.time - timedelta(days=40), clock.time - timedelta(days=2)
    for name, time in (("late", late), ("new", new)):
        made = Unit(name, f"单位{name}", "360603", "11", "enrolled", time)
        await domain.store.write(lambda conn, made=made: units.put(conn, made))
    table = regions.RegionTable(await domain.store.read(regions.load))
    return Compliance(
        store=domain.store, core=domain.core, remote=domain.remote, regions=table, principal=SYSTEM, clock=clock
    )


def by_key(rows: tuple[Row, ...]) -> dict[str, Row]:
    return {row.key: row for row in rows}


async def join(domain: Domain, clock: Clock) -> None:
    """Two cameras of a lower hub, one of them online."""
    foreign = [
        camera(
            number,
            id=f"360603001213220{number:05d}",
            region_code="360603",
            unit_id="school",
            unit_name="余江中学",
            home_hub_id="yujiang",
        )
        for number in (8, 9)
    ]
    domain.core.apply_cameras(domain.core.revision().number + 1, foreign)
    domain.remote.put("yujiang", foreign)
    domain.remote.link_up("yujiang")
    domain.core.apply_states([(foreign[0].id, CameraState.ONLINE, clock.time, "")])


async def test_cameras_are_counted_by_region_industry_and_unit(compliance: Compliance) -> None:
    found = await compliance.report()
    assert by_key(found.regions) == {
        "360602": Row("360602", "月湖区", connected=3, online=0, records=3, complete=2),
        "360681": Row("360681", "贵溪市", connected=1, records=1),
    }
    assert {code: row.connected for code, row in by_key(found.industries).items()} == {"11": 3, "12": 1}
    assert by_key(found.industries)["11"].name == "教育部门接入"
    assert (found.total.connected, found.total.records, found.total.complete, found.total.overdue) == (4, 4, 2, 0)
    rows = {one.row.key: one for one in found.units}
    assert {key: (one.row.connected, one.state) for key, one in rows.items()} == {
        "u1": (3, "connected"),
        "u2": (1, "connected"),
        "late": (0, "overdue"),
        "new": (0, "waiting"),
    }
    assert rows["late"].row.overdue_days == 10
    assert found.units[0].row.key == "late"


async def test_an_incomplete_record_is_overdue_after_the_term(
    domain: Domain, compliance: Compliance, clock: Clock
) -> None:
    clock.time += timedelta(days=30, minutes=-1)
    assert (await compliance.report()).total.overdue == 0
    clock.time += timedelta(days=5, minutes=2)
    found = await compliance.report()
    assert by_key(found.regions)["360602"] == Row("360602", "月湖区", 3, 0, 0, 3, 2, 1, 5)
    assert (found.total.overdue, found.total.overdue_days) == (2, 5)
    await domain.catalogue.register(unit("u1"), [complete(3)])
    assert by_key((await compliance.report()).regions)["360602"].complete == 3
    await domain.catalogue.retire(unit("u2"), "36068100121322000004", "拆除")
    last = await compliance.report()
    assert (last.total.connected, last.total.overdue, "360681" in by_key(last.regions)) == (3, 0, False)
    assert {one.row.key: one.state for one in last.units}["u2"] == "overdue"


async def test_blanks_are_nothing_in_a_record(domain: Domain, compliance: Compliance) -> None:
    """A blank in each field, so that the form lets one through, made a record complete."""
    whole = complete(1)
    blank_sign = replace(whole, legal=replace(whole.legal, signage_text=" \u00a0"))
    blank_maker = replace(complete(2), device=(("manufacturer", "\u3000"), *DEVICE[1:]))
    result = await domain.catalogue.register(unit("u1"), [blank_sign, blank_maker])
    assert [index for index, found in result.warned if "SIGN_MISSING" in {one.reason for one in found}] == [0]
    assert (await compliance.report()).total.complete == 0


async def test_cameras_of_other_hubs_are_connected_and_judged_there(
    domain: Domain, compliance: Compliance, clock: Clock
) -> None:
    await join(domain, clock)
    found = await compliance.report()
    assert by_key(found.regions)["360603"] == Row("360603", "余江区", connected=2, online=1)
    (school,) = [one for one in found.units if one.row.key == "school"]
    assert (school.row, school.unit) == (Row("school", "余江中学", connected=2, online=1), None)
    domain.remote.link_down("yujiang")
    found = await compliance.report()
    assert by_key(found.regions)["360603"] == Row("360603", "余江区", connected=2, online=1, stale=2)
    assert (found.total.connected, found.total.online, found.total.stale) == (6, 1, 2)
    assert sum(row.stale for row in found.industries) == sum(one.row.stale for one in found.units) == 2


def told(telemetry: Telemetry) -> dict[str, dict[tuple[str, ...], float]]:
    """What Prometheus reads: metric, (state, region, industry) as far as it has them -> value."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(generate_latest(telemetry.registry).decode()):
        for sample in family.samples:
            labels = tuple(sample.labels[name] for name in ("state", "region", "industry") if name in sample.labels)
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


async def test_the_metrics_say_what_the_report_says(domain: Domain, compliance: Compliance, clock: Clock) -> None:
    await join(domain, clock)
    clock.time += timedelta(days=45)
    telemetry = Telemetry()
    telemetry.watch(
        snapshot=lambda: domain.core.snapshot(),  # type: ignore[arg-type]
        camera_counts=domain.core.camera_counts,
        audit_entries=lambda: 0,
    )
    telemetry.watch_compliance(compliance.figures)
    assert "vidhub_units" not in told(telemetry)
    await compliance.look()
    report, metrics = await compliance.report(), told(telemetry)
    for place, rows in ((1, report.regions), (2, report.industries)):
        for row in rows:
            here = {labels: n for labels, n in metrics["vidhub_cameras"].items() if labels[place] == row.key}
            assert row.connected == sum(here.values())
            assert row.online == sum(n for labels, n in here.items() if labels[0] == "online")
            judged = {labels: n for labels, n in metrics["vidhub_camera_records"].items() if labels[place] == row.key}
            assert row.records == sum(judged.values())
            for state, number in (("complete", row.complete), ("overdue", row.overdue)):
                assert number == sum(n for labels, n in judged.items() if labels[0] == state)
    assert report.total.overdue == 2
    assert report.total.connected == sum(metrics["vidhub_cameras"].values()) == 6
    assert sum(one.row.connected for one in report.units) == 6
    assert {labels[0] for labels in metrics["vidhub_camera_records"]} == set(RECORD_STATES)
    assert metrics["vidhub_units"] == {
        (state,): report.units_in(state) for state in ("connected", "waiting", "overdue")
    }
    assert metrics["vidhub_units"] == {("connected",): 2, ("waiting",): 0, ("overdue",): 2}


async def test_figures_of_records_are_counted_again_only_when_asked(
    domain: Domain, compliance: Compliance, clock: Clock
) -> None:
    await compliance.look()
    await domain.catalogue.register(unit("u1"), [complete(7)])
    before = compliance.figures()
    await compliance.look(records=False)
    assert compliance.figures() == before
    await compliance.look()
    assert sum(number for *_, number in compliance.figures().records) == 5


async def test_what_the_command_prints(compliance: Compliance) -> None:
    found = await ComplianceOperations(compliance, is_serving=lambda: True).report_compliance()
    assert found["total"] == {
        "connected": 4, "online": 0, "stale": 0, "records": 4, "complete": 2, "overdue": 0, "overdue_days": 0,
        "units": {"connected": 2, "waiting": 1, "overdue": 1},
    }  # fmt: skip
    assert (found["serving"], found["term_days"], found["units_left_out"]) == (True, 30, 0)
    assert found["units"][0] == {
        "id": "late", "name": "单位late", "region_code": "360603", "industry": "11", "state": "overdue", "own": True,
        "connected": 0, "online": 0, "stale": 0, "records": 0, "complete": 0, "overdue": 0, "overdue_days": 10,
    }  # fmt: skip


def test_complete_is_what_the_console_calls_complete() -> None:
    text = (ROOT / "console" / "src" / "record.ts").read_text(encoding="utf-8")
    asked = set(re.findall(r'path: "([\w.]+)",[^}]*asked: true', text))
    here = {f"device.{name}" for name in completeness.DEVICE} | {"sub.url", "location.address"}
    assert asked == here | {f"legal.{name}" for name in completeness.COLUMNS if name != "address"}
