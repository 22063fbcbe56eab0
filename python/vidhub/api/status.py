"""Errors as callers see them: the same code, reason and field violations on both edges.

Each error carries `google.rpc.ErrorInfo` (reason, domain "vidhub", and the hub that refused where it was another), and
`google.rpc.BadRequest` if fields break rules.
What we did not raise on purpose becomes INTERNAL: logged with its cause, shown without it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import structlog
from connectrpc.code import Code
from connectrpc.errors import ConnectError, ErrorDetail
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from protobuf import Message
from protobuf.wkt import Any, Struct

from vidhub.errors import Internal, VidhubError, Violation

DOMAIN = "vidhub"
DETAILS_KEY = "grpc-status-details-bin"
# gRPC clients refuse trailers over 8 KiB; the text travels in them three times over, percent-encoded and in base64.
_MESSAGE_CHARACTERS = 300
_DETAILS_BYTES = 2_500

_CODES: dict[str, tuple[grpc.StatusCode, Code]] = {
    "invalid_argument": (grpc.StatusCode.INVALID_ARGUMENT, Code.INVALID_ARGUMENT),
    "failed_precondition": (grpc.StatusCode.FAILED_PRECONDITION, Code.FAILED_PRECONDITION),
    "unauthenticated": (grpc.StatusCode.UNAUTHENTICATED, Code.UNAUTHENTICATED),
    "permission_denied": (grpc.StatusCode.PERMISSION_DENIED, Code.PERMISSION_DENIED),
    "not_found": (grpc.StatusCode.NOT_FOUND, Code.NOT_FOUND),
    "already_exists": (grpc.StatusCode.ALREADY_EXISTS, Code.ALREADY_EXISTS),
    "aborted": (grpc.StatusCode.ABORTED, Code.ABORTED),
    "out_of_range": (grpc.StatusCode.OUT_OF_RANGE, Code.OUT_OF_RANGE),
    "resource_exhausted": (grpc.StatusCode.RESOURCE_EXHAUSTED, Code.RESOURCE_EXHAUSTED),
    "unavailable": (grpc.StatusCode.UNAVAILABLE, Code.UNAVAILABLE),
    "deadline_exceeded": (grpc.StatusCode.DEADLINE_EXCEEDED, Code.DEADLINE_EXCEEDED),
    "unimplemented": (grpc.StatusCode.UNIMPLEMENTED, Code.UNIMPLEMENTED),
    "cancelled": (grpc.StatusCode.CANCELLED, Code.CANCELED),
    "internal": (grpc.StatusCode.INTERNAL, Code.INTERNAL),
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Status:
    """One answer for both edges. details: `ErrorInfo` first, then `BadRequest` if any."""

    code: grpc.StatusCode
    connect_code: Code
    reason: str
    message: str
    info: error_details_pb2.ErrorInfo
    bad_request: error_details_pb2.BadRequest | None

    def as_trailers(self) -> tuple[tuple[str, bytes], ...]:
        """For `context.abort`: the whole status, as grpc_status reads it."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for detail in self.details():
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        return ((DETAILS_KEY, status.SerializeToString()),)

    def as_connect(self) -> ConnectError:
        details: list[ErrorDetail] = []
        for detail in self.details():
            url = f"type.googleapis.com/{detail.DESCRIPTOR.full_name}"
            details.append(_Readable(Any(type_url=url, value=detail.SerializeToString()), _readable(detail)))
        return ConnectError(self.connect_code, self.message, details)

    def details(self) -> Sequence[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest]:
        return (self.info,) if self.bad_request is None else (self.info, self.bad_request)


class _Readable(ErrorDetail):
    """A detail that Connect's JSON shows in clear as well, so that curl is enough to read a reason."""

    def __init__(self, packed: Any, clear: Struct) -> None:
        super().__init__(packed)
        self._clear = clear

    def value(self, *_: object) -> Message:  # type: ignore[override]
        return self._clear


def _readable(detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> Struct:
    if isinstance(detail, error_details_pb2.ErrorInfo):
        return Struct.from_json(json.dumps({"reason": detail.reason, "domain": detail.domain, **detail.metadata}))
    rows = [
        {"field": row.field, "reason": row.reason, "description": row.description} for row in detail.field_violations
    ]
    return Struct.from_json(json.dumps({"fieldViolations": rows}))


def to_status(error: BaseException, *, method: str = "", trace_id: str = "") -> Status:
    """The answer for an error; logs those that are our fault."""
    if not isinstance(error, VidhubError) or isinstance(error, Internal) or error.code not in _CODES:
        log.error("call failed", method=method, trace_id=trace_id, exc_info=error)
        shown: VidhubError = Internal(
            "INTERNAL", f"the hub failed; its log says why, under trace {trace_id}" if trace_id else "the hub failed"
        )
    else:
        shown = error
    code, connect_code = _CODES[shown.code]
    return Status(
        code=code,
        connect_code=connect_code,
        reason=shown.reason,
        message=_clip(shown.message, _MESSAGE_CHARACTERS),
        info=error_details_pb2.ErrorInfo(
            reason=shown.reason, domain=DOMAIN, metadata={"hub": shown.refused_by} if shown.refused_by else None
        ),
        bad_request=_bad_request(shown.violations),
    )


def connect_body(status: Status) -> dict[str, object]:
    """The JSON of a Connect error, for answers that the Connect library does not make."""
    details: list[dict[str, object]] = []
    for detail in status.details():
        value = base64.b64encode(detail.SerializeToString()).decode().rstrip("=")
        clear = json.loads(_readable(detail).to_json())
        details.append({"type": detail.DESCRIPTOR.full_name, "value": value, "debug": clear})
    return {"code": status.connect_code.value, "message": status.message, "details": details}


def _bad_request(violations: Sequence[Violation]) -> error_details_pb2.BadRequest | None:
    """As many violations as fit into the trailers."""
    if not violations:
        return None
    bad = error_details_pb2.BadRequest()
    for violation in violations:
        row = error_details_pb2.BadRequest.FieldViolation(
            field=_clip(violation.field, 200),
            reason=violation.reason,
            description=_clip(violation.description, _MESSAGE_CHARACTERS),
        )
        if bad.ByteSize() + row.ByteSize() > _DETAILS_BYTES:
            break
        bad.field_violations.append(row)
    return bad


def _clip(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
