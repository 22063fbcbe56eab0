"""Guessing is slowed for the guesser; whoever is known where they are is let in all the same."""

from __future__ import annotations

from typing import Any

import pytest

from vidhub.errors import ResourceExhausted, Unauthenticated
from vidhub.identity import backoff
from vidhub.identity.backoff import FREE, FREE_OF_ADDRESS, FREE_OF_NAME, Backoff, Place
from vidhub.model import Principal, Role

PASSWORD = "晴天 with 7 clouds"


def tries(guard: Backoff, name: str, place: Place, now: float = 0.0, most: int = 1_000) -> int:
    """How many attempts are let through."""
    for done in range(most):
        try:
            guard.begin(name, place, now)
        except ResourceExhausted:
            return done
    return most


def test_one_place_has_five() -> None:
    guard = Backoff()
    assert tries(guard, "zhang", Place("192.0.2.66")) == FREE
    assert tries(guard, "ZHANG", Place("192.0.2.66")) == 0
    assert tries(guard, "zhang", Place("192.0.2.1"), most=1) == 1


def test_guessing_from_everywhere_does_not_reach_a_known_place() -> None:
    guard = Backoff()
    let_in = sum(tries(guard, "zhang", Place(f"198.51.100.{n}"), most=4) for n in range(100))
    assert let_in == FREE_OF_NAME
    assert tries(guard, "zhang", Place("203.0.113.1")) == 0, "a strange place waits"
    assert tries(guard, "zhang", Place("192.0.2.1", is_known=True)) == FREE
    assert tries(guard, "li", Place("203.0.113.1"), most=3) == 3, "others do not"


def test_one_password_on_many_accounts_is_slowed_by_address() -> None:
    guard = Backoff()
    let_in = sum(tries(guard, f"user{n}", Place("198.51.100.1"), most=1) for n in range(200))
    assert let_in == FREE_OF_ADDRESS
    assert tries(guard, "zhang", Place("198.51.100.1", is_known=True), most=1) == 1


def test_a_known_device_has_a_count_of_its_own() -> None:
    guard = Backoff()
    tries(guard, "zhang", Place("192.0.2.1"))
    assert tries(guard, "zhang", Place("192.0.2.1", device="d1")) == FREE
    assert tries(guard, "zhang", Place("192.0.2.1", device="d2")) == FREE


def test_what_was_right_counts_for_nothing() -> None:
    guard = Backoff()
    for n in range(500):
        place = Place("198.51.100.1")
        guard.begin(f"user{n}", place, float(n))
        guard.succeeded(f"user{n}", place)


def test_the_wait_has_an_end() -> None:
    guard = Backoff()
    now = 0.0
    for _ in range(2_000):
        now += backoff.MAX_WAIT_S
        guard.begin("zhang", Place("192.0.2.66"), now)
    with pytest.raises(ResourceExhausted, match="LOGIN_BACKOFF"):
        guard.begin("zhang", Place("192.0.2.66"), now + 1)


def test_a_whole_network_of_ipv6_is_one_place() -> None:
    guard = Backoff()
    assert sum(tries(guard, "zhang", Place(f"2001:db8::{n:x}"), most=1) for n in range(1, 50)) == FREE


async def test_the_owner_gets_in_beside_a_guesser_at_the_same_address(hub: Any, system: Principal) -> None:
    await hub.people.add(system, "zhang", [Role.OPERATOR], password=PASSWORD)
    first = await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1")
    assert first.device
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await hub.people.logins.login("zhang", "wrong password", "192.0.2.1")
    with pytest.raises(ResourceExhausted, match="LOGIN_BACKOFF"):
        await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1")
    again = await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1", device=first.device)
    assert again.device == "", "the device keeps the mark it has"


async def test_a_mark_of_a_device_is_of_one_account_and_lets_nobody_in(hub: Any, system: Principal) -> None:
    for name in ("zhang", "li"):
        await hub.people.add(system, name, [Role.OPERATOR], password=PASSWORD)
    mark = (await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1")).device
    with pytest.raises(Unauthenticated):
        hub.people.logins.by_bearer(mark, "192.0.2.1")
    with pytest.raises(Unauthenticated, match="TOKEN_INVALID"):
        await hub.people.logins.refresh(mark, "192.0.2.1")
    assert (await hub.people.logins.login("li", PASSWORD, "192.0.2.1", device=mark)).device not in ("", mark)
    for forged in ("x", mark[:-2], "x" * 10_000, "平台", "\ud800"):
        assert (await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1", device=forged)).device
    hub.clock.advance(days=181)
    assert (await hub.people.logins.login("zhang", PASSWORD, "192.0.2.1", device=mark)).device
