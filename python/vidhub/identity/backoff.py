"""Slows down guessing: per name and address, so that nobody locks out another by guessing in their name."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from vidhub.errors import ResourceExhausted

FREE = 5
MAX_WAIT_S = 900.0
_FORGET_S = 3_600.0
_MAX_KEYS = 65_536


@dataclass(slots=True)
class _Guesses:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


class Backoff:
    """Times are seconds of any clock that goes forward; bounded, the longest untouched is forgotten first."""

    def __init__(self) -> None:
        self._guesses: OrderedDict[tuple[str, str], _Guesses] = OrderedDict()

    def begin(self, name: str, address: str, now: float) -> None:
        """Count an attempt before it is judged: many at once gain nothing. Raises ResourceExhausted LOGIN_BACKOFF."""
        key = (name.casefold()[:64], _network(address))
        found = self._guesses.get(key)
        if found is None or now - found.last > _FORGET_S:
            found = _Guesses()
        if now < found.until:
            wait = int(found.until - now) + 1
            raise ResourceExhausted("LOGIN_BACKOFF", f"too many wrong passwords: try again in {wait} seconds")
        found.count += 1
        found.last = now
        if found.count >= FREE:
            found.until = now + min(2.0 ** (found.count - FREE), MAX_WAIT_S)
        self._guesses[key] = found
        self._guesses.move_to_end(key)
        while len(self._guesses) > _MAX_KEYS:
            self._guesses.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        self._guesses.pop((name.casefold()[:64], _network(address)), None)


def _network(address: str) -> str:
    """An IPv6 host has a whole /64 to guess from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
