import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vidhub.v1 import camera_pb2 as _camera_pb2
from vidhub.v1 import event_service_pb2 as _event_service_pb2
from vidhub.v1 import grant_service_pb2 as _grant_service_pb2
from vidhub.v1 import session_service_pb2 as _session_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HubLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HUB_LEVEL_UNSPECIFIED: _ClassVar[HubLevel]
    HUB_LEVEL_PROVINCE: _ClassVar[HubLevel]
    HUB_LEVEL_CITY: _ClassVar[HubLevel]
    HUB_LEVEL_DISTRICT: _ClassVar[HubLevel]
    HUB_LEVEL_ZONE: _ClassVar[HubLevel]
HUB_LEVEL_UNSPECIFIED: HubLevel
HUB_LEVEL_PROVINCE: HubLevel
HUB_LEVEL_CITY: HubLevel
HUB_LEVEL_DISTRICT: HubLevel
HUB_LEVEL_ZONE: HubLevel

class LinkRequest(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: LinkMessage
    def __init__(self, message: _Optional[_Union[LinkMessage, _Mapping]] = ...) -> None: ...

class LinkResponse(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: LinkMessage
    def __init__(self, message: _Optional[_Union[LinkMessage, _Mapping]] = ...) -> None: ...

class LinkMessage(_message.Message):
    __slots__ = ("hello", "heartbeat", "problem", "farewell", "catalogue_delta", "catalogue_ack", "catalogue_digest", "catalogue_difference", "catalogue_range", "camera_states", "camera_conflicts", "view_request", "view_decision", "view_renewal", "view_end", "stream_order", "stream_answer", "stream_end", "grant_notice", "event")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    FAREWELL_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_DELTA_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_ACK_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    CATALOGUE_RANGE_FIELD_NUMBER: _ClassVar[int]
    CAMERA_STATES_FIELD_NUMBER: _ClassVar[int]
    CAMERA_CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    VIEW_REQUEST_FIELD_NUMBER: _ClassVar[int]
    VIEW_DECISION_FIELD_NUMBER: _ClassVar[int]
    VIEW_RENEWAL_FIELD_NUMBER: _ClassVar[int]
    VIEW_END_FIELD_NUMBER: _ClassVar[int]
    STREAM_ORDER_FIELD_NUMBER: _ClassVar[int]
    STREAM_ANSWER_FIELD_NUMBER: _ClassVar[int]
    STREAM_END_FIELD_NUMBER: _ClassVar[int]
    GRANT_NOTICE_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    heartbeat: Heartbeat
    problem: LinkProblem
    farewell: Farewell
    catalogue_delta: CatalogueDelta
    catalogue_ack: CatalogueAck
    catalogue_digest: CatalogueDigest
    catalogue_difference: CatalogueDifference
    catalogue_range: CatalogueRange
    camera_states: CameraStates
    camera_conflicts: CameraConflicts
    view_request: ViewRequest
    view_decision: ViewDecision
    view_renewal: ViewRenewal
    view_end: ViewEnd
    stream_order: StreamOrder
    stream_answer: StreamAnswer
    stream_end: StreamEnd
    grant_notice: GrantNotice
    event: LinkEvent
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., problem: _Optional[_Union[LinkProblem, _Mapping]] = ..., farewell: _Optional[_Union[Farewell, _Mapping]] = ..., catalogue_delta: _Optional[_Union[CatalogueDelta, _Mapping]] = ..., catalogue_ack: _Optional[_Union[CatalogueAck, _Mapping]] = ..., catalogue_digest: _Optional[_Union[CatalogueDigest, _Mapping]] = ..., catalogue_difference: _Optional[_Union[CatalogueDifference, _Mapping]] = ..., catalogue_range: _Optional[_Union[CatalogueRange, _Mapping]] = ..., camera_states: _Optional[_Union[CameraStates, _Mapping]] = ..., camera_conflicts: _Optional[_Union[CameraConflicts, _Mapping]] = ..., view_request: _Optional[_Union[ViewRequest, _Mapping]] = ..., view_decision: _Optional[_Union[ViewDecision, _Mapping]] = ..., view_renewal: _Optional[_Union[ViewRenewal, _Mapping]] = ..., view_end: _Optional[_Union[ViewEnd, _Mapping]] = ..., stream_order: _Optional[_Union[StreamOrder, _Mapping]] = ..., stream_answer: _Optional[_Union[StreamAnswer, _Mapping]] = ..., stream_end: _Optional[_Union[StreamEnd, _Mapping]] = ..., grant_notice: _Optional[_Union[GrantNotice, _Mapping]] = ..., event: _Optional[_Union[LinkEvent, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("version", "oldest_version", "hub_id", "name", "level", "region_code", "software", "time", "above", "have", "signing_key_pem", "accepted", "instance")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    REGION_CODE_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ABOVE_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    SIGNING_KEY_PEM_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    version: int
    oldest_version: int
    hub_id: str
    name: str
    level: HubLevel
    region_code: str
    software: str
    time: _timestamp_pb2.Timestamp
    above: _containers.RepeatedScalarFieldContainer[str]
    have: _camera_pb2.Revision
    signing_key_pem: str
    accepted: bool
    instance: str
    def __init__(self, version: _Optional[int] = ..., oldest_version: _Optional[int] = ..., hub_id: _Optional[str] = ..., name: _Optional[str] = ..., level: _Optional[_Union[HubLevel, str]] = ..., region_code: _Optional[str] = ..., software: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., above: _Optional[_Iterable[str]] = ..., have: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ..., signing_key_pem: _Optional[str] = ..., accepted: _Optional[bool] = ..., instance: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("time", "echo", "media_bytes_out", "media_bytes_in", "accepted", "revision", "above", "echo_held_s")
    TIME_FIELD_NUMBER: _ClassVar[int]
    ECHO_FIELD_NUMBER: _ClassVar[int]
    MEDIA_BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    MEDIA_BYTES_IN_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ABOVE_FIELD_NUMBER: _ClassVar[int]
    ECHO_HELD_S_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    echo: _timestamp_pb2.Timestamp
    media_bytes_out: int
    media_bytes_in: int
    accepted: bool
    revision: _camera_pb2.Revision
    above: _containers.RepeatedScalarFieldContainer[str]
    echo_held_s: float
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., echo: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., media_bytes_out: _Optional[int] = ..., media_bytes_in: _Optional[int] = ..., accepted: _Optional[bool] = ..., revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ..., above: _Optional[_Iterable[str]] = ..., echo_held_s: _Optional[float] = ...) -> None: ...

class LinkProblem(_message.Message):
    __slots__ = ("reason", "message", "count")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    count: int
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Farewell(_message.Message):
    __slots__ = ("reason",)
    REASON_FIELD_NUMBER: _ClassVar[int]
    reason: str
    def __init__(self, reason: _Optional[str] = ...) -> None: ...

class CatalogueDelta(_message.Message):
    __slots__ = ("epoch", "after", "number", "upserts", "removed")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    UPSERTS_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    after: int
    number: int
    upserts: _containers.RepeatedCompositeFieldContainer[_camera_pb2.Camera]
    removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, epoch: _Optional[str] = ..., after: _Optional[int] = ..., number: _Optional[int] = ..., upserts: _Optional[_Iterable[_Union[_camera_pb2.Camera, _Mapping]]] = ..., removed: _Optional[_Iterable[str]] = ...) -> None: ...

class CatalogueAck(_message.Message):
    __slots__ = ("revision",)
    REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: _camera_pb2.Revision
    def __init__(self, revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ...) -> None: ...

class CatalogueDigest(_message.Message):
    __slots__ = ("revision", "ranges", "more")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    revision: _camera_pb2.Revision
    ranges: _containers.RepeatedCompositeFieldContainer[RangeDigest]
    more: bool
    def __init__(self, revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ..., ranges: _Optional[_Iterable[_Union[RangeDigest, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class RangeDigest(_message.Message):
    __slots__ = ("after", "last", "cameras", "sha256")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    after: str
    last: str
    cameras: int
    sha256: bytes
    def __init__(self, after: _Optional[str] = ..., last: _Optional[str] = ..., cameras: _Optional[int] = ..., sha256: _Optional[bytes] = ...) -> None: ...

class CatalogueDifference(_message.Message):
    __slots__ = ("revision", "ranges", "more")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    revision: _camera_pb2.Revision
    ranges: _containers.RepeatedCompositeFieldContainer[RangeDigest]
    more: bool
    def __init__(self, revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ..., ranges: _Optional[_Iterable[_Union[RangeDigest, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class CatalogueRange(_message.Message):
    __slots__ = ("revision", "after", "last", "cameras", "final")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    revision: _camera_pb2.Revision
    after: str
    last: str
    cameras: _containers.RepeatedCompositeFieldContainer[_camera_pb2.Camera]
    final: bool
    def __init__(self, revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ..., after: _Optional[str] = ..., last: _Optional[str] = ..., cameras: _Optional[_Iterable[_Union[_camera_pb2.Camera, _Mapping]]] = ..., final: _Optional[bool] = ...) -> None: ...

class CameraStates(_message.Message):
    __slots__ = ("states",)
    class State(_message.Message):
        __slots__ = ("camera_id", "state", "reason", "time", "stale")
        CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
        STATE_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        TIME_FIELD_NUMBER: _ClassVar[int]
        STALE_FIELD_NUMBER: _ClassVar[int]
        camera_id: str
        state: _camera_pb2.CameraState
        reason: str
        time: _timestamp_pb2.Timestamp
        stale: bool
        def __init__(self, camera_id: _Optional[str] = ..., state: _Optional[_Union[_camera_pb2.CameraState, str]] = ..., reason: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stale: _Optional[bool] = ...) -> None: ...
    STATES_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[CameraStates.State]
    def __init__(self, states: _Optional[_Iterable[_Union[CameraStates.State, _Mapping]]] = ...) -> None: ...

class CameraConflicts(_message.Message):
    __slots__ = ("conflicts", "total")
    class Conflict(_message.Message):
        __slots__ = ("camera_id", "reason", "holder_hub_id")
        CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        HOLDER_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        camera_id: str
        reason: str
        holder_hub_id: str
        def __init__(self, camera_id: _Optional[str] = ..., reason: _Optional[str] = ..., holder_hub_id: _Optional[str] = ...) -> None: ...
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    conflicts: _containers.RepeatedCompositeFieldContainer[CameraConflicts.Conflict]
    total: int
    def __init__(self, conflicts: _Optional[_Iterable[_Union[CameraConflicts.Conflict, _Mapping]]] = ..., total: _Optional[int] = ...) -> None: ...

class ViewRequest(_message.Message):
    __slots__ = ("view_id", "camera_id", "profile", "action", "viewer", "purpose", "grant_jwt", "trace_id", "path", "expire_time", "of_view_id")
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    VIEWER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    GRANT_JWT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    OF_VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    camera_id: str
    profile: _camera_pb2.StreamProfile
    action: _grant_service_pb2.Action
    viewer: Viewer
    purpose: _session_service_pb2.Purpose
    grant_jwt: str
    trace_id: str
    path: _containers.RepeatedScalarFieldContainer[str]
    expire_time: _timestamp_pb2.Timestamp
    of_view_id: str
    def __init__(self, view_id: _Optional[str] = ..., camera_id: _Optional[str] = ..., profile: _Optional[_Union[_camera_pb2.StreamProfile, str]] = ..., action: _Optional[_Union[_grant_service_pb2.Action, str]] = ..., viewer: _Optional[_Union[Viewer, _Mapping]] = ..., purpose: _Optional[_Union[_session_service_pb2.Purpose, _Mapping]] = ..., grant_jwt: _Optional[str] = ..., trace_id: _Optional[str] = ..., path: _Optional[_Iterable[str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., of_view_id: _Optional[str] = ...) -> None: ...

class Viewer(_message.Message):
    __slots__ = ("hub_id", "name", "display_name", "department", "roles", "address")
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DEPARTMENT_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    hub_id: str
    name: str
    display_name: str
    department: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    address: str
    def __init__(self, hub_id: _Optional[str] = ..., name: _Optional[str] = ..., display_name: _Optional[str] = ..., department: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., address: _Optional[str] = ...) -> None: ...

class ViewDecision(_message.Message):
    __slots__ = ("view_id", "allowed", "reason", "message", "hub_id", "expire_time")
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    allowed: bool
    reason: str
    message: str
    hub_id: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, view_id: _Optional[str] = ..., allowed: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., hub_id: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ViewRenewal(_message.Message):
    __slots__ = ("view_id", "expire_time", "trace_id")
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    expire_time: _timestamp_pb2.Timestamp
    trace_id: str
    def __init__(self, view_id: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class ViewEnd(_message.Message):
    __slots__ = ("view_id", "reason", "hub_id")
    VIEW_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    view_id: str
    reason: str
    hub_id: str
    def __init__(self, view_id: _Optional[str] = ..., reason: _Optional[str] = ..., hub_id: _Optional[str] = ...) -> None: ...

class StreamOrder(_message.Message):
    __slots__ = ("order_id", "camera_id", "profile", "push_path", "ticket")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    PUSH_PATH_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    camera_id: str
    profile: _camera_pb2.StreamProfile
    push_path: str
    ticket: str
    def __init__(self, order_id: _Optional[str] = ..., camera_id: _Optional[str] = ..., profile: _Optional[_Union[_camera_pb2.StreamProfile, str]] = ..., push_path: _Optional[str] = ..., ticket: _Optional[str] = ...) -> None: ...

class StreamAnswer(_message.Message):
    __slots__ = ("order_id", "accepted", "reason", "message", "pull_path", "ticket")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PULL_PATH_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    accepted: bool
    reason: str
    message: str
    pull_path: str
    ticket: str
    def __init__(self, order_id: _Optional[str] = ..., accepted: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., pull_path: _Optional[str] = ..., ticket: _Optional[str] = ...) -> None: ...

class StreamEnd(_message.Message):
    __slots__ = ("order_id", "reason", "message")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    reason: str
    message: str
    def __init__(self, order_id: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class GrantNotice(_message.Message):
    __slots__ = ("grant_jwt", "grant_id", "revoked", "rule")
    GRANT_JWT_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    grant_jwt: str
    grant_id: str
    revoked: bool
    rule: SharingRule
    def __init__(self, grant_jwt: _Optional[str] = ..., grant_id: _Optional[str] = ..., revoked: _Optional[bool] = ..., rule: _Optional[_Union[SharingRule, _Mapping]] = ...) -> None: ...

class SharingRule(_message.Message):
    __slots__ = ("scope", "all", "actions", "purposes", "fields", "create_time")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    scope: _grant_service_pb2.Scope
    all: bool
    actions: _containers.RepeatedScalarFieldContainer[_grant_service_pb2.Action]
    purposes: _containers.RepeatedScalarFieldContainer[str]
    fields: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, scope: _Optional[_Union[_grant_service_pb2.Scope, _Mapping]] = ..., all: _Optional[bool] = ..., actions: _Optional[_Iterable[_Union[_grant_service_pb2.Action, str]]] = ..., purposes: _Optional[_Iterable[str]] = ..., fields: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class LinkEvent(_message.Message):
    __slots__ = ("kind", "subject", "detail_json", "time", "event", "synced")
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_JSON_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    kind: str
    subject: str
    detail_json: str
    time: _timestamp_pb2.Timestamp
    event: _event_service_pb2.Event
    synced: bool
    def __init__(self, kind: _Optional[str] = ..., subject: _Optional[str] = ..., detail_json: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event: _Optional[_Union[_event_service_pb2.Event, _Mapping]] = ..., synced: _Optional[bool] = ...) -> None: ...
