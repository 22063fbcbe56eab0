"""Messages to values and back; the only place where both are spoken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.timestamp_pb2 import Timestamp

from vidhub.errors import InvalidArgument, Violation
from vidhub.model import (
    Action,
    AuditEntry,
    BatchResult,
    Camera,
    CameraCount,
    CameraCounts,
    CameraFilter,
    CameraGrouping,
    CameraRemoved,
    CameraStateChange,
    CameraStream,
    CameraUpserted,
    Circle,
    Grant,
    LegalRecord,
    Location,
    Profile,
    Purpose,
    RegistrationChange,
    RegistrationKind,
    RejectedCamera,
    Revision,
    Role,
    Scope,
    Session,
    WatchEvent,
    WeeklyHours,
)
from vidhub.v1 import (
    audit_service_pb2,
    auth_service_pb2,
    camera_pb2,
    camera_service_pb2,
    grant_service_pb2,
    session_service_pb2,
)

if TYPE_CHECKING:
    from google.protobuf.message import Message

_ACTIONS = {
    number: Action(name.removeprefix("ACTION_").lower()) for name, number in grant_service_pb2.Action.items() if number
}
_ACTION_NUMBERS = {action: number for number, action in _ACTIONS.items()}
_GROUPINGS = {
    number: CameraGrouping(name.removeprefix("CAMERA_GROUPING_").lower())
    for name, number in camera_service_pb2.CameraGrouping.items()
    if number
}
_ROLE_NUMBERS = {
    Role(name.removeprefix("ROLE_").lower()): number for name, number in auth_service_pb2.Role.items() if number
}


def _enum(number: int) -> Any:
    """The stubs know an enum's numbers by name alone."""
    return int(number)


# Times.


def to_time(value: datetime | None) -> Timestamp | None:
    if value is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(value)
    return stamp


