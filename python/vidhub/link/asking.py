"""Views that this hub has asked other hubs for: asked, renewed, and ended with their sessions, whoever ends first."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from vidhub.access.beyond import Wish
from vidhub.access.book import SessionBook
from vidhub.api import convert
from vidhub.errors import PermissionDenied, ResourceExhausted, Unavailable, VidhubError
from vidhub.link.clocks import by_our_clock
from vidhub.link.grants import GrantWriter
from vidhub.link.links import Links
from vidhub.link.live import Link
from vidhub.v1 import link_service_pb2 as pb

# How long the first hub on the way waits for a decision; each further one waits a second less, so that whoever is asked
# can still say what became of it.
ANSWER_S = 5.0
MOST_HUBS = 8
# Of one linked hub, open or being asked for.
MOST_VIEWS = 4_096

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class _View:
    """One that was asked for. path: the hubs before this one. lease: runs while the link is down."""

    session_id: str
    hub_id: str
    path: tuple[str, ...]
    allowed: bool = False
    lease: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class _Waiting:
    """Those who wait for decisions on one view, in the order of their questions."""

    hub_id: str
    futures: deque[asyncio.Future[pb.ViewDecision]] = field(default_factory=deque)


class Asking:
    """`access.Beyond` over the links."""

    def __init__(
        self,
        *,
        hub_id: str,
        links: Links,
        book: SessionBook,
        grants: GrantWriter,
        holder: Callable[[str], str],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """holder: the linked hub that a camera came by, "" for none."""
        self._hub_id = hub_id
        self._links = links
        self._book = book
        self._grants = grants
        self._holder = holder
        self._clock = clock
        self._views: dict[str, _View] = {}
        # By linked hub, of which there are few.
        self._count: Counter[str] = Counter()
        self._waiting: dict[str, _Waiting] = {}

    # What the domain asks.

    async def ask(self, wish: Wish) -> datetime:
        session_id = wish.session.id
        link = self._way(wish)
        if self._count[link.hub.id] >= MOST_VIEWS:
            raise ResourceExhausted("LIMIT_VIEWS", f"{MOST_VIEWS} views over this link are open: close one first")
        self._views[session_id] = _View(session_id, link.hub.id, wish.path)
        self._count[link.hub.id] += 1
        try:
            request = self._request(link, wish, session_id, wish.path)
            decision = await self._decision(link, session_id, len(request.path), view_request=request)
            _check(decision, link)
        except BaseException as error:
            self._forget(session_id)
            reason = error.reason if isinstance(error, VidhubError) else "SESSION_CLOSED"
            if not isinstance(error, VidhubError) or reason == "LINK_TIMEOUT":
                self._tell_end(link.hub.id, session_id, reason)
            raise
        view = self._views.get(session_id)
        if view is None:
            raise Unavailable("LINK_DOWN", _down(link.hub.name))
        view.allowed = True
        return _end_of(decision, link, wish.session.expire_time)

    async def renew(self, session_id: str, expire_time: datetime, *, trace_id: str = "") -> datetime:
        view = self._views.get(session_id)
        link = self._links.get(view.hub_id) if view is not None else None
        if view is None or link is None:
            raise Unavailable("LINK_DOWN", _down(view.hub_id if view is not None else "the camera's hub"))
        message = pb.ViewRenewal(view_id=session_id, expire_time=convert.to_time(expire_time), trace_id=trace_id)
        decision = await self._decision(link, session_id, 1, view_renewal=message)
        _check(decision, link)
        return _end_of(decision, link, expire_time)

    async def still(self, wish: Wish) -> None:
        view = self._views.get(wish.session.id)
        link = self._links.get(view.hub_id) if view is not None else None
        if view is None or link is None:
            raise Unavailable("LINK_DOWN", _down(view.hub_id if view is not None else "the camera's hub"))
        request = self._request(link, wish, f"t{secrets.token_hex(12)}", view.path)
        request.of_view_id = wish.session.id
        _check(await self._decision(link, request.view_id, len(request.path), view_request=request), link)

    def holds(self, session_id: str) -> bool:
        view = self._views.get(session_id)
        return view is not None and view.allowed

    def drop(self, session_id: str, reason: str, *, by_hub: str = "") -> None:
        """by_hub: the hub that ended it, where it was another."""
        view = self._forget(session_id)
        if view is not None:
            self._tell_end(view.hub_id, session_id, reason, by_hub=by_hub)

    # What the links tell.

    def decided(self, link: Link, decision: pb.ViewDecision) -> None:
        """One that nobody waits for any more says at least that the view goes on."""
        view = self._views.get(decision.view_id)
        if view is not None and view.hub_id == link.hub.id and decision.allowed and view.lease is not None:
            view.lease.cancel()
            view.lease = None
        waiting = self._waiting.get(decision.view_id)
        if waiting is not None and waiting.hub_id == link.hub.id:
            future = waiting.futures.popleft()
            if not waiting.futures:
                del self._waiting[decision.view_id]
            if not future.done():
                future.set_result(decision)

    def ended_there(self, link: Link, view_id: str, reason: str, by_hub: str) -> str:
        """The other hub has ended a view of ours. The session that is to end with it, "" for none."""
        view = self._views.get(view_id)
        if view is None or view.hub_id != link.hub.id:
            return ""
        self._fail(view_id, _refusal(reason, f"{by_hub} ended the view", by_hub))
        self._forget(view_id)
        return view.session_id if view.allowed else ""

    def opened(self, link: Link) -> None:
        """Says which views are to go on."""
        for view in self._of(link.hub.id):
            if view.allowed:
                link.send(view_renewal=pb.ViewRenewal(view_id=view.session_id))

    def closed(self, link: Link, lease_s: float, reason: str) -> None:
        """The views go on for the rest of their lease, and end with `reason` then; who waits for an answer waits no
        longer."""
        for view_id in [key for key, waiting in self._waiting.items() if waiting.hub_id == link.hub.id]:
            self._fail(view_id, Unavailable("LINK_DOWN", _down(link.hub.name)))
        loop = asyncio.get_running_loop()
        for view in self._of(link.hub.id):
            if view.lease is None and view.allowed:
                view.lease = loop.call_later(lease_s, self._expired, view, reason)

    # Inside.

    def _of(self, hub_id: str) -> list[_View]:
        return [view for view in self._views.values() if view.hub_id == hub_id]

    def _way(self, wish: Wish) -> Link:
        camera_id = wish.session.camera_id
        hub_id = self._holder(camera_id)
        link = self._links.get(hub_id) if hub_id else None
        if link is None:
            raise Unavailable("LINK_DOWN", _down(hub_id or f"the hub of camera {camera_id}"))
        if hub_id in wish.path or self._hub_id in wish.path:
            raise PermissionDenied("VIEW_CYCLE", f"the way to the camera leads back to {hub_id}")
        if len(wish.path) + 1 > MOST_HUBS:
            raise PermissionDenied("VIEW_PATH_TOO_LONG", f"a view goes over {MOST_HUBS} hubs at most")
        return link

    def _request(self, link: Link, wish: Wish, view_id: str, before: tuple[str, ...]) -> pb.ViewRequest:
        session, viewer = wish.session, wish.viewer
        name, _, home = viewer.id.partition("@")
        known_as = f"{name}@{home or self._hub_id}"
        grant = self._grants.write(
            to=link.hub.id,
            viewer=known_as,
            camera_id=session.camera_id,
            action=wish.action,
            purpose=session.purpose.kind,
            grant_id=session.grant_id,
            end=wish.grant_end,
            now=self._clock(),
        )
        return pb.ViewRequest(
            view_id=view_id,
            camera_id=session.camera_id,
            profile=convert.to_profile(session.profile),
            action=convert.to_action(wish.action),
            viewer=pb.Viewer(
                hub_id=home or self._hub_id,
                name=name,
                display_name=viewer.display_name,
                department=viewer.department,
                roles=sorted(role.value for role in viewer.roles),
                address=viewer.address,
            ),
            purpose=convert.to_purpose(session.purpose),
            grant_jwt=grant,
            trace_id=viewer.trace_id or session.trace_id or secrets.token_hex(16),
            path=(*before, self._hub_id),
            expire_time=convert.to_time(session.expire_time),
        )

    async def _decision(self, link: Link, view_id: str, hubs: int, **body: object) -> pb.ViewDecision:
        future: asyncio.Future[pb.ViewDecision] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(view_id, _Waiting(link.hub.id)).futures.append(future)
        link.send(**body)
        try:
            async with asyncio.timeout(max(1.0, ANSWER_S - (hubs - 1))):
                return await future
        except TimeoutError:
            raise Unavailable(
                "LINK_TIMEOUT", f"{link.hub.name} has not answered in time: try again in a moment"
            ) from None
        finally:
            waiting = self._waiting.get(view_id)
            if waiting is not None and future in waiting.futures:
                waiting.futures.remove(future)
                if not waiting.futures:
                    del self._waiting[view_id]

    def _fail(self, view_id: str, error: VidhubError) -> None:
        waiting = self._waiting.pop(view_id, None)
        for future in waiting.futures if waiting is not None else ():
            if not future.done():
                future.set_exception(error)

    def _forget(self, session_id: str) -> _View | None:
        view = self._views.pop(session_id, None)
        if view is not None:
            self._count[view.hub_id] -= 1
            if view.lease is not None:
                view.lease.cancel()
        return view

    def _tell_end(self, hub_id: str, view_id: str, reason: str, *, by_hub: str = "") -> None:
        """Where the link is down the lease ends it."""
        link = self._links.get(hub_id)
        if link is not None:
            link.send(view_end=pb.ViewEnd(view_id=view_id, reason=reason, hub_id=by_hub or self._hub_id))

    def _expired(self, view: _View, reason: str) -> None:
        if self._forget(view.session_id) is not None:
            log.info("a view ends: the link to its hub is gone", session=view.session_id, hub=view.hub_id)
            self._book.cut(view.session_id, reason)


def _check(decision: pb.ViewDecision, link: Link) -> None:
    """Raises what a refusal is to the viewer."""
    if not decision.allowed:
        by_hub = decision.hub_id or link.hub.id
        # A hub that has passed a refusal on has named who refused already.
        message = (decision.message or "refused").removeprefix(f"{by_hub}: ")
        raise _refusal(decision.reason or "REFUSED_BELOW", f"{by_hub}: {message}", by_hub)


def _refusal(reason: str, message: str, by_hub: str) -> VidhubError:
    kind: type[VidhubError] = PermissionDenied
    if reason.startswith("LINK_") or reason == "HUB_DRAINING":
        kind = Unavailable
    elif reason.startswith("LIMIT_"):
        kind = ResourceExhausted
    error = kind(reason, message)
    error.refused_by = by_hub
    return error


def _end_of(decision: pb.ViewDecision, link: Link, wanted: datetime) -> datetime:
    """By our clock; at most what was wanted."""
    said = by_our_clock(link, decision, "expire_time")
    return wanted if said is None else min(wanted, said)


def _down(hub: str) -> str:
    return f"the link to {hub} is down: the picture can be had again when it is up"
