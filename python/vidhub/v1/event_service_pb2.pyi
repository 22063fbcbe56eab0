import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vidhub.v1 import camera_pb2 as _camera_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventSeverity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_SEVERITY_UNSPECIFIED: _ClassVar[EventSeverity]
    EVENT_SEVERITY_INFO: _ClassVar[EventSeverity]
    EVENT_SEVERITY_WARNING: _ClassVar[EventSeverity]
    EVENT_SEVERITY_SEVERE: _ClassVar[EventSeverity]
EVENT_SEVERITY_UNSPECIFIED: EventSeverity
EVENT_SEVERITY_INFO: EventSeverity
EVENT_SEVERITY_WARNING: EventSeverity
EVENT_SEVERITY_SEVERE: EventSeverity

class Event(_message.Message):
    __slots__ = ("id", "number", "kind", "severity", "subject", "reason", "count", "camera_ids", "unit_id", "region_code", "hub_id", "detail_json", "begin_time", "last_time", "end_time", "acknowledgement", "subject_name")
    ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CAMERA_IDS_FIELD_NUMBER: _ClassVar[int]
    UNIT_ID_FIELD_NUMBER: _ClassVar[int]
    REGION_CODE_FIELD_NUMBER: _ClassVar[int]
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    DETAIL_JSON_FIELD_NUMBER: _ClassVar[int]
    BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    number: int
    kind: str
    severity: EventSeverity
    subject: str
    reason: str
    count: int
    camera_ids: _containers.RepeatedScalarFieldContainer[str]
    unit_id: str
    region_code: str
    hub_id: str
    detail_json: str
    begin_time: _timestamp_pb2.Timestamp
    last_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    acknowledgement: EventAcknowledgement
    subject_name: str
    def __init__(self, id: _Optional[str] = ..., number: _Optional[int] = ..., kind: _Optional[str] = ..., severity: _Optional[_Union[EventSeverity, str]] = ..., subject: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ..., camera_ids: _Optional[_Iterable[str]] = ..., unit_id: _Optional[str] = ..., region_code: _Optional[str] = ..., hub_id: _Optional[str] = ..., detail_json: _Optional[str] = ..., begin_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., acknowledgement: _Optional[_Union[EventAcknowledgement, _Mapping]] = ..., subject_name: _Optional[str] = ...) -> None: ...

class EventAcknowledgement(_message.Message):
    __slots__ = ("by", "time", "note")
    BY_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    by: str
    time: _timestamp_pb2.Timestamp
    note: str
    def __init__(self, by: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., note: _Optional[str] = ...) -> None: ...

class EventFilter(_message.Message):
    __slots__ = ("kinds", "min_severity", "region_prefix", "unit_id", "camera_id", "open", "unacknowledged")
    KINDS_FIELD_NUMBER: _ClassVar[int]
    MIN_SEVERITY_FIELD_NUMBER: _ClassVar[int]
    REGION_PREFIX_FIELD_NUMBER: _ClassVar[int]
    UNIT_ID_FIELD_NUMBER: _ClassVar[int]
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    OPEN_FIELD_NUMBER: _ClassVar[int]
    UNACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    kinds: _containers.RepeatedScalarFieldContainer[str]
    min_severity: EventSeverity
    region_prefix: str
    unit_id: str
    camera_id: str
    open: bool
    unacknowledged: bool
    def __init__(self, kinds: _Optional[_Iterable[str]] = ..., min_severity: _Optional[_Union[EventSeverity, str]] = ..., region_prefix: _Optional[str] = ..., unit_id: _Optional[str] = ..., camera_id: _Optional[str] = ..., open: _Optional[bool] = ..., unacknowledged: _Optional[bool] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("filter",)
    FROM_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    filter: EventFilter
    def __init__(self, filter: _Optional[_Union[EventFilter, _Mapping]] = ..., **kwargs) -> None: ...

class WatchEventsResponse(_message.Message):
    __slots__ = ("event", "synced")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    event: Event
    synced: _camera_pb2.Revision
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ..., synced: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: EventFilter
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[EventFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token", "revision", "unacknowledged")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    UNACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    next_page_token: str
    revision: _camera_pb2.Revision
    unacknowledged: int
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ..., unacknowledged: _Optional[int] = ...) -> None: ...

class AcknowledgeEventRequest(_message.Message):
    __slots__ = ("id", "note")
    ID_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    id: str
    note: str
    def __init__(self, id: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class AcknowledgeEventResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: Event
    def __init__(self, event: _Optional[_Union[Event, _Mapping]] = ...) -> None: ...
