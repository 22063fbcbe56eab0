"""What two hubs must be for a link between them, each rule by its name."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from vidhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from vidhub.link.live import OLDEST_VERSION, VERSION
from vidhub.model import HubLevel, HubSide, LinkedHub, region_prefix
from vidhub.v1 import link_service_pb2 as pb

# Linked hubs of one hub, invited ones among them.
MOST_HUBS = 64
# Clocks that differ by more are shown. The link bears it (see `clocks.py`), but registers of use do not fit together,
# and certificates hold from an hour before they were made.
CLOCK_LEEWAY_S = 300.0
# Hubs named in `above`.
MOST_ABOVE = 64

_RANKS = {HubLevel.PROVINCE: 3, HubLevel.CITY: 2, HubLevel.DISTRICT: 1, HubLevel.ZONE: 1}
_LEVELS = {HubLevel(name.removeprefix("HUB_LEVEL_").lower()): number for name, number in pb.HubLevel.items() if number}
_LEVEL_WORDS = {number: level for level, number in _LEVELS.items()}


def to_level(level: HubLevel | str) -> pb.HubLevel:
    return cast("pb.HubLevel", _LEVELS[HubLevel(level)])


def from_level(number: int) -> HubLevel:
    """Raises InvalidArgument LEVEL_UNKNOWN."""
    level = _LEVEL_WORDS.get(number)
    if level is None:
        raise InvalidArgument("LEVEL_UNKNOWN", f"a hub's level is one of {', '.join(HubLevel)}")
    return level


def level_of(word: str) -> HubLevel:
    """Raises InvalidArgument LEVEL_UNKNOWN."""
    try:
        return HubLevel(word.strip().lower())
    except ValueError:
        raise InvalidArgument("LEVEL_UNKNOWN", f"{word[:40]!r} is none of {', '.join(HubLevel)}") from None


def check_below(level: HubLevel, region_code: str, upper_level: HubLevel, upper_region_code: str) -> None:
    """A lower hub's level is below its upper's, its region within the upper's.

    Raises InvalidArgument LEVEL_NOT_BELOW or REGION_NOT_WITHIN.
    """
    if _RANKS[level] >= _RANKS[upper_level]:
        raise InvalidArgument(
            "LEVEL_NOT_BELOW",
            f"a {level} does not stand below a {upper_level}: levels go province, city, district or zone",
        )
    if not region_code.startswith(region_prefix(upper_region_code)):
        raise InvalidArgument(
            "REGION_NOT_WITHIN", f"region {region_code} does not lie within {upper_region_code}: give one that does"
        )


def check_version(theirs: pb.Hello) -> None:
    """Raises FailedPrecondition VERSION_UNSUPPORTED when there is no version that both speak."""
    if min(VERSION, theirs.version) < max(OLDEST_VERSION, theirs.oldest_version):
        raise FailedPrecondition(
            "VERSION_UNSUPPORTED",
            f"we speak link versions {OLDEST_VERSION} to {VERSION}, they {theirs.oldest_version} to {theirs.version}: "
            "bring the older hub up to date",
        )


def check_hello(
    hub: LinkedHub, theirs: pb.Hello, *, own_id: str, above: Collection[str], below: Collection[str] = ()
) -> None:
    """above, below: as for `check_cycle`. Raises PermissionDenied HUB_ID_MISMATCH, HUB_CHANGED, LINK_CYCLE; see also
    `check_version`."""
    if theirs.hub_id != hub.id:
        raise PermissionDenied(
            "HUB_ID_MISMATCH", f"the certificate is of hub {hub.id}, but {theirs.hub_id[:64]} speaks: use its own"
        )
    check_version(theirs)
    said = (_LEVEL_WORDS.get(theirs.level), theirs.region_code)
    if said != (hub.level, hub.region_code):
        raise PermissionDenied(
            "HUB_CHANGED",
            f"{hub.id} was linked as {hub.level} of {hub.region_code} and now says {said[0]} of {said[1]}: "
            "end the link and invite it anew",
        )
    check_cycle(hub, theirs.above, own_id=own_id, above=above, below=below)


def check_cycle(
    hub: LinkedHub, theirs: Collection[str], *, own_id: str, above: Collection[str], below: Collection[str] = ()
) -> None:
    """theirs: the hubs above the other side; above: those above this one. below: those that stood below this one before
    the other side was linked: that they stand above it is its own word, and it is its link that would close the cycle.

    Raises PermissionDenied LINK_CYCLE when a hub would stand above itself.
    """
    if hub.side is HubSide.UPPER and (clash := sorted(set(theirs) & set(below))):
        raise PermissionDenied(
            "LINK_CYCLE", f"{clash[0]} stands below {own_id} already, and {hub.id} says it stands above {hub.id}"
        )
    if own_id in theirs if hub.side is HubSide.UPPER else hub.id in above:
        low, high = (own_id, hub.id) if hub.side is HubSide.UPPER else (hub.id, own_id)
        raise PermissionDenied("LINK_CYCLE", f"{low} stands above {high} already: end one of the links between them")
