"""What may happen, how bad that is, and who is told."""

from __future__ import annotations

from dataclasses import dataclass

from vidhub.model import Role, Severity


@dataclass(frozen=True, slots=True)
class Kind:
    """roles: who is told of every event of the kind. by_camera: operators are, of cameras that they may know of.
    to_unit: the unit is whose it is. to_person: the person whose session it was."""

    name: str
    severity: Severity
    roles: frozenset[Role]
    by_camera: bool = False
    to_unit: bool = False
    to_person: bool = False


_KEEPERS = frozenset({Role.SUPERVISOR, Role.ADMINISTRATOR})
_OVERSEERS = _KEEPERS | {Role.APPROVER, Role.AUDITOR}
_WATCHERS = _KEEPERS | {Role.OPERATOR}

CAMERA_OFFLINE = Kind("camera.offline", Severity.WARNING, _OVERSEERS, by_camera=True, to_unit=True)
SESSION_OPENED = Kind("session.opened", Severity.INFO, _OVERSEERS, to_unit=True)
SESSION_ENDED = Kind("session.ended", Severity.INFO, _OVERSEERS, to_unit=True, to_person=True)
ACCESS_REFUSED = Kind("access.refused", Severity.INFO, _KEEPERS | {Role.AUDITOR})
CERTIFICATE_EXPIRING = Kind("certificate.expiring", Severity.WARNING, _KEEPERS, to_unit=True)
STORE_FAILING = Kind("store.failing", Severity.SEVERE, _WATCHERS)
DISK_LOW = Kind("disk.low", Severity.WARNING, _KEEPERS)
LINK_DOWN = Kind("link.down", Severity.SEVERE, _OVERSEERS | _WATCHERS)
BACKUP_OVERDUE = Kind("backup.overdue", Severity.WARNING, _KEEPERS)
HUB_STALLED = Kind("hub.stalled", Severity.WARNING, _KEEPERS)
HUB_CRASHED = Kind("hub.crashed", Severity.WARNING, _KEEPERS)
CLOCK_JUMPED = Kind("clock.jumped", Severity.SEVERE, _KEEPERS)
SOCKET_GONE = Kind("socket.gone", Severity.SEVERE, _KEEPERS)

KINDS = {
    kind.name: kind
    for kind in (
        CAMERA_OFFLINE,
        SESSION_OPENED,
        SESSION_ENDED,
        ACCESS_REFUSED,
        CERTIFICATE_EXPIRING,
        STORE_FAILING,
        DISK_LOW,
        LINK_DOWN,
        BACKUP_OVERDUE,
        HUB_STALLED,
        HUB_CRASHED,
        CLOCK_JUMPED,
        SOCKET_GONE,
    )
}
