import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("hub_id", "hub_name", "version", "cameras", "streams", "sessions", "uptime_s", "purposes", "time", "link_version", "oldest_link_version", "utc_offset_s")
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    HUB_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_S_FIELD_NUMBER: _ClassVar[int]
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    LINK_VERSION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_LINK_VERSION_FIELD_NUMBER: _ClassVar[int]
    UTC_OFFSET_S_FIELD_NUMBER: _ClassVar[int]
    hub_id: str
    hub_name: str
    version: str
    cameras: int
    streams: int
    sessions: int
    uptime_s: float
    purposes: _containers.RepeatedCompositeFieldContainer[PurposeKind]
    time: _timestamp_pb2.Timestamp
    link_version: int
    oldest_link_version: int
    utc_offset_s: int
    def __init__(self, hub_id: _Optional[str] = ..., hub_name: _Optional[str] = ..., version: _Optional[str] = ..., cameras: _Optional[int] = ..., streams: _Optional[int] = ..., sessions: _Optional[int] = ..., uptime_s: _Optional[float] = ..., purposes: _Optional[_Iterable[_Union[PurposeKind, _Mapping]]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., link_version: _Optional[int] = ..., oldest_link_version: _Optional[int] = ..., utc_offset_s: _Optional[int] = ...) -> None: ...

class PurposeKind(_message.Message):
    __slots__ = ("kind", "name", "name_en", "reference_required")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_EN_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    name_en: str
    reference_required: bool
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., name_en: _Optional[str] = ..., reference_required: _Optional[bool] = ...) -> None: ...