def from_time(message: Message, field: str) -> datetime | None:
    """None when it is not set. Raises InvalidArgument for a time that no calendar holds."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as cause:
        description = "give a time between the years 1 and 9999"
        raise InvalidArgument(
            "TIME_INVALID", f"{field}: {description}", violations=[Violation(field, "TIME_INVALID", description)]
        ) from cause


# Cameras.


def to_revision(revision: Revision | None) -> camera_pb2.Revision | None:
    return None if revision is None else camera_pb2.Revision(epoch=revision.epoch, number=revision.number)


def from_revision(message: Message, field: str) -> Revision | None:
    if not message.HasField(field):
        return None
    revision = getattr(message, field)
    return Revision(revision.epoch, revision.number)


@dataclass(frozen=True, slots=True)
class Names:
    """What people call a unit, by its id, and a region, by its code; "" for one that has no name."""

    unit: Callable[[str], str]
    region: Callable[[str], str]


NAMELESS = Names(unit=lambda _: "", region=lambda _: "")


_NO_LEGAL = LegalRecord()


def to_camera(camera: Camera, names: Names = NAMELESS) -> camera_pb2.Camera:
    """Never with a password: it is write only."""
    place = camera.location
    message = camera_pb2.Camera(
        id=camera.id,
        name=camera.name,
        unit_id=camera.unit_id,
        region_code=camera.region_code,
        industry=camera.industry,
        place_category=_enum(camera.place_category),
        location=camera_pb2.Location(latitude=place.latitude, longitude=place.longitude, address=place.address),
        streams=[_to_stream(stream) for stream in camera.streams],
        state=_enum(camera.state),
        state_time=to_time(camera.state_time),
        state_reason=camera.state_reason,
        revision=to_revision(camera.revision),
        home_hub_id=camera.home_hub_id,
        stale=camera.stale,
        unit_name=camera.unit_name or names.unit(camera.unit_id),
        region_name=names.region(camera.region_code),
    )
    # What the registry does not hold is set where it is there: lists are made of hundreds without it.
    if camera.create_time is not None:
        message.create_time.FromDatetime(camera.create_time)
    if camera.update_time is not None:
        message.update_time.FromDatetime(camera.update_time)
    if camera.legal != _NO_LEGAL:
        message.legal.CopyFrom(to_legal(camera.legal))
    if (device := _to_device(camera.device)) is not None:
        message.device.CopyFrom(device)
    if camera.warnings:
        message.warnings.extend(_to_warnings(camera.warnings))
    return message


def from_grouping(number: int) -> CameraGrouping:
    return _GROUPINGS.get(number, CameraGrouping.NONE)


def to_counts(
    counts: CameraCounts, grouping: CameraGrouping, names: Names = NAMELESS
) -> camera_service_pb2.CountCamerasResponse:
    def named(key: str) -> str:
        if grouping is CameraGrouping.UNIT:
            return names.unit(key)
        return names.region(key) if grouping is CameraGrouping.REGION else ""

    def row(count: CameraCount) -> camera_service_pb2.CameraCount:
        return camera_service_pb2.CameraCount(
            key=count.key,
            name=count.name or named(count.key),
            cameras=count.cameras,
            stale=count.stale,
            states=[
                camera_service_pb2.StateCount(state=_enum(state), cameras=cameras) for state, cameras in count.states
            ],
        )

    return camera_service_pb2.CountCamerasResponse(
        counts=[row(count) for count in counts.groups],
        left_out=counts.left_out,
        total=row(counts.total),
        revision=to_revision(counts.revision),
    )


def from_camera(message: camera_pb2.Camera) -> Camera:
    """What a caller may say of a camera. State, times, revision and home hub are the hub's own and are not read."""
    place, legal = message.location, message.legal
    return Camera(
        id=message.id,
        name=message.name,
        unit_id=message.unit_id,
        region_code=message.region_code,
        industry=message.industry,
        place_category=message.place_category,
        location=Location(place.latitude, place.longitude, place.address),
        streams=tuple(_from_stream(stream) for stream in message.streams),
        legal=LegalRecord(
            place_basis=legal.place_basis,
            purpose=legal.purpose,
            scope=legal.scope,
            retention_days=legal.retention_days,
            signage_text=legal.signage_text,
            signage_date=legal.signage_date,
            near_secret_unit=legal.near_secret_unit,
            consent=legal.consent,
        ),
        device=tuple((field.name, value) for field, value in message.device.ListFields()),
    )


def _to_device(values: Iterable[tuple[str, str | int | float]]) -> camera_pb2.DeviceRecord | None:
    fields: dict[str, Any] = dict(values)
    return camera_pb2.DeviceRecord(**fields) if fields else None


def _to_stream(stream: CameraStream) -> camera_pb2.CameraStream:
    return camera_pb2.CameraStream(
        profile=_enum(stream.profile),
        url=stream.url,
        username=stream.username,
        transport=_enum(stream.transport),
        codec=stream.codec,
        width=stream.width,
        height=stream.height,
        frame_rate=stream.frame_rate,
    )


def _from_stream(message: camera_pb2.CameraStream) -> CameraStream:
    return CameraStream(
        profile=Profile(message.profile),
        url=message.url,
        username=message.username,
        password=message.password,
        transport=message.transport,
    )


def to_legal(legal: LegalRecord) -> camera_pb2.LegalRecord:
    return camera_pb2.LegalRecord(
        place_basis=legal.place_basis,
        purpose=legal.purpose,
        scope=legal.scope,
        retention_days=legal.retention_days,
        signage_text=legal.signage_text,
        signage_date=legal.signage_date,
        near_secret_unit=legal.near_secret_unit,
        consent=legal.consent,
    )


def from_filter(message: camera_service_pb2.CameraFilter) -> CameraFilter:
    within = message.within
    return CameraFilter(
        region_prefix=message.region_prefix,
        unit_ids=tuple(message.unit_ids),
        industries=tuple(message.industries),
        place_categories=tuple(message.place_categories),
        states=tuple(message.states),
        text=message.text,
        within=Circle(within.latitude, within.longitude, within.radius_m) if message.HasField("within") else None,
    )


