import datetime

from buf.validate import validate_pb2 as _validate_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from vidhub.v1 import camera_pb2 as _camera_pb2
from vidhub.v1 import grant_service_pb2 as _grant_service_pb2
from vidhub.v1 import link_service_pb2 as _link_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HubSide(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HUB_SIDE_UNSPECIFIED: _ClassVar[HubSide]
    HUB_SIDE_UPPER: _ClassVar[HubSide]
    HUB_SIDE_LOWER: _ClassVar[HubSide]

class HubState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HUB_STATE_UNSPECIFIED: _ClassVar[HubState]
    HUB_STATE_INVITED: _ClassVar[HubState]
    HUB_STATE_JOINED: _ClassVar[HubState]
    HUB_STATE_UP: _ClassVar[HubState]
    HUB_STATE_DOWN: _ClassVar[HubState]
HUB_SIDE_UNSPECIFIED: HubSide
HUB_SIDE_UPPER: HubSide
HUB_SIDE_LOWER: HubSide
HUB_STATE_UNSPECIFIED: HubState
HUB_STATE_INVITED: HubState
HUB_STATE_JOINED: HubState
HUB_STATE_UP: HubState
HUB_STATE_DOWN: HubState

class Hub(_message.Message):
    __slots__ = ("id", "name", "level", "region_code", "side", "state", "accepted_here", "accepted_there", "software", "protocol_version", "connect_time", "heard_time", "round_trip_s", "clock_skew_s", "lag", "media_bytes_in", "media_bytes_out", "certificate_expire_time", "cameras_in", "cameras_out", "trouble_reason", "trouble_message", "conflicts", "create_time", "link_address", "media_address")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    REGION_CODE_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_HERE_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_THERE_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIME_FIELD_NUMBER: _ClassVar[int]
    HEARD_TIME_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_S_FIELD_NUMBER: _ClassVar[int]
    CLOCK_SKEW_S_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    MEDIA_BYTES_IN_FIELD_NUMBER: _ClassVar[int]
    MEDIA_BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_IN_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_OUT_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_REASON_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    LINK_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    MEDIA_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    level: _link_service_pb2.HubLevel
    region_code: str
    side: HubSide
    state: HubState
    accepted_here: bool
    accepted_there: bool
    software: str
    protocol_version: int
    connect_time: _timestamp_pb2.Timestamp
    heard_time: _timestamp_pb2.Timestamp
    round_trip_s: float
    clock_skew_s: float
    lag: int
    media_bytes_in: int
    media_bytes_out: int
    certificate_expire_time: _timestamp_pb2.Timestamp
    cameras_in: int
    cameras_out: int
    trouble_reason: str
    trouble_message: str
    conflicts: int
    create_time: _timestamp_pb2.Timestamp
    link_address: str
    media_address: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., level: _Optional[_Union[_link_service_pb2.HubLevel, str]] = ..., region_code: _Optional[str] = ..., side: _Optional[_Union[HubSide, str]] = ..., state: _Optional[_Union[HubState, str]] = ..., accepted_here: _Optional[bool] = ..., accepted_there: _Optional[bool] = ..., software: _Optional[str] = ..., protocol_version: _Optional[int] = ..., connect_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., heard_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., round_trip_s: _Optional[float] = ..., clock_skew_s: _Optional[float] = ..., lag: _Optional[int] = ..., media_bytes_in: _Optional[int] = ..., media_bytes_out: _Optional[int] = ..., certificate_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cameras_in: _Optional[int] = ..., cameras_out: _Optional[int] = ..., trouble_reason: _Optional[str] = ..., trouble_message: _Optional[str] = ..., conflicts: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., link_address: _Optional[str] = ..., media_address: _Optional[str] = ...) -> None: ...

class ListHubsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListHubsResponse(_message.Message):
    __slots__ = ("self", "hubs")
    SELF_FIELD_NUMBER: _ClassVar[int]
    HUBS_FIELD_NUMBER: _ClassVar[int]
    self: Hub
    hubs: _containers.RepeatedCompositeFieldContainer[Hub]
    def __init__(self_, self: _Optional[_Union[Hub, _Mapping]] = ..., hubs: _Optional[_Iterable[_Union[Hub, _Mapping]]] = ...) -> None: ...

