import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vidhub.v1 import camera_pb2 as _camera_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Purpose(_message.Message):
    __slots__ = ("kind", "reference", "note")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    reference: str
    note: str
    def __init__(self, kind: _Optional[str] = ..., reference: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("id", "camera_id", "purpose", "grant_id", "profile", "open_time", "expire_time", "end_reason", "viewer_name", "end_time", "principal", "camera_name")
    ID_FIELD_NUMBER: _ClassVar[int]
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    OPEN_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_REASON_FIELD_NUMBER: _ClassVar[int]
    VIEWER_NAME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    CAMERA_NAME_FIELD_NUMBER: _ClassVar[int]
    id: str
    camera_id: str
    purpose: Purpose
    grant_id: str
    profile: _camera_pb2.StreamProfile
    open_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    end_reason: str
    viewer_name: str
    end_time: _timestamp_pb2.Timestamp
    principal: str
    camera_name: str
    def __init__(self, id: _Optional[str] = ..., camera_id: _Optional[str] = ..., purpose: _Optional[_Union[Purpose, _Mapping]] = ..., grant_id: _Optional[str] = ..., profile: _Optional[_Union[_camera_pb2.StreamProfile, str]] = ..., open_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_reason: _Optional[str] = ..., viewer_name: _Optional[str] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., principal: _Optional[str] = ..., camera_name: _Optional[str] = ...) -> None: ...

class OpenSessionRequest(_message.Message):
    __slots__ = ("camera_id", "purpose", "profile")
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    camera_id: str
    purpose: Purpose
    profile: _camera_pb2.StreamProfile
    def __init__(self, camera_id: _Optional[str] = ..., purpose: _Optional[_Union[Purpose, _Mapping]] = ..., profile: _Optional[_Union[_camera_pb2.StreamProfile, str]] = ...) -> None: ...

class OpenSessionResponse(_message.Message):
    __slots__ = ("session", "ticket", "ticket_expire_time", "whep_url", "rtsp_url", "rtsp_user", "rtsp_password", "watermark", "whip_url", "mse_url")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    TICKET_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    WHEP_URL_FIELD_NUMBER: _ClassVar[int]
    RTSP_URL_FIELD_NUMBER: _ClassVar[int]
    RTSP_USER_FIELD_NUMBER: _ClassVar[int]
    RTSP_PASSWORD_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    WHIP_URL_FIELD_NUMBER: _ClassVar[int]
    MSE_URL_FIELD_NUMBER: _ClassVar[int]
    session: Session
    ticket: str
    ticket_expire_time: _timestamp_pb2.Timestamp
    whep_url: str
    rtsp_url: str
    rtsp_user: str
    rtsp_password: str
    watermark: str
    whip_url: str
    mse_url: str
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ..., ticket: _Optional[str] = ..., ticket_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., whep_url: _Optional[str] = ..., rtsp_url: _Optional[str] = ..., rtsp_user: _Optional[str] = ..., rtsp_password: _Optional[str] = ..., watermark: _Optional[str] = ..., whip_url: _Optional[str] = ..., mse_url: _Optional[str] = ...) -> None: ...

class RenewSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class RenewSessionResponse(_message.Message):
    __slots__ = ("session", "ticket", "ticket_expire_time")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    TICKET_FIELD_NUMBER: _ClassVar[int]
    TICKET_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    session: Session
    ticket: str
    ticket_expire_time: _timestamp_pb2.Timestamp
    def __init__(self, session: _Optional[_Union[Session, _Mapping]] = ..., ticket: _Optional[str] = ..., ticket_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CloseSessionRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class CloseSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("camera_id", "include_ended", "page_size", "page_token", "own")
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ENDED_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    camera_id: str
    include_ended: bool
    page_size: int
    page_token: str
    own: bool
    def __init__(self, camera_id: _Optional[str] = ..., include_ended: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., own: _Optional[bool] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_page_token")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[Session]
    next_page_token: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[Session, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class TerminateSessionRequest(_message.Message):
    __slots__ = ("session_id", "reason")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    reason: str
    def __init__(self, session_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class TerminateSessionResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
