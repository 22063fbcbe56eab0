"""Hubs linked with one another: whole processes on loopback."""

from pathlib import Path

from support.links import CITY, listed, three_levels


async def test_three_levels_come_up_and_are_seen_from_both_sides(tmp_path: Path):
    async with three_levels(tmp_path) as levels:
        above = await listed(levels.district, CITY[0])
        below = await listed(levels.city, "yuehu")
        assert above is not None
        assert below is not None
        assert (above["side"], above["level"], above["region_code"]) == ("upper", "city", "360600")
        assert (below["side"], below["level"], below["region_code"]) == ("lower", "district", "360602")
        assert {one["side"] for one in (await levels.city.ask("hub_list"))["hubs"]} == {"upper", "lower"}
        assert below["certificate_expire_time"] == above["certificate_expire_time"] != ""
        assert above["trouble_reason"] == below["trouble_reason"] == ""
