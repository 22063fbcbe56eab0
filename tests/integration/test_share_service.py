"""Sharing as the console sees it: HubService over Connect, by role."""

import asyncio
import json
import sys
from pathlib import Path

from support.hub import PASSWORD, enrol, person
from support.links import camera, in_step, register, two_hubs


async def test_rules_are_made_looked_at_and_taken_back_by_people(tmp_path: Path):
    async with two_hubs(tmp_path) as hubs:
        district, city = hubs.lower, hubs.upper
        ids = await register(await enrol(district), *(camera(number) for number in range(1, 4)))
        for name, role in (("chen", "administrator"), ("li", "supervisor"), ("zhang", "operator")):
            await district.ask("user_add", name=name, roles=[role], password=PASSWORD)
        rule = {"hubId": "yingtan", "scope": {"cameraIds": ids[:2]}, "fields": ["legal"]}
        async with (
            person(district, "chen") as chen,
            person(district, "li") as li,
            person(district, "zhang") as zhang,
        ):
            seen = await li.call("HubService/PreviewShare", share=rule)
            assert (seen["cameras"], seen["added"], seen["alone"], len(seen["sample"])) == ("2", "2", "2", 2)
            # What was left out is what it would permit: the widest.
            assert seen["share"]["actions"] == ["ACTION_LIST", "ACTION_VIEW_LIVE"]
            assert (len(seen["share"]["purposes"]), "id" in seen["share"]) == (7, False)
            assert "legal" in seen["sample"][0]
            assert [key for key in ("url", "username", "password") if key in str(seen)] == []
            assert (await li.call("HubService/CreateShare", share=rule))["code"] == "permission_denied"
            for method in (
                "ListShares",
                "PreviewShare",
                "ExplainCamera",
                "ListConflicts",
                "CreateShare",
                "DeleteShare",
            ):
                assert (await zhang.call(f"HubService/{method}"))["code"] == "permission_denied"
            share = (await chen.call("HubService/CreateShare", share=rule))["share"]
            assert share["actions"] == ["ACTION_LIST", "ACTION_VIEW_LIVE"]
            await in_step(district, city, 2)
            assert (await li.call("HubService/ListShares", hub="yingtan"))["shares"] == [share]
            (received,) = (await city.ask("hub_shares", hub=""))["received"]
            assert (received["id"], received["hub"]) == (share["id"], "yuehu")
            assert (received["scope"], received["actions"]) == ({"camera_ids": ids[:2]}, ["list", "view_live"])
            told = await li.call("HubService/ExplainCamera", cameraId=ids[0])
            assert (told["visible"], told["findings"][0]["reason"]) == (True, "SHARED")
            told = await li.call("HubService/ExplainCamera", cameraId=ids[2])
            assert [one["reason"] for one in told["findings"]] == ["NOT_SHARED"]
            told = await li.call("HubService/ExplainCamera", cameraId="9" * 20)
            assert [one["reason"] for one in told["findings"]] == ["CAMERA_UNKNOWN"]
            for reason, share_given in (
                ("HUB_NOT_FOUND", {**rule, "hubId": "nowhere"}),
                ("SCOPE_EMPTY", {"hubId": "yingtan"}),
                ("FIELD_UNKNOWN", {**rule, "fields": ["password"]}),
                ("ACTION_UNKNOWN", {**rule, "actions": ["ACTION_UNSPECIFIED"]}),
            ):
                assert (await chen.call("HubService/CreateShare", share=share_given))["reason"] == reason
            assert await chen.call("HubService/DeleteShare", id=share["id"]) == {}
            await in_step(district, city, 0)
            assert (await chen.call("HubService/DeleteShare", id=share["id"]))["reason"] == "SHARE_NOT_FOUND"
            whole = (await chen.call("HubService/CreateShare", share={"hubId": "yingtan", "all": True}))["share"]
            assert (whole["all"], "scope" in whole) == (True, False)
            await in_step(district, city, 3)


async def test_the_command_line_says_what_is_given_and_what_stays(tmp_path: Path):
    async with two_hubs(tmp_path) as hubs:
        district = hubs.lower
        ids = await register(await enrol(district), *(camera(number) for number in range(1, 4)))

        async def hub(*words: str) -> str:
            """As people read it."""
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "vidhub.cli", "hub", *words, "--data-dir", district.data),
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
            assert process.returncode == 0
            return out.decode()

        seen = await hub("preview", "yingtan", "--camera", ids[0])
        assert "it may: list, view_live; for: patrol, incident" in seen
        seen = await hub("preview", "yingtan", "--camera", ids[0], "--action", "list", "--purpose", "patrol")
        assert "it may: list; for: patrol; beside the list: nothing" in seen
        assert "it may: list, view_live; for: patrol, incident" in await hub(
            "share", "yingtan", "--camera", ids[0], "--camera", ids[1]
        )
        await hub("share", "yingtan", "--camera", ids[1])
        # In another order it is the same rule, and one of its cameras is shared by the other all the same.
        gone = await hub("unshare", "yingtan", "--camera", ids[1], "--camera", ids[0])
        assert "1 of its cameras still are by other rules" in gone
        last = json.loads(await hub("unshare", "yingtan", "--camera", ids[1], "--json"))
        assert last["still_shared"] == 0
        assert json.loads(await hub("conflicts", "--json")) == {"conflicts": []}
