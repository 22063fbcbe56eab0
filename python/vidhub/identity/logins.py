"""Logins of people: begun with a password, carried on by refresh tokens, and ended by themselves or by others.

Live logins are held in memory, so that a call is judged without a read; the store is the truth.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from vidhub import paging
from vidhub.audit import AuditLog
from vidhub.errors import FailedPrecondition, NotFound, PermissionDenied, Unauthenticated
from vidhub.identity.accounts import MAX_NAME, require_administrator
from vidhub.identity.backoff import Backoff, Place, network
from vidhub.identity.directory import Directory
from vidhub.identity.passwords import Hasher
from vidhub.identity.tokens import AccessTokens, hash_refresh, new_refresh
from vidhub.model import AuditRecord, Principal, PrincipalKind, User
from vidhub.store import Store, users

LOGIN_LIFE = timedelta(hours=12)
MAX_LOGINS = 16
# So many in memory are never worth a look for those that ran out.
FEW_LOGINS = 1_024
MAX_CLIENT = 200


@dataclass(frozen=True, slots=True)
class Login:
    """What a login or a refresh gives. refresh_expire_time: the end of the whole login, for the cookie.

    device: the mark for the place where it was begun, "" where that has one, and of a refresh.
    """

    access_token: str = field(repr=False)
    expire_time: datetime
    refresh_token: str = field(repr=False)
    refresh_expire_time: datetime
    must_change_password: bool
    user: User
    device: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class LiveLogin:
    """A login that is under way, and whose."""

    login: users.Login
    username: str


@dataclass(frozen=True, slots=True)
class LoginPage:
    logins: tuple[LiveLogin, ...]
    next_page_token: str


class Logins:
    """Begins, carries on, shows and ends logins."""

    def __init__(
        self,
        *,
        store: Store,
        audit: AuditLog,
        tokens: AccessTokens,
        hasher: Hasher,
        directory: Directory,
        hub_id: str,
        clock: Callable[[], datetime],
        live: Iterable[users.Login] = (),
    ) -> None:
        self._store = store
        self._audit = audit
        self._tokens = tokens
        self._hasher = hasher
        self._directory = directory
        self._hub_id = hub_id
        self._clock = clock
        self._backoff = Backoff()
        self._live: dict[str, users.Login] = {}
        # Of each person: the ids. Who tries to log in must not cost a walk through everybody's.
        self._ids: dict[str, set[str]] = {}
        self._take_up(live)
        self._forget_at = FEW_LOGINS
        self._on_ended: list[Callable[[frozenset[str], str], None]] = []

    def on_ended(self, listener: Callable[[frozenset[str], str], None]) -> None:
        """Called on the event loop with (login ids, reason), to cut live calls."""
        self._on_ended.append(listener)

    async def login(self, name: str, password: str, address: str, *, client: str = "", device: str = "") -> Login:
        """Begins a login. client: what the program there calls itself. device: the mark that an earlier login left.

        Raises Unauthenticated LOGIN_FAILED alike for a wrong password and an unknown user, PermissionDenied
        USER_SUSPENDED, PASSWORD_EXPIRED only after the right password, ResourceExhausted LOGIN_BACKOFF, LIMIT_LOGINS.
        """
        user = self._directory.find(name) if len(name) <= MAX_NAME else None
        place = self._place(user, address, device)
        self._backoff.begin(name, place, self._clock().timestamp())
        user_id = "" if user is None else user.id
        hashed = await self._store.read(lambda conn: users.password_hash(conn, user_id))
        right = await self._hasher.verify(hashed, password)
        if user is None or not right:
            self.refused(name, "auth.login", "LOGIN_FAILED", address)
            raise Unauthenticated("LOGIN_FAILED", "name or password is not right").recorded()
        self._backoff.succeeded(name, place)
        rehashed = await self._hasher.hash(password) if self._hasher.is_outdated(hashed) else ""
        time = self._clock()
        if user.password_expire_time is not None and user.password_expire_time <= time:
            self.refused(user.name, "auth.login", "PASSWORD_EXPIRED", address)
            raise PermissionDenied(
                "PASSWORD_EXPIRED", "the one-time password is too old: ask an administrator for another"
            ).recorded()
        login = users.Login(
            uuid.uuid4().hex, user.id, time + LOGIN_LIFE, time, address, _printable(client)[:MAX_CLIENT]
        )
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
            users.insert_login(conn, login)
            users.insert_refresh(conn, refresh_hash, login.id)
            if rehashed:
                users.set_password(
                    conn,
                    user_id,
                    rehashed,
                    must_change=current.must_change_password,
                    expire_time=current.password_expire_time,
                )
            record = AuditRecord(f"user/{user.name}", "auth.login", f"user/{user.name}", source_address=address)
            self._audit.append(conn, [replace(record, principal_unit=user.unit_id)])
            return surplus

        def apply(surplus: list[str] | None) -> None:
            if surplus is not None:
                self.ended(surplus, "LOGIN_REPLACED")
                self._take_up([login])
                self._forget_ended(time)
                self._directory.learn(replace(self._directory.get(user_id) or user, login_time=time))

        if await self._store.write(work, apply=apply) is None:
            self.refused(user.name, "auth.login", "USER_SUSPENDED", address)
            current = self._directory.get(user_id)
            if current is not None and current.suspended:
                raise PermissionDenied("USER_SUSPENDED", "this account is suspended: ask an administrator").recorded()
            raise Unauthenticated("LOGIN_FAILED", "name or password is not right").recorded()
        given = self._given(user, login, refresh)
        return given if place.device else replace(given, device=self._tokens.issue_device(user.id, time))

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
                self.ended([done[0]], "TOKEN_REUSED")

        login_id, problem = await self._store.write(work, apply=apply)
        if problem:
            raise Unauthenticated(problem, _SAID[problem])
        login = self._live.get(login_id)
        user = None if login is None else self._directory.get(login.user_id)
        if login is None or user is None:
            raise Unauthenticated("LOGIN_REVOKED", _SAID["LOGIN_REVOKED"])
        if user.suspended:
            raise Unauthenticated("USER_SUSPENDED", _SAID["USER_SUSPENDED"])
        return self._given(user, login, fresh)

    async def logout(self, refresh_token: str, address: str) -> None:
        """End the login of a refresh token. Idempotent, and an unknown token is no error."""
        used = hash_refresh(refresh_token)
        found = await self._store.read(lambda conn: users.login_of_refresh(conn, used))
        login = None if found is None else self._live.get(found)
        user = None if login is None else self._directory.get(login.user_id)
        if login is not None and user is not None:
            await self._end(replace(self._principal(user, login.id), address=address), [login.id], "LOGOUT")

    async def end_login(self, principal: Principal) -> None:
        """End the login that an access token belongs to. Idempotent."""
        if principal.login_id in self._live:
            await self._end(principal, [principal.login_id], "LOGOUT")

    def by_bearer(self, token: str, address: str) -> Principal:
        """Raises Unauthenticated TOKEN_MISSING, TOKEN_INVALID, TOKEN_EXPIRED, LOGIN_REVOKED or USER_SUSPENDED."""
        time = self._clock()
        claims = self._tokens.check(token, time)
        user = self._directory.get(claims.user_id)
        if user is not None and user.suspended:
            raise Unauthenticated("USER_SUSPENDED", _SAID["USER_SUSPENDED"])
        login = self._live.get(claims.login_id)
        if user is None or login is None or login.user_id != user.id or login.expire_time <= time:
            raise Unauthenticated("LOGIN_REVOKED", _SAID["LOGIN_REVOKED"])
        return replace(self._principal(user, login.id), address=address)

    def under_way(
        self, principal: Principal, *, username: str = "", page_size: int = 0, page_token: str = ""
    ) -> LoginPage:
        """Newest first: one's own, or for administrators of `username`, "*" for everybody.

        Raises PermissionDenied ROLE_MISSING, NotFound USER_UNKNOWN.
        """
        is_own = principal.kind is PrincipalKind.USER and username in ("", principal.id)
        if not is_own:
            require_administrator(principal)
        question = (principal.ref, username)
        after = paging.after("logins", question, page_token)
        limit = paging.size(page_size)
        whose = None if username in ("", "*") and not is_own else self._directory.named(username or principal.id)
        now = self._clock()
        rows = sorted(
            (
                one
                for one in self._live.values()
                if one.expire_time > now and (whose is None or one.user_id == whose.id)
            ),
            key=_place_in_list,
            reverse=True,
        )
        rows = [one for one in rows if not after or _place_in_list(one) < after]
        more = _place_in_list(rows[limit - 1]) if len(rows) > limit else None
        shown = ((one, self._directory.get(one.user_id)) for one in rows[:limit])
        return LoginPage(
            tuple(LiveLogin(login, user.name) for login, user in shown if user is not None),
            paging.token("logins", question, more),
        )

    async def end(self, principal: Principal, login_id: str) -> None:
        """One of one's own, or as an administrator anybody's.

        Raises NotFound LOGIN_UNKNOWN, FailedPrecondition LOGIN_CURRENT for the one that asks: its call would be cut.
        """
        if login_id and login_id == principal.login_id:
            raise FailedPrecondition("LOGIN_CURRENT", "this is the login that you are using: log out")
        login = self._live.get(login_id)
        user = None if login is None else self._directory.get(login.user_id)
        is_own = user is not None and principal.kind is PrincipalKind.USER and principal.id == user.name
        if not is_own:
            # Whoever may not end it may not learn of it either.
            try:
                require_administrator(principal)
            except PermissionDenied:
                user = None
        if user is None:
            raise NotFound("LOGIN_UNKNOWN", "there is no such login under way, or it is not yours to end")
        await self._end(principal, [login_id], "LOGIN_ENDED", action="auth.end_login", resource=f"user/{user.name}")

    # For what changes accounts.

    def guess(self, principal: Principal, user: User) -> Callable[[], None]:
        """Counts an attempt at one's own password by somebody who is logged in; call the answer when it was right.

        Raises ResourceExhausted LOGIN_BACKOFF: a stolen access token must not help to guess.
        """
        place = Place(principal.address, is_known=True)
        self._backoff.begin(user.name, place, self._clock().timestamp())
        return lambda: self._backoff.succeeded(user.name, place)

    def revoke(self, conn: Connection, user_id: str, time: datetime, reason: str, *, keep: str = "") -> list[str]:
        """Inside a writer's work: ends all of one person's but `keep`; give the answer to `ended` once durable."""
        gone = [login_id for login_id in users.logins_of(conn, user_id, time) if login_id != keep]
        users.revoke_logins(conn, gone, time, reason)
        return gone

    def ended(self, login_ids: Sequence[str], reason: str) -> None:
        """Takes over what became durable, and tells who has live calls."""
        gone = [login for i in login_ids if (login := self._live.pop(i, None)) is not None]
        for login in gone:
            self._ids.get(login.user_id, set()).discard(login.id)
        ended = frozenset(login.id for login in gone)
        if ended:
            for listener in self._on_ended:
                listener(ended, reason)

    def refused(self, name: str, action: str, reason: str, address: str) -> None:
        """Puts a refusal on record."""
        who = f"user/{name[:MAX_NAME]}"
        self._audit.refusal(AuditRecord(who, action, who, reason, source_address=address))

    # Inside.

    def _take_up(self, logins: Iterable[users.Login]) -> None:
        for login in logins:
            self._live[login.id] = login
            self._ids.setdefault(login.user_id, set()).add(login.id)

    def _place(self, user: User | None, address: str, device: str) -> Place:
        if user is None:
            return Place(address)
        here, now = network(address), self._clock()
        return Place(
            address,
            self._tokens.device(device, user.id, now),
            is_known=any(
                one.expire_time > now and network(one.source_address) == here
                for one in (self._live[login_id] for login_id in self._ids.get(user.id, ()))
            ),
        )

    def _given(self, user: User, login: users.Login, refresh: str) -> Login:
        user = self._directory.get(user.id) or user
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

    async def _end(
        self,
        principal: Principal,
        login_ids: list[str],
        reason: str,
        *,
        action: str = "auth.logout",
        resource: str = "",
    ) -> None:
        time = self._clock()
        record = AuditRecord.of(principal, action, resource or principal.ref)

        def work(conn: Connection) -> None:
            users.revoke_logins(conn, login_ids, time, reason)
            self._audit.append(conn, [record])

        await self._store.write(work, apply=lambda _: self.ended(login_ids, reason))

    def _forget_ended(self, time: datetime) -> None:
        """Logins that ran out; looked for whenever their number has doubled."""
        if len(self._live) >= self._forget_at:
            held = [login for login in self._live.values() if login.expire_time > time]
            self._live, self._ids = {}, {}
            self._take_up(held)
            self._forget_at = max(FEW_LOGINS, 2 * len(self._live))


_SAID = {
    "TOKEN_INVALID": "the refresh token is not one of this hub: log in again",
    "TOKEN_REUSED": "this refresh token was used before, so its login was ended: log in again",
    "LOGIN_REVOKED": "this login has ended: log in again",
    "USER_SUSPENDED": "this account is suspended: ask an administrator",
}


def _place_in_list(login: users.Login) -> str:
    return f"{login.create_time.isoformat()} {login.id}"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
