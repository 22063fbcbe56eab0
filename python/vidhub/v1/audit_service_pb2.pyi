import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuditEntry(_message.Message):
    __slots__ = ("chain_id", "seq", "time", "principal", "principal_unit", "action", "resource", "purpose_kind", "purpose_reference", "grant_id", "session_id", "source_address", "result", "detail_json", "previous_hash", "hash", "trace_id")
    CHAIN_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_UNIT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_KIND_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_JSON_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_HASH_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    chain_id: str
    seq: int
    time: _timestamp_pb2.Timestamp
    principal: str
    principal_unit: str
    action: str
    resource: str
    purpose_kind: str
    purpose_reference: str
    grant_id: str
    session_id: str
    source_address: str
    result: str
    detail_json: str
    previous_hash: bytes
    hash: bytes
    trace_id: str
    def __init__(self, chain_id: _Optional[str] = ..., seq: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., principal: _Optional[str] = ..., principal_unit: _Optional[str] = ..., action: _Optional[str] = ..., resource: _Optional[str] = ..., purpose_kind: _Optional[str] = ..., purpose_reference: _Optional[str] = ..., grant_id: _Optional[str] = ..., session_id: _Optional[str] = ..., source_address: _Optional[str] = ..., result: _Optional[str] = ..., detail_json: _Optional[str] = ..., previous_hash: _Optional[bytes] = ..., hash: _Optional[bytes] = ..., trace_id: _Optional[str] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("camera_id", "principal", "action", "to", "page_size", "page_token", "purpose_kind", "result", "trace_id", "session_id")
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_KIND_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    camera_id: str
    principal: str
    action: str
    to: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    purpose_kind: str
    result: str
    trace_id: str
    session_id: str
    def __init__(self, camera_id: _Optional[str] = ..., principal: _Optional[str] = ..., action: _Optional[str] = ..., to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., purpose_kind: _Optional[str] = ..., result: _Optional[str] = ..., trace_id: _Optional[str] = ..., session_id: _Optional[str] = ..., **kwargs) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries", "next_page_token", "searched_to")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_TO_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[AuditEntry]
    next_page_token: str
    searched_to: _timestamp_pb2.Timestamp
    def __init__(self, entries: _Optional[_Iterable[_Union[AuditEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., searched_to: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VerifyChainRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyChainResponse(_message.Message):
    __slots__ = ("intact", "entries", "chain_id", "first_bad_seq", "description")
    INTACT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CHAIN_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_BAD_SEQ_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    intact: bool
    entries: int
    chain_id: str
    first_bad_seq: int
    description: str
    def __init__(self, intact: _Optional[bool] = ..., entries: _Optional[int] = ..., chain_id: _Optional[str] = ..., first_bad_seq: _Optional[int] = ..., description: _Optional[str] = ...) -> None: ...
