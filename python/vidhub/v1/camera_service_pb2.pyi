from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from vidhub.v1 import camera_pb2 as _camera_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RegistrationKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REGISTRATION_KIND_UNSPECIFIED: _ClassVar[RegistrationKind]
    REGISTRATION_KIND_NEW: _ClassVar[RegistrationKind]
    REGISTRATION_KIND_CHANGED: _ClassVar[RegistrationKind]
    REGISTRATION_KIND_UNCHANGED: _ClassVar[RegistrationKind]

class CameraView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAMERA_VIEW_UNSPECIFIED: _ClassVar[CameraView]
    CAMERA_VIEW_BASIC: _ClassVar[CameraView]
    CAMERA_VIEW_FULL: _ClassVar[CameraView]

class CameraGrouping(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAMERA_GROUPING_UNSPECIFIED: _ClassVar[CameraGrouping]
    CAMERA_GROUPING_NONE: _ClassVar[CameraGrouping]
    CAMERA_GROUPING_REGION: _ClassVar[CameraGrouping]
    CAMERA_GROUPING_UNIT: _ClassVar[CameraGrouping]
    CAMERA_GROUPING_INDUSTRY: _ClassVar[CameraGrouping]
REGISTRATION_KIND_UNSPECIFIED: RegistrationKind
REGISTRATION_KIND_NEW: RegistrationKind
REGISTRATION_KIND_CHANGED: RegistrationKind
REGISTRATION_KIND_UNCHANGED: RegistrationKind
CAMERA_VIEW_UNSPECIFIED: CameraView
CAMERA_VIEW_BASIC: CameraView
CAMERA_VIEW_FULL: CameraView
CAMERA_GROUPING_UNSPECIFIED: CameraGrouping
CAMERA_GROUPING_NONE: CameraGrouping
CAMERA_GROUPING_REGION: CameraGrouping
CAMERA_GROUPING_UNIT: CameraGrouping
CAMERA_GROUPING_INDUSTRY: CameraGrouping

class RegisterCameraRequest(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: _camera_pb2.Camera
    def __init__(self, camera: _Optional[_Union[_camera_pb2.Camera, _Mapping]] = ...) -> None: ...

class RegisterCameraResponse(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: _camera_pb2.Camera
    def __init__(self, camera: _Optional[_Union[_camera_pb2.Camera, _Mapping]] = ...) -> None: ...

class RegisterCamerasRequest(_message.Message):
    __slots__ = ("cameras", "dry_run")
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    cameras: _containers.RepeatedCompositeFieldContainer[_camera_pb2.Camera]
    dry_run: bool
    def __init__(self, cameras: _Optional[_Iterable[_Union[_camera_pb2.Camera, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RegisterCamerasResponse(_message.Message):
    __slots__ = ("ids", "rejected", "revision", "changes", "warned", "created", "changed", "unchanged")
    IDS_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    WARNED_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    rejected: _containers.RepeatedCompositeFieldContainer[RejectedCamera]
    revision: _camera_pb2.Revision
    changes: _containers.RepeatedCompositeFieldContainer[RegistrationChange]
    warned: _containers.RepeatedCompositeFieldContainer[WarnedCamera]
    created: int
    changed: int
    unchanged: int
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., rejected: _Optional[_Iterable[_Union[RejectedCamera, _Mapping]]] = ..., revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ..., changes: _Optional[_Iterable[_Union[RegistrationChange, _Mapping]]] = ..., warned: _Optional[_Iterable[_Union[WarnedCamera, _Mapping]]] = ..., created: _Optional[int] = ..., changed: _Optional[int] = ..., unchanged: _Optional[int] = ...) -> None: ...

class RejectedCamera(_message.Message):
    __slots__ = ("index", "id", "violations")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    index: int
    id: str
    violations: _containers.RepeatedCompositeFieldContainer[FieldViolation]
    def __init__(self, index: _Optional[int] = ..., id: _Optional[str] = ..., violations: _Optional[_Iterable[_Union[FieldViolation, _Mapping]]] = ...) -> None: ...

class FieldViolation(_message.Message):
    __slots__ = ("field", "reason", "description")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    field: str
    reason: str
    description: str
    def __init__(self, field: _Optional[str] = ..., reason: _Optional[str] = ..., description: _Optional[str] = ...) -> None: ...

class RegistrationChange(_message.Message):
    __slots__ = ("index", "kind", "fields")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    index: int
    kind: RegistrationKind
    fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, index: _Optional[int] = ..., kind: _Optional[_Union[RegistrationKind, str]] = ..., fields: _Optional[_Iterable[str]] = ...) -> None: ...

class WarnedCamera(_message.Message):
    __slots__ = ("index", "warnings")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    index: int
    warnings: _containers.RepeatedCompositeFieldContainer[_camera_pb2.CameraWarning]
    def __init__(self, index: _Optional[int] = ..., warnings: _Optional[_Iterable[_Union[_camera_pb2.CameraWarning, _Mapping]]] = ...) -> None: ...

class BatchRegisterCamerasRequest(_message.Message):
    __slots__ = ("cameras", "dry_run")
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    cameras: _containers.RepeatedCompositeFieldContainer[_camera_pb2.Camera]
    dry_run: bool
    def __init__(self, cameras: _Optional[_Iterable[_Union[_camera_pb2.Camera, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class BatchRegisterCamerasResponse(_message.Message):
    __slots__ = ("ids", "rejected", "revision", "changes", "warned", "created", "changed", "unchanged")
    IDS_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    WARNED_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    rejected: _containers.RepeatedCompositeFieldContainer[RejectedCamera]
    revision: _camera_pb2.Revision
    changes: _containers.RepeatedCompositeFieldContainer[RegistrationChange]
    warned: _containers.RepeatedCompositeFieldContainer[WarnedCamera]
    created: int
    changed: int
    unchanged: int
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., rejected: _Optional[_Iterable[_Union[RejectedCamera, _Mapping]]] = ..., revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ..., changes: _Optional[_Iterable[_Union[RegistrationChange, _Mapping]]] = ..., warned: _Optional[_Iterable[_Union[WarnedCamera, _Mapping]]] = ..., created: _Optional[int] = ..., changed: _Optional[int] = ..., unchanged: _Optional[int] = ...) -> None: ...

class UpdateCameraRequest(_message.Message):
    __slots__ = ("camera", "update_mask")
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    camera: _camera_pb2.Camera
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, camera: _Optional[_Union[_camera_pb2.Camera, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateCameraResponse(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: _camera_pb2.Camera
    def __init__(self, camera: _Optional[_Union[_camera_pb2.Camera, _Mapping]] = ...) -> None: ...

class RetireCameraRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RetireCameraResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCameraRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetCameraResponse(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: _camera_pb2.Camera
    def __init__(self, camera: _Optional[_Union[_camera_pb2.Camera, _Mapping]] = ...) -> None: ...

class ListCamerasRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token", "view")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    filter: CameraFilter
    page_size: int
    page_token: str
    view: CameraView
    def __init__(self, filter: _Optional[_Union[CameraFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., view: _Optional[_Union[CameraView, str]] = ...) -> None: ...

class ListCamerasResponse(_message.Message):
    __slots__ = ("cameras", "next_page_token", "total_size", "revision")
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    cameras: _containers.RepeatedCompositeFieldContainer[_camera_pb2.Camera]
    next_page_token: str
    total_size: int
    revision: _camera_pb2.Revision
    def __init__(self, cameras: _Optional[_Iterable[_Union[_camera_pb2.Camera, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ..., revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ...) -> None: ...

class CountCamerasRequest(_message.Message):
    __slots__ = ("filter", "group_by", "region_digits")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    GROUP_BY_FIELD_NUMBER: _ClassVar[int]
    REGION_DIGITS_FIELD_NUMBER: _ClassVar[int]
    filter: CameraFilter
    group_by: CameraGrouping
    region_digits: int
    def __init__(self, filter: _Optional[_Union[CameraFilter, _Mapping]] = ..., group_by: _Optional[_Union[CameraGrouping, str]] = ..., region_digits: _Optional[int] = ...) -> None: ...

class CountCamerasResponse(_message.Message):
    __slots__ = ("counts", "left_out", "total", "revision")
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.RepeatedCompositeFieldContainer[CameraCount]
    left_out: int
    total: CameraCount
    revision: _camera_pb2.Revision
    def __init__(self, counts: _Optional[_Iterable[_Union[CameraCount, _Mapping]]] = ..., left_out: _Optional[int] = ..., total: _Optional[_Union[CameraCount, _Mapping]] = ..., revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ...) -> None: ...

class CameraCount(_message.Message):
    __slots__ = ("key", "name", "cameras", "stale", "states")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    key: str
    name: str
    cameras: int
    stale: int
    states: _containers.RepeatedCompositeFieldContainer[StateCount]
    def __init__(self, key: _Optional[str] = ..., name: _Optional[str] = ..., cameras: _Optional[int] = ..., stale: _Optional[int] = ..., states: _Optional[_Iterable[_Union[StateCount, _Mapping]]] = ...) -> None: ...

class StateCount(_message.Message):
    __slots__ = ("state", "cameras")
    STATE_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    state: _camera_pb2.CameraState
    cameras: int
    def __init__(self, state: _Optional[_Union[_camera_pb2.CameraState, str]] = ..., cameras: _Optional[int] = ...) -> None: ...

class ListPointsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: CameraFilter
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[CameraFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListPointsResponse(_message.Message):
    __slots__ = ("ids", "latitudes_e6", "longitudes_e6", "states", "stale", "next_page_token", "total_size", "revision")
    IDS_FIELD_NUMBER: _ClassVar[int]
    LATITUDES_E6_FIELD_NUMBER: _ClassVar[int]
    LONGITUDES_E6_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ids: _containers.RepeatedScalarFieldContainer[str]
    latitudes_e6: _containers.RepeatedScalarFieldContainer[int]
    longitudes_e6: _containers.RepeatedScalarFieldContainer[int]
    states: _containers.RepeatedScalarFieldContainer[_camera_pb2.CameraState]
    stale: _containers.RepeatedScalarFieldContainer[int]
    next_page_token: str
    total_size: int
    revision: _camera_pb2.Revision
    def __init__(self, ids: _Optional[_Iterable[str]] = ..., latitudes_e6: _Optional[_Iterable[int]] = ..., longitudes_e6: _Optional[_Iterable[int]] = ..., states: _Optional[_Iterable[_Union[_camera_pb2.CameraState, str]]] = ..., stale: _Optional[_Iterable[int]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ..., revision: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ...) -> None: ...

class CameraFilter(_message.Message):
    __slots__ = ("region_prefix", "unit_ids", "industries", "place_categories", "states", "text", "within")
    REGION_PREFIX_FIELD_NUMBER: _ClassVar[int]
    UNIT_IDS_FIELD_NUMBER: _ClassVar[int]
    INDUSTRIES_FIELD_NUMBER: _ClassVar[int]
    PLACE_CATEGORIES_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    region_prefix: str
    unit_ids: _containers.RepeatedScalarFieldContainer[str]
    industries: _containers.RepeatedScalarFieldContainer[str]
    place_categories: _containers.RepeatedScalarFieldContainer[_camera_pb2.PlaceCategory]
    states: _containers.RepeatedScalarFieldContainer[_camera_pb2.CameraState]
    text: str
    within: Circle
    def __init__(self, region_prefix: _Optional[str] = ..., unit_ids: _Optional[_Iterable[str]] = ..., industries: _Optional[_Iterable[str]] = ..., place_categories: _Optional[_Iterable[_Union[_camera_pb2.PlaceCategory, str]]] = ..., states: _Optional[_Iterable[_Union[_camera_pb2.CameraState, str]]] = ..., text: _Optional[str] = ..., within: _Optional[_Union[Circle, _Mapping]] = ...) -> None: ...

class Circle(_message.Message):
    __slots__ = ("latitude", "longitude", "radius_m")
    LATITUDE_FIELD_NUMBER: _ClassVar[int]
    LONGITUDE_FIELD_NUMBER: _ClassVar[int]
    RADIUS_M_FIELD_NUMBER: _ClassVar[int]
    latitude: float
    longitude: float
    radius_m: float
    def __init__(self, latitude: _Optional[float] = ..., longitude: _Optional[float] = ..., radius_m: _Optional[float] = ...) -> None: ...

class WatchCamerasRequest(_message.Message):
    __slots__ = ("filter", "state_from")
    FROM_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    STATE_FROM_FIELD_NUMBER: _ClassVar[int]
    filter: CameraFilter
    state_from: int
    def __init__(self, filter: _Optional[_Union[CameraFilter, _Mapping]] = ..., state_from: _Optional[int] = ..., **kwargs) -> None: ...

class WatchCamerasResponse(_message.Message):
    __slots__ = ("upserted", "removed_id", "state", "synced")
    UPSERTED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SYNCED_FIELD_NUMBER: _ClassVar[int]
    upserted: _camera_pb2.Camera
    removed_id: str
    state: CameraStateChange
    synced: _camera_pb2.Revision
    def __init__(self, upserted: _Optional[_Union[_camera_pb2.Camera, _Mapping]] = ..., removed_id: _Optional[str] = ..., state: _Optional[_Union[CameraStateChange, _Mapping]] = ..., synced: _Optional[_Union[_camera_pb2.Revision, _Mapping]] = ...) -> None: ...

class CameraStateChange(_message.Message):
    __slots__ = ("id", "state", "reason", "number", "stale")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    id: str
    state: _camera_pb2.CameraState
    reason: str
    number: int
    stale: bool
    def __init__(self, id: _Optional[str] = ..., state: _Optional[_Union[_camera_pb2.CameraState, str]] = ..., reason: _Optional[str] = ..., number: _Optional[int] = ..., stale: _Optional[bool] = ...) -> None: ...

class GetSnapshotRequest(_message.Message):
    __slots__ = ("session_id",)
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    def __init__(self, session_id: _Optional[str] = ...) -> None: ...

class GetSnapshotResponse(_message.Message):
    __slots__ = ("jpeg",)
    JPEG_FIELD_NUMBER: _ClassVar[int]
    jpeg: bytes
    def __init__(self, jpeg: _Optional[bytes] = ...) -> None: ...
