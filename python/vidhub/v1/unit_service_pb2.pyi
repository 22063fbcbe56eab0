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

class UnitState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIT_STATE_UNSPECIFIED: _ClassVar[UnitState]
    UNIT_STATE_INVITED: _ClassVar[UnitState]
    UNIT_STATE_ENROLLED: _ClassVar[UnitState]
    UNIT_STATE_REVOKED: _ClassVar[UnitState]

class CertificateState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CERTIFICATE_STATE_UNSPECIFIED: _ClassVar[CertificateState]
    CERTIFICATE_STATE_GOOD: _ClassVar[CertificateState]
    CERTIFICATE_STATE_EXPIRED: _ClassVar[CertificateState]
    CERTIFICATE_STATE_REVOKED: _ClassVar[CertificateState]
    CERTIFICATE_STATE_USED: _ClassVar[CertificateState]
UNIT_STATE_UNSPECIFIED: UnitState
UNIT_STATE_INVITED: UnitState
UNIT_STATE_ENROLLED: UnitState
UNIT_STATE_REVOKED: UnitState
CERTIFICATE_STATE_UNSPECIFIED: CertificateState
CERTIFICATE_STATE_GOOD: CertificateState
CERTIFICATE_STATE_EXPIRED: CertificateState
CERTIFICATE_STATE_REVOKED: CertificateState
CERTIFICATE_STATE_USED: CertificateState

class Unit(_message.Message):
    __slots__ = ("id", "name", "region_code", "industry", "state", "create_time", "certificate_expire_time", "cameras")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGION_CODE_FIELD_NUMBER: _ClassVar[int]
    INDUSTRY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    region_code: str
    industry: str
    state: UnitState
    create_time: _timestamp_pb2.Timestamp
    certificate_expire_time: _timestamp_pb2.Timestamp
    cameras: int
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., region_code: _Optional[str] = ..., industry: _Optional[str] = ..., state: _Optional[_Union[UnitState, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., certificate_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cameras: _Optional[int] = ...) -> None: ...

class UnitCertificate(_message.Message):
    __slots__ = ("fingerprint", "claim", "state", "not_before", "not_after", "revoke_time", "revoke_reason")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    REVOKE_TIME_FIELD_NUMBER: _ClassVar[int]
    REVOKE_REASON_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    claim: bool
    state: CertificateState
    not_before: _timestamp_pb2.Timestamp
    not_after: _timestamp_pb2.Timestamp
    revoke_time: _timestamp_pb2.Timestamp
    revoke_reason: str
    def __init__(self, fingerprint: _Optional[str] = ..., claim: _Optional[bool] = ..., state: _Optional[_Union[CertificateState, str]] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., revoke_reason: _Optional[str] = ...) -> None: ...

class ListUnitsRequest(_message.Message):
    __slots__ = ("text", "region_prefix", "industry", "state", "expires_within_days", "page_size", "page_token")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    REGION_PREFIX_FIELD_NUMBER: _ClassVar[int]
    INDUSTRY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_WITHIN_DAYS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    text: str
    region_prefix: str
    industry: str
    state: UnitState
    expires_within_days: int
    page_size: int
    page_token: str
    def __init__(self, text: _Optional[str] = ..., region_prefix: _Optional[str] = ..., industry: _Optional[str] = ..., state: _Optional[_Union[UnitState, str]] = ..., expires_within_days: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListUnitsResponse(_message.Message):
    __slots__ = ("units", "next_page_token", "total_size")
    UNITS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    units: _containers.RepeatedCompositeFieldContainer[Unit]
    next_page_token: str
    total_size: int
    def __init__(self, units: _Optional[_Iterable[_Union[Unit, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ...) -> None: ...

class GetUnitRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetUnitResponse(_message.Message):
    __slots__ = ("unit", "certificates")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    unit: Unit
    certificates: _containers.RepeatedCompositeFieldContainer[UnitCertificate]
    def __init__(self, unit: _Optional[_Union[Unit, _Mapping]] = ..., certificates: _Optional[_Iterable[_Union[UnitCertificate, _Mapping]]] = ...) -> None: ...

class CreateEnrolmentTokenRequest(_message.Message):
    __slots__ = ("name", "region_code", "industry")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REGION_CODE_FIELD_NUMBER: _ClassVar[int]
    INDUSTRY_FIELD_NUMBER: _ClassVar[int]
    name: str
    region_code: str
    industry: str
    def __init__(self, name: _Optional[str] = ..., region_code: _Optional[str] = ..., industry: _Optional[str] = ...) -> None: ...

class CreateEnrolmentTokenResponse(_message.Message):
    __slots__ = ("unit", "enrolment_json", "file_name", "expire_time")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    ENROLMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    unit: Unit
    enrolment_json: str
    file_name: str
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, unit: _Optional[_Union[Unit, _Mapping]] = ..., enrolment_json: _Optional[str] = ..., file_name: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RevokeUnitRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RevokeUnitResponse(_message.Message):
    __slots__ = ("unit", "revoked")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    unit: Unit
    revoked: int
    def __init__(self, unit: _Optional[_Union[Unit, _Mapping]] = ..., revoked: _Optional[int] = ...) -> None: ...
