"""Accounts of people and their logins: who may call from a browser, and from when to when.

Users and live logins are held in memory, so that a call is judged without a read; the store is the truth.
"""

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
    Unauthenticated,
)
from vidhub.identity.accounts import MAX_NAME, check_name, check_roles, require_administrator
from vidhub.identity.backoff import Backoff
from vidhub.identity.keys import HubKeys
from vidhub.identity.passwords import Hasher, check_password
from vidhub.identity.tokens import AccessTokens, hash_refresh, new_refresh
from vidhub.model import AuditRecord, Principal, PrincipalKind, Role, User
from vidhub.store import Store, units, users
from vidhub.store.keyfiles import write_private
from vidhub.store.times import now

LOGIN_LIFE = timedelta(hours=12)
MAX_LOGINS = 16
# So many in memory are never worth a look for those that ran out.
FEW_LOGINS = 1_024
FIRST_NAME = "admin"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Login:
    """What a login or a refresh gives. refresh_expire_time: the end of the whole login, for the cookie."""

    access_token: str = field(repr=False)
    expire_time: datetime
    refresh_token: str = field(repr=False)
    refresh_expire_time: datetime
    must_change_password: bool
    user: User


class People:
    """Constructed by `open`; `close` ends its threads."""

    def __init__(
        self,
        store: Store,
        audit: AuditLog,
        tokens: AccessTokens,
        hasher: Hasher,
        hub_id: str,
        initial_password: Path,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._audit = audit
        self._tokens = tokens
        self._hasher = hasher
        self._hub_id = hub_id
        self._initial_password = initial_password
        self._clock = clock
        self._backoff = Backoff()
        self._users: dict[str, User] = {}
        self._names: dict[str, str] = {}
        self._logins: dict[str, users.Login] = {}
        self._forget_at = FEW_LOGINS
        self._on_suspended: list[Callable[[User], None]] = []
        self._on_logins_ended: list[Callable[[frozenset[str], str], None]] = []

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
        self = cls(
            store,
            audit,
            AccessTokens(keys.access_pem, hub_id),
            Hasher(hasher, parallel=parallel_hashes),
            hub_id,
            data_dir / "initial-password",
            clock,
        )
        time = clock()
        await store.write(lambda conn: users.forget_logins(conn, time))
        found, live = await store.read(lambda conn: (users.load(conn), users.live_logins(conn, time)))
        for user in found:
            self._learn(user)
        self._logins = {login.id: login for login in live}
        return self

    def close(self) -> None:
        self._hasher.close()

    def on_suspended(self, listener: Callable[[User], None]) -> None:
        """Called on the event loop once a suspension is durable, to end the user's sessions."""
        self._on_suspended.append(listener)

    def on_logins_ended(self, listener: Callable[[frozenset[str], str], None]) -> None:
        """Called on the event loop with (login ids, reason), to cut live calls."""
        self._on_logins_ended.append(listener)

    # Accounts.

    async def ensure_first_administrator(self) -> bool:
        """Make `admin` with a random password in DATA/initial-password, unless somebody administers already.

        The file comes first: a crash in between leaves a file without a user, and the next start writes another.
        """
        if any(Role.ADMINISTRATOR in u.roles for u in self._users.values()) or self._find(FIRST_NAME) is not None:
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
    ) -> User:
        """Raises AlreadyExists USER_EXISTS, InvalidArgument NAME_INVALID, ROLE_…, UNIT_MISSING, PASSWORD_TOO_WEAK,
        NotFound UNIT_UNKNOWN."""
        require_administrator(principal)
        name = check_name(name)
        user = User(
            id=uuid.uuid4().hex,
            name=name,
            display_name=display_name[:MAX_NAME] or name,
            department=department.strip()[:128],
            unit_id=unit_id,
            roles=check_roles(roles, unit_id),
            suspended=False,
            must_change_password=must_change_password,
            create_time=self._clock(),
        )
        check_password(name, password)
        hashed = await self._hasher.hash(password)

        def work(conn: Connection) -> User:
            if any(u.name.casefold() == name.casefold() for u in users.load(conn)):
                raise AlreadyExists("USER_EXISTS", f"there is a user {name} already: choose another name")
            if unit_id and units.get(conn, unit_id) is None:
                raise NotFound("UNIT_UNKNOWN", f"there is no unit {unit_id}: see `vidhub unit list`")
            users.insert(conn, user, hashed)
            self._audit.append(conn, [_record(principal, "user.add", user, roles=sorted(user.roles), unit=unit_id)])
            return user

        return await self._store.write(work, apply=self._learn)

    async def list_users(self, principal: Principal) -> list[User]:
        if principal.kind is not PrincipalKind.SYSTEM and not principal.roles & {Role.ADMINISTRATOR, Role.AUDITOR}:
            raise PermissionDenied("ROLE_MISSING", "the list of users is for administrators and auditors")
        return sorted(self._users.values(), key=lambda u: u.name)

    async def set_password(
        self, principal: Principal, name: str, password: str, *, must_change_password: bool = False
    ) -> User:
        """Another's password, by an administrator; ends that user's logins."""
        require_administrator(principal)
        user = self._named(name)
        check_password(user.name, password)
        hashed = await self._hasher.hash(password)
        return await self._change_password(principal, user, hashed, must_change_password, keep="", action="user.passwd")

    async def change_password(self, principal: Principal, old: str, new: str) -> User:
        """One's own; ends one's other logins. Raises Unauthenticated PASSWORD_WRONG, InvalidArgument PASSWORD_…"""
        if principal.kind is not PrincipalKind.USER:
            raise PermissionDenied("USER_REQUIRED", "only people have passwords")
        user = self._named(principal.id)
        # The same brake as for logging in: a stolen access token must not help to guess.
        self._backoff.begin(user.name, principal.address, self._clock().timestamp())
        hashed = await self._store.read(lambda conn: users.password_hash(conn, user.id))
        if not await self._hasher.verify(hashed, old):
            self._refused(user.name, "auth.change_password", "PASSWORD_WRONG", principal.address)
            raise Unauthenticated("PASSWORD_WRONG", "the old password is not right").recorded()
        self._backoff.succeeded(user.name, principal.address)
        check_password(user.name, new)
        if old == new:
            raise InvalidArgument("PASSWORD_TOO_WEAK", "choose another password: it is the old one")
        fresh = await self._hasher.hash(new)
        return await self._change_password(
            principal, user, fresh, False, keep=principal.login_id, action="auth.change_password", before=hashed
        )

    async def get(self, name: str) -> User:
        """Raises NotFound USER_UNKNOWN."""
        return self._named(name)

    async def suspend(self, principal: Principal, name: str) -> User:
        """End every login and keep the user out; sessions end by the listeners."""
        require_administrator(principal)
        user = self._named(name)
        if principal.kind is PrincipalKind.USER and principal.id == user.name:
            raise FailedPrecondition("SELF_SUSPENSION", "nobody suspends themselves: ask another administrator")
        return await self._set_suspended(principal, user, True)

    async def resume(self, principal: Principal, name: str) -> User:
        require_administrator(principal)
        return await self._set_suspended(principal, self._named(name), False)

    # Logins.

    async def login(self, name: str, password: str, address: str) -> Login:
        """Raises Unauthenticated LOGIN_FAILED alike for a wrong password and an unknown user, PermissionDenied
        USER_SUSPENDED only after the right password, ResourceExhausted LOGIN_BACKOFF or LIMIT_LOGINS."""
        self._backoff.begin(name, address, self._clock().timestamp())
        user = self._find(name) if len(name) <= MAX_NAME else None
        user_id = "" if user is None else user.id
        hashed = await self._store.read(lambda conn: users.password_hash(conn, user_id))
        right = await self._hasher.verify(hashed, password)
        if user is None or not right:
            self._refused(name, "auth.login", "LOGIN_FAILED", address)
            raise Unauthenticated("LOGIN_FAILED", "name or password is not right").recorded()
        self._backoff.succeeded(name, address)
        rehashed = await self._hasher.hash(password) if self._hasher.is_outdated(hashed) else ""
        time = self._clock()
        login = users.Login(uuid.uuid4().hex, user.id, time + LOGIN_LIFE)
        refresh, refresh_hash = new_refresh()

        def work(conn: Connection) -> list[str] | None:
            current = users.get(conn, user_id)
            # The account may have changed while the password was hashed.
            if current is None or current.suspended or users.password_hash(conn, user_id) != hashed:
                return None
            users.forget_logins(conn, time)
            own = users.logins_of(conn, user_id, time)
            surplus = own[: max(0, len(own) - MAX_LOGINS + 1)]
            users.revoke_logins(conn, surplus, time, "LOGIN_REPLACED")
            users.insert_login(conn, login, time)
            users.insert_refresh(conn, refresh_hash, login.id)
            if rehashed:
                users.set_password(conn, user_id, rehashed, must_change=current.must_change_password)
            record = AuditRecord(f"user/{user.name}", "auth.login", f"user/{user.name}", source_address=address)
            self._audit.append(conn, [replace(record, principal_unit=user.unit_id)])
            return surplus

        def apply(surplus: list[str] | None) -> None:
            if surplus is not None:
                self._end_logins(surplus, "LOGIN_REPLACED")
                self._logins[login.id] = login
                self._forget_ended(time)

        if await self._store.write(work, apply=apply) is None:
            self._refused(user.name, "auth.login", "USER_SUSPENDED", address)
            current = self._users.get(user_id)
            if current is not None and current.suspended:
                raise PermissionDenied("USER_SUSPENDED", "this account is suspended: ask an administrator").recorded()
            raise Unauthenticated("LOGIN_FAILED", "name or password is not right").recorded()
        return self._given(user, login, refresh)

    async def refresh(self, refresh_token: str, address: str) -> Login:
        """Trade a refresh token for the next. One that was used before ends its whole login: it was stolen, or copied.

        Raises Unauthenticated TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, TOKEN_REUSED, LOGIN_REVOKED, USER_SUSPENDED.
        """
        if not refresh_token:
            raise Unauthenticated("TOKEN_MISSING", "log in first")
        used = hash_refresh(refresh_token)
        fresh, fresh_hash = new_refresh()
        time = self._clock()

        def work(conn: Connection) -> tuple[str, str]:
            found = users.use_refresh(conn, used, time)
            if found is None:
                return "", "TOKEN_INVALID"
            login_id, first = found
            login = users.live_login(conn, login_id, time)
            if login is None:
                return login_id, "LOGIN_REVOKED"
            if not first:
                users.revoke_logins(conn, [login_id], time, "TOKEN_REUSED")
                user = users.get(conn, login.user_id)
                name = "" if user is None else user.name
                self._audit.append(
                    conn,
                    [
                        AuditRecord(
                            f"user/{name}", "auth.refresh", f"user/{name}", "TOKEN_REUSED", source_address=address
                        )
                    ],
                )
                return login_id, "TOKEN_REUSED"
            users.insert_refresh(conn, fresh_hash, login_id)
            return login_id, ""

        def apply(done: tuple[str, str]) -> None:
            if done[1] == "TOKEN_REUSED":
                self._end_logins([done[0]], "TOKEN_REUSED")

        login_id, problem = await self._store.write(work, apply=apply)
        if problem:
            raise Unauthenticated(problem, _SAID[problem])
        login = self._logins.get(login_id)
        user = None if login is None else self._users.get(login.user_id)
        if login is None or user is None:
            raise Unauthenticated("LOGIN_REVOKED", _SAID["LOGIN_REVOKED"])
        if user.suspended:
            raise Unauthenticated("USER_SUSPENDED", _SAID["USER_SUSPENDED"])
        return self._given(user, login, fresh)

    async def logout(self, refresh_token: str, address: str) -> None:
        """End the login of a refresh token. Idempotent, and an unknown token is no error."""
        used = hash_refresh(refresh_token)
        found = await self._store.read(lambda conn: users.login_of_refresh(conn, used))
        login = None if found is None else self._logins.get(found)
        user = None if login is None else self._users.get(login.user_id)
        if login is not None and user is not None:
            await self._end(replace(self._principal(user, login.id), address=address), [login.id], "LOGOUT")

    async def end_login(self, principal: Principal) -> None:
        """End the login that an access token belongs to. Idempotent."""
        if principal.login_id in self._logins:
            await self._end(principal, [principal.login_id], "LOGOUT")

    def by_bearer(self, token: str, address: str) -> Principal:
        """Raises Unauthenticated TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, LOGIN_REVOKED or USER_SUSPENDED."""
        time = self._clock()
        claims = self._tokens.check(token, time)
        user = self._users.get(claims.user_id)
        if user is not None and user.suspended:
            raise Unauthenticated("USER_SUSPENDED", _SAID["USER_SUSPENDED"])
        login = self._logins.get(claims.login_id)
        if user is None or login is None or login.user_id != user.id or login.expire_time <= time:
            raise Unauthenticated("LOGIN_REVOKED", _SAID["LOGIN_REVOKED"])
        return replace(self._principal(user, login.id), address=address)

    # Inside.

    def _given(self, user: User, login: users.Login, refresh: str) -> Login:
        user = self._users.get(user.id, user)
        token, end = self._tokens.issue(user.id, login.id, self._clock())
        return Login(token, end, refresh, login.expire_time, user.must_change_password, user)

    def _principal(self, user: User, login_id: str) -> Principal:
        return Principal(
            kind=PrincipalKind.USER,
            id=user.name,
            hub_id=self._hub_id,
            display_name=user.display_name,
            department=user.department,
            unit_id=user.unit_id,
            roles=user.roles,
            login_id=login_id,
            must_change_password=user.must_change_password,
        )

    async def _change_password(
        self,
        principal: Principal,
        user: User,
        hashed: str,
        must_change: bool,
        *,
        keep: str,
        action: str,
        before: str | None = None,
    ) -> User:
        time = self._clock()
        changed = replace(user, must_change_password=must_change)

        def work(conn: Connection) -> list[str]:
            if before is not None and users.password_hash(conn, user.id) != before:
                raise Unauthenticated("PASSWORD_WRONG", "the password was changed meanwhile: log in again")
            if not users.set_password(conn, user.id, hashed, must_change=must_change):
                raise NotFound("USER_UNKNOWN", f"there is no user {user.name}")
            ended = [x for x in users.logins_of(conn, user.id, time) if x != keep]
            users.revoke_logins(conn, ended, time, "PASSWORD_CHANGED")
            self._audit.append(conn, [_record(principal, action, user)])
            return ended

        def apply(ended: list[str]) -> None:
            current = self._users.get(user.id, changed)
            self._learn(replace(current, must_change_password=must_change))
            self._end_logins(ended, "PASSWORD_CHANGED")
            if user.name == FIRST_NAME and not must_change:
                self._forget_initial_password()

        await self._store.write(work, apply=apply)
        return self._users[user.id]

    async def _set_suspended(self, principal: Principal, user: User, suspended: bool) -> User:
        time = self._clock()

        def work(conn: Connection) -> list[str]:
            if not users.set_suspended(conn, user.id, suspended):
                raise NotFound("USER_UNKNOWN", f"there is no user {user.name}")
            ended = users.logins_of(conn, user.id, time) if suspended else []
            users.revoke_logins(conn, ended, time, "USER_SUSPENDED")
            self._audit.append(conn, [_record(principal, "user.suspend" if suspended else "user.resume", user)])
            return ended

        def apply(ended: list[str]) -> None:
            self._learn(replace(self._users.get(user.id, user), suspended=suspended))
            self._end_logins(ended, "USER_SUSPENDED")
            for listener in self._on_suspended if suspended else ():
                listener(self._users[user.id])

        await self._store.write(work, apply=apply)
        return self._users[user.id]

    async def _end(self, principal: Principal, login_ids: list[str], reason: str) -> None:
        time = self._clock()
        record = AuditRecord(
            principal=principal.ref,
            principal_unit=principal.unit_id,
            action="auth.logout",
            resource=principal.ref,
            source_address=principal.address,
        )

        def work(conn: Connection) -> None:
            users.revoke_logins(conn, login_ids, time, reason)
            self._audit.append(conn, [record])

        await self._store.write(work, apply=lambda _: self._end_logins(login_ids, reason))

    def _end_logins(self, login_ids: list[str], reason: str) -> None:
        ended = frozenset(i for i in login_ids if self._logins.pop(i, None) is not None)
        if ended:
            for listener in self._on_logins_ended:
                listener(ended, reason)

    def _forget_ended(self, time: datetime) -> None:
        """Logins that ran out; looked for whenever their number has doubled."""
        if len(self._logins) >= self._forget_at:
            self._logins = {i: x for i, x in self._logins.items() if x.expire_time > time}
            self._forget_at = max(FEW_LOGINS, 2 * len(self._logins))

    def _learn(self, user: User) -> None:
        self._users[user.id] = user
        self._names[user.name.casefold()] = user.id

    def _find(self, name: str) -> User | None:
        user_id = self._names.get(name.casefold())
        return None if user_id is None else self._users.get(user_id)

    def _named(self, name: str) -> User:
        user = self._find(name)
        if user is None:
            raise NotFound("USER_UNKNOWN", f"there is no user {name}: see `vidhub user list`")
        return user

    def _refused(self, name: str, action: str, reason: str, address: str) -> None:
        who = f"user/{name[:MAX_NAME]}"
        self._audit.refusal(AuditRecord(who, action, who, reason, source_address=address))

    def _forget_initial_password(self) -> None:
        try:
            self._initial_password.unlink(missing_ok=True)
        except OSError as error:
            log.error("remove this file by hand", path=str(self._initial_password), error=error.strerror)


_SAID = {
    "TOKEN_INVALID": "the refresh token is not one of this hub: log in again",
    "TOKEN_REUSED": "this refresh token was used before, so its login was ended: log in again",
    "LOGIN_REVOKED": "this login has ended: log in again",
    "USER_SUSPENDED": "this account is suspended: ask an administrator",
}


def _record(principal: Principal, action: str, user: User, **detail: object) -> AuditRecord:
    return AuditRecord(
        principal=principal.ref,
        principal_unit=principal.unit_id,
        action=action,
        resource=f"user/{user.name}",
        source_address=principal.address,
        detail_json=json.dumps(detail, ensure_ascii=False) if detail else "",
    )
