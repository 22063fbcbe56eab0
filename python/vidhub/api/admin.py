"""What the command line does to a hub: dict in, dict out, acting and recorded as `system`.

Served on DATA/admin.sock (0600) while a hub runs; called directly, under the lock, when none does. Whoever may connect
to the socket owns the data directory, so there is nothing else to ask them.
"""

from __future__ import annotations

import ctypes
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from vidhub import errors
from vidhub.access.sessions import Sessions
from vidhub.api import MESSAGE_MAX_BYTES, convert
from vidhub.catalogue.cameras import Catalogue
from vidhub.errors import (
    Internal,
    InvalidArgument,
    PermissionDenied,
    VidhubError,
    Violation,
)
from vidhub.identity import Units
from vidhub.identity.units import UnitSeen
from vidhub.model import Action, CameraFilter, Principal, Role

# The longest that `bench_stall` holds the interpreter.
_LONGEST_STALL_MS = 10_000

log = structlog.get_logger(__name__)

_CLASSES: dict[str, type[VidhubError]] = {
    one.code: one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, VidhubError)
}


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation and what it takes: name of the argument -> its type; those with a default may be left out."""

    run: Callable[..., Awaitable[dict[str, Any]]]
    takes: Mapping[str, type]
    defaults: Mapping[str, object]


class AdminOperations:
    """Every operation of the command line on a data directory."""

    def __init__(
        self,
        *,
        principal: Principal,
        units: Units,
        catalogue: Catalogue,
        sessions: Sessions,
        grpc_address: Callable[[], str],
        status: Callable[[], dict[str, Any]],
        bench: bool,
    ) -> None:
        """grpc_address: HOST:PORT for enrolment files; raises when units can't reach this hub."""
        self._principal = principal
        self._units = units
        self._catalogue = catalogue
        self._sessions = sessions
        self._grpc_address = grpc_address
        self._status = status
        self._bench = bench
        self._operations: dict[str, Operation] = {}
        text = str
        self.add(self.unit_token, name=text, region_code=text, industry=text)
        self.add(self.unit_list)
        self.add(self.unit_revoke, unit_id=text, reason=text)
        self.add(self.camera_list, region_prefix="", text="")
        self.add(self.camera_show, id=text)
        self.add(self.camera_retire, id=text, reason=text)
        self.add(self.status)
        self.add(self.bench_ticket, camera_id=text, viewers=int)
        self.add(self.bench_stall, milliseconds=int)

    async def perform(self, operation: str, arguments: Mapping[str, object]) -> dict[str, Any]:
        """Raises InvalidArgument OPERATION_UNKNOWN, ARGUMENT_INVALID, and what the operation raises."""
        known = self._operations.get(operation)
        if known is None:
            raise InvalidArgument("OPERATION_UNKNOWN", f"there is no operation {operation[:64]!r}")
        for name, value in arguments.items():
            if name not in known.takes or not _fits(value, known.takes[name]):
                raise InvalidArgument("ARGUMENT_INVALID", f"{operation} does not take {name[:64]!r} like this")
        missing = [name for name in known.takes if name not in arguments and name not in known.defaults]
        if missing:
            raise InvalidArgument("ARGUMENT_INVALID", f"{operation} wants {', '.join(missing)}")
        return await known.run(**{**known.defaults, **arguments})

    # Units.

    async def unit_token(self, name: str, region_code: str, industry: str) -> dict[str, Any]:
        token = await self._units.create_token(self._principal, name, region_code, industry, self._grpc_address())
        return {"unit_id": token.unit_id, "enrolment": token.enrolment, "expire_time": time(token.expire_time)}

    async def unit_list(self) -> dict[str, Any]:
        return {"units": [_unit(seen) for seen in await self._units.all_units(self._principal)]}

    async def unit_revoke(self, unit_id: str, reason: str) -> dict[str, Any]:
        return {"unit_id": unit_id, "revoked": await self._units.revoke(self._principal, unit_id, reason)}

    # Cameras.

    async def camera_list(self, region_prefix: str, text: str) -> dict[str, Any]:
        if not re.fullmatch("[0-9]{0,6}", region_prefix):
            raise InvalidArgument(
                "REGION_PREFIX_INVALID",
                f"region: {region_prefix[:40]!r} is no prefix: give up to 6 digits of GB/T 2260",
            )
        wanted = CameraFilter(region_prefix=region_prefix, text=text)
        answer: dict[str, Any] = {"cameras": []}
        token = ""
        while True:
            page = await self._catalogue.list(self._principal, wanted, page_size=1_000, page_token=token)
            answer["cameras"] += [as_json(convert.to_camera(camera)) for camera in page.cameras]
            token = page.next_page_token
            if not token:
                revision = convert.to_revision(page.revision)
                return {**answer, "totalSize": str(page.total_size), "revision": as_json(revision) if revision else {}}

    async def camera_show(self, id: str) -> dict[str, Any]:
        return as_json(convert.to_camera(await self._catalogue.get(self._principal, id)))

    async def camera_retire(self, id: str, reason: str) -> dict[str, Any]:
        await self._catalogue.retire(self._principal, id, reason)
        return {"id": id}

    # The hub itself.

    async def status(self) -> dict[str, Any]:
        return self._status()

    async def bench_ticket(self, camera_id: str, viewers: int) -> dict[str, Any]:
        if not self._bench:
            raise PermissionDenied("BENCH_OFF", "tickets for load programs are given only where VIDHUB_BENCH=1 is set")
        opened = await self._sessions.open_for_bench(camera_id, viewers)
        return {
            "session_id": opened.session.id,
            "ticket": opened.ticket.text,
            "expire_time": time(opened.ticket.expire_time),
            "whep_url": opened.whep_url,
            "mse_url": opened.mse_url,
            "rtsp_url": opened.rtsp_url,
        }

    async def bench_stall(self, milliseconds: int) -> dict[str, Any]:
        """Holds the interpreter, as a fault of the control plane would: no other Python runs meanwhile."""
        if not self._bench:
            raise PermissionDenied("BENCH_OFF", "the control plane is held still only where VIDHUB_BENCH=1 is set")
        # A call by `PyDLL` keeps the interpreter's lock until it returns.
        ctypes.PyDLL(None).usleep(min(max(milliseconds, 0), _LONGEST_STALL_MS) * 1_000)
        return {}

    def add(self, run: Callable[..., Awaitable[dict[str, Any]]], **takes: object) -> None:
        """takes: a type for what must be given, else its default."""
        self._operations[run.__name__] = Operation(
            run,
            {name: what if isinstance(what, type) else _kind(what) for name, what in takes.items()},
            {
                name: list(what) if isinstance(what, tuple) else what
                for name, what in takes.items()
                if not isinstance(what, type)
            },
        )


