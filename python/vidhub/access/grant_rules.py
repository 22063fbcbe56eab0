"""What a grant may say, whom it covers, and how it stands on record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection

from vidhub.access import hours
from vidhub.access.purposes import Purposes
from vidhub.errors import InvalidArgument, Violation
from vidhub.model import Action, AuditRecord, Camera, CameraState, Grant, Principal, Region
from vidhub.store import cameras, industries, regions, units, users

LONGEST = timedelta(days=366)
SERVED = (Action.LIST, Action.VIEW_LIVE, Action.SNAPSHOT)
_MOST_ENTRIES = 1_000


def violations(grant: Grant, now: datetime, purposes: Purposes) -> Iterator[Violation]:
    """Every rule that it breaks by itself."""
    if bool(grant.username) == bool(grant.department):
        yield Violation("grant.username", "SUBJECT_INVALID", "name either a user or a department")
    scope = grant.scope
    lists = (scope.camera_ids, scope.unit_ids, scope.region_prefixes, scope.industries)
    if not any(lists):
        yield Violation("grant.scope", "SCOPE_EMPTY", "name cameras, units, regions or industries: none covers none")
    if any(len(entries) > _MOST_ENTRIES for entries in lists):
        yield Violation("grant.scope", "SCOPE_TOO_LONG", f"at most {_MOST_ENTRIES} entries in a list")
    if not grant.purposes and grant.actions != (Action.LIST,):  # to know of a camera needs no purpose
        yield Violation("grant.purposes", "PURPOSES_MISSING", "say for which purposes; without one nothing is allowed")
    for kind in purposes.unknown(grant.purposes):
        yield Violation("grant.purposes", "PURPOSE_UNKNOWN", f"the register of purposes has no {kind[:40]!r}")
    if not grant.actions:
        yield Violation("grant.actions", "ACTIONS_MISSING", "say what may be done, as in VIEW_LIVE")
    for action in grant.actions:
        if action not in SERVED:
            yield Violation("grant.actions", "ACTION_NOT_SERVED", f"{action.value} is not served by this version")
    if grant.not_after <= now:
        yield Violation("grant.not_after", "GRANT_ENDED", "the end lies in the past")
    elif grant.not_after <= grant.not_before:
        yield Violation("grant.not_after", "GRANT_NEVER_BEGINS", "the end lies before the beginning")
    elif grant.not_after - now > LONGEST:
        yield Violation("grant.not_after", "GRANT_TOO_LONG", "a grant lasts a year at most: renew it then")
    yield from _hours_violations(grant, now)


def _hours_violations(grant: Grant, now: datetime) -> Iterator[Violation]:
    field = "grant.weekly_hours"
    if len(grant.weekly_hours) > hours.MOST_STRETCHES:
        yield Violation(field, "HOURS_INVALID", f"at most {hours.MOST_STRETCHES} stretches a week")
        return
    for one in grant.weekly_hours:
        is_sound = (
            bool(one.days)
            and len(set(one.days)) == len(one.days)
            and all(1 <= day <= 7 for day in one.days)
            and 0 <= one.start_minute < hours.DAY_MINUTES
            and 0 <= one.end_minute <= hours.DAY_MINUTES
        )
        if not is_sound:
            yield Violation(field, "HOURS_INVALID", "days are 1 (Monday) to 7, minutes 0 to 1439, of the end to 1440")
            return
    if grant.weekly_hours and now < grant.not_after and hours.stretch(grant, now) is None:
        yield Violation(field, "GRANT_NEVER_BEGINS", "none of these hours lies within the time of the grant")


def unknown(conn: Connection, grant: Grant) -> Iterator[Violation]:
    """What the grant names and the hub does not know."""
    if grant.username and users.by_name(conn, grant.username) is None:
        yield Violation("grant.username", "USER_UNKNOWN", f"there is no user {grant.username[:64]!r}")
    if grant.department and not any(user.department == grant.department for user in users.load(conn)):
        yield Violation("grant.department", "DEPARTMENT_UNKNOWN", f"nobody is of department {grant.department[:64]!r}")
    scope = grant.scope
    known = {
        camera.id for camera in cameras.list_full(conn, scope.camera_ids) if camera.state is not CameraState.RETIRED
    }
    table = regions.load(conn)
    for field, reason, entries, is_known in (
        ("camera_ids", "CAMERA_UNKNOWN", scope.camera_ids, known.__contains__),
        ("unit_ids", "UNIT_UNKNOWN", scope.unit_ids, lambda one: units.get(conn, one) is not None),
        ("region_prefixes", "REGION_UNKNOWN", scope.region_prefixes, lambda one: is_known_prefix(one, table)),
        ("industries", "INDUSTRY_UNKNOWN", scope.industries, industries.knows),
    ):
        for entry in entries:
            if not is_known(entry):
                yield Violation(f"grant.scope.{field}", reason, f"this hub does not know {entry[:64]!r}")


def is_known_prefix(prefix: str, table: list[Region]) -> bool:
    """Of a listed code, or of one that registration would take."""
    if any(region.code.startswith(prefix) for region in table):
        return bool(prefix)
    return regions.RegionTable(table).knows(prefix.ljust(6, "0"))


def with_list(wanted: Sequence[Action]) -> tuple[Action, ...]:
    """In the order of the enum, once each; every other action includes LIST."""
    return tuple(action for action in Action if action in wanted or (action is Action.LIST and wanted))


def covers(grant: Grant, camera: Camera) -> bool:
    """Whether the camera lies in the grant's scope: lists narrow each other, no list covers nothing."""
    scope = grant.scope
    lists = (scope.camera_ids, scope.unit_ids, scope.region_prefixes, scope.industries)
    return (
        any(lists)
        and (not scope.camera_ids or camera.id in scope.camera_ids)
        and (not scope.unit_ids or camera.unit_id in scope.unit_ids)
        and (not scope.region_prefixes or camera.region_code.startswith(scope.region_prefixes))
        and (not scope.industries or camera.industry in scope.industries)
    )


