"""Accounts of people: made, changed, suspended, and their passwords. Their logins are in `logins.py`."""

from __future__ import annotations

import json
import secrets as random
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from argon2 import PasswordHasher
from sqlalchemy import Connection

from vidhub.audit import AuditLog
from vidhub.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)
from vidhub.identity.accounts import (
    MAX_DEPARTMENT,
    check_name,
    check_roles,
    display,
    may_look_up,
    require_administrator,
)
from vidhub.identity.directory import EVERYBODY, Directory, UserFilter, UserPage
from vidhub.identity.keys import HubKeys
from vidhub.identity.logins import Logins
from vidhub.identity.passwords import Hasher, check_password, one_time_password
from vidhub.identity.tokens import AccessTokens
from vidhub.model import AuditRecord, Principal, PrincipalKind, Role, User
from vidhub.store import Store, units, users
from vidhub.store.keyfiles import write_private
from vidhub.store.times import now

FIRST_NAME = "admin"
ONE_TIME_LIFE = timedelta(hours=72)
MOST_USERS = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OneTime:
    """A password to be changed at the first login; told once."""

    user: User
    password: str = field(repr=False)
    expire_time: datetime


class People:
    """Constructed by `open`; `close` ends its threads. logins: theirs."""

    def __init__(
        self,
        store: Store,
        audit: AuditLog,
        hasher: Hasher,
        directory: Directory,
        logins: Logins,
        hub_id: str,
        initial_password: Path,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._audit = audit
        self._hasher = hasher
        self._directory = directory
        self.logins = logins
        self._hub_id = hub_id
        self._initial_password = initial_password
        self._clock = clock
        self._on_cut_off: list[Callable[[User, str], None]] = []

    @classmethod
    async def open(
        cls,
        store: Store,
        audit: AuditLog,
        keys: HubKeys,
        *,
        hub_id: str,
        data_dir: Path,
        hasher: PasswordHasher | None = None,
        parallel_hashes: int = 2,
        clock: Callable[[], datetime] = now,
    ) -> People:
        time = clock()
        await store.write(lambda conn: users.forget_logins(conn, time))
        found, live = await store.read(lambda conn: (users.load(conn), users.live_logins(conn, time)))
        directory = Directory(found)
        hashing = Hasher(hasher, parallel=parallel_hashes)
        logins = Logins(
            store=store,
            audit=audit,
            tokens=AccessTokens(keys.access_pem, hub_id),
            hasher=hashing,
            directory=directory,
            hub_id=hub_id,
            clock=clock,
            live=live,
        )
        return cls(store, audit, hashing, directory, logins, hub_id, data_dir / "initial-password", clock)

    def close(self) -> None:
        self._hasher.close()

    def on_cut_off(self, listener: Callable[[User, str], None]) -> None:
        """Called on the event loop with the user and why, once it is durable that what they watch must end:
        USER_SUSPENDED, or POLICY_CHANGED when their roles, department or unit are others now."""
        self._on_cut_off.append(listener)

    # Who there is.

    async def get(self, name: str) -> User:
        """Raises NotFound USER_UNKNOWN."""
        return self._directory.named(name)

    async def list_users(
        self,
        principal: Principal,
        wanted: UserFilter = EVERYBODY,
        *,
        page_size: int = 0,
        page_token: str = "",
    ) -> UserPage:
        """Raises PermissionDenied ROLE_MISSING."""
        if not may_look_up(principal):
            raise PermissionDenied("ROLE_MISSING", "the list of users is for those who administer, grant or audit")
        return self._directory.page(principal.ref, wanted, page_size, page_token)

    # Accounts.

    async def ensure_first_administrator(self) -> bool:
        """Make `admin` with a random password in DATA/initial-password, unless somebody administers already.

        The file comes first: a crash in between leaves a file without a user, and the next start writes another.
        """
        if any(Role.ADMINISTRATOR in user.roles for user in self._directory) or self._directory.find(FIRST_NAME):
            return False
        password = random.token_urlsafe(18)
        write_private(self._initial_password, f"{password}\n".encode())
        system = Principal(PrincipalKind.SYSTEM, hub_id=self._hub_id)
        await self.add(system, FIRST_NAME, [Role.ADMINISTRATOR], password=password, must_change_password=True)
        return True

    async def add(
        self,
        principal: Principal,
        name: str,
        roles: Iterable[Role],
        *,
        password: str,
        unit_id: str = "",
        department: str = "",
        display_name: str = "",
        must_change_password: bool = False,
        password_expire_time: datetime | None = None,
    ) -> User:
        """Raises AlreadyExists USER_EXISTS, InvalidArgument NAME_INVALID, ROLE_…, UNIT_MISSING, PASSWORD_TOO_WEAK,
        NotFound UNIT_UNKNOWN, ResourceExhausted LIMIT_USERS."""
        require_administrator(principal)
        name = check_name(name)
        user = User(
            id=uuid.uuid4().hex,
            name=name,
            display_name=display(display_name, name),
            department=department.strip()[:MAX_DEPARTMENT],
            unit_id=unit_id,
            roles=check_roles(roles, unit_id),
            suspended=False,
            must_change_password=must_change_password,
            create_time=self._clock(),
            password_expire_time=password_expire_time,
        )
        check_password(name, password, user.display_name, user.department, "vidhub")
        hashed = await self._hasher.hash(password)

        def work(conn: Connection) -> User:
            known = users.load(conn)
            if any(one.name.casefold() == name.casefold() for one in known):
                raise AlreadyExists("USER_EXISTS", f"there is a user {name} already: choose another name")
            if len(known) >= MOST_USERS:
                raise ResourceExhausted("LIMIT_USERS", f"a hub has {MOST_USERS} accounts at most")
            _check_unit(conn, unit_id)
            users.insert(conn, user, hashed)
            self._audit.append(conn, [_record(principal, "user.add", user, roles=sorted(user.roles), unit=unit_id)])
            return user

        return await self._store.write(work, apply=self._directory.learn)

    async def create(
        self,
        principal: Principal,
        name: str,
        roles: Iterable[Role],
        *,
        unit_id: str = "",
        department: str = "",
        display_name: str = "",
    ) -> OneTime:
        """As `add`, with a one-time password."""
        password, end = one_time_password(), self._clock() + ONE_TIME_LIFE
        user = await self.add(
            principal,
            name,
            roles,
            password=password,
            unit_id=unit_id,
            department=department,
            display_name=display_name,
            must_change_password=True,
            password_expire_time=end,
        )
        return OneTime(user, password, end)

    async def update(
        self,
        principal: Principal,
        name: str,
        *,
        display_name: str | None = None,
        department: str | None = None,
        unit_id: str | None = None,
        roles: Iterable[Role] | None = None,
    ) -> User:
        """Changes what is given. Other roles, another department or unit end the person's logins and sessions.

        Raises NotFound USER_UNKNOWN, UNIT_UNKNOWN, InvalidArgument ROLE_…, UNIT_MISSING, FailedPrecondition
        SELF_CHANGE, LAST_ADMINISTRATOR.
        """
        require_administrator(principal)
        asked = self._directory.named(name)
        wanted = None if roles is None else frozenset(roles)
        if wanted is not None and _is_oneself(principal, asked) and wanted != asked.roles:
            raise FailedPrecondition("SELF_CHANGE", "nobody changes their own roles: ask another administrator")
        time = self._clock()

        def work(conn: Connection) -> tuple[User, User, list[str]]:
            before = _current(conn, asked)
            unit = before.unit_id if unit_id is None else unit_id
            user = replace(
                before,
                display_name=before.display_name if display_name is None else display(display_name, before.name),
                department=before.department if department is None else department.strip()[:MAX_DEPARTMENT],
                unit_id=unit,
                roles=check_roles(before.roles if wanted is None else wanted, unit),
            )
            if Role.ADMINISTRATOR in before.roles and Role.ADMINISTRATOR not in user.roles:
                _not_the_last(conn, before)
            if unit != before.unit_id:
                _check_unit(conn, unit)
            users.update(conn, user)
            gone: list[str] = []
            if _is_another(user, before):  # the login that asks has its own answer to get
                gone = self.logins.revoke(conn, user.id, time, "POLICY_CHANGED", keep=principal.login_id)
            detail = {"roles": sorted(user.roles), "department": user.department, "unit": user.unit_id}
            self._audit.append(conn, [_record(principal, "user.update", user, **detail)])
            return before, user, gone

        def apply(done: tuple[User, User, list[str]]) -> None:
            before, user, gone = done
            self._directory.learn(user)
            self.logins.ended(gone, "POLICY_CHANGED")
            if _is_another(user, before):
                self._cut_off(user, "POLICY_CHANGED")

        return (await self._store.write(work, apply=apply))[1]

    async def suspend(self, principal: Principal, name: str, reason: str = "") -> User:
        """End every login and keep the user out; sessions end by the listeners."""
        require_administrator(principal)
        user = self._directory.named(name)
        if _is_oneself(principal, user):
            raise FailedPrecondition("SELF_SUSPENSION", "nobody suspends themselves: ask another administrator")
        return await self._set_suspended(principal, user, True, reason)

    async def resume(self, principal: Principal, name: str) -> User:
        require_administrator(principal)
        return await self._set_suspended(principal, self._directory.named(name), False)

    # Passwords.

    async def set_password(
        self,
        principal: Principal,
        name: str,
        password: str,
        *,
        must_change_password: bool = False,
        expire_time: datetime | None = None,
    ) -> User:
        """Another's password, by an administrator; ends that user's logins."""
        require_administrator(principal)
        user = self._directory.named(name)
        check_password(user.name, password, user.display_name, user.department, "vidhub")
        hashed = await self._hasher.hash(password)
        changed = replace(user, must_change_password=must_change_password, password_expire_time=expire_time)
        return await self._change_password(principal, changed, hashed, action="user.passwd")

    async def reset_password(self, principal: Principal, name: str) -> OneTime:
        """A one-time password for somebody else; ends their logins. Raises FailedPrecondition SELF_CHANGE."""
        if _is_oneself(principal, self._directory.named(name)):
            raise FailedPrecondition("SELF_CHANGE", "nobody resets their own password: change it")
        password, end = one_time_password(), self._clock() + ONE_TIME_LIFE
        user = await self.set_password(principal, name, password, must_change_password=True, expire_time=end)
        return OneTime(user, password, end)

    async def change_password(self, principal: Principal, old: str, new: str) -> User:
        """One's own; ends one's other logins. Raises Unauthenticated PASSWORD_WRONG, InvalidArgument PASSWORD_…"""
        if principal.kind is not PrincipalKind.USER:
            raise PermissionDenied("USER_REQUIRED", "only people have passwords")
        user = self._directory.named(principal.id)
        was_right = self.logins.guess(principal, user)
        hashed = await self._store.read(lambda conn: users.password_hash(conn, user.id))
        if not await self._hasher.verify(hashed, old):
            self.logins.refused(user.name, "auth.change_password", "PASSWORD_WRONG", principal.address)
            raise Unauthenticated("PASSWORD_WRONG", "the old password is not right").recorded()
        was_right()
        check_password(user.name, new, user.display_name, user.department, "vidhub")
        if old == new:
            raise InvalidArgument("PASSWORD_TOO_WEAK", "choose another password: it is the old one")
        fresh = await self._hasher.hash(new)
        changed = replace(user, must_change_password=False, password_expire_time=None)
        return await self._change_password(
            principal, changed, fresh, keep=principal.login_id, action="auth.change_password", before=hashed
        )

    # Inside.

    async def _change_password(
        self,
        principal: Principal,
        changed: User,
        hashed: str,
        *,
        action: str,
        keep: str = "",
        before: str | None = None,
    ) -> User:
        """changed: with `must_change_password` and `password_expire_time` as they shall be."""
        time, must_change = self._clock(), changed.must_change_password

        def work(conn: Connection) -> tuple[User, list[str]]:
            if before is not None and users.password_hash(conn, changed.id) != before:
                raise Unauthenticated("PASSWORD_WRONG", "the password was changed meanwhile: log in again")
            end = changed.password_expire_time
            users.set_password(conn, changed.id, hashed, must_change=must_change, expire_time=end)
            current = _current(conn, changed)
            gone = self.logins.revoke(conn, changed.id, time, "PASSWORD_CHANGED", keep=keep)
            self._audit.append(conn, [_record(principal, action, changed)])
            return current, gone

        def apply(done: tuple[User, list[str]]) -> None:
            self._directory.learn(done[0])
            self.logins.ended(done[1], "PASSWORD_CHANGED")
            if changed.name == FIRST_NAME and not must_change:
                self._forget_initial_password()

        return (await self._store.write(work, apply=apply))[0]

    async def _set_suspended(self, principal: Principal, user: User, suspended: bool, reason: str = "") -> User:
        time = self._clock()

        def work(conn: Connection) -> tuple[User, list[str]]:
            if suspended:
                _not_the_last(conn, _current(conn, user))
            users.set_suspended(conn, user.id, suspended)
            gone = self.logins.revoke(conn, user.id, time, "USER_SUSPENDED") if suspended else []
            facts = {"reason": reason.strip()} if reason.strip() else {}
            self._audit.append(
                conn, [_record(principal, "user.suspend" if suspended else "user.resume", user, **facts)]
            )
            return _current(conn, user), gone

        def apply(done: tuple[User, list[str]]) -> None:
            self._directory.learn(done[0])
            self.logins.ended(done[1], "USER_SUSPENDED")
            if suspended:
                self._cut_off(done[0], "USER_SUSPENDED")

        return (await self._store.write(work, apply=apply))[0]

    def _cut_off(self, user: User, reason: str) -> None:
        for listener in self._on_cut_off:
            listener(user, reason)

    def _forget_initial_password(self) -> None:
        try:
            self._initial_password.unlink(missing_ok=True)
        except OSError as error:
            log.error("remove this file by hand", path=str(self._initial_password), error=error.strerror)


def _is_oneself(principal: Principal, user: User) -> bool:
    return principal.kind is PrincipalKind.USER and principal.id == user.name


def _is_another(user: User, before: User) -> bool:
    """Whether policy may judge them otherwise."""
    return (user.roles, user.department, user.unit_id) != (before.roles, before.department, before.unit_id)


def _current(conn: Connection, user: User) -> User:
    current = users.get(conn, user.id)
    if current is None:
        raise NotFound("USER_UNKNOWN", f"there is no user {user.name}")
    return current


def _not_the_last(conn: Connection, user: User) -> None:
    """The hub must not be left with nobody to administer it."""
    if Role.ADMINISTRATOR not in user.roles or user.suspended:
        return
    left = (one for one in users.load(conn) if one.id != user.id and not one.suspended)
    if not any(Role.ADMINISTRATOR in one.roles for one in left):
        raise FailedPrecondition(
            "LAST_ADMINISTRATOR", f"{user.name} is the last administrator: make another account one first"
        )


def _check_unit(conn: Connection, unit_id: str) -> None:
    if unit_id and units.get(conn, unit_id) is None:
        raise NotFound("UNIT_UNKNOWN", f"there is no unit {unit_id}: see `vidhub unit list`")


def _record(principal: Principal, action: str, user: User, **detail: object) -> AuditRecord:
    text = json.dumps(detail, ensure_ascii=False) if detail else ""
    return AuditRecord.of(principal, action, f"user/{user.name}", detail_json=text)
