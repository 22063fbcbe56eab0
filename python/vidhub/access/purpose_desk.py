"""Changes of the register of purposes, each on record."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from sqlalchemy import Connection

from vidhub.access.purposes import PUBLISH, Purposes
from vidhub.audit import AuditLog
from vidhub.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Violation,
)
from vidhub.model import AuditRecord, Principal, PrincipalKind, Role
from vidhub.store import Store, purposes
from vidhub.store.purposes import PurposeKind

MOST_IN_FORCE = 64
# Records name a kind for ever, so none is deleted.
MOST_EVER = 256
MOST_CHARACTERS = 64
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")
_KEEPERS = frozenset({Role.SUPERVISOR, Role.ADMINISTRATOR})


class PurposeDesk:
    """Adds, changes and retires kinds; supervisors and administrators do."""

    def __init__(
        self,
        *,
        store: Store,
        audit: AuditLog,
        purposes: Purposes,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._audit = audit
        self._purposes = purposes
        self._clock = clock

    def list(self, *, include_retired: bool = False) -> tuple[PurposeKind, ...]:
        """In the register's order."""
        return self._purposes.all() if include_retired else self._purposes.kinds()

    async def create(self, principal: Principal, wanted: PurposeKind) -> PurposeKind:
        """Adds a kind, or brings a retired one back.

        Raises InvalidArgument PURPOSE_INVALID, AlreadyExists PURPOSE_EXISTS, ResourceExhausted LIMIT_PURPOSES.
        """
        _may_keep(principal)
        _check(wanted)

        def work(conn: Connection) -> PurposeKind:
            register = {one.kind: one for one in purposes.load(conn)}
            known = register.get(wanted.kind)
            if known is not None and known.retire_time is None:
                raise AlreadyExists("PURPOSE_EXISTS", f"the register has {wanted.kind} already: update it")
            in_force = sum(one.retire_time is None for one in register.values())
            if in_force >= MOST_IN_FORCE or (known is None and len(register) >= MOST_EVER):
                raise ResourceExhausted(
                    "LIMIT_PURPOSES", f"at most {MOST_IN_FORCE} purposes in force and {MOST_EVER} ever: reuse one"
                )
            return self._put(conn, principal, "purpose.create", wanted)

        return await self._store.write(work, apply=self._purposes.learn)

    async def update(self, principal: Principal, wanted: PurposeKind) -> PurposeKind:
        """Raises NotFound PURPOSE_UNKNOWN, InvalidArgument PURPOSE_INVALID."""
        _may_keep(principal)
        _check(wanted)

        def work(conn: Connection) -> PurposeKind:
            return self._put(conn, principal, "purpose.update", _in_force(conn, wanted.kind, wanted))

        return await self._store.write(work, apply=self._purposes.learn)

    async def retire(self, principal: Principal, kind: str, reason: str) -> PurposeKind:
        """Raises NotFound PURPOSE_UNKNOWN, InvalidArgument REASON_MISSING, FailedPrecondition PURPOSE_LAST."""
        _may_keep(principal)
        reason = reason.strip()
        if not reason:
            raise InvalidArgument("REASON_MISSING", "say why the purpose goes out of force: the record keeps it")
        now = self._clock()

        def work(conn: Connection) -> PurposeKind:
            known = _in_force(conn, kind)
            if sum(one.retire_time is None for one in purposes.load(conn)) == 1:
                raise FailedPrecondition("PURPOSE_LAST", "without a purpose nothing can be viewed: add another first")
            return self._put(conn, principal, "purpose.retire", replace(known, retire_time=now), reason=reason)

        return await self._store.write(work, apply=self._purposes.learn)

    def _put(self, conn: Connection, principal: Principal, action: str, kind: PurposeKind, **facts: str) -> PurposeKind:
        purposes.put(conn, kind)
        detail = {"name": kind.title, "name_en": kind.title_en, "reference_required": kind.wants_reference, **facts}
        text = json.dumps(detail, ensure_ascii=False)
        self._audit.append(conn, [AuditRecord.of(principal, action, f"purpose/{kind.kind}", detail_json=text)])
        return kind


def _in_force(conn: Connection, kind: str, changed: PurposeKind | None = None) -> PurposeKind:
    """The kind as the register has it, or `changed` in its place."""
    known = next((one for one in purposes.load(conn) if one.kind == kind and one.retire_time is None), None)
    if known is None:
        raise NotFound("PURPOSE_UNKNOWN", f"the register has no {kind[:40]!r} in force")
    return known if changed is None else changed


def _check(wanted: PurposeKind) -> None:
    found = []
    if not _KIND.fullmatch(wanted.kind) or wanted.kind == PUBLISH:
        rule = f"a small letter, then small letters, digits or _, 32 at most; {PUBLISH} is taken"
        found.append(Violation("purpose.kind", "PURPOSE_INVALID", f"kind: {rule}"))
    for field, text in (("name", wanted.title), ("name_en", wanted.title_en)):
        if not 0 < len(text) <= MOST_CHARACTERS or not text.isprintable():
            rule = f"{field}: 1 to {MOST_CHARACTERS} printable characters"
            found.append(Violation(f"purpose.{field}", "PURPOSE_INVALID", rule))
    if found:
        raise InvalidArgument("PURPOSE_INVALID", "; ".join(one.description for one in found), violations=found)


def _may_keep(principal: Principal) -> None:
    if principal.kind is not PrincipalKind.SYSTEM and not _KEEPERS & principal.roles:
        raise PermissionDenied("ROLE_NOT_PERMITTED", "supervisors and administrators keep the register of purposes")
