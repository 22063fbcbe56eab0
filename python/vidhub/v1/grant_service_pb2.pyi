import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_LIST: _ClassVar[Action]
    ACTION_VIEW_LIVE: _ClassVar[Action]
    ACTION_SNAPSHOT: _ClassVar[Action]
    ACTION_PLAYBACK: _ClassVar[Action]
    ACTION_EXPORT: _ClassVar[Action]
    ACTION_CONTROL_PTZ: _ClassVar[Action]
    ACTION_TALK: _ClassVar[Action]

class ExplainCheck(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPLAIN_CHECK_UNSPECIFIED: _ClassVar[ExplainCheck]
    EXPLAIN_CHECK_ACCOUNT: _ClassVar[ExplainCheck]
    EXPLAIN_CHECK_ROLE: _ClassVar[ExplainCheck]
    EXPLAIN_CHECK_CAMERA: _ClassVar[ExplainCheck]
    EXPLAIN_CHECK_PURPOSE: _ClassVar[ExplainCheck]
    EXPLAIN_CHECK_GRANT: _ClassVar[ExplainCheck]
    EXPLAIN_CHECK_POLICY: _ClassVar[ExplainCheck]
ACTION_UNSPECIFIED: Action
ACTION_LIST: Action
ACTION_VIEW_LIVE: Action
ACTION_SNAPSHOT: Action
ACTION_PLAYBACK: Action
ACTION_EXPORT: Action
ACTION_CONTROL_PTZ: Action
ACTION_TALK: Action
EXPLAIN_CHECK_UNSPECIFIED: ExplainCheck
EXPLAIN_CHECK_ACCOUNT: ExplainCheck
EXPLAIN_CHECK_ROLE: ExplainCheck
EXPLAIN_CHECK_CAMERA: ExplainCheck
EXPLAIN_CHECK_PURPOSE: ExplainCheck
EXPLAIN_CHECK_GRANT: ExplainCheck
EXPLAIN_CHECK_POLICY: ExplainCheck

class Scope(_message.Message):
    __slots__ = ("camera_ids", "unit_ids", "region_prefixes", "industries")
    CAMERA_IDS_FIELD_NUMBER: _ClassVar[int]
    UNIT_IDS_FIELD_NUMBER: _ClassVar[int]
    REGION_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    INDUSTRIES_FIELD_NUMBER: _ClassVar[int]
    camera_ids: _containers.RepeatedScalarFieldContainer[str]
    unit_ids: _containers.RepeatedScalarFieldContainer[str]
    region_prefixes: _containers.RepeatedScalarFieldContainer[str]
    industries: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, camera_ids: _Optional[_Iterable[str]] = ..., unit_ids: _Optional[_Iterable[str]] = ..., region_prefixes: _Optional[_Iterable[str]] = ..., industries: _Optional[_Iterable[str]] = ...) -> None: ...

class WeeklyHours(_message.Message):
    __slots__ = ("days", "start_minute", "end_minute")
    DAYS_FIELD_NUMBER: _ClassVar[int]
    START_MINUTE_FIELD_NUMBER: _ClassVar[int]
    END_MINUTE_FIELD_NUMBER: _ClassVar[int]
    days: _containers.RepeatedScalarFieldContainer[int]
    start_minute: int
    end_minute: int
    def __init__(self, days: _Optional[_Iterable[int]] = ..., start_minute: _Optional[int] = ..., end_minute: _Optional[int] = ...) -> None: ...

