"""The API, served as gRPC (50051, units and hubs) and as Connect (8080, people).

`SERVICES` is the one table of who may reach which method on which listener; nothing else decides it. What a caller
may do with what it reached (own cameras, grants) is the domain's to say. `tests/unit/api/test_matrix.py` walks it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from vidhub.model import PrincipalKind, Role
from vidhub.v1 import (
    audit_service_pb2,
    auth_service_pb2,
    camera_service_pb2,
    enrolment_service_pb2,
    event_service_pb2,
    grant_service_pb2,
    hub_service_pb2,
    link_service_pb2,
    purpose_service_pb2,
    session_service_pb2,
    system_service_pb2,
    unit_service_pb2,
    user_service_pb2,
)

if TYPE_CHECKING:
    from google.protobuf.descriptor import FileDescriptor
    from google.protobuf.message import Message

# Both edges refuse a longer message.
MESSAGE_MAX_BYTES = 8 * 1024 * 1024

_UNITS = frozenset({PrincipalKind.UNIT})
_ENROLLED = frozenset({PrincipalKind.UNIT, PrincipalKind.HUB})
_HUBS = frozenset({PrincipalKind.HUB})
_CLAIMS = frozenset({PrincipalKind.CLAIM})
_ANY_ROLE = frozenset(Role)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may reach a method.

    grpc: kinds of certificate on 50051. http: roles on 8080. None: the listener does not carry the method.
    unchecked: its stream is taken as it comes, for one bad message must not end it; the servicer validates.
    is_raw: on 50051 its messages reach the servicer as the octets they came in, which it reads itself.
    most_bytes: of one message; a longer one is refused unread.
    is_bulk: nobody waits for it as for a page, and it gives way to what people do wait for.
    is_open: on 8080 also to those who are not logged in. before_password_change: also while a new password is due.
    reason, message: what a role that is not listed is told.
    """

    grpc: frozenset[PrincipalKind] | None = None
    http: frozenset[Role] | None = None
    is_open: bool = False
    before_password_change: bool = False
    unchecked: bool = False
    is_raw: bool = False
    is_bulk: bool = False
    most_bytes: int = MESSAGE_MAX_BYTES
    reason: str = "ROLE_NOT_PERMITTED"
    message: str = "none of your roles may do this: ask an administrator for the role that the guide names"


@dataclass(frozen=True, slots=True)
class Method:
    """A method of the API. `attribute` is its name on the servicer; `noun` what its service is about."""

    service: str
    name: str
    attribute: str
    request: type[Message]
    response: type[Message]
    takes_stream: bool
    gives_stream: bool
    access: Access

    @property
    def path(self) -> str:
        return f"{self.service}/{self.name}"

    @property
    def noun(self) -> str:
        return snake(self.service.rpartition(".")[2].removesuffix("Service"))


