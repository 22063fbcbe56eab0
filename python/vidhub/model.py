"""Values of the control plane, as frozen dataclasses. Times are aware datetimes in UTC; ids are plain strings."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Any

from vidhub.errors import Violation


class Role(enum.StrEnum):
    """What a person is allowed to be. Administrators hold no role that sees video."""

    OPERATOR = "operator"
    UNIT = "unit"
    APPROVER = "approver"
    SUPERVISOR = "supervisor"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


class PrincipalKind(enum.StrEnum):
    USER = "user"
    UNIT = "unit"
    HUB = "hub"
    CLAIM = "claim"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever calls, on whichever edge.

    id: name of the user, or id of the unit or hub; empty for `system`.
    unit_id: the unit a person belongs to, or the unit itself.
    fingerprint: SHA-256 of the client certificate in hex, for units, hubs and claims.
    login_id: the login (token family) of a person. trace_id: of the call that is under way, for the register of use.
    """

    kind: PrincipalKind
    id: str = ""
    hub_id: str = ""
    display_name: str = ""
    department: str = ""
    unit_id: str = ""
    roles: frozenset[Role] = frozenset()
    fingerprint: str = ""
    login_id: str = ""
    must_change_password: bool = False
    address: str = ""
    trace_id: str = ""

    @property
    def ref(self) -> str:
        """As the register of use writes it: "user/zhang", "unit/u1", "hub/h1", "system"."""
        return self.kind.value if self.kind is PrincipalKind.SYSTEM else f"{self.kind.value}/{self.id}"


class Profile(enum.IntEnum):
    """Numbers as in `vidhub.v1.StreamProfile`."""

    UNSPECIFIED = 0
    MAIN = 1
    SUB = 2
    AUTO = 3


class CameraState(enum.IntEnum):
    """Numbers as in `vidhub.v1.CameraState`."""

    UNSPECIFIED = 0
    UNKNOWN = 1
    ONLINE = 2
    OFFLINE = 3
    REFUSED = 4
    INVALID = 5
    QUARANTINED = 6
    RETIRED = 7


class Action(enum.StrEnum):
    """Words as in metrics and policies; the API's enum in lower case without prefix."""

    LIST = "list"
    VIEW_LIVE = "view_live"
    SNAPSHOT = "snapshot"
    PLAYBACK = "playback"
    EXPORT = "export"
    CONTROL_PTZ = "control_ptz"
    TALK = "talk"
    # Never granted: it comes with the purpose `publish`, and only to the camera's own unit.
    PUBLISH = "publish"


@dataclass(frozen=True, slots=True)
class Revision:
    """Orders the durable catalogue; a restored or re-created store starts a new epoch."""

    epoch: str
    number: int


@dataclass(frozen=True, slots=True)
class Location:
    """WGS-84 degrees."""

    latitude: float
    longitude: float
    address: str = ""


@dataclass(frozen=True, slots=True)
class CameraStream:
    """One stream of a camera. transport: 0 unspecified, 1 TCP, 2 UDP."""

    profile: Profile
    url: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    transport: int = 0
    codec: str = ""
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0


@dataclass(frozen=True, slots=True)
class LegalRecord:
    """Ground, purpose and scope of the installation (State Council Order 799, Art. 13 and 14)."""

    place_basis: str = ""
    purpose: str = ""
    scope: str = ""
    retention_days: int = 0
    signage_text: str = ""
    signage_date: str = ""
    # Near a military or secret-bearing unit, and that unit's consent (Art. 10).
    near_secret_unit: bool = False
    consent: str = ""


@dataclass(frozen=True, slots=True)
class Camera:
    """One video resource and its record. device: the fields of `vidhub.v1.DeviceRecord` that are set, by name.

    unit_name: what the hub of another hub's camera calls its unit.
    """

    id: str
    name: str
    unit_id: str
    region_code: str
    industry: str
    place_category: int
    location: Location
    streams: tuple[CameraStream, ...]
    legal: LegalRecord
    device: tuple[tuple[str, str | int | float], ...] = ()
    state: CameraState = CameraState.UNKNOWN
    state_time: datetime | None = None
    state_reason: str = ""
    revision: Revision | None = None
    create_time: datetime | None = None
    update_time: datetime | None = None
    home_hub_id: str = ""
    stale: bool = False
    unit_name: str = ""
    warnings: tuple[Violation, ...] = ()

    def at(self, revision: Revision) -> Camera:
        """The same at this revision. Many thousands of them are made at once, and `replace` takes twice the time."""
        values = list(_values_of_camera(self))
        values[_PLACE_OF_REVISION] = revision
        return Camera(*values)