def admin_app(operations: AdminOperations) -> Starlette:
    """POST /OPERATION with the arguments as a JSON object; 200 with the answer, or 400 with the error."""

    async def perform(request: Request) -> JSONResponse:
        try:
            body = await request.body()
            if len(body) > MESSAGE_MAX_BYTES:
                raise InvalidArgument("TOO_LARGE", "the arguments are too long")
            try:
                arguments = json.loads(body or b"{}")
            except ValueError as cause:
                raise InvalidArgument("ARGUMENT_INVALID", "the arguments are no JSON") from cause
            if not isinstance(arguments, dict):
                raise InvalidArgument("ARGUMENT_INVALID", "the arguments are no JSON object")
            return JSONResponse(await operations.perform(request.path_params["operation"], arguments))
        except VidhubError as error:
            return JSONResponse(error_to_json(error), status_code=400)
        except Exception:
            log.exception("an operation failed", operation=request.path_params["operation"])
            return JSONResponse(
                error_to_json(Internal("INTERNAL", "our fault: see the log of the hub")), status_code=500
            )

    return Starlette(routes=[Route("/{operation}", perform, methods=["POST"])])


def error_to_json(error: VidhubError) -> dict[str, Any]:
    found: dict[str, Any] = {"code": error.code, "reason": error.reason, "message": error.message}
    if error.violations:
        found["violations"] = [
            {"field": one.field, "reason": one.reason, "description": one.description} for one in error.violations
        ]
    return {"error": found}


def error_from_json(document: Mapping[str, Any]) -> VidhubError:
    """What `error_to_json` made, raised again at the other end of the socket."""
    found = document["error"]
    kind = _CLASSES.get(found["code"], Internal)
    return kind(found["reason"], found["message"], violations=[Violation(**one) for one in found.get("violations", ())])


def _kind(default: object) -> type:
    return list if isinstance(default, tuple) else type(default)


def _fits(value: object, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return type(value) is kind


def _unit(seen: UnitSeen) -> dict[str, Any]:
    unit = seen.unit
    return {
        "id": unit.id,
        "name": unit.name,
        "region_code": unit.region_code,
        "industry": unit.industry,
        "state": unit.state,
        "certificate_expire_time": time(seen.certificate_end),
        "cameras": seen.cameras,
    }


_Word = TypeVar("_Word", Role, Action)


def word(kind: type[_Word], given: str, reason: str) -> _Word:
    """Raises InvalidArgument with `reason`."""
    try:
        return kind(given.strip().lower())
    except ValueError:
        known = ", ".join(one.value for one in kind)
        raise InvalidArgument(reason, f"{given[:40]!r} is none of {known}") from None


def moment(field: str, text: str) -> datetime:
    """Raises InvalidArgument TIME_INVALID."""
    try:
        # A time without a zone is one of the machine it is typed on.
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            "TIME_INVALID", f"{field}: {text[:40]!r} is no time, as in 2030-01-31T18:00:00+08:00"
        ) from None


def time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def as_json(message: Message) -> dict[str, Any]:
    return dict(MessageToDict(message))
