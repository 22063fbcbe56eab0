"""Views that other hubs have asked this one for: each judged here, held by the link's lease, ended from either side."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import structlog

from vidhub.access.beyond import Asked
from vidhub.access.book import SessionBook
from vidhub.access.foreign import ForeignSessions
from vidhub.api import convert
from vidhub.core import Core
from vidhub.errors import FailedPrecondition, InvalidArgument, PermissionDenied, ResourceExhausted, VidhubError
from vidhub.identity.accounts import check_name
from vidhub.link.allowance import Allowance
from vidhub.link.clocks import by_our_clock, by_their_clock
from vidhub.link.grants import check_grant
from vidhub.link.links import Links
from vidhub.link.live import Link
from vidhub.model import Action, Principal, PrincipalKind, Profile, Purpose, Role
from vidhub.v1 import link_service_pb2 as pb

# Of one linked hub: views that are open, and questions that are being answered.
MOST_VIEWS = 4_096
MOST_UNDER_WAY = 128
# Ends that are remembered, so that a view's name is good once, and who was cut off meanwhile still hears why.
MOST_PAST = 16_384
# For who names no end.
_LONGEST = timedelta(days=1)

log = structlog.get_logger(__name__)

_Key = tuple[str, str]


@dataclass(slots=True, eq=False)
class _View:
    """One that was allowed. instance: of the hub that asked, by its Hello. lease: runs while the link is down."""

    hub_id: str
    view_id: str
    session_id: str
    camera_id: str
    instance: str
    lease: asyncio.TimerHandle | None = None


class Answering:
    """What other hubs watch here."""

    def __init__(
        self,
        *,
        hub_id: str,
        links: Links,
        core: Core,
        book: SessionBook,
        foreign: ForeignSessions,
        last_gone: Callable[[str, str], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """last_gone: told (hub id, camera id) when a hub's last view of a camera has ended."""
        self._hub_id = hub_id
        self._links = links
        self._core = core
        self._book = book
        self._foreign = foreign
        self._last_gone = last_gone
        self._allowance = Allowance()
        self._clock = clock
        self._views: dict[_Key, _View] = {}
        self._by_session: dict[str, _View] = {}
        self._by_camera: dict[_Key, set[str]] = {}
        self._count: dict[str, int] = {}
        # Reason of an end that came before the answer went out, "" for none.
        self._under_way: dict[_Key, str] = {}
        self._renewing: Counter[str] = Counter()
        self._past: OrderedDict[_Key, str] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def sessions(self, hub_id: str, camera_id: str) -> frozenset[str]:
        """The sessions by which that hub watches that camera now."""
        return frozenset(self._by_camera.get((hub_id, camera_id), ()))

    async def close(self) -> None:
        """Answers nothing any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What the links tell.

    def asked(self, link: Link, request: pb.ViewRequest) -> None:
        """Answers in its own time; nothing else on the link waits for it."""
        key = (link.hub.id, request.view_id)
        under_way = sum(hub_id == link.hub.id for hub_id, _ in self._under_way)
        if under_way >= MOST_UNDER_WAY or self._count.get(link.hub.id, 0) + under_way >= MOST_VIEWS:
            most = f"at most {MOST_VIEWS} views of one hub are open here, {MOST_UNDER_WAY} being opened: close some"
            self._refuse(link, request.view_id, ResourceExhausted("LIMIT_VIEWS", most))
            return
        if key in self._under_way or key in self._views or key in self._past:
            self._refuse(link, request.view_id, InvalidArgument("VIEW_EXISTS", "a view's name is good for one view"))
            return
        try:
            self._allowance.take(link.hub.id)
        except ResourceExhausted as error:
            self._refuse(link, request.view_id, error)
            return
        self._under_way[key] = ""
        self._spawn(self._answer(link, request))

    def renewal(self, link: Link, message: pb.ViewRenewal) -> None:
        """Of a view that is not there the other hub hears how it ended."""
        key = (link.hub.id, message.view_id)
        view = self._views.get(key)
        if view is None:
            if key not in self._under_way:
                reason = self._past.get(key, "SESSION_LOST")
                link.send(view_end=pb.ViewEnd(view_id=message.view_id, reason=reason, hub_id=self._hub_id))
            return
        if view.lease is not None:
            view.lease.cancel()
            view.lease = None
        if not message.HasField("expire_time"):
            link.send(view_decision=pb.ViewDecision(view_id=view.view_id, allowed=True))
        elif self._renewing[view.hub_id] >= MOST_UNDER_WAY:
            most = f"at most {MOST_UNDER_WAY} views of one hub are renewed at once: try again in a moment"
            self._refuse(link, view.view_id, ResourceExhausted("LIMIT_VIEWS", most))
        else:
            try:
                self._allowance.take(view.hub_id)
            except ResourceExhausted as error:
                self._refuse(link, view.view_id, error)
                return
            self._renewing[view.hub_id] += 1
            self._spawn(self._renew(link, view, message))

    def ended_there(self, link: Link, view_id: str, reason: str) -> str:
        """The asking hub has ended its view. The session that is to end with it, "" for none."""
        key = (link.hub.id, view_id)
        if key in self._under_way:
            self._under_way[key] = reason
            return ""
        view = self._views.get(key)
        if view is None:
            return ""
        self._forget(view, reason)
        return view.session_id

    def drop(self, session_id: str, reason: str, *, by_hub: str = "") -> None:
        """The session has ended: the asking hub hears why."""
        view = self._by_session.get(session_id)
        if view is None:
            return
        self._forget(view, reason)
        link = self._links.get(view.hub_id)
        if link is not None:
            link.send(view_end=pb.ViewEnd(view_id=view.view_id, reason=reason, hub_id=by_hub or self._hub_id))

    def lost(self, link: Link) -> list[str]:
        """A hub that was started anew has lost the views that it asked for before: the sessions that are to end with
        them, and need not wait for their lease."""
        found = []
        for view in list(self._views.values()):
            if view.hub_id == link.hub.id and view.instance and view.instance != link.theirs.instance:
                self._forget(view, "SESSION_LOST")
                found.append(view.session_id)
        return found

    def closed(self, link: Link, lease_s: float, reason: str) -> None:
        """At the end of the lease its views end with `reason`, but for those renewed by then."""
        loop = asyncio.get_running_loop()
        for view in list(self._views.values()):
            if view.hub_id == link.hub.id and view.lease is None:
                view.lease = loop.call_later(lease_s, self._expired, view, reason)

    # Inside.

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, link: Link, request: pb.ViewRequest) -> None:
        key = (link.hub.id, request.view_id)
        try:
            decision = await self._decide(link, request)
        except VidhubError as error:
            self._refuse(link, request.view_id, error)
        except Exception as error:
            log.error("a view could not be answered", hub=link.hub.id, exc_info=error)
            self._refuse(link, request.view_id, VidhubError("INTERNAL", "the hub failed; its log says why"))
        else:
            link.send(view_decision=decision)
        finally:
            self._under_way.pop(key, None)

    async def _decide(self, link: Link, request: pb.ViewRequest) -> pb.ViewDecision:
        purpose = convert.from_purpose(request.purpose)
        viewer = Principal(PrincipalKind.HUB, link.hub.id, hub_id=link.hub.id, trace_id=request.trace_id)
        try:
            viewer = _viewer(link, request)
            self._check(link, request, viewer, purpose)
            wanted = by_our_clock(link, request, "expire_time")
            if wanted is not None and wanted <= self._clock():
                raise InvalidArgument("EXPIRE_TIME_INVALID", "the view would be over before it began")
        except VidhubError as error:
            self._book.refused(viewer, request.camera_id, purpose, error)
            raise
        if request.action == convert.to_action(Action.SNAPSHOT):
            return await self._still(link, request, viewer)
        asked = Asked(link.hub.id, request.view_id, tuple(request.path), wanted or self._clock() + _LONGEST)
        profile = Profile(request.profile) or Profile.AUTO
        session = await self._foreign.open(viewer, request.camera_id, purpose, profile, asked)
        view = _View(link.hub.id, request.view_id, session.id, request.camera_id, link.theirs.instance)
        reason = self._under_way.pop((view.hub_id, view.view_id), "")
        if not reason and self._book.viewer(session.id) is None:
            reason = "SESSION_TERMINATED"
        if not reason and not link.is_open:
            reason = "LINK_LEASE_EXPIRED"
        if reason:
            self._past_put(view, reason)
            self._book.cut(session.id, reason, by_hub=link.hub.id)
            raise FailedPrecondition("SESSION_ENDED", f"the view has ended ({reason}) as it was opened")
        self._put(view)
        end = convert.to_time(session.expire_time)
        return pb.ViewDecision(view_id=view.view_id, allowed=True, expire_time=end)

    async def _still(self, link: Link, request: pb.ViewRequest, viewer: Principal) -> pb.ViewDecision:
        view = self._views.get((link.hub.id, request.of_view_id))
        holder = self._book.viewer(view.session_id) if view is not None else None
        if view is None or holder is None or holder.id != viewer.id or view.camera_id != request.camera_id:
            raise FailedPrecondition("VIEW_UNKNOWN", "a still comes out of a view of the same person and camera")
        await self._foreign.still(view.session_id, trace_id=request.trace_id)
        return pb.ViewDecision(view_id=request.view_id, allowed=True)

    async def _renew(self, link: Link, view: _View, message: pb.ViewRenewal) -> None:
        try:
            wanted = by_our_clock(link, message, "expire_time")
            until = wanted or self._clock() + _LONGEST
            session = await self._foreign.renew(view.session_id, until, trace_id=message.trace_id)
            end = convert.to_time(session.expire_time)
        except VidhubError as error:
            self._refuse(link, view.view_id, error)
        except Exception as error:
            log.error("a view could not be renewed", hub=link.hub.id, exc_info=error)
            self._refuse(link, view.view_id, VidhubError("INTERNAL", "the hub failed; its log says why"))
        else:
            link.send(view_decision=pb.ViewDecision(view_id=view.view_id, allowed=True, expire_time=end))
        finally:
            self._renewing[view.hub_id] -= 1

    def _check(self, link: Link, request: pb.ViewRequest, viewer: Principal, purpose: Purpose) -> None:
        """What the asking hub says must hold together, before policy is asked."""
        path = list(request.path)
        if self._hub_id in path:
            raise PermissionDenied("VIEW_CYCLE", "this hub stands on the way already")
        if path[-1] != link.hub.id or path[0] != request.viewer.hub_id or len(set(path)) != len(path):
            raise PermissionDenied("VIEW_PATH_INVALID", "the way leads from the viewer's hub to the one that asks")
        action = convert.from_action(request.action)
        if action not in (Action.VIEW_LIVE, Action.SNAPSHOT):
            raise InvalidArgument("ACTION_NOT_SERVED", "other hubs may view live and take stills")
        check_grant(
            request.grant_jwt,
            link.theirs.signing_key_pem,
            issuer=link.hub.id,
            audience=self._hub_id,
            viewer=viewer.id,
            camera_id=request.camera_id,
            action=action,
            purpose=purpose.kind,
            now=by_their_clock(link, self._clock()),
        )
        # Of a camera that is not shared with it a hub learns nothing.
        self._core.get_camera(Principal(PrincipalKind.HUB, link.hub.id, hub_id=link.hub.id), request.camera_id)

    def _refuse(self, link: Link, view_id: str, error: VidhubError) -> None:
        link.send(
            view_decision=pb.ViewDecision(
                view_id=view_id,
                reason=error.reason,
                message=error.message[:512],
                hub_id=error.refused_by or self._hub_id,
            )
        )

    def _put(self, view: _View) -> None:
        self._views[view.hub_id, view.view_id] = view
        self._by_session[view.session_id] = view
        self._by_camera.setdefault((view.hub_id, view.camera_id), set()).add(view.session_id)
        self._count[view.hub_id] = self._count.get(view.hub_id, 0) + 1

    def _forget(self, view: _View, reason: str) -> None:
        if self._views.pop((view.hub_id, view.view_id), None) is None:
            return
        if view.lease is not None:
            view.lease.cancel()
        del self._by_session[view.session_id]
        self._count[view.hub_id] -= 1
        of_camera = self._by_camera[view.hub_id, view.camera_id]
        of_camera.discard(view.session_id)
        self._past_put(view, reason)
        if not of_camera:
            del self._by_camera[view.hub_id, view.camera_id]
            self._last_gone(view.hub_id, view.camera_id)

    def _past_put(self, view: _View, reason: str) -> None:
        self._past[view.hub_id, view.view_id] = reason
        if len(self._past) > MOST_PAST:
            self._past.popitem(last=False)

    def _expired(self, view: _View, reason: str) -> None:
        if self._views.get((view.hub_id, view.view_id)) is view:
            log.info("a view ends: its hub is gone", session=view.session_id, hub=view.hub_id)
            self._forget(view, reason)
            self._book.cut(view.session_id, reason)


def _viewer(link: Link, request: pb.ViewRequest) -> Principal:
    """Raises InvalidArgument VIEWER_INVALID, PermissionDenied ROLE_SEES_NO_VIDEO for a role that is none here."""
    told = request.viewer
    try:
        name = check_name(told.name)
    except InvalidArgument as cause:
        raise InvalidArgument("VIEWER_INVALID", f"viewer.name: {cause.message}") from cause
    try:
        roles = frozenset(Role(role) for role in told.roles)
    except ValueError:
        raise PermissionDenied("ROLE_SEES_NO_VIDEO", "only operators see video, and each by grant") from None
    try:
        address = str(ip_address(told.address))
    except ValueError:
        address = ""
    return Principal(
        PrincipalKind.USER,
        f"{name}@{told.hub_id}",
        hub_id=link.hub.id,
        display_name=told.display_name or name,
        department=told.department,
        roles=roles,
        address=address,
        trace_id=request.trace_id,
    )
