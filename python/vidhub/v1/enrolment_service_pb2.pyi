import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vidhub.v1 import link_service_pb2 as _link_service_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolUnitRequest(_message.Message):
    __slots__ = ("csr_pem",)
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    csr_pem: str
    def __init__(self, csr_pem: _Optional[str] = ...) -> None: ...

class EnrolUnitResponse(_message.Message):
    __slots__ = ("unit_id", "certificate_pem", "ca_pem", "not_after")
    UNIT_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    unit_id: str
    certificate_pem: str
    ca_pem: str
    not_after: _timestamp_pb2.Timestamp
    def __init__(self, unit_id: _Optional[str] = ..., certificate_pem: _Optional[str] = ..., ca_pem: _Optional[str] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class EnrolHubRequest(_message.Message):
    __slots__ = ("csr_pem", "hub_id", "name", "level", "region_code")
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    REGION_CODE_FIELD_NUMBER: _ClassVar[int]
    csr_pem: str
    hub_id: str
    name: str
    level: _link_service_pb2.HubLevel
    region_code: str
    def __init__(self, csr_pem: _Optional[str] = ..., hub_id: _Optional[str] = ..., name: _Optional[str] = ..., level: _Optional[_Union[_link_service_pb2.HubLevel, str]] = ..., region_code: _Optional[str] = ...) -> None: ...

class EnrolHubResponse(_message.Message):
    __slots__ = ("hub_id", "certificate_pem", "ca_pem", "not_after", "upper_hub_id", "upper_name", "upper_level", "upper_region_code")
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    UPPER_HUB_ID_FIELD_NUMBER: _ClassVar[int]
    UPPER_NAME_FIELD_NUMBER: _ClassVar[int]
    UPPER_LEVEL_FIELD_NUMBER: _ClassVar[int]
    UPPER_REGION_CODE_FIELD_NUMBER: _ClassVar[int]
    hub_id: str
    certificate_pem: str
    ca_pem: str
    not_after: _timestamp_pb2.Timestamp
    upper_hub_id: str
    upper_name: str
    upper_level: _link_service_pb2.HubLevel
    upper_region_code: str
    def __init__(self, hub_id: _Optional[str] = ..., certificate_pem: _Optional[str] = ..., ca_pem: _Optional[str] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., upper_hub_id: _Optional[str] = ..., upper_name: _Optional[str] = ..., upper_level: _Optional[_Union[_link_service_pb2.HubLevel, str]] = ..., upper_region_code: _Optional[str] = ...) -> None: ...

class RenewCertificateRequest(_message.Message):
    __slots__ = ("csr_pem",)
    CSR_PEM_FIELD_NUMBER: _ClassVar[int]
    csr_pem: str
    def __init__(self, csr_pem: _Optional[str] = ...) -> None: ...

class RenewCertificateResponse(_message.Message):
    __slots__ = ("certificate_pem", "ca_pem", "not_after")
    CERTIFICATE_PEM_FIELD_NUMBER: _ClassVar[int]
    CA_PEM_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    certificate_pem: str
    ca_pem: str
    not_after: _timestamp_pb2.Timestamp
    def __init__(self, certificate_pem: _Optional[str] = ..., ca_pem: _Optional[str] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
