"""Why a person may or may not do something with a camera: every check in order, and every grant of theirs."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from vidhub.access import hours
from vidhub.access.grant_rules import SERVED, covers
from vidhub.access.judging import REMEDIES
from vidhub.access.purposes import PUBLISH, Purposes
from vidhub.core import Core
from vidhub.errors import InvalidArgument, NotFound, PermissionDenied
from vidhub.model import Action, Camera, CameraState, Decision, Grant, Principal, PrincipalKind, Purpose, Role, User
from vidhub.store import Store, grants, users

MOST_GRANTS = 100
# Of one person and their department, ended ones included: so many are looked at.
MOST_LOOKED_AT = 10_000
_MAY_ASK = frozenset({Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR, Role.ADMINISTRATOR})
_KNOW_ALL = _MAY_ASK


class Check(enum.StrEnum):
    """What a step looked at."""

    ACCOUNT = "account"
    ROLE = "role"
    CAMERA = "camera"
    PURPOSE = "purpose"
    GRANT = "grant"
    POLICY = "policy"


@dataclass(frozen=True, slots=True)
class Step:
    """reason: "" when passed. message: what was found, and what to do."""

    check: Check
    reason: str
    message: str

    @property
    def passed(self) -> bool:
        return not self.reason


@dataclass(frozen=True, slots=True)
class Miss:
    """A condition of a grant that does not hold."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Considered:
    """A grant, and why it does not carry what was asked; no miss: it does."""

    grant: Grant
    misses: tuple[Miss, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """reason, message: as OpenSession would answer; "" when allowed. left_off: grants that are not shown."""

    allowed: bool
    reason: str
    message: str
    decision: Decision
    steps: tuple[Step, ...]
    grants: tuple[Considered, ...]
    left_off: int


class Explainer:
    """Asks what the doors ask, and tells all of it."""

    def __init__(
        self,
        *,
        store: Store,
        core: Core,
        purposes: Purposes,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._core = core
        self._purposes = purposes
        self._clock = clock

    async def explain(
        self, principal: Principal, username: str, camera_id: str, action: Action, purpose: str
    ) -> Explanation:
        """Of oneself, and for those who give or audit grants of everybody.

        Raises PermissionDenied ROLE_NOT_PERMITTED, NotFound USER_UNKNOWN, CAMERA_NOT_FOUND (also for a camera that the
        caller may not know of), InvalidArgument ACTION_NOT_SERVED.
        """
        is_oneself = principal.kind is PrincipalKind.USER and username == principal.id
        if not is_oneself and principal.kind is not PrincipalKind.SYSTEM and not _MAY_ASK & principal.roles:
            raise PermissionDenied("ROLE_NOT_PERMITTED", "of others ask those who give grants, or an auditor")
        if action not in SERVED:
            raise InvalidArgument("ACTION_NOT_SERVED", f"{action.value} is not served by this version")

        def read(conn: Connection) -> tuple[User | None, list[Grant]]:
            user = users.by_name(conn, username)
            if user is None:
                return None, []
            return user, grants.list_page(
                conn,
                username=user.name,
                department=user.department,
                matches=lambda grant: not grant.hub_id,
                limit=MOST_LOOKED_AT,
            )

        user, found = await self._store.read(read)
        if user is None:
            raise NotFound("USER_UNKNOWN", f"there is no user {username[:64]}: see `vidhub user list`")
        camera = self._core.get_camera(principal, camera_id)
        decision = self._core.authorise(_as_principal(user, principal.hub_id), action, camera_id, purpose)
        now = self._clock()
        looked_at = [Considered(grant, tuple(_misses(grant, camera, action, purpose, now))) for grant in found]
        # Those that come closest first; of equals the newest.
        looked_at.sort(key=lambda one: one.grant.id, reverse=True)
        looked_at.sort(key=lambda one: len(one.misses))
        steps = (
            _account(user),
            _role(user, camera, action, principal.hub_id),
            _camera(camera, action, principal.hub_id),
            self._purpose(action, purpose),
            _grant(action, decision, looked_at),
            _policy(decision),
        )
        # What is asked first when a session is opened answers first; roles, camera and grants are policy's to judge.
        failed = next((one for one in (steps[0], steps[3], steps[5]) if not one.passed), None)
        return Explanation(
            allowed=failed is None,
            reason=failed.reason if failed else "",
            message=failed.message if failed else "",
            decision=decision,
            steps=steps,
            grants=tuple(looked_at[:MOST_GRANTS]),
            left_off=max(0, len(looked_at) - MOST_GRANTS),
        )

    def _purpose(self, action: Action, purpose: str) -> Step:
        if action is Action.LIST:
            return Step(Check.PURPOSE, "", "to know of a camera needs no purpose")
        if purpose.strip() == PUBLISH:
            return Step(
                Check.PURPOSE, "PURPOSE_UNKNOWN", "publish is for units, with which they push their own cameras"
            )
        try:
            # Whether a reference is given is asked when the session is opened.
            kind = self._purposes.check(Purpose(purpose, reference="-")).kind
        except InvalidArgument as error:
            return Step(Check.PURPOSE, error.reason, error.message)
        return Step(Check.PURPOSE, "", f"{kind} is in force")


def _as_principal(user: User, hub_id: str) -> Principal:
    return Principal(
        PrincipalKind.USER,
        user.name,
        hub_id=hub_id,
        department=user.department,
        unit_id=user.unit_id,
        roles=user.roles,
    )


def _account(user: User) -> Step:
    if user.suspended:
        return Step(Check.ACCOUNT, "USER_SUSPENDED", "the account is suspended: an administrator lets it in again")
    if user.must_change_password:
        return Step(Check.ACCOUNT, "PASSWORD_CHANGE_REQUIRED", "the one-time password has not been changed yet")
    return Step(Check.ACCOUNT, "", "the account may log in")


def _role(user: User, camera: Camera, action: Action, here: str) -> Step:
    held = ", ".join(sorted(user.roles))
    if action is Action.LIST:
        if user.roles & _KNOW_ALL:
            return Step(Check.ROLE, "", f"{held}: knows of every camera of this hub")
        if Role.UNIT in user.roles and camera.unit_id == user.unit_id and camera.home_hub_id in ("", here):
            return Step(Check.ROLE, "", f"{held}: the camera is of their unit")
        if Role.OPERATOR in user.roles:
            return Step(Check.ROLE, "", f"{held}: knows of cameras by grant")
        return Step(Check.ROLE, "ROLE_NOT_PERMITTED", f"{held}: the camera is not of their unit")
    if Role.OPERATOR not in user.roles:
        return Step(Check.ROLE, "ROLE_SEES_NO_VIDEO", f"{held}: only operators see video")
    others = user.roles - {Role.OPERATOR, Role.UNIT}
    if others:
        words = ", ".join(sorted(others))
        return Step(Check.ROLE, "ROLE_SEES_NO_VIDEO", f"also {words}: who holds that sees no video, give two accounts")
    return Step(Check.ROLE, "", f"{held}: sees video by grant")


def _camera(camera: Camera, action: Action, here: str) -> Step:
    if camera.state is CameraState.RETIRED:
        return Step(Check.CAMERA, "CAMERA_RETIRED", "the camera was taken off the register")
    if camera.state is CameraState.QUARANTINED and action is not Action.LIST:
        return Step(Check.CAMERA, "CAMERA_QUARANTINED", REMEDIES["CAMERA_QUARANTINED"])
    judges_too = "" if camera.home_hub_id in ("", here) else f"; {camera.home_hub_id}, which it is of, judges as well"
    return Step(Check.CAMERA, "", f"registered, {camera.state.name.lower()}{judges_too}")


def _grant(action: Action, decision: Decision, looked_at: list[Considered]) -> Step:
    carrying = [one.grant.id for one in looked_at if not one.misses]
    if carrying:
        return Step(Check.GRANT, "", f"{len(carrying)} of {len(looked_at)} grants carry it")
    if decision.allowed and action is Action.LIST:
        return Step(Check.GRANT, "", "none is needed: a role of theirs suffices")
    # The purpose is told apart, for it is chosen anew each time.
    others = [{miss.reason for miss in one.misses} for one in looked_at]
    reason = "PURPOSE_NOT_GRANTED" if {"PURPOSE"} in others else "NO_GRANT"
    return Step(Check.GRANT, reason, f"none of {len(looked_at)} grants carries it: {REMEDIES[reason]}")


def _policy(decision: Decision) -> Step:
    if decision.allowed:
        return Step(Check.POLICY, "", f"permitted by {', '.join(decision.rules)}")
    reason = decision.reason or "NO_GRANT"
    forbidding = f"forbidden by {', '.join(decision.rules)}: " if decision.rules else ""
    return Step(Check.POLICY, reason, f"{forbidding}{REMEDIES.get(reason, 'policy forbids it')}")


def _misses(grant: Grant, camera: Camera, action: Action, purpose: str, now: datetime) -> Iterator[Miss]:
    if grant.revoke_time is not None:
        yield Miss("GRANT_REVOKED", f"taken back at {_at(grant.revoke_time)}: {grant.revoke_reason}")
    if grant.not_after <= now:
        yield Miss("GRANT_ENDED", f"it ended at {_at(grant.not_after)}")
    elif now < grant.not_before:
        yield Miss("GRANT_NOT_BEGUN", f"it begins at {_at(grant.not_before)}")
    elif grant.weekly_hours:
        held = hours.stretch(grant, now)
        if held is None or not held.holds(now):
            following = f"next from {_at(held.start)}" if held is not None else "never again before its end"
            yield Miss("OUTSIDE_HOURS", f"it holds {hours.words(grant.weekly_hours)}; {following}")
    if not covers(grant, camera):
        where = f"unit {camera.unit_id}, region {camera.region_code}, industry {camera.industry}"
        yield Miss("SCOPE", f"it does not cover the camera ({where})")
    if action not in grant.actions:
        yield Miss("ACTION", f"it gives {', '.join(one.value for one in grant.actions)}, not {action.value}")
    if action is not Action.LIST and purpose not in grant.purposes:
        yield Miss("PURPOSE", f"it is for {', '.join(grant.purposes)}, not {purpose[:64] or 'none'}")


def _at(moment: datetime) -> str:
    """By the hub's own clock, as weekly hours are."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M %z}"