def to_violations(violations: Iterable[Violation]) -> list[camera_service_pb2.FieldViolation]:
    return [
        camera_service_pb2.FieldViolation(field=row.field, reason=row.reason, description=row.description)
        for row in violations
    ]


def to_rejected(rejected: Iterable[RejectedCamera]) -> list[camera_service_pb2.RejectedCamera]:
    return [
        camera_service_pb2.RejectedCamera(index=row.index, id=row.id, violations=to_violations(row.violations))
        for row in rejected
    ]


def to_batch(result: BatchResult, *, dry_run: bool) -> dict[str, Any]:
    """The fields of both batch responses."""
    kinds = Counter(change.kind for change in result.changes)
    accepted = len(result.ids) - len(result.rejected)
    changes: list[RegistrationChange] = []
    if dry_run:
        told = {row.index for row in result.rejected} | {change.index for change in result.changes}
        new = (RegistrationChange(n, RegistrationKind.NEW) for n in range(len(result.ids)) if n not in told)
        changes = sorted((*result.changes, *new), key=lambda change: change.index)
    return {
        "created": accepted - len(result.changes),
        "changed": kinds[RegistrationKind.CHANGED],
        "unchanged": kinds[RegistrationKind.UNCHANGED],
        "changes": [
            camera_service_pb2.RegistrationChange(index=one.index, kind=_enum(one.kind), fields=one.fields)
            for one in changes
        ],
        "warned": [
            camera_service_pb2.WarnedCamera(index=index, warnings=_to_warnings(found)) for index, found in result.warned
        ],
        "ids": result.ids,
        "rejected": to_rejected(result.rejected),
        "revision": to_revision(result.revision),
    }


def _to_warnings(found: Iterable[Violation]) -> list[camera_pb2.CameraWarning]:
    return [camera_pb2.CameraWarning(field=one.field, reason=one.reason, description=one.description) for one in found]


def to_watch_event(event: WatchEvent, names: Names = NAMELESS) -> camera_service_pb2.WatchCamerasResponse:
    match event:
        case CameraUpserted():
            return camera_service_pb2.WatchCamerasResponse(upserted=to_camera(event.camera, names))
        case CameraRemoved():
            return camera_service_pb2.WatchCamerasResponse(removed_id=event.id)
        case CameraStateChange():
            change = camera_service_pb2.CameraStateChange(
                id=event.id, state=_enum(event.state), reason=event.reason, number=event.number, stale=event.stale
            )
            return camera_service_pb2.WatchCamerasResponse(state=change)
        case _:
            return camera_service_pb2.WatchCamerasResponse(synced=to_revision(event.revision))


# Grants.


def to_action(action: Action) -> Any:
    return _enum(_ACTION_NUMBERS[action])


def from_action(number: int) -> Action | None:
    """None for what is unspecified, or of a newer version."""
    return _ACTIONS.get(number)


def to_scope(scope: Scope) -> grant_service_pb2.Scope:
    return grant_service_pb2.Scope(
        camera_ids=scope.camera_ids,
        unit_ids=scope.unit_ids,
        region_prefixes=scope.region_prefixes,
        industries=scope.industries,
    )


def from_scope(message: grant_service_pb2.Scope) -> Scope:
    return Scope(
        camera_ids=tuple(message.camera_ids),
        unit_ids=tuple(message.unit_ids),
        region_prefixes=tuple(message.region_prefixes),
        industries=tuple(message.industries),
    )


def to_actions(actions: Iterable[Action]) -> list[Any]:
    return [_enum(_ACTION_NUMBERS[action]) for action in actions]


def from_actions(numbers: Iterable[int]) -> tuple[Action, ...]:
    """Raises InvalidArgument ACTION_UNKNOWN."""
    try:
        return tuple(_ACTIONS[number] for number in numbers)
    except KeyError as cause:
        raise InvalidArgument("ACTION_UNKNOWN", "name the actions, as in VIEW_LIVE") from cause