_FIELDS_OF_CAMERA = [one.name for one in fields(Camera)]
_PLACE_OF_REVISION = _FIELDS_OF_CAMERA.index("revision")
_values_of_camera: Callable[[Camera], tuple[Any, ...]] = attrgetter(*_FIELDS_OF_CAMERA)


@dataclass(frozen=True, slots=True)
class Scope:
    """Within a list any entry will do; lists given together narrow each other; no list covers nothing."""

    camera_ids: tuple[str, ...] = ()
    unit_ids: tuple[str, ...] = ()
    region_prefixes: tuple[str, ...] = ()
    industries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeeklyHours:
    """A stretch that comes back each week, by the hub's clock.

    days: that it begins on, 1 (Monday) to 7 (Sunday). start_minute, end_minute: since midnight; an end at or before the
    start lies on the next day.
    """

    days: tuple[int, ...]
    start_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may do what with which cameras, for which purposes, until when.

    weekly_hours: when in the week it holds; none: always.
    hub_id: instead of a person or department, the linked hub that it is for: then it is a sharing rule, and `fields`
    are the parts of the record that go along with what a list shows.
    """

    id: str
    username: str
    department: str
    scope: Scope
    actions: tuple[Action, ...]
    purposes: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    reason: str = ""
    created_by: str = ""
    create_time: datetime | None = None
    revoke_time: datetime | None = None
    revoke_reason: str = ""
    hub_id: str = ""
    fields: tuple[str, ...] = ()
    weekly_hours: tuple[WeeklyHours, ...] = ()


@dataclass(frozen=True, slots=True)
class Purpose:
    kind: str
    reference: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """One principal watching one camera. `expire_time` is renewable up to the grant's end.

    asked_by_hub_id, view_id: of a view from another hub, the linked hub that asked and its name for the view.
    """

    id: str
    camera_id: str
    principal: str
    viewer_name: str
    purpose: Purpose
    grant_id: str
    profile: Profile
    open_time: datetime
    expire_time: datetime
    rtsp_user: str = ""
    rtsp_password: str = field(default="", repr=False)
    end_time: datetime | None = None
    end_reason: str = ""
    asked_by_hub_id: str = ""
    view_id: str = ""
    trace_id: str = ""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A fact for the register of use, before the chain gives it its place. Fields as in `vidhub.v1.AuditEntry`."""

    principal: str
    action: str
    resource: str
    result: str = "ok"
    principal_unit: str = ""
    purpose_kind: str = ""
    purpose_reference: str = ""
    grant_id: str = ""
    session_id: str = ""
    source_address: str = ""
    detail_json: str = ""
    trace_id: str = ""

    @classmethod
    def of(cls, principal: Principal, action: str, resource: str, **facts: str) -> AuditRecord:
        """What `principal` did, or was refused (result)."""
        return cls(
            principal=principal.ref,
            action=action,
            resource=resource,
            principal_unit=principal.unit_id,
            source_address=principal.address,
            **{"trace_id": principal.trace_id, **facts},
        )


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A record in its chain. `hash` covers `previous_hash` and every other field."""

    chain_id: str
    seq: int
    time: datetime
    record: AuditRecord
    previous_hash: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class User:
    """password_expire_time: of a one-time password. login_time: of the newest login."""

    id: str
    name: str
    display_name: str
    department: str
    unit_id: str
    roles: frozenset[Role]
    suspended: bool
    must_change_password: bool
    create_time: datetime
    password_expire_time: datetime | None = None
    login_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Unit:
    """A connecting unit (接入单位). state: "invited" until it enrolled, "enrolled", "revoked"."""

    id: str
    name: str
    region_code: str
    industry: str
    state: str
    create_time: datetime


class HubLevel(enum.StrEnum):
    PROVINCE = "province"
    CITY = "city"
    DISTRICT = "district"
    ZONE = "zone"


class HubSide(enum.StrEnum):
    """Where a linked hub stands, seen from here."""

    UPPER = "upper"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class LinkedHub:
    """A hub that this one is linked to, or has invited.

    joined: it holds its certificate. accepted_here, accepted_there: an administrator of either side has confirmed it;
    only then anything flows. link_address, media_address: HOST:PORT of an upper hub's gRPC and RTSPS; ca_pem: what both
    are checked by. have: up to where its catalogue is known here, None for nothing yet. joined_key: SHA-256 of the
    public key that a lower hub joined with, in hex. end_reason: why the other side has ended the link for good.
    """

    id: str
    name: str
    level: HubLevel
    region_code: str
    side: HubSide
    joined: bool = False
    accepted_here: bool = False
    accepted_there: bool = False
    link_address: str = ""
    media_address: str = ""
    ca_pem: str = field(default="", repr=False)
    signing_key_pem: str = field(default="", repr=False)
    have: Revision | None = None
    joined_key: str = ""
    end_reason: str = ""
    create_time: datetime | None = None
    accept_time: datetime | None = None

    @property
    def is_accepted(self) -> bool:
        return self.joined and self.accepted_here and self.accepted_there

    @property
    def region_prefix(self) -> str:
        return region_prefix(self.region_code)


def region_prefix(code: str) -> str:
    """What the codes within a region begin with (GB/T 2260): "36" for 360000, "3606" for 360600."""
    return code[:2] if code.endswith("0000") else code[:4] if code.endswith("00") else code


@dataclass(frozen=True, slots=True)
class Region:
    """A division (GB/T 2260, 6 digits) or a development zone of the hub's own table."""

    code: str
    name: str
    parent_code: str = ""