class Grant(_message.Message):
    __slots__ = ("id", "username", "department", "scope", "actions", "purposes", "not_before", "not_after", "reason", "revoke_time", "revoke_reason", "weekly_hours", "created_by", "create_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    DEPARTMENT_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKE_REASON_FIELD_NUMBER: _ClassVar[int]
    WEEKLY_HOURS_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    username: str
    department: str
    scope: Scope
    actions: _containers.RepeatedScalarFieldContainer[Action]
    purposes: _containers.RepeatedScalarFieldContainer[str]
    not_before: _timestamp_pb2.Timestamp
    not_after: _timestamp_pb2.Timestamp
    reason: str
    revoke_time: _timestamp_pb2.Timestamp
    revoke_reason: str
    weekly_hours: _containers.RepeatedCompositeFieldContainer[WeeklyHours]
    created_by: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., username: _Optional[str] = ..., department: _Optional[str] = ..., scope: _Optional[_Union[Scope, _Mapping]] = ..., actions: _Optional[_Iterable[_Union[Action, str]]] = ..., purposes: _Optional[_Iterable[str]] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_reason: _Optional[str] = ..., weekly_hours: _Optional[_Iterable[_Union[WeeklyHours, _Mapping]]] = ..., created_by: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateGrantRequest(_message.Message):
    __slots__ = ("grant",)
    GRANT_FIELD_NUMBER: _ClassVar[int]
    grant: Grant
    def __init__(self, grant: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class CreateGrantResponse(_message.Message):
    __slots__ = ("grant",)
    GRANT_FIELD_NUMBER: _ClassVar[int]
    grant: Grant
    def __init__(self, grant: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class ListGrantsRequest(_message.Message):
    __slots__ = ("username", "camera_id", "include_ended", "page_size", "page_token", "department", "action", "purpose", "ends_within_days")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ENDED_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DEPARTMENT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    ENDS_WITHIN_DAYS_FIELD_NUMBER: _ClassVar[int]
    username: str
    camera_id: str
    include_ended: bool
    page_size: int
    page_token: str
    department: str
    action: Action
    purpose: str
    ends_within_days: int
    def __init__(self, username: _Optional[str] = ..., camera_id: _Optional[str] = ..., include_ended: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., department: _Optional[str] = ..., action: _Optional[_Union[Action, str]] = ..., purpose: _Optional[str] = ..., ends_within_days: _Optional[int] = ...) -> None: ...

class ListGrantsResponse(_message.Message):
    __slots__ = ("grants", "next_page_token")
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    next_page_token: str
    def __init__(self, grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RevokeGrantRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RevokeGrantResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExplainGrantRequest(_message.Message):
    __slots__ = ("username", "camera_id", "action", "purpose")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    username: str
    camera_id: str
    action: Action
    purpose: str
    def __init__(self, username: _Optional[str] = ..., camera_id: _Optional[str] = ..., action: _Optional[_Union[Action, str]] = ..., purpose: _Optional[str] = ...) -> None: ...

class ExplainGrantResponse(_message.Message):
    __slots__ = ("allowed", "reason", "message", "grant_id", "valid_until", "steps", "grants", "grants_left_off", "policies")
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    VALID_UNTIL_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    GRANTS_LEFT_OFF_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    reason: str
    message: str
    grant_id: str
    valid_until: _timestamp_pb2.Timestamp
    steps: _containers.RepeatedCompositeFieldContainer[ExplainStep]
    grants: _containers.RepeatedCompositeFieldContainer[ExplainedGrant]
    grants_left_off: int
    policies: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, allowed: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., grant_id: _Optional[str] = ..., valid_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., steps: _Optional[_Iterable[_Union[ExplainStep, _Mapping]]] = ..., grants: _Optional[_Iterable[_Union[ExplainedGrant, _Mapping]]] = ..., grants_left_off: _Optional[int] = ..., policies: _Optional[_Iterable[str]] = ...) -> None: ...

class ExplainStep(_message.Message):
    __slots__ = ("check", "passed", "reason", "message")
    CHECK_FIELD_NUMBER: _ClassVar[int]
    PASSED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    check: ExplainCheck
    passed: bool
    reason: str
    message: str
    def __init__(self, check: _Optional[_Union[ExplainCheck, str]] = ..., passed: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ExplainedGrant(_message.Message):
    __slots__ = ("grant", "applies", "misses")
    GRANT_FIELD_NUMBER: _ClassVar[int]
    APPLIES_FIELD_NUMBER: _ClassVar[int]
    MISSES_FIELD_NUMBER: _ClassVar[int]
    grant: Grant
    applies: bool
    misses: _containers.RepeatedCompositeFieldContainer[ExplainMiss]
    def __init__(self, grant: _Optional[_Union[Grant, _Mapping]] = ..., applies: _Optional[bool] = ..., misses: _Optional[_Iterable[_Union[ExplainMiss, _Mapping]]] = ...) -> None: ...

class ExplainMiss(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
