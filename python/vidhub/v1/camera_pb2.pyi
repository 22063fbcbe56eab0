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

class PlaceCategory(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLACE_CATEGORY_UNSPECIFIED: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_ROAD: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_SQUARE: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_STATION: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_HOSPITAL: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_SCHOOL: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_STADIUM: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_GOVERNMENT: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_COMMERCE: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_RESIDENTIAL_PUBLIC: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_SCENIC: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_INDUSTRY: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_OTHER_PUBLIC: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_FORBIDDEN_HOTEL_ROOM: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_FORBIDDEN_DORMITORY: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_FORBIDDEN_BATH_TOILET_CHANGING: _ClassVar[PlaceCategory]
    PLACE_CATEGORY_FORBIDDEN_OTHER_PRIVATE: _ClassVar[PlaceCategory]

class StreamProfile(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STREAM_PROFILE_UNSPECIFIED: _ClassVar[StreamProfile]
    STREAM_PROFILE_MAIN: _ClassVar[StreamProfile]
    STREAM_PROFILE_SUB: _ClassVar[StreamProfile]
    STREAM_PROFILE_AUTO: _ClassVar[StreamProfile]

class Transport(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSPORT_UNSPECIFIED: _ClassVar[Transport]
    TRANSPORT_TCP: _ClassVar[Transport]
    TRANSPORT_UDP: _ClassVar[Transport]

class CameraState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAMERA_STATE_UNSPECIFIED: _ClassVar[CameraState]
    CAMERA_STATE_UNKNOWN: _ClassVar[CameraState]
    CAMERA_STATE_ONLINE: _ClassVar[CameraState]
    CAMERA_STATE_OFFLINE: _ClassVar[CameraState]
    CAMERA_STATE_REFUSED: _ClassVar[CameraState]
    CAMERA_STATE_INVALID: _ClassVar[CameraState]
    CAMERA_STATE_QUARANTINED: _ClassVar[CameraState]
    CAMERA_STATE_RETIRED: _ClassVar[CameraState]
PLACE_CATEGORY_UNSPECIFIED: PlaceCategory
PLACE_CATEGORY_ROAD: PlaceCategory
PLACE_CATEGORY_SQUARE: PlaceCategory
PLACE_CATEGORY_STATION: PlaceCategory
PLACE_CATEGORY_HOSPITAL: PlaceCategory
PLACE_CATEGORY_SCHOOL: PlaceCategory
PLACE_CATEGORY_STADIUM: PlaceCategory
PLACE_CATEGORY_GOVERNMENT: PlaceCategory
PLACE_CATEGORY_COMMERCE: PlaceCategory
PLACE_CATEGORY_RESIDENTIAL_PUBLIC: PlaceCategory
PLACE_CATEGORY_SCENIC: PlaceCategory
PLACE_CATEGORY_INDUSTRY: PlaceCategory
PLACE_CATEGORY_OTHER_PUBLIC: PlaceCategory
PLACE_CATEGORY_FORBIDDEN_HOTEL_ROOM: PlaceCategory
PLACE_CATEGORY_FORBIDDEN_DORMITORY: PlaceCategory
PLACE_CATEGORY_FORBIDDEN_BATH_TOILET_CHANGING: PlaceCategory
PLACE_CATEGORY_FORBIDDEN_OTHER_PRIVATE: PlaceCategory
STREAM_PROFILE_UNSPECIFIED: StreamProfile
STREAM_PROFILE_MAIN: StreamProfile
STREAM_PROFILE_SUB: StreamProfile
STREAM_PROFILE_AUTO: StreamProfile
TRANSPORT_UNSPECIFIED: Transport
TRANSPORT_TCP: Transport
TRANSPORT_UDP: Transport
CAMERA_STATE_UNSPECIFIED: CameraState
CAMERA_STATE_UNKNOWN: CameraState
CAMERA_STATE_ONLINE: CameraState
CAMERA_STATE_OFFLINE: CameraState
CAMERA_STATE_REFUSED: CameraState
CAMERA_STATE_INVALID: CameraState
CAMERA_STATE_QUARANTINED: CameraState
CAMERA_STATE_RETIRED: CameraState

class Camera(_message.Message):
    __slots__ = ("id", "name", "unit_id", "region_code", "industry", "place_category", "location", "streams", "legal", "device", "state", "state_time", "state_reason", "revision", "create_time", "update_time", "home_hub_id", "stale", "unit_name", "region_name", "warnings")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_ID_FIELD_NUMBER: _ClassVar[int]
    REGION_CODE_FIELD_NUMBER: _ClassVar[int]
    INDUSTRY_FIELD_NUMBER: _ClassVar[int]
    PLACE_CATEGORY_FIELD_NUMBER: _ClassVar[int]
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    LEGAL_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_REASON_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    HOME_HUB_ID_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    UNIT_NAME_FIELD_NUMBER: _ClassVar[int]
    REGION_NAME_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    unit_id: str
    region_code: str
    industry: str
    place_category: PlaceCategory
    location: Location
    streams: _containers.RepeatedCompositeFieldContainer[CameraStream]
    legal: LegalRecord
    device: DeviceRecord
    state: CameraState
    state_time: _timestamp_pb2.Timestamp
    state_reason: str
    revision: Revision
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    home_hub_id: str
    stale: bool
    unit_name: str
    region_name: str
    warnings: _containers.RepeatedCompositeFieldContainer[CameraWarning]
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., unit_id: _Optional[str] = ..., region_code: _Optional[str] = ..., industry: _Optional[str] = ..., place_category: _Optional[_Union[PlaceCategory, str]] = ..., location: _Optional[_Union[Location, _Mapping]] = ..., streams: _Optional[_Iterable[_Union[CameraStream, _Mapping]]] = ..., legal: _Optional[_Union[LegalRecord, _Mapping]] = ..., device: _Optional[_Union[DeviceRecord, _Mapping]] = ..., state: _Optional[_Union[CameraState, str]] = ..., state_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state_reason: _Optional[str] = ..., revision: _Optional[_Union[Revision, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., home_hub_id: _Optional[str] = ..., stale: _Optional[bool] = ..., unit_name: _Optional[str] = ..., region_name: _Optional[str] = ..., warnings: _Optional[_Iterable[_Union[CameraWarning, _Mapping]]] = ...) -> None: ...

class CameraWarning(_message.Message):
    __slots__ = ("field", "reason", "description")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    field: str
    reason: str
    description: str
    def __init__(self, field: _Optional[str] = ..., reason: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class Revision(_message.Message):
    __slots__ = ("epoch", "number")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    epoch: str
    number: int
    def __init__(self, epoch: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class Location(_message.Message):
    __slots__ = ("latitude", "longitude", "address")
    LATITUDE_FIELD_NUMBER: _ClassVar[int]
    LONGITUDE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    latitude: float
    longitude: float
    address: str
    def __init__(self, latitude: _Optional[float] = ..., longitude: _Optional[float] = ..., address: _Optional[str] = ...) -> None: ...

class CameraStream(_message.Message):
    __slots__ = ("profile", "url", "username", "password", "transport", "codec", "width", "height", "frame_rate")
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    TRANSPORT_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FRAME_RATE_FIELD_NUMBER: _ClassVar[int]
    profile: StreamProfile
    url: str
    username: str
    password: str
    transport: Transport
    codec: str
    width: int
    height: int
    frame_rate: float
    def __init__(self, profile: _Optional[_Union[StreamProfile, str]] = ..., url: _Optional[str] = ..., username: _Optional[str] = ..., password: _Optional[str] = ..., transport: _Optional[_Union[Transport, str]] = ..., codec: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., frame_rate: _Optional[float] = ...) -> None: ...

class LegalRecord(_message.Message):
    __slots__ = ("place_basis", "purpose", "scope", "retention_days", "signage_text", "signage_date", "near_secret_unit", "consent")
    PLACE_BASIS_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    RETENTION_DAYS_FIELD_NUMBER: _ClassVar[int]
    SIGNAGE_TEXT_FIELD_NUMBER: _ClassVar[int]
    SIGNAGE_DATE_FIELD_NUMBER: _ClassVar[int]
    NEAR_SECRET_UNIT_FIELD_NUMBER: _ClassVar[int]
    CONSENT_FIELD_NUMBER: _ClassVar[int]
    place_basis: str
    purpose: str
    scope: str
    retention_days: int
    signage_text: str
    signage_date: str
    near_secret_unit: bool
    consent: str
    def __init__(self, place_basis: _Optional[str] = ..., purpose: _Optional[str] = ..., scope: _Optional[str] = ..., retention_days: _Optional[int] = ..., signage_text: _Optional[str] = ..., signage_date: _Optional[str] = ..., near_secret_unit: _Optional[bool] = ..., consent: _Optional[str] = ...) -> None: ...

class DeviceRecord(_message.Message):
    __slots__ = ("manufacturer", "model", "mac", "ip_address", "ptz_type", "direction_type", "room_type", "supply_light_type", "point_type", "point_common_name", "capture_position_type", "horizontal_field_angle", "max_view_distance_m", "install_time", "management_unit", "contact_info", "record_save_days", "industrial_classification", "height_m", "pole_number")
    MANUFACTURER_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    IP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PTZ_TYPE_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_TYPE_FIELD_NUMBER: _ClassVar[int]
    ROOM_TYPE_FIELD_NUMBER: _ClassVar[int]
    SUPPLY_LIGHT_TYPE_FIELD_NUMBER: _ClassVar[int]
    POINT_TYPE_FIELD_NUMBER: _ClassVar[int]
    POINT_COMMON_NAME_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_POSITION_TYPE_FIELD_NUMBER: _ClassVar[int]
    HORIZONTAL_FIELD_ANGLE_FIELD_NUMBER: _ClassVar[int]
    MAX_VIEW_DISTANCE_M_FIELD_NUMBER: _ClassVar[int]
    INSTALL_TIME_FIELD_NUMBER: _ClassVar[int]
    MANAGEMENT_UNIT_FIELD_NUMBER: _ClassVar[int]
    CONTACT_INFO_FIELD_NUMBER: _ClassVar[int]
    RECORD_SAVE_DAYS_FIELD_NUMBER: _ClassVar[int]
    INDUSTRIAL_CLASSIFICATION_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_M_FIELD_NUMBER: _ClassVar[int]
    POLE_NUMBER_FIELD_NUMBER: _ClassVar[int]
    manufacturer: str
    model: str
    mac: str
    ip_address: str
    ptz_type: int
    direction_type: int
    room_type: int
    supply_light_type: int
    point_type: int
    point_common_name: str
    capture_position_type: str
    horizontal_field_angle: float
    max_view_distance_m: float
    install_time: str
    management_unit: str
    contact_info: str
    record_save_days: int
    industrial_classification: str
    height_m: float
    pole_number: str
    def __init__(self, manufacturer: _Optional[str] = ..., model: _Optional[str] = ..., mac: _Optional[str] = ..., ip_address: _Optional[str] = ..., ptz_type: _Optional[int] = ..., direction_type: _Optional[int] = ..., room_type: _Optional[int] = ..., supply_light_type: _Optional[int] = ..., point_type: _Optional[int] = ..., point_common_name: _Optional[str] = ..., capture_position_type: _Optional[str] = ..., horizontal_field_angle: _Optional[float] = ..., max_view_distance_m: _Optional[float] = ..., install_time: _Optional[str] = ..., management_unit: _Optional[str] = ..., contact_info: _Optional[str] = ..., record_save_days: _Optional[int] = ..., industrial_classification: _Optional[str] = ..., height_m: _Optional[float] = ..., pole_number: _Optional[str] = ...) -> None: ...
