"""`vidhub hub` and `vidhub doctor`: two hubs linked by the command line alone, and examined."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support.hub import HubProcess
from support.links import CITY, DISTRICT, placed, two_hubs, until
from support.site import Done, cli

from vidhub import config
from vidhub.app import App


async def vidhub(data: Path, *words: str | Path) -> Done:
    return await cli(*words, "--data-dir", data)


async def test_two_hubs_are_linked_by_the_command_line(tmp_path: Path):
    file = tmp_path / "invitation.json"
    async with placed(tmp_path, CITY) as city, placed(tmp_path, DISTRICT) as district:
        words = ("--level", "district", "--region", "360602", "--out", file)
        done = await vidhub(city.data, "hub", "invite", "月湖区", *words)
        assert done.status == 0, done.err
        assert set(done.answer) == {"id", "name", "file", "expire_time"}
        assert file.stat().st_mode & 0o777 == 0o600
        invitation = json.loads(file.read_text())
        assert invitation["hub"] == city.ready["grpc"]
        assert invitation["media"] == city.ready["rtsps"]
        assert (invitation["upper_id"], invitation["level"], invitation["region_code"]) == (CITY[0], *DISTRICT[1:])
        listed = (await vidhub(city.data, "hub", "list")).answer["hubs"]
        assert [(one["name"], one["state"], one["side"]) for one in listed] == [("月湖区", "invited", "lower")]
        done = await vidhub(district.data, "hub", "join", file)
        assert (done.status, done.answer["id"], done.answer["state"]) == (0, CITY[0], "joined")
        # Nothing flows before both have accepted, and both see who has not.
        seen = await until(city, DISTRICT[0], state="joined", trouble_reason="")
        assert not seen["accepted_here"]
        done = await vidhub(city.data, "hub", "accept", "月湖区")
        assert (done.status, done.answer["accepted_here"]) == (0, True)
        await until(district, CITY[0], state="joined", accepted_there=True)
        assert (await vidhub(district.data, "hub", "accept", CITY[0])).status == 0
        await until(city, DISTRICT[0], state="up")
        await until(district, CITY[0], state="up")
        for hub, peer in ((city, DISTRICT[0]), (district, CITY[0])):
            one = (await vidhub(hub.data, "hub", "list")).answer["hubs"][0]
            assert {"id", "name", "level", "region_code", "side", "state", "lag"} <= set(one)
            assert (one["id"], one["state"], one["lag"]) == (peer, "up", 0)
        actions = [one["action"] for one in (await city.ask("audit_list", limit=1000))["entries"]]
        assert {"hub.invite", "hub.join", "hub.accept"} <= set(actions)
        assert (await vidhub(district.data, "hub", "end", CITY[0], "--reason", "reorganised")).status == 0
        await until(city, DISTRICT[0], state="down", trouble_reason="LINK_ENDED")


async def test_a_stopped_hub_joins_and_links_when_it_starts(tmp_path: Path):
    async with placed(tmp_path, CITY) as city:
        file = tmp_path / "invitation.json"
        words = ("--level", "district", "--region", "360602", "--out", file)
        assert (await vidhub(city.data, "hub", "invite", "yuehu", *words)).status == 0
        names = dict(zip(("VIDHUB_HUB__ID", "VIDHUB_HUB__LEVEL", "VIDHUB_HUB__REGION"), DISTRICT, strict=True))
        data = tmp_path / DISTRICT[0]
        done = await cli("hub", "join", file, "--data-dir", data, VIDHUB_HUB__NAME="yuehu", **names)
        assert done.status == 0, done.err
        assert (await cli("hub", "accept", CITY[0], "--data-dir", data)).status == 0
        assert (await vidhub(city.data, "hub", "accept", "yuehu")).status == 0
        async with placed(tmp_path, DISTRICT) as district:
            await until(district, CITY[0], state="up")


async def test_the_doctor_walks_the_whole_way(tmp_path: Path):
    async with two_hubs(tmp_path) as both:
        done = await vidhub(both.lower.data, "doctor", "--hub", CITY[0])
        assert done.status == 0, done.out
        hops = ("own_certificate", "name", "tcp", "tls", "authorisation", "clock", "version")
        assert [check["name"] for check in done.answer["checks"]] == [
            f"{CITY[0]}/accepted",
            *(f"{CITY[0]}/link.{hop}" for hop in hops),
            *(f"{CITY[0]}/media.{hop}" for hop in ("name", "tcp", "tls")),
            f"{CITY[0]}/state",
        ]
        assert all({"name", "ok", "message", "remedy"} <= set(check) for check in done.answer["checks"])
        below = await vidhub(both.upper.data, "doctor")
        assert below.status == 0, below.out
        of_links = [check for check in below.answer["checks"] if check["name"].startswith(f"{DISTRICT[0]}/")]
        assert [check["ok"] for check in of_links] == [True, True, True]
        await both.upper.end()
        await until(both.lower, CITY[0], state="down", trouble_reason="LINK_REFUSED")
        done = await vidhub(both.lower.data, "doctor")
        assert done.status == 1
        (failing,) = [check for check in done.answer["checks"] if not check["ok"]]
        assert (failing["name"], failing["ok"], failing["reason"]) == (f"{CITY[0]}/link.tcp", False, "LINK_REFUSED")
        assert failing["remedy"]
        assert (await vidhub(both.lower.data, "doctor", "--hub", "nobody")).error["reason"] == "HUB_NOT_FOUND"


@asynccontextmanager
async def city_here(folder: Path) -> AsyncIterator[App]:
    """A city in this very process, so that a test can make it say what no hub says by itself."""
    name, level, region = CITY
    listeners = ("http", "grpc", "rtsp", "rtsp_udp", "rtsps", "webrtc", "metrics")
    flags: dict[str, object] = {f"listen.{one}": "127.0.0.1:0" for one in listeners}
    environment = {"VIDHUB_HUB__ID": name, "VIDHUB_HUB__LEVEL": level, "VIDHUB_HUB__REGION": region}
    app = await App.open(
        config.load(file=None, environment=environment, flags={**flags, "data_dir": str(folder / name)}), online=True
    )
    try:
        await app.start()
        yield app
    finally:
        await app.close()


async def linked(city: App, district: HubProcess) -> None:
    name, level, region = DISTRICT
    given = await city.operations.perform("hub_invite", {"name": name, "level": level, "region_code": region})
    await district.ask("hub_join", invitation=given["invitation"])
    await district.ask("hub_accept", hub=CITY[0])
    await city.operations.perform("hub_accept", {"hub": name})


async def test_a_hub_that_would_stand_above_itself_is_refused(tmp_path: Path):
    async with city_here(tmp_path) as city, placed(tmp_path, DISTRICT) as district:
        peers = city._parts.links.peers
        peers.above = lambda *, without="": (DISTRICT[0],)  # type: ignore[method-assign]
        await linked(city, district)
        seen = await until(district, CITY[0], trouble_reason="LINK_FORBIDDEN", state="joined")
        assert "LINK_CYCLE" in seen["trouble_message"]
        above = (await city.operations.perform("hub_list", {}))["hubs"][0]
        assert (above["trouble_reason"], above["state"] == "up") == ("LINK_CYCLE", False)


async def test_a_cycle_that_forms_later_ends_the_link(tmp_path: Path):
    async with city_here(tmp_path) as city, placed(tmp_path, DISTRICT) as district:
        await linked(city, district)
        await until(district, CITY[0], state="up")
        city._parts.links.peers.above = lambda *, without="": (DISTRICT[0],)  # type: ignore[method-assign]
        seen = await until(district, CITY[0], state="down")
        assert seen["trouble_reason"] in {"LINK_CYCLE", "LINK_FORBIDDEN"}
        assert "above" in seen["trouble_message"]


async def test_a_certificate_near_its_end_is_renewed_with_a_new_key(tmp_path: Path):
    async with city_here(tmp_path) as city:
        register = city._parts.units.register
        register.life = timedelta(minutes=20)
        async with placed(tmp_path, DISTRICT) as district:
            await linked(city, district)
            first = await until(district, CITY[0], state="up")
            key = (district.data / "keys" / "links" / f"{CITY[0]}.pem").read_bytes()
            await district.end()
        register.life = timedelta(days=100)
        async with placed(tmp_path, DISTRICT) as district:
            seen = await until(district, CITY[0], state="up")
            assert seen["certificate_expire_time"] > first["certificate_expire_time"]
            left = datetime.fromisoformat(seen["certificate_expire_time"]) - datetime.now(UTC)
            assert left > timedelta(days=99)
            fresh = (district.data / "keys" / "links" / f"{CITY[0]}.pem").read_bytes()
            assert fresh.split(b"-----END PRIVATE KEY-----")[0] != key.split(b"-----END PRIVATE KEY-----")[0]
            above = (await city.operations.perform("hub_list", {}))["hubs"][0]
            assert above["certificate_expire_time"] == seen["certificate_expire_time"]


async def test_a_link_does_not_outlive_its_certificate(tmp_path: Path):
    async with city_here(tmp_path) as city, placed(tmp_path, DISTRICT) as district:
        city._parts.units.register.life = timedelta(seconds=4)
        await linked(city, district)
        await until(district, CITY[0], state="up")
        seen = await until(district, CITY[0], 30.0, state="down", trouble_reason="LINK_TLS")
        assert "our certificate for this hub ended" in seen["trouble_message"]
