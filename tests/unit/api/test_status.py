"""Every error of ours has a face on both edges."""

from __future__ import annotations

import inspect
import json

import pytest
import structlog
from google.rpc import status_pb2

from vidhub import errors
from vidhub.api.status import DETAILS_KEY, connect_body, to_status
from vidhub.errors import InvalidArgument, VidhubError, Violation

CLASSES = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, VidhubError) and found is not VidhubError
]
# The published mapping of google.rpc.Code to HTTP.
HTTP = {
    "invalid_argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "already_exists": 409,
    "aborted": 409,
    "resource_exhausted": 429,
    "cancelled": 499,
    "internal": 500,
    "unimplemented": 501,
    "unavailable": 503,
    "deadline_exceeded": 504,
}


@pytest.mark.parametrize("cls", CLASSES)
def test_each_class_has_its_own_code_on_both_edges(cls: type[VidhubError]) -> None:
    status = to_status(cls("SOME_REASON", "do this"))
    assert status.code.name.lower() == cls.code
    assert status.connect_code.value.replace("canceled", "cancelled") == cls.code
    hidden = cls is errors.Internal
    assert status.reason == ("INTERNAL" if hidden else "SOME_REASON")
    assert ("do this" in status.message) is not hidden


def test_the_classes_are_the_canonical_codes() -> None:
    assert {cls.code for cls in CLASSES} == set(HTTP)
    assert len(CLASSES) == len(HTTP)


@pytest.mark.parametrize("cls", CLASSES)
def test_connect_answers_with_the_published_http_status(cls: type[VidhubError]) -> None:
    from connectrpc._protocol import ConnectWireError

    error = to_status(cls("R", "m")).as_connect()
    assert ConnectWireError.from_exception(error).to_http_status().code == HTTP[cls.code]


def test_what_is_not_ours_is_logged_with_its_cause_and_shown_without() -> None:
    with structlog.testing.capture_logs() as logs:
        status = to_status(KeyError("secret"), method="m", trace_id="t1")
    assert "secret" not in status.message
    assert "t1" in status.message
    assert isinstance(logs[0]["exc_info"], KeyError)


def test_a_refusal_of_another_hub_names_it() -> None:
    error = errors.PermissionDenied("PURPOSE_NOT_GRANTED", "ask there")
    error.refused_by = "yuehu"
    status = to_status(error)
    assert status.info.metadata == {"hub": "yuehu"}
    shown = connect_body(status)["details"]
    assert isinstance(shown, list)
    assert shown[0]["debug"] == {"reason": "PURPOSE_NOT_GRANTED", "domain": "vidhub", "hub": "yuehu"}


def test_what_is_on_purpose_is_not_logged() -> None:
    with structlog.testing.capture_logs() as logs:
        to_status(InvalidArgument("R", "m"))
    assert logs == []


def test_the_trailers_stay_below_what_clients_take() -> None:
    violations = [Violation(f"cameras[{n}].名", "NAME_INVALID", "名" * 500) for n in range(1000)]
    status = to_status(InvalidArgument("NAME_INVALID", "月" * 10_000, violations=violations))
    (key, data), *_ = status.as_trailers()
    assert key == DETAILS_KEY
    percent_encoded = len(status.message.encode()) * 3
    assert percent_encoded + len(data) * 4 / 3 < 8_000
    assert status.bad_request is not None
    assert status.bad_request.field_violations
    assert status_pb2.Status.FromString(data).message == status.message


def test_the_body_we_write_is_the_one_the_library_writes() -> None:
    from connectrpc._protocol import ConnectWireError

    violation = Violation("name", "NAME_INVALID", "say it again")
    status = to_status(InvalidArgument("NAME_INVALID", "say", violations=[violation]))
    assert connect_body(status) == json.loads(ConnectWireError.from_exception(status.as_connect()).to_json_bytes())