class AcceptHubRequest(_message.Message):
    __slots__ = ("hub",)
    HUB_FIELD_NUMBER: _ClassVar[int]
    hub: str
    def __init__(self, hub: _Optional[str] = ...) -> None: ...

class AcceptHubResponse(_message.Message):
    __slots__ = ("hub",)
    HUB_FIELD_NUMBER: _ClassVar[int]
    hub: Hub
    def __init__(self, hub: _Optional[_Union[Hub, _Mapping]] = ...) -> None: ...

class EndHubRequest(_message.Message):
    __slots__ = ("hub", "reason")
    HUB_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    hub: str
    reason: str
    def __init__(self, hub: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class EndHubResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Share(_message.Message):
    __slots__ = ("id", "hub_id", "scope", "all", "actions", "purposes", "fields", "create_time", "created_by")
    ID_FIELD_NUMBER: _ClassVar[int]
    HUB_ID_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    id: str
    hub_id: str
    scope: _grant_service_pb2.Scope
    all: bool
    actions: _containers.RepeatedScalarFieldContainer[_grant_service_pb2.Action]
    purposes: _containers.RepeatedScalarFieldContainer[str]
    fields: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    created_by: str
    def __init__(self, id: _Optional[str] = ..., hub_id: _Optional[str] = ..., scope: _Optional[_Union[_grant_service_pb2.Scope, _Mapping]] = ..., all: _Optional[bool] = ..., actions: _Optional[_Iterable[_Union[_grant_service_pb2.Action, str]]] = ..., purposes: _Optional[_Iterable[str]] = ..., fields: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ...) -> None: ...

class ListSharesRequest(_message.Message):
    __slots__ = ("hub",)
    HUB_FIELD_NUMBER: _ClassVar[int]
    hub: str
    def __init__(self, hub: _Optional[str] = ...) -> None: ...

class ListSharesResponse(_message.Message):
    __slots__ = ("shares", "received")
    SHARES_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    shares: _containers.RepeatedCompositeFieldContainer[Share]
    received: _containers.RepeatedCompositeFieldContainer[Share]
    def __init__(self, shares: _Optional[_Iterable[_Union[Share, _Mapping]]] = ..., received: _Optional[_Iterable[_Union[Share, _Mapping]]] = ...) -> None: ...

class PreviewShareRequest(_message.Message):
    __slots__ = ("share",)
    SHARE_FIELD_NUMBER: _ClassVar[int]
    share: Share
    def __init__(self, share: _Optional[_Union[Share, _Mapping]] = ...) -> None: ...

class PreviewShareResponse(_message.Message):
    __slots__ = ("cameras", "sample", "added", "alone", "share")
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    ADDED_FIELD_NUMBER: _ClassVar[int]
    ALONE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    cameras: int
    sample: _containers.RepeatedCompositeFieldContainer[_camera_pb2.Camera]
    added: int
    alone: int
    share: Share
    def __init__(self, cameras: _Optional[int] = ..., sample: _Optional[_Iterable[_Union[_camera_pb2.Camera, _Mapping]]] = ..., added: _Optional[int] = ..., alone: _Optional[int] = ..., share: _Optional[_Union[Share, _Mapping]] = ...) -> None: ...

class CreateShareRequest(_message.Message):
    __slots__ = ("share",)
    SHARE_FIELD_NUMBER: _ClassVar[int]
    share: Share
    def __init__(self, share: _Optional[_Union[Share, _Mapping]] = ...) -> None: ...

class CreateShareResponse(_message.Message):
    __slots__ = ("share",)
    SHARE_FIELD_NUMBER: _ClassVar[int]
    share: Share
    def __init__(self, share: _Optional[_Union[Share, _Mapping]] = ...) -> None: ...

class DeleteShareRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteShareResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ExplainCameraRequest(_message.Message):
    __slots__ = ("camera_id", "hub")
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    HUB_FIELD_NUMBER: _ClassVar[int]
    camera_id: str
    hub: str
    def __init__(self, camera_id: _Optional[str] = ..., hub: _Optional[str] = ...) -> None: ...

class ExplainCameraResponse(_message.Message):
    __slots__ = ("visible", "findings")
    class Finding(_message.Message):
        __slots__ = ("hub_id", "visible", "reason", "message", "cause", "offering_hub_id", "holding_hub_id", "assigned_hub_id", "likely_hub_id", "lag", "missing_fields", "stale")
        HUB_ID_FIELD_NUMBER: _ClassVar[int]
        VISIBLE_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        CAUSE_FIELD_NUMBER: _ClassVar[int]
        OFFERING_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        HOLDING_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        ASSIGNED_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        LIKELY_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        LAG_FIELD_NUMBER: _ClassVar[int]
        MISSING_FIELDS_FIELD_NUMBER: _ClassVar[int]
        STALE_FIELD_NUMBER: _ClassVar[int]
        hub_id: str
        visible: bool
        reason: str
        message: str
        cause: str
        offering_hub_id: str
        holding_hub_id: str
        assigned_hub_id: str
        likely_hub_id: str
        lag: int
        missing_fields: _containers.RepeatedScalarFieldContainer[str]
        stale: bool
        def __init__(self, hub_id: _Optional[str] = ..., visible: _Optional[bool] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., cause: _Optional[str] = ..., offering_hub_id: _Optional[str] = ..., holding_hub_id: _Optional[str] = ..., assigned_hub_id: _Optional[str] = ..., likely_hub_id: _Optional[str] = ..., lag: _Optional[int] = ..., missing_fields: _Optional[_Iterable[str]] = ..., stale: _Optional[bool] = ...) -> None: ...
    VISIBLE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    visible: bool
    findings: _containers.RepeatedCompositeFieldContainer[ExplainCameraResponse.Finding]
    def __init__(self, visible: _Optional[bool] = ..., findings: _Optional[_Iterable[_Union[ExplainCameraResponse.Finding, _Mapping]]] = ...) -> None: ...

class ListConflictsRequest(_message.Message):
    __slots__ = ("hub", "page_size", "page_token")
    HUB_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    hub: str
    page_size: int
    page_token: str
    def __init__(self, hub: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListConflictsResponse(_message.Message):
    __slots__ = ("conflicts", "next_page_token")
    class Conflict(_message.Message):
        __slots__ = ("camera_id", "reason", "offering_hub_id", "refusing_hub_id", "holding_hub_id", "assigned_hub_id", "likely_hub_id", "assignable")
        CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
        REASON_FIELD_NUMBER: _ClassVar[int]
        OFFERING_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        REFUSING_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        HOLDING_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        ASSIGNED_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        LIKELY_HUB_ID_FIELD_NUMBER: _ClassVar[int]
        ASSIGNABLE_FIELD_NUMBER: _ClassVar[int]
        camera_id: str
        reason: str
        offering_hub_id: str
        refusing_hub_id: str
        holding_hub_id: str
        assigned_hub_id: str
        likely_hub_id: str
        assignable: bool
        def __init__(self, camera_id: _Optional[str] = ..., reason: _Optional[str] = ..., offering_hub_id: _Optional[str] = ..., refusing_hub_id: _Optional[str] = ..., holding_hub_id: _Optional[str] = ..., assigned_hub_id: _Optional[str] = ..., likely_hub_id: _Optional[str] = ..., assignable: _Optional[bool] = ...) -> None: ...
    CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conflicts: _containers.RepeatedCompositeFieldContainer[ListConflictsResponse.Conflict]
    next_page_token: str
    def __init__(self, conflicts: _Optional[_Iterable[_Union[ListConflictsResponse.Conflict, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class AssignCameraRequest(_message.Message):
    __slots__ = ("camera_id", "hub", "reason")
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    HUB_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    camera_id: str
    hub: str
    reason: str
    def __init__(self, camera_id: _Optional[str] = ..., hub: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AssignCameraResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
