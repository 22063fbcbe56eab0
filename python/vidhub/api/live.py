"""Calls under way, so that whoever loses their right loses their running calls too."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from vidhub.errors import Unauthenticated, VidhubError
from vidhub.model import Principal

_MESSAGES = {
    "CERTIFICATE_REVOKED": "this certificate was revoked: ask the hub's administrator for a new enrolment file",
    "USER_SUSPENDED": "this account is suspended: ask an administrator",
    "PASSWORD_CHANGED": "the password was changed: log in again",
    "LOGOUT": "you have logged out",
}


class LiveCalls:
    """The task of each call under way, by certificate fingerprint, login and principal ("user/zhang")."""

    def __init__(self) -> None:
        self._tasks: dict[str, set[asyncio.Task[object]]] = {}
        self._cut: dict[asyncio.Task[object], VidhubError] = {}

    @contextmanager
    def entered(self, principal: Principal | None) -> Iterator[None]:
        """Registers the current task; turns a cut's cancellation into the error that the caller shall see."""
        task = asyncio.current_task()
        if principal is None or task is None:
            yield
            return
        keys = [key for key in (principal.fingerprint, principal.login_id, principal.ref) if key]
        for key in keys:
            self._tasks.setdefault(key, set()).add(task)
        try:
            yield
        except asyncio.CancelledError:
            error = self._cut.get(task)
            if error is None:
                raise
            task.uncancel()
            raise error from None
        finally:
            self._cut.pop(task, None)
            for key in keys:
                tasks = self._tasks[key]
                tasks.discard(task)
                if not tasks:
                    del self._tasks[key]

    def cut(self, key: str, reason: str = "CERTIFICATE_REVOKED") -> int:
        """Ends the live calls under a fingerprint or principal with UNAUTHENTICATED; returns how many there were."""
        message = _MESSAGES.get(reason, "the right to this call has ended: log in or enrol again")
        tasks = tuple(self._tasks.get(key, ()))
        for task in tasks:
            self.cut_task(task, Unauthenticated(reason, message))
        return len(tasks)

    def certificates_revoked(self, fingerprints: frozenset[str], _why: str = "") -> None:
        """Listens to `identity.units`: why a certificate was revoked is no business of its holder's."""
        for fingerprint in fingerprints:
            self.cut(fingerprint, "CERTIFICATE_REVOKED")

    def logins_ended(self, login_ids: frozenset[str], reason: str) -> None:
        """Listens to `identity.people`."""
        for login_id in login_ids:
            self.cut(login_id, reason)

    def cut_task(self, task: asyncio.Task[object], error: VidhubError) -> None:
        """Ends one live call with `error`."""
        if task not in self._cut and not task.done():
            self._cut[task] = error
            task.cancel()

    def tasks(self) -> frozenset[asyncio.Task[object]]:
        """Every call under way, once."""
        return frozenset(task for tasks in self._tasks.values() for task in tasks)
