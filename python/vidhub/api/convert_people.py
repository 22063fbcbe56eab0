"""Messages of people, units and purposes, to values and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vidhub.api.convert import to_roles, to_time
from vidhub.errors import InvalidArgument, Violation
from vidhub.identity.directory import state_of
from vidhub.identity.logins import LiveLogin
from vidhub.identity.units import UnitCertificate, UnitSeen
from vidhub.model import Role, User
from vidhub.store.purposes import PurposeKind
from vidhub.v1 import auth_service_pb2, purpose_service_pb2, unit_service_pb2, user_service_pb2

_ROLES = {number: Role(name.removeprefix("ROLE_").lower()) for name, number in auth_service_pb2.Role.items() if number}
_STATES = {
    name.removeprefix("USER_STATE_").lower(): number for name, number in user_service_pb2.UserState.items() if number
}
_UNIT_STATES = {
    name.removeprefix("UNIT_STATE_").lower(): number for name, number in unit_service_pb2.UnitState.items() if number
}
_CERTIFICATE_STATES = {
    name.removeprefix("CERTIFICATE_STATE_").lower(): number
    for name, number in unit_service_pb2.CertificateState.items()
    if number
}


def enum(number: int) -> Any:
    """The stubs know an enum's numbers by name alone."""
    return int(number)


def from_roles(numbers: Iterable[int]) -> frozenset[Role]:
    """Raises InvalidArgument ROLE_UNKNOWN."""
    try:
        return frozenset(_ROLES[number] for number in numbers)
    except KeyError:
        raise InvalidArgument("ROLE_UNKNOWN", f"give roles out of {', '.join(Role)}") from None


def to_user(user: User) -> user_service_pb2.User:
    return user_service_pb2.User(
        id=user.id,
        name=user.name,
        display_name=user.display_name,
        department=user.department,
        unit_id=user.unit_id,
        roles=to_roles(user.roles),
        state=enum(_STATES[state_of(user)]),
        create_time=to_time(user.create_time),
        login_time=to_time(user.login_time),
    )


def from_user_state(number: int) -> str:
    """As `UserFilter` has it."""
    return next((word for word, known in _STATES.items() if known == number), "")


def to_login(found: LiveLogin, *, current: str) -> user_service_pb2.UserLogin:
    """current: the login that this call was made with."""
    login = found.login
    return user_service_pb2.UserLogin(
        id=login.id,
        username=found.username,
        create_time=to_time(login.create_time),
        expire_time=to_time(login.expire_time),
        source_address=login.source_address,
        client=login.client,
        current=login.id == current,
    )


def to_unit(seen: UnitSeen) -> unit_service_pb2.Unit:
    unit = seen.unit
    return unit_service_pb2.Unit(
        id=unit.id,
        name=unit.name,
        region_code=unit.region_code,
        industry=unit.industry,
        state=enum(_UNIT_STATES[unit.state]),
        create_time=to_time(unit.create_time),
        certificate_expire_time=to_time(seen.certificate_end),
        cameras=seen.cameras,
    )


def from_unit_state(number: int) -> str:
    """As `Unit.state` has it; "" for all."""
    return next((word for word, known in _UNIT_STATES.items() if known == number), "")


def to_certificate(found: UnitCertificate) -> unit_service_pb2.UnitCertificate:
    certificate = found.certificate
    return unit_service_pb2.UnitCertificate(
        fingerprint=certificate.fingerprint,
        claim=certificate.kind == "claim",
        state=enum(_CERTIFICATE_STATES[found.state]),
        not_before=to_time(certificate.not_before),
        not_after=to_time(certificate.not_after),
        revoke_time=to_time(certificate.revoke_time),
        revoke_reason=certificate.revoke_reason,
    )


def to_purpose_kind(kind: PurposeKind) -> purpose_service_pb2.RegisteredPurpose:
    return purpose_service_pb2.RegisteredPurpose(
        kind=kind.kind,
        name=kind.title,
        name_en=kind.title_en,
        reference_required=kind.wants_reference,
        retire_time=to_time(kind.retire_time),
    )


def from_purpose_kind(message: purpose_service_pb2.RegisteredPurpose) -> PurposeKind:
    return PurposeKind(
        message.kind, message.name.strip(), message.name_en.strip(), wants_reference=message.reference_required
    )


def masked(paths: Iterable[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """The fields that an update changes; all of them where none is named. Raises InvalidArgument UPDATE_MASK."""
    named = tuple(paths)
    unknown = [path for path in named if path not in known]
    if unknown:
        description = f"{unknown[0][:64]!r} can't be changed; these can: {', '.join(known)}"
        raise InvalidArgument(
            "UPDATE_MASK", description, violations=[Violation("update_mask", "UPDATE_MASK", description)]
        )
    return named or known
