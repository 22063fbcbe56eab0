"""Each hub of a link knows by which rules the other shares with it."""

from __future__ import annotations

import pytest
from support.catalogues import Sharing, joined, until
from support.domain import SYSTEM

from vidhub.api.validate import violations
from vidhub.errors import VidhubError
from vidhub.link import notices
from vidhub.link.notices import Notices
from vidhub.model import HubSide, Scope
from vidhub.v1 import grant_service_pb2
from vidhub.v1 import link_service_pb2 as pb

TOWN = Scope(region_prefixes=("360602",))


def telling(place: Sharing) -> Notices:
    part = Notices(place.domain.shares)
    place.more.append(part)
    return part


def purposes(part: Notices, hub_id: str) -> list[list[str]]:
    return [list(rule.purposes) for _, rule in part.received(hub_id)]


async def test_rules_are_told_as_they_change_for_as_long_as_the_link_lasts(district: Sharing, city: Sharing) -> None:
    below, above = telling(district), telling(city)
    await district.know(city, HubSide.UPPER)
    await district.share(city, purposes=["patrol"], fields=["legal"])
    async with joined(district, city):
        await until(lambda: above.received("district"))
        ((first, rule),) = above.received("district")
        assert (first, rule.all, rule.HasField("scope")) == (district.domain.shares.of("city")[0].id, True, False)
        assert (list(rule.purposes), list(rule.fields)) == (["patrol"], ["legal"])
        await district.share(city, TOWN, purposes=["incident"])
        await until(lambda: purposes(above, "district") == [["patrol"], ["incident"]])
        assert list(above.received("district")[1][1].scope.region_prefixes) == ["360602"]
        # The same scope again: instead of the earlier rule.
        await district.share(city, TOWN, purposes=["patrol", "incident"])
        await until(lambda: purposes(above, "district") == [["patrol"], ["patrol", "incident"]])
        await district.domain.shares.delete(SYSTEM, first)
        await until(lambda: purposes(above, "district") == [["patrol", "incident"]])
        assert list(below.received("city")) == [], "the city shares nothing"
    assert list(above.received("district")) == []
    async with joined(district, city):
        await until(lambda: purposes(above, "district") == [["patrol", "incident"]])


async def test_what_is_no_notice_is_refused_and_what_is_too_much_as_well(
    district: Sharing, city: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = telling(city)
    monkeypatch.setattr(notices, "MOST_SHARES", 3)
    monkeypatch.setattr(notices, "_MOST_OCTETS", 2_000)
    await district.know(city, HubSide.UPPER)
    async with joined(district, city) as line:
        link = line.upper
        await until(lambda: link.is_open)
        everything = pb.SharingRule(all=True)

        async def refused(**notice: object) -> str:
            with pytest.raises(VidhubError) as caught:
                await above.take(link, "grant_notice", pb.GrantNotice(**notice))  # type: ignore[arg-type]
            return caught.value.reason

        assert await refused(grant_id="s0") == "NOTICE_INVALID"
        for number in range(3):
            await above.take(link, "grant_notice", pb.GrantNotice(grant_id=f"s{number}", rule=everything))
        assert await refused(grant_id="s3", rule=everything) == "LIMIT_SHARES"
        assert await refused(grant_id="s0", rule=pb.SharingRule(purposes=["p" * 64] * 40)) == "LIMIT_SHARES"
        assert above.received("district")[0] == ("s0", everything), "the one that was known stays"
        await above.take(link, "grant_notice", pb.GrantNotice(grant_id="s0", revoked=True))
        await above.take(link, "grant_notice", pb.GrantNotice(grant_id="unknown", revoked=True))
        assert [rule_id for rule_id, _ in above.received("district")] == ["s1", "s2"]


def test_a_notice_keeps_to_its_form() -> None:
    good = pb.GrantNotice(grant_id="s1", rule=pb.SharingRule(all=True, actions=[grant_service_pb2.ACTION_VIEW_LIVE]))
    assert not violations(good)
    for bad in (
        pb.GrantNotice(grant_id="", rule=good.rule),
        pb.GrantNotice(grant_id="a\nb", rule=good.rule),
        pb.GrantNotice(grant_id="s1", rule=pb.SharingRule(actions=[0])),
        pb.GrantNotice(grant_id="s1", rule=pb.SharingRule(purposes=["p"] * 65)),
    ):
        assert violations(bad)
