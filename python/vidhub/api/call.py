"""One call on either edge, as a servicer sees it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from vidhub.api import Method
from vidhub.errors import Unauthenticated
from vidhub.model import Principal

_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Call:
    """Who calls what, from where.

    principal: None only on a method that is open. address: of the client itself, without port. time_left_s: until the
    caller stops waiting, None when they wait for ever. answer_headers: sent with the answer, on 8080 alone.
    """

    method: Method
    principal: Principal | None
    address: str
    metadata: Mapping[str, str] = field(repr=False)
    trace_id: str
    time_left_s: float | None = None
    answer_headers: list[tuple[str, str]] = field(default_factory=list, repr=False)

    @property
    def caller(self) -> Principal:
        if self.principal is None:
            raise Unauthenticated("TOKEN_MISSING", "log in first")
        return self.principal


def trace_id(metadata: Mapping[str, str]) -> str:
    """The trace that the caller named (W3C traceparent), or a new one."""
    named = _TRACEPARENT.fullmatch(metadata.get("traceparent", ""))
    return named[1] if named else secrets.token_hex(16)
