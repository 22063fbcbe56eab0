"""Slows down guessing, and whom: the guesser, never the owner at a place where they are known.

An attempt counts against its account from its address; from a place where the account is not known also against the
account as a whole (guessing from many addresses) and against the address as a whole (one password tried on many
accounts). A device that the owner has logged in on before has a count of its own, and none of the others touches it.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from vidhub.errors import ResourceExhausted

# Free attempts of one account from one address, or on one known device.
FREE = 5
# Of one account from anywhere it is not known.
FREE_OF_NAME = 20
# Of one address, whatever the account: a whole station may sit behind it.
FREE_OF_ADDRESS = 50
MAX_WAIT_S = 900.0
_FORGET_S = 3_600.0
_MAX_KEYS = 65_536

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an attempt comes from. device: of a device that its owner has logged in on, its id. is_known: whether the
    account is logged in from that network."""

    address: str
    device: str = ""
    is_known: bool = False


@dataclass(slots=True)
class _Guesses:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


class Backoff:
    """Times are seconds of any clock that goes forward; bounded, the longest untouched is forgotten first."""

    def __init__(self) -> None:
        self._guesses: OrderedDict[Key, _Guesses] = OrderedDict()

    def begin(self, name: str, place: Place, now: float) -> None:
        """Count an attempt before it is judged: many at once gain nothing. Raises ResourceExhausted LOGIN_BACKOFF."""
        keys = _keys(name, place)
        wait = max(self._get(key, now).until - now for key, _ in keys)
        if wait > 0:
            raise ResourceExhausted("LOGIN_BACKOFF", f"too many wrong passwords: try again in {int(wait) + 1} seconds")
        for key, free in keys:
            found = self._get(key, now)
            found.count += 1
            found.last = now
            found.until = _until(found.count, free, now)
            self._guesses[key] = found
            self._guesses.move_to_end(key)
        while len(self._guesses) > _MAX_KEYS:
            self._guesses.popitem(last=False)

    def succeeded(self, name: str, place: Place) -> None:
        """The attempt was right: it counts for nothing, and those before it from the same place are forgiven."""
        (own, _), *others = _keys(name, place)
        self._guesses.pop(own, None)
        for key, free in others:
            found = self._guesses.get(key)
            if found is not None:
                found.count -= 1
                found.until = min(found.until, _until(found.count, free, found.last))

    def _get(self, key: Key, now: float) -> _Guesses:
        found = self._guesses.get(key)
        return _Guesses() if found is None or now - found.last > _FORGET_S else found


def network(address: str) -> str:
    """An IPv6 host has a whole /64 to guess from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _keys(name: str, place: Place) -> list[tuple[Key, int]]:
    """What the attempt counts against, and how many are free; its own place first."""
    name = name.casefold()[:64]
    if place.device:
        return [(("device", name, place.device), FREE)]
    own = (("place", name, network(place.address)), FREE)
    if place.is_known:
        return [own]
    return [own, (("name", name, ""), FREE_OF_NAME), (("address", "", network(place.address)), FREE_OF_ADDRESS)]


def _until(count: int, free: int, now: float) -> float:
    # The exponent is bounded first: a float has no room for the two-thousandth power.
    return now + min(2.0 ** min(count - free, 10), MAX_WAIT_S) if count >= free else 0.0
