import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegisteredPurpose(_message.Message):
    __slots__ = ("kind", "name", "name_en", "reference_required", "retire_time")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_EN_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    RETIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    name_en: str
    reference_required: bool
    retire_time: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., name_en: _Optional[str] = ..., reference_required: _Optional[bool] = ..., retire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListPurposesRequest(_message.Message):
    __slots__ = ("include_retired",)
    INCLUDE_RETIRED_FIELD_NUMBER: _ClassVar[int]
    include_retired: bool
    def __init__(self, include_retired: _Optional[bool] = ...) -> None: ...

class ListPurposesResponse(_message.Message):
    __slots__ = ("purposes",)
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    purposes: _containers.RepeatedCompositeFieldContainer[RegisteredPurpose]
    def __init__(self, purposes: _Optional[_Iterable[_Union[RegisteredPurpose, _Mapping]]] = ...) -> None: ...

class CreatePurposeRequest(_message.Message):
    __slots__ = ("purpose",)
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    purpose: RegisteredPurpose
    def __init__(self, purpose: _Optional[_Union[RegisteredPurpose, _Mapping]] = ...) -> None: ...

class CreatePurposeResponse(_message.Message):
    __slots__ = ("purpose",)
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    purpose: RegisteredPurpose
    def __init__(self, purpose: _Optional[_Union[RegisteredPurpose, _Mapping]] = ...) -> None: ...

class UpdatePurposeRequest(_message.Message):
    __slots__ = ("purpose",)
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    purpose: RegisteredPurpose
    def __init__(self, purpose: _Optional[_Union[RegisteredPurpose, _Mapping]] = ...) -> None: ...

class UpdatePurposeResponse(_message.Message):
    __slots__ = ("purpose",)
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    purpose: RegisteredPurpose
    def __init__(self, purpose: _Optional[_Union[RegisteredPurpose, _Mapping]] = ...) -> None: ...

class RetirePurposeRequest(_message.Message):
    __slots__ = ("kind", "reason")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    kind: str
    reason: str
    def __init__(self, kind: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RetirePurposeResponse(_message.Message):
    __slots__ = ("purpose",)
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    purpose: RegisteredPurpose
    def __init__(self, purpose: _Optional[_Union[RegisteredPurpose, _Mapping]] = ...) -> None: ...