@dataclass(frozen=True, slots=True)
class Circle:
    latitude: float
    longitude: float
    radius_m: float


@dataclass(frozen=True, slots=True)
class CameraFilter:
    """All given conditions hold together. text: part of the name, the id, or pinyin initials."""

    region_prefix: str = ""
    unit_ids: tuple[str, ...] = ()
    industries: tuple[str, ...] = ()
    place_categories: tuple[int, ...] = ()
    states: tuple[int, ...] = ()
    text: str = ""
    within: Circle | None = None


@dataclass(frozen=True, slots=True)
class CameraPage:
    """Cameras in order of id. total_size: all that match and the caller may know of."""

    cameras: tuple[Camera, ...]
    next_page_token: str
    total_size: int
    revision: Revision


@dataclass(frozen=True, slots=True)
class WrittenPage:
    """A page as callers get it. message: `vidhub.v1.ListCamerasResponse` with the cameras alone, in order of id."""

    message: bytes
    next_page_token: str
    total_size: int
    revision: Revision


class CameraGrouping(enum.Enum):
    """What the cameras of one group share."""

    NONE = "none"
    REGION = "region"
    UNIT = "unit"
    INDUSTRY = "industry"


@dataclass(frozen=True, slots=True)
class CameraCount:
    """The cameras of one group. states: those that some are in, without the stale ones. name: of another hub's unit."""

    key: str
    states: tuple[tuple[CameraState, int], ...]
    stale: int
    name: str = ""

    @property
    def cameras(self) -> int:
        return self.stale + sum(cameras for _, cameras in self.states)


@dataclass(frozen=True, slots=True)
class CameraCounts:
    """groups: in order of key. left_out: groups beyond the bound. total: of all of them."""

    groups: tuple[CameraCount, ...]
    left_out: int
    total: CameraCount
    revision: Revision


@dataclass(frozen=True, slots=True)
class CameraPoints:
    """Cameras in order of id, in columns of one length. stale: places in them."""

    ids: Sequence[str]
    latitudes_e6: Sequence[int]
    longitudes_e6: Sequence[int]
    states: Sequence[int]
    stale: Sequence[int]
    next_page_token: str
    total_size: int
    revision: Revision


