"""Every error we raise on purpose.

The core raises the same classes; `api/status.py` turns them into gRPC and Connect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that breaks a rule.

    field: dotted path, as in "location.latitude".
    reason: stable word, as in "REGION_UNKNOWN".
    description: a sentence for people that says what to do.
    """

    field: str
    reason: str
    description: str


class VidhubError(Exception):
    """Base of all. `reason` is a stable word in capitals, `message` a sentence with the remedy.

    on_record: the refusal stands in the register of use already, so that no edge writes it a second time.
    refused_by: id of the hub that refused, where it was another.
    """

    code: ClassVar[str] = "internal"
    on_record: bool = False
    refused_by: str = ""

    def __init__(self, reason: str, message: str, *, violations: Sequence[Violation] = ()) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.violations = tuple(violations)

    def recorded(self) -> Self:
        """The same error, marked as standing in the register of use."""
        self.on_record = True
        return self


class InvalidArgument(VidhubError):
    """The request breaks a rule whatever the state of the hub: change the request."""

    code = "invalid_argument"


class FailedPrecondition(VidhubError):
    """The hub is not in the state that the request needs: do something else first."""

    code = "failed_precondition"


class Unauthenticated(VidhubError):
    """The caller has not shown who they are."""

    code = "unauthenticated"


class PermissionDenied(VidhubError):
    """The caller is known, and may not."""

    code = "permission_denied"


class NotFound(VidhubError):
    """The named thing does not exist, or the caller may not know that it does."""

    code = "not_found"


class AlreadyExists(VidhubError):
    """The name is taken by another."""

    code = "already_exists"


class Aborted(VidhubError):
    """Somebody else changed it meanwhile: read again."""

    code = "aborted"


class OutOfRange(VidhubError):
    """Past the end of what is kept, as in REVISION_TOO_OLD: list again."""

    code = "out_of_range"


class ResourceExhausted(VidhubError):
    """A limit is reached: try later, or ask for less."""

    code = "resource_exhausted"


class Unavailable(VidhubError):
    """Not now: try later."""

    code = "unavailable"


class DeadlineExceeded(VidhubError):
    """It took too long."""

    code = "deadline_exceeded"


class Unimplemented(VidhubError):
    """Not served here."""

    code = "unimplemented"


class Cancelled(VidhubError):
    """The caller gave up."""

    code = "cancelled"


class Internal(VidhubError):
    """Our fault: logged with its cause, shown without it."""

    code = "internal"


def error_class(code: str) -> type[VidhubError] | None:
    """The class of a code in lower case, as "not_found"; None for one that we never raise."""
    return next((kind for kind in VidhubError.__subclasses__() if kind.code == code), None)