def snake(name: str) -> str:
    """Connect's spelling of a method: "WhoAmI" is "who_am_i"."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _service(file: FileDescriptor, name: str, access: Mapping[str, Access]) -> dict[str, Method]:
    descriptor = file.services_by_name[name]
    if {method.name for method in descriptor.methods} != set(access):
        raise LookupError(f"{name}: its methods and its rows in SERVICES are not the same")
    return {
        method.name: Method(
            service=descriptor.full_name,
            name=method.name,
            attribute=snake(method.name),
            request=GetMessageClass(method.input_type),
            response=GetMessageClass(method.output_type),
            takes_stream=method.client_streaming,
            gives_stream=method.server_streaming,
            access=access[method.name],
        )
        for method in descriptor.methods
    }


_READ = Access(grpc=_UNITS, http=_ANY_ROLE)
_WRITE = Access(grpc=_UNITS, http=frozenset({Role.UNIT}))
_WATCH = Access(
    grpc=_UNITS,
    http=frozenset({Role.OPERATOR}),
    reason="ROLE_SEES_NO_VIDEO",
    message="only operators see video, and each by grant",
)
_GRANT = Access(http=frozenset({Role.APPROVER, Role.SUPERVISOR, Role.ADMINISTRATOR}))
_OVERSEE = Access(http=frozenset({Role.SUPERVISOR, Role.ADMINISTRATOR}))
_ADMINISTER = Access(http=frozenset({Role.ADMINISTRATOR}))
_LOOK_UP = Access(http=frozenset({Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR, Role.ADMINISTRATOR}))
_PEOPLE = Access(http=_ANY_ROLE)
_HEALTH = Access(grpc=_ENROLLED)

SERVICES: Mapping[str, Mapping[str, Method]] = {
    "vidhub.v1.AuthService": _service(
        auth_service_pb2.DESCRIPTOR,
        "AuthService",
        {
            "Login": Access(http=_ANY_ROLE, is_open=True, before_password_change=True),
            "Refresh": Access(http=_ANY_ROLE, is_open=True, before_password_change=True),
            "Logout": Access(http=_ANY_ROLE, is_open=True, before_password_change=True),
            "WhoAmI": Access(http=_ANY_ROLE, before_password_change=True),
            "ChangePassword": Access(http=_ANY_ROLE, before_password_change=True),
        },
    ),
    "vidhub.v1.CameraService": _service(
        camera_service_pb2.DESCRIPTOR,
        "CameraService",
        {
            "RegisterCamera": _WRITE,
            "RegisterCameras": Access(grpc=_UNITS, is_raw=True),
            "BatchRegisterCameras": replace(_WRITE, is_bulk=True),
            "UpdateCamera": _WRITE,
            "RetireCamera": _WRITE,
            "GetCamera": _READ,
            "ListCameras": _READ,
            "CountCameras": _READ,
            "ListPoints": _READ,
            "WatchCameras": _READ,
            "GetSnapshot": Access(http=frozenset({Role.OPERATOR}), reason=_WATCH.reason, message=_WATCH.message),
        },
    ),
    "vidhub.v1.SessionService": _service(
        session_service_pb2.DESCRIPTOR,
        "SessionService",
        {
            "OpenSession": _WATCH,
            "RenewSession": _WATCH,
            "CloseSession": _WATCH,
            "ListSessions": Access(grpc=_UNITS, http=_ANY_ROLE),
            "TerminateSession": Access(grpc=_UNITS, http=frozenset({Role.UNIT, Role.SUPERVISOR, Role.ADMINISTRATOR})),
        },
    ),
    "vidhub.v1.GrantService": _service(
        grant_service_pb2.DESCRIPTOR,
        "GrantService",
        {"CreateGrant": _GRANT, "ListGrants": _PEOPLE, "RevokeGrant": _GRANT, "ExplainGrant": _PEOPLE},
    ),
    "vidhub.v1.PurposeService": _service(
        purpose_service_pb2.DESCRIPTOR,
        "PurposeService",
        {
            "ListPurposes": _PEOPLE,
            "CreatePurpose": _OVERSEE,
            "UpdatePurpose": _OVERSEE,
            "RetirePurpose": _OVERSEE,
        },
    ),
    "vidhub.v1.UserService": _service(
        user_service_pb2.DESCRIPTOR,
        "UserService",
        {
            "ListUsers": _LOOK_UP,
            "CreateUser": _ADMINISTER,
            "UpdateUser": _ADMINISTER,
            "SuspendUser": _ADMINISTER,
            "ResumeUser": _ADMINISTER,
            "ResetPassword": _ADMINISTER,
            "ListLogins": _PEOPLE,
            "EndLogin": _PEOPLE,
        },
    ),
    "vidhub.v1.UnitService": _service(
        unit_service_pb2.DESCRIPTOR,
        "UnitService",
        {
            "ListUnits": _LOOK_UP,
            "GetUnit": Access(
                grpc=_UNITS,
                http=frozenset({Role.UNIT, Role.APPROVER, Role.SUPERVISOR, Role.AUDITOR, Role.ADMINISTRATOR}),
            ),
            "CreateEnrolmentToken": _ADMINISTER,
            "RevokeUnit": _ADMINISTER,
        },
    ),
    "vidhub.v1.AuditService": _service(
        audit_service_pb2.DESCRIPTOR,
        "AuditService",
        {
            "ListEntries": Access(grpc=_UNITS, http=frozenset({Role.UNIT, Role.SUPERVISOR, Role.AUDITOR})),
            "VerifyChain": Access(http=frozenset({Role.AUDITOR, Role.SUPERVISOR, Role.ADMINISTRATOR}), is_bulk=True),
        },
    ),
    "vidhub.v1.EventService": _service(
        event_service_pb2.DESCRIPTOR,
        "EventService",
        {
            "WatchEvents": _READ,
            "ListEvents": _READ,
            "AcknowledgeEvent": Access(http=frozenset({Role.OPERATOR, Role.SUPERVISOR, Role.ADMINISTRATOR})),
        },
    ),
    "vidhub.v1.EnrolmentService": _service(
        enrolment_service_pb2.DESCRIPTOR,
        "EnrolmentService",
        {
            "EnrolUnit": Access(grpc=_CLAIMS),
            "EnrolHub": Access(grpc=_CLAIMS),
            "RenewCertificate": Access(grpc=_ENROLLED),
        },
    ),
    "vidhub.v1.LinkService": _service(
        link_service_pb2.DESCRIPTOR, "LinkService", {"Link": Access(grpc=_HUBS, unchecked=True, most_bytes=512 * 1024)}
    ),
    "vidhub.v1.HubService": _service(
        hub_service_pb2.DESCRIPTOR,
        "HubService",
        {
            "ListHubs": _OVERSEE,
            "AcceptHub": _ADMINISTER,
            "EndHub": _ADMINISTER,
            "ListShares": _OVERSEE,
            "PreviewShare": replace(_OVERSEE, is_bulk=True),
            "CreateShare": _ADMINISTER,
            "DeleteShare": _ADMINISTER,
            "ExplainCamera": _OVERSEE,
            "ListConflicts": _OVERSEE,
            "AssignCamera": _OVERSEE,
        },
    ),
    "vidhub.v1.SystemService": _service(
        system_service_pb2.DESCRIPTOR,
        "SystemService",
        {"GetStatus": Access(grpc=_ENROLLED, http=_ANY_ROLE)},
    ),
    # Not of our protos, but behind the same door.
    "grpc.health.v1.Health": _service(
        health_pb2.DESCRIPTOR, "Health", dict.fromkeys(("Check", "List", "Watch"), _HEALTH)
    ),
    "grpc.reflection.v1alpha.ServerReflection": _service(
        reflection_pb2.DESCRIPTOR, "ServerReflection", {"ServerReflectionInfo": _HEALTH}
    ),
}

METHODS: Mapping[str, Method] = {method.path: method for methods in SERVICES.values() for method in methods.values()}
