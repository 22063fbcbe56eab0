"""Sharing as the console sees it: HubService over Connect, by role."""

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
            assert (seen["cameras"], seen["added"], len(seen["sample"])) == ("2", "2", 2)
            assert "legal" in seen["sample"][0]
            assert [key for key in ("url", "username", "password") if key in str(seen)] == []
            assert (await li.call("HubService/CreateShare", share=rule))["code"] == "permission_denied"
            for method in ("ListShares", "PreviewShare", "ExplainCamera", "CreateShare", "DeleteShare"):
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
            await in_step(district, city, 0, within_s=4)
            assert (await chen.call("HubService/DeleteShare", id=share["id"]))["reason"] == "SHARE_NOT_FOUND"
            whole = (await chen.call("HubService/CreateShare", share={"hubId": "yingtan", "all": True}))["share"]
            assert (whole["all"], "scope" in whole) == (True, False)
            await in_step(district, city, 3)
