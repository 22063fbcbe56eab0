"""Who calls, and whether they may reach the method: one path for both edges.

From a bearer token (8080) or a client certificate (50051) to a `Principal`, then the table of `api/__init__.py`.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Protocol

from vidhub.api import Method
from vidhub.api.call import Call, trace_id
from vidhub.errors import FailedPrecondition, PermissionDenied, Unauthenticated, Unimplemented, VidhubError
from vidhub.model import AuditRecord, Principal, PrincipalKind, Role

_EVERYBODY = frozenset(Role)


class Authentication(Protocol):
    """`identity.authentication`: each raises Unauthenticated with its reason."""

    async def by_bearer(self, token: str, address: str) -> Principal: ...
    def by_certificate(self, pem: bytes, address: str) -> Principal: ...


class Doorkeeper:
    """Admits calls. `refused` puts every refusal on record."""

    def __init__(self, authentication: Authentication, refused: Callable[[AuditRecord], None]) -> None:
        self._authentication = authentication
        self._refused = refused

    async def admit_person(
        self, method: Method, metadata: Mapping[str, str], address: str, time_left_s: float | None
    ) -> Call:
        """A call on 8080, by `Authorization: Bearer`."""
        call = Call(method, None, address, metadata, trace_id(metadata), time_left_s)
        try:
            if method.access.http is None:
                raise _not_here(method, "50051")
            if method.access.is_open:
                return call
            call.principal = _traced(await self._authentication.by_bearer(bearer(metadata), address), call)
            _check_person(method, call.principal)
        except VidhubError as error:
            self.record(call, error)
            raise
        return call

    def admit_peer(
        self, method: Method, metadata: Mapping[str, str], address: str, pem: bytes, time_left_s: float | None
    ) -> Call:
        """A call on 50051, by the client certificate that the handshake verified."""
        call = Call(method, None, address, metadata, trace_id(metadata), time_left_s)
        try:
            if method.access.grpc is None:
                raise _not_here(method, "8080")
            call.principal = _traced(self._authentication.by_certificate(pem, address), call)
            _check_peer(method, call.principal)
        except VidhubError as error:
            self.record(call, error, shown=_certificate_ref(pem))
            raise
        return call

    async def still_good(self, call: Call) -> None:
        """Raises as a new call would, but for a token that has expired since: the login it belongs to goes on, and
        its end is told by `identity.people`."""
        try:
            _check_person(call.method, await self._authentication.by_bearer(bearer(call.metadata), call.address))
        except Unauthenticated as error:
            if error.reason != "TOKEN_EXPIRED":
                raise

    def record(self, call: Call, error: VidhubError, *, shown: str = "") -> None:
        """Puts a refusal on record, unless whoever refused has done so. shown: what a caller unknown to us showed."""
        if error.on_record or not (
            isinstance(error, Unauthenticated | PermissionDenied) or error.reason == "PASSWORD_CHANGE_REQUIRED"
        ):
            return
        error.recorded()
        principal = call.principal
        self._refused(
            AuditRecord(
                principal=principal.ref if principal else shown,
                principal_unit=principal.unit_id if principal else "",
                action=f"{call.method.noun}.refused",
                resource=f"method/{call.method.path}",
                result=error.reason,
                source_address=call.address,
                detail_json=json.dumps({"method": call.method.path}),
                trace_id=call.trace_id,
            )
        )


def _traced(principal: Principal, call: Call) -> Principal:
    """With the call's trace, so that whatever it does is on record under it."""
    return replace(principal, trace_id=call.trace_id)


def bearer(metadata: Mapping[str, str]) -> str:
    """Raises Unauthenticated unless there is exactly one bearer token of a sane size."""
    scheme, _, token = metadata.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated("TOKEN_MISSING", "log in, then send the token as Authorization: Bearer")
    if len(token) > 4096 or not token.isascii() or " " in token or "," in token:
        raise Unauthenticated("TOKEN_INVALID", "this is no token of ours: log in again")
    return token


def _not_here(method: Method, port: str) -> Unimplemented:
    return Unimplemented("METHOD_NOT_HERE", f"{method.path} is not served on this port; port {port} may carry it")


def _check_person(method: Method, principal: Principal) -> None:
    if principal.must_change_password and not method.access.before_password_change:
        raise FailedPrecondition(
            "PASSWORD_CHANGE_REQUIRED", "set a new password first: AuthService/ChangePassword, or the console's log-in"
        )
    allowed = method.access.http
    if principal.kind is not PrincipalKind.USER or allowed is None:
        raise PermissionDenied("PRINCIPAL_NOT_PERMITTED", "this port serves people; units and hubs use gRPC")
    if allowed != _EVERYBODY and not allowed & principal.roles:
        raise PermissionDenied(method.access.reason, method.access.message)


def _certificate_ref(pem: bytes) -> str:
    """Names a certificate in the register of use when nobody is known to hold it."""
    try:
        der = ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))
    except ValueError:
        return ""
    return f"certificate/{hashlib.sha256(der).hexdigest()}"


def _check_peer(method: Method, principal: Principal) -> None:
    allowed = method.access.grpc
    if allowed is not None and principal.kind in allowed:
        return
    if principal.kind is PrincipalKind.CLAIM:
        raise PermissionDenied(
            "CLAIM_ENROLS_ONLY", "a claim certificate enrols and no more: enrol, then use the new certificate"
        )
    raise PermissionDenied(
        "PRINCIPAL_NOT_PERMITTED", f"a {principal.kind.value} may not call {method.path}; the guide lists who may"
    )


def forwarded_address(metadata: Mapping[str, str]) -> str:
    """The client that our own front names in `X-Forwarded-For`, having stripped what the client sent of it."""
    return host_of(metadata.get("x-forwarded-for", "").rpartition(",")[2])


@lru_cache(maxsize=1024)
def host_of(peer: str) -> str:
    """The IP address in "192.0.2.1:80", "[2001:db8::1]:80" or a bare one; empty when there is none."""
    text = peer.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ip_address(text))
    except ValueError:
        return ""