class UnitSight:
    """Whether a grant covers any camera of a unit, judged by the few places and industries its cameras have."""

    def __init__(self, conn: Connection, unit_id: str) -> None:
        self._conn = conn
        self._unit_id = unit_id
        rows = conn.exec_driver_sql(
            "SELECT DISTINCT region_code, industry FROM cameras WHERE unit_id = ? AND state <> ?",
            (unit_id, int(CameraState.RETIRED)),
        )
        self._kinds = [(str(row[0]), str(row[1])) for row in rows]

    def touches(self, grant: Grant) -> bool:
        scope = grant.scope
        if not any((scope.camera_ids, scope.unit_ids, scope.region_prefixes, scope.industries)):
            return False
        if scope.unit_ids and self._unit_id not in scope.unit_ids:
            return False
        if scope.camera_ids:
            named = cameras.list_full(self._conn, scope.camera_ids)
            return any(covers(grant, camera) for camera in named if camera.unit_id == self._unit_id)
        return any(
            (not scope.region_prefixes or region.startswith(scope.region_prefixes))
            and (not scope.industries or industry in scope.industries)
            for region, industry in self._kinds
        )


def entry(principal: Principal, action: str, grant: Grant, **facts: str) -> AuditRecord:
    detail = {
        "user": grant.username,
        "department": grant.department,
        "actions": [one.value for one in grant.actions],
        "purposes": list(grant.purposes),
        "not_before": grant.not_before.isoformat(),
        "not_after": grant.not_after.isoformat(),
        **({"weekly_hours": hours.words(grant.weekly_hours)} if grant.weekly_hours else {}),
        **{field: value for field, value in _scope(grant).items() if value},
        **facts,
    }
    text = json.dumps(detail, ensure_ascii=False)
    if len(text) > 8_000:  # a scope of a thousand ids: the grant itself has them
        text = json.dumps({key: value for key, value in detail.items() if key not in _scope(grant)}, ensure_ascii=False)
    return AuditRecord.of(principal, action, f"grant/{grant.id}", grant_id=grant.id, detail_json=text)


def _scope(grant: Grant) -> dict[str, list[str]]:
    scope = grant.scope
    return {
        "camera_ids": list(scope.camera_ids),
        "unit_ids": list(scope.unit_ids),
        "region_prefixes": list(scope.region_prefixes),
        "industries": list(scope.industries),
    }


def invalid(found: Sequence[Violation]) -> InvalidArgument:
    reason = found[0].reason if len({one.reason for one in found}) == 1 else "GRANT_INVALID"
    return InvalidArgument(reason, "; ".join(one.description for one in found), violations=found)
