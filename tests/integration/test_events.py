"""Events of a whole hub, by both edges: as they come, acknowledged, and after a crash."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
from support.hub import PASSWORD, HubProcess, hub, person
from support.site import HERE, scrape, site

from vidhub.v1 import event_service_pb2 as pb
from vidhub.v1 import event_service_pb2_grpc

NOBODY = "rtsp://127.0.0.1:9/1"


async def watched(running: HubProcess, token: str, **filter_: object) -> AsyncIterator[dict[str, Any]]:
    """WatchEvents as a browser reads it."""
    body = json.dumps({"filter": filter_}).encode()
    envelope = b"\0" + len(body).to_bytes(4, "big") + body
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/connect+json"}
    async with (
        httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False) as client,
        client.stream("POST", "/vidhub.v1.EventService/WatchEvents", content=envelope, headers=headers) as answer,
    ):
        data = b""
        async for chunk in answer.aiter_bytes():
            data += chunk
            while len(data) >= 5 and len(data) >= 5 + (size := int.from_bytes(data[1:5], "big")):
                yield json.loads(data[5 : 5 + size])
                data = data[5 + size :]


async def token_of(running: HubProcess, name: str) -> str:
    async with httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False) as client:
        login = {"username": name, "password": PASSWORD}
        return str((await client.post("/vidhub.v1.AuthService/Login", json=login)).json()["accessToken"])


async def test_a_dark_camera_is_told_at_once_seen_to_once_and_known_after_a_crash(tmp_path: Path):
    async with site(tmp_path / "data") as place:
        running = place.running
        for name, role in (("sup", "supervisor"), ("boss", "supervisor"), ("aud", "auditor")):
            await running.ask("user_add", name=name, roles=[role], password=PASSWORD)
        async with aclosing(
            watched(running, await token_of(running, "sup"), minSeverity="EVENT_SEVERITY_WARNING")
        ) as told:
            async with asyncio.timeout(30):
                while "synced" not in await anext(told):
                    pass
                identifier = await place.register(1, NOBODY)
                while "event" not in (item := await anext(told)):
                    pass
        event = item["event"]
        assert (event["kind"], event["subject"], event["cameraIds"]) == (
            "camera.offline",
            f"camera/{identifier}",
            [identifier],
        )
        assert "endTime" not in event
        async with place.unit.channel() as channel, asyncio.timeout(30):
            stub = event_service_pb2_grpc.EventServiceStub(channel)
            async for answer in stub.WatchEvents(pb.WatchEventsRequest()):
                if answer.HasField("event"):
                    assert answer.event.id == event["id"]
                    break
        async with person(running, "sup") as first, person(running, "boss") as second, person(running, "aud") as third:
            done = await first.call("EventService/AcknowledgeEvent", id=event["id"], note="已派人")
            assert done["event"]["acknowledgement"]["by"] == "user/sup"
            late = await second.call("EventService/AcknowledgeEvent", id=event["id"])
            assert (late["code"], late["reason"]) == ("aborted", "EVENT_ACKNOWLEDGED")
            not_theirs = await third.call("EventService/AcknowledgeEvent", id=event["id"])
            assert not_theirs["reason"] == "ROLE_NOT_PERMITTED"
            # Of this kind: on a busy machine the hub may have stood still for a moment, which is an event too.
            page = await second.call(
                "EventService/ListEvents", filter={"unacknowledged": True, "kinds": [event["kind"]]}
            )
            assert "events" not in page
        assert (await place.entries(action="event.acknowledge"))[0]["principal"] == "user/sup"
        _, samples = await scrape(running)
        assert samples["vidhub_events_total{kind=camera.offline}"] == 1
        assert samples["vidhub_events_lasting{}"] == 1
        assert await running.end(signal.SIGKILL) == -signal.SIGKILL
    async with hub(tmp_path / "data", **HERE) as running, person(running, "boss") as caller:
        found = {one["kind"]: one for one in (await caller.call("EventService/ListEvents"))["events"]}
        assert found["camera.offline"]["acknowledgement"]["note"] == "已派人"
        assert "endTime" not in found["camera.offline"]
        assert found["hub.crashed"]["severity"] == "EVENT_SEVERITY_WARNING"