def to_grant(grant: Grant) -> grant_service_pb2.Grant:
    return grant_service_pb2.Grant(
        id=grant.id,
        username=grant.username,
        department=grant.department,
        scope=to_scope(grant.scope),
        actions=to_actions(grant.actions),
        purposes=grant.purposes,
        not_before=to_time(grant.not_before),
        not_after=to_time(grant.not_after),
        reason=grant.reason,
        revoke_time=to_time(grant.revoke_time),
        revoke_reason=grant.revoke_reason,
        weekly_hours=[
            grant_service_pb2.WeeklyHours(days=one.days, start_minute=one.start_minute, end_minute=one.end_minute)
            for one in grant.weekly_hours
        ],
        created_by=grant.created_by,
        create_time=to_time(grant.create_time),
    )


def from_grant(message: grant_service_pb2.Grant, now: datetime) -> Grant:
    """What a caller may say of a grant; without not_before it holds at once."""
    not_after = from_time(message, "not_after")
    if not_after is None:
        description = "say until when the grant holds"
        violation = Violation("grant.not_after", "NOT_AFTER_MISSING", description)
        raise InvalidArgument("NOT_AFTER_MISSING", f"not_after: {description}", violations=[violation])
    return Grant(
        id="",
        username=message.username,
        department=message.department,
        scope=from_scope(message.scope),
        actions=from_actions(message.actions),
        purposes=tuple(message.purposes),
        not_before=from_time(message, "not_before") or now,
        not_after=not_after,
        reason=message.reason,
        weekly_hours=tuple(
            WeeklyHours(tuple(sorted(one.days)), one.start_minute, one.end_minute) for one in message.weekly_hours
        ),
    )


# Sessions.


def from_purpose(message: session_service_pb2.Purpose) -> Purpose:
    return Purpose(kind=message.kind, reference=message.reference, note=message.note)


def to_purpose(purpose: Purpose) -> session_service_pb2.Purpose:
    return session_service_pb2.Purpose(kind=purpose.kind, reference=purpose.reference, note=purpose.note)


def to_profile(profile: Profile) -> Any:
    return _enum(profile)


def to_session(session: Session) -> session_service_pb2.Session:
    return session_service_pb2.Session(
        id=session.id,
        camera_id=session.camera_id,
        purpose=to_purpose(session.purpose),
        grant_id=session.grant_id,
        profile=_enum(session.profile),
        open_time=to_time(session.open_time),
        expire_time=to_time(session.expire_time),
        end_reason=session.end_reason,
        viewer_name=session.viewer_name,
        end_time=to_time(session.end_time),
        principal=session.principal,
    )


def to_listed(session: Session, camera_names: Mapping[str, str]) -> session_service_pb2.Session:
    """As a list shows it: also what its camera is called."""
    message = to_session(session)
    message.camera_name = camera_names.get(session.camera_id, "")
    return message


# The register of use.


def to_entry(entry: AuditEntry) -> audit_service_pb2.AuditEntry:
    record = entry.record
    return audit_service_pb2.AuditEntry(
        chain_id=entry.chain_id,
        seq=entry.seq,
        time=to_time(entry.time),
        principal=record.principal,
        principal_unit=record.principal_unit,
        action=record.action,
        resource=record.resource,
        purpose_kind=record.purpose_kind,
        purpose_reference=record.purpose_reference,
        grant_id=record.grant_id,
        session_id=record.session_id,
        source_address=record.source_address,
        result=record.result,
        detail_json=record.detail_json,
        previous_hash=entry.previous_hash,
        hash=entry.hash,
        trace_id=record.trace_id,
    )


# People.


def to_roles(roles: Iterable[Role]) -> list[Any]:
    return [_enum(number) for number in sorted(_ROLE_NUMBERS[role] for role in roles)]