@dataclass(frozen=True, slots=True)
class RejectedCamera:
    """index: place in the batch."""

    index: int
    id: str
    violations: tuple[Violation, ...]


class RegistrationKind(enum.IntEnum):
    """What an accepted record is to what stands there. Numbers as in `vidhub.v1.RegistrationKind`."""

    NEW = 1
    CHANGED = 2
    UNCHANGED = 3


@dataclass(frozen=True, slots=True)
class RegistrationChange:
    """index: place in the batch. fields: dotted paths of what changed, as in "main.url"; of a changed record only."""

    index: int
    kind: RegistrationKind
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """ids: in the order of the batch, empty where the record was rejected. revision: after the batch.

    changes: of the accepted records that are not new, in their order.
    warned: (place in the batch, what is odd in the record).
    """

    ids: tuple[str, ...]
    rejected: tuple[RejectedCamera, ...]
    revision: Revision
    changes: tuple[RegistrationChange, ...] = ()
    warned: tuple[tuple[int, tuple[Violation, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class CameraUpserted:
    camera: Camera


@dataclass(frozen=True, slots=True)
class CameraRemoved:
    id: str


@dataclass(frozen=True, slots=True)
class CameraStateChange:
    """State alone: not part of the durable catalogue. number: of the volatile state log."""

    id: str
    state: CameraState
    reason: str
    number: int
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Synced:
    """Everything up to here has been sent."""

    revision: Revision


WatchEvent = CameraUpserted | CameraRemoved | CameraStateChange | Synced


@dataclass(frozen=True, slots=True)
class GrantPage:
    grants: tuple[Grant, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class SessionPage:
    """camera_names: by id, of those that the caller may know of."""

    sessions: tuple[Session, ...]
    next_page_token: str
    camera_names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a session shows to the data plane."""

    text: str = field(repr=False)
    expire_time: datetime


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session on record and the ways to its picture. rtsp_url carries the ticket.

    whip_url: instead of whep_url where the session is to push the camera; rtsp_url then takes ANNOUNCE.
    """

    session: Session
    ticket: Ticket
    whep_url: str = ""
    mse_url: str = ""
    whip_url: str = ""
    rtsp_url: str = field(default="", repr=False)
    watermark: str = ""


@dataclass(frozen=True, slots=True)
class RenewedSession:
    session: Session
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Decision:
    """What policy says and why. rules: ids of the policies that decided. grant_id: the grant that carried it."""

    allowed: bool
    reason: str
    rules: tuple[str, ...]
    grant_id: str
    valid_until: datetime | None


@dataclass(frozen=True, slots=True)
class CoreEvent:
    """Something that happened in the core; kinds as in `_core.pyi`."""

    kind: str
    subject: str
    reason: str
    detail: str
    number: int
    state: int
    time: datetime


class Severity(enum.IntEnum):
    """Numbers as in `vidhub.v1.EventSeverity`."""

    UNSPECIFIED = 0
    INFO = 1
    WARNING = 2
    SEVERE = 3


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    by: str
    time: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, or many of one kind together. Fields as in `vidhub.v1.Event`.

    principal: whose session it was, as the register of use writes them; they hear of it themselves.
    """

    id: str
    number: int
    kind: str
    severity: Severity
    subject: str
    begin_time: datetime
    last_time: datetime
    reason: str = ""
    count: int = 1
    camera_ids: tuple[str, ...] = ()
    unit_id: str = ""
    region_code: str = ""
    hub_id: str = ""
    principal: str = ""
    detail_json: str = ""
    end_time: datetime | None = None
    acknowledgement: Acknowledgement | None = None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """All given conditions hold together. open: those that last. unacknowledged: those that ask and got nobody."""

    kinds: tuple[str, ...] = ()
    min_severity: Severity = Severity.UNSPECIFIED
    region_prefix: str = ""
    unit_id: str = ""
    camera_id: str = ""
    open: bool = False
    unacknowledged: bool = False


@dataclass(frozen=True, slots=True)
class EventPage:
    """Those that changed last first. unacknowledged: how many that match still ask for somebody."""

    events: tuple[Event, ...]
    next_page_token: str
    revision: Revision
    unacknowledged: int
