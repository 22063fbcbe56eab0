"""Who may know of an event, and of how much of it: by role, and by the cameras that they may know of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vidhub.events.kinds import KINDS
from vidhub.model import Event, EventFilter, Principal, PrincipalKind, Role, Severity


def told(principal: Principal, event: Event, may_list: Callable[[str], bool]) -> Event | None:
    """The event as the caller may know it; None when they may not. may_list: whether they may know of a camera.

    Whoever does not see all cameras reads of those that they may know of, of how many of those the event names, and no
    further facts.
    """
    kind = KINDS.get(event.kind)
    if kind is None:
        return None
    if principal.kind is PrincipalKind.SYSTEM or (
        principal.kind is PrincipalKind.USER and principal.roles & kind.roles
    ):
        return event
    if kind.to_person and event.principal == principal.ref:
        return event
    is_unit = principal.kind is PrincipalKind.UNIT or Role.UNIT in principal.roles
    if kind.to_unit and is_unit and principal.unit_id and event.unit_id == principal.unit_id and not event.hub_id:
        return event
    if not kind.by_camera or not (is_unit or Role.OPERATOR in principal.roles):
        return None
    seen = tuple(camera_id for camera_id in event.camera_ids if may_list(camera_id))
    if not seen:
        return None
    if len(seen) == event.count:
        return event
    subject = event.subject if event.subject.startswith("camera/") else f"camera/{seen[0]}"
    return replace(event, camera_ids=seen, count=len(seen), subject=subject, detail_json="", unit_id="", region_code="")


def matches(event: Event, wanted: EventFilter, *, as_it_was: bool = False) -> bool:
    """as_it_was: also what lasts no longer or is acknowledged by now."""
    return (
        (not wanted.kinds or event.kind in wanted.kinds)
        and event.severity >= wanted.min_severity
        and (
            not wanted.region_prefix or (bool(event.region_code) and event.region_code.startswith(wanted.region_prefix))
        )
        and (not wanted.unit_id or event.unit_id == wanted.unit_id)
        and (not wanted.camera_id or wanted.camera_id in event.camera_ids)
        and (as_it_was or not wanted.open or event.end_time is None)
        and (as_it_was or not wanted.unacknowledged or asks(event))
    )


def asks(event: Event) -> bool:
    """Whether it waits for somebody to acknowledge it."""
    return event.acknowledgement is None and event.severity > Severity.INFO
