"""What a session on a camera of another hub needs of that hub. Implemented above, by the links."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from vidhub.errors import Unavailable
from vidhub.model import Action, Principal, Session


@dataclass(frozen=True, slots=True)
class Asked:
    """That another hub asks for the view, for one of its own people or further on.

    hub_id: the linked hub that asks. view_id: its name for the view. path: the hubs that have asked, the viewer's own
    first and `hub_id` last. expire_time: how long it wants the view, by our clock.
    """

    hub_id: str
    view_id: str
    path: tuple[str, ...]
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of the next hub: this session of this viewer.

    action: to watch it live, or to take a still of what the session watches. grant_end: of the grant that carries it
    here. path: of a view that is asked for, the hubs that have asked so far, this one excepted.
    """

    session: Session
    viewer: Principal
    action: Action
    grant_end: datetime | None
    path: tuple[str, ...] = ()


class Beyond(Protocol):
    """The way to the hubs that other cameras are of.

    A refusal from there raises PermissionDenied, ResourceExhausted or Unavailable with the reason that was given and
    `refused_by`; Unavailable LINK_DOWN, LINK_TIMEOUT where there is no answer.
    """

    async def ask(self, wish: Wish) -> datetime:
        """The other hub lets it be seen until then. From here on it hears of the session's end."""
        ...

    async def renew(self, session_id: str, expire_time: datetime, *, trace_id: str = "") -> datetime:
        """The other hub has judged again: until when, at most `expire_time`. trace_id: of the call that asks for it."""
        ...

    async def still(self, wish: Wish) -> None:
        """Asks for one still out of a view that is open."""
        ...

    def holds(self, session_id: str) -> bool:
        """Whether the other hub has allowed it, and has not ended it since."""
        ...

    def drop(self, session_id: str, reason: str) -> None:
        """Gives up a view whose session did not come about here."""
        ...


class Nowhere:
    """Of a hub without links."""

    async def ask(self, wish: Wish) -> datetime:
        raise self._down()

    async def renew(self, session_id: str, expire_time: datetime, *, trace_id: str = "") -> datetime:
        raise self._down()

    async def still(self, wish: Wish) -> None:
        raise self._down()

    def holds(self, session_id: str) -> bool:
        return False

    def drop(self, session_id: str, reason: str) -> None:
        pass

    @staticmethod
    def _down() -> Unavailable:
        return Unavailable("LINK_DOWN", "this hub has no link to the hub that the camera is of: ask its administrator")
