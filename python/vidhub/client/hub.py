"""A hub's Connect API as an operator's client uses it: JSON over HTTP, and WHEP."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx

from vidhub.errors import (
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    VidhubError,
    Violation,
    error_class,
)

CALL_TIMEOUT_S = 30.0
# How long a hub that does not answer is told that one leaves.
GOODBYE_S = 5.0
_PAGE = 500
_SDP = "application/sdp"
# What the media routes answer, by HTTP status; 5xx and what is not here: try later.
_REFUSALS: Mapping[int, type[VidhubError]] = {
    400: InvalidArgument,
    401: Unauthenticated,
    403: PermissionDenied,
    404: NotFound,
    406: FailedPrecondition,
    413: InvalidArgument,
    415: InvalidArgument,
    429: ResourceExhausted,
}


@dataclass(frozen=True, slots=True)
class Camera:
    """A camera as lists tell of it. state: "online", "offline", "refused", "invalid", "unknown", …"""

    id: str
    name: str
    unit_id: str
    region_code: str
    state: str


@dataclass(frozen=True, slots=True)
class Session:
    """An open session and the ticket for its next connection.

    watermark: what the hub asks players to write over the picture. life_s: from its opening to its end, unless renewed.
    """

    id: str
    camera_id: str
    ticket: str = field(repr=False)
    whep_url: str
    watermark: str
    life_s: float


class Hub:
    """One person's calls to one hub. Logs in by itself, at the first call and when the login has run out."""

    def __init__(self, url: str, username: str, password: str, *, ca: Path | str | None = None) -> None:
        """url: as in http://127.0.0.1:8080. ca: file of the authority (PEM) that the hub's HTTPS certificate is of,
        where the system does not know it. Raises InvalidArgument URL_INVALID, CA_INVALID."""
        self.url = _origin(url)
        self._username = username
        self._password = password
        # With the login comes a cookie, and what carries it must say that it is not another site's doing.
        self._client = httpx.AsyncClient(
            base_url=self.url,
            timeout=CALL_TIMEOUT_S,
            trust_env=False,
            headers={"Origin": self.url},
            verify=True if ca is None else _trusting(ca),
        )
        self._token = ""
        self._logging_in = asyncio.Lock()

    async def __aenter__(self) -> Self:
        try:
            await self._login("")
        except BaseException:
            await self._client.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the login. Sessions that are open stay open until their time is over: viewers close their own."""
        try:
            if self._token:
                async with asyncio.timeout(GOODBYE_S):
                    await self._post("AuthService/Logout", {})
        except (VidhubError, TimeoutError):
            pass  # the hub is away: the login runs out by itself
        finally:
            self._token = ""
            await self._client.aclose()

    # Cameras.

    async def cameras(self, *, text: str = "", region: str = "") -> AsyncGenerator[Camera]:
        """The cameras one may know of, in order of id. text: part of a name, or its pinyin initials. region: prefix of
        a region code."""
        token = ""
        while True:
            wanted = {"text": text, "regionPrefix": region}
            page = await self.call("CameraService/ListCameras", filter=wanted, pageSize=_PAGE, pageToken=token)
            for found in page.get("cameras", []):
                yield Camera(
                    id=found["id"],
                    name=found.get("name", ""),
                    unit_id=found.get("unitId", ""),
                    region_code=found.get("regionCode", ""),
                    state=found.get("state", "CAMERA_STATE_UNKNOWN").removeprefix("CAMERA_STATE_").lower(),
                )
            token = page.get("nextPageToken", "")
            if not token:
                return

    # Sessions.

    async def open_session(self, camera: str, purpose: str) -> Session:
        """purpose: a kind of the hub's register, with a reference where it wants one, as in "patrol" or
        "investigation:CASE-1". On record, and so is a refusal: PermissionDenied NO_GRANT, PURPOSE_NOT_GRANTED, …"""
        kind, _, reference = purpose.partition(":")
        opened = await self.call(
            "SessionService/OpenSession", cameraId=camera, purpose={"kind": kind, "reference": reference}
        )
        session = opened["session"]
        return Session(
            id=session["id"],
            camera_id=session["cameraId"],
            ticket=opened["ticket"],
            whep_url=opened.get("whepUrl", ""),
            watermark=opened.get("watermark", ""),
            life_s=(_time(session["expireTime"]) - _time(session["openTime"])).total_seconds(),
        )

    async def renew_session(self, session: Session) -> Session:
        """The same with a fresh ticket and its end put off, at most to the end of its grant.

        Raises FailedPrecondition SESSION_ENDED, NotFound SESSION_NOT_FOUND, PermissionDenied.
        """
        renewed = await self.call("SessionService/RenewSession", sessionId=session.id)
        return Session(
            session.id, session.camera_id, renewed["ticket"], session.whep_url, session.watermark, session.life_s
        )

    async def close_session(self, session: Session) -> None:
        await self.call("SessionService/CloseSession", sessionId=session.id)

    async def end_reason(self, session: Session) -> str:
        """Why the session has ended, as GRANT_REVOKED; "" while it is open, or is not known any more."""
        token = ""
        while True:
            page = await self.call(
                "SessionService/ListSessions", cameraId=session.camera_id, includeEnded=True, pageToken=token
            )
            for found in page.get("sessions", []):
                if found["id"] == session.id:
                    return str(found.get("endReason", ""))
            token = page.get("nextPageToken", "")
            if not token:
                return ""

    async def snapshot(self, session: Session) -> bytes:
        """A JPEG of the camera's newest keyframe, with who asked for it written into it; on record. Needs a grant with
        the action `snapshot`."""
        answer = await self.call("CameraService/GetSnapshot", sessionId=session.id)
        return base64.b64decode(answer["jpeg"])

    # Calls.

    async def call(self, method: str, **message: object) -> dict[str, Any]:
        """One unary call of `vidhub.v1`, as in `call("CameraService/GetCamera", id=…)`; the answer's JSON. Raises the
        error that the hub raised, Unavailable HUB_UNREACHABLE."""
        used = self._token
        if not used:
            await self._login(used)
            used = self._token
        try:
            return await self._post(method, message)
        except Unauthenticated:
            await self._login(used)
            return await self._post(method, message)

    async def whep(self, session: Session, offer: str) -> tuple[str, str]:
        """Posts an SDP offer with the session's ticket; the answer's SDP and the URL of the new resource."""
        headers = {"Authorization": f"Bearer {session.ticket}", "Content-Type": _SDP}
        answer = await self._send("POST", session.whep_url, content=offer, headers=headers)
        if answer.status_code == httpx.codes.CREATED:
            return answer.text, urljoin(session.whep_url, answer.headers.get("Location", ""))
        problem = _document(answer)
        kind = _REFUSALS.get(answer.status_code, Unavailable)
        raise kind(
            problem.get("reason", f"HTTP_{answer.status_code}"),
            problem.get("detail", "the hub refused, and gave no reason"),
        )

    async def leave(self, session: Session, resource: str) -> None:
        """Ends a WHEP connection; one that has ended is no error."""
        await self._send("DELETE", resource, headers={"Authorization": f"Bearer {session.ticket}"})

    async def _login(self, used: str) -> None:
        """Unless somebody has done so since `used`."""
        async with self._logging_in:
            if self._token != used:
                return
            answer: dict[str, Any] = {}
            if used:
                try:
                    answer = await self._post("AuthService/Refresh", {})
                except (Unauthenticated, PermissionDenied):
                    self._token = ""
            if not answer:
                answer = await self._post("AuthService/Login", {"username": self._username, "password": self._password})
            self._token = answer["accessToken"]

    async def _post(self, method: str, message: Mapping[str, object]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        answer = await self._send("POST", f"/vidhub.v1.{method}", json=message, headers=headers)
        document = _document(answer)
        if answer.status_code != httpx.codes.OK:
            raise _error(answer.status_code, document)
        return document

    async def _send(self, method: str, url: str, **request: Any) -> httpx.Response:
        if self._client.is_closed:
            raise FailedPrecondition("HUB_CLOSED", "this Hub was closed: open another, around what uses it")
        try:
            return await self._client.request(method, url, **request)
        except httpx.HTTPError as cause:
            raise Unavailable("HUB_UNREACHABLE", f"no hub answers at {self.url}: {cause}") from cause


def _origin(url: str) -> str:
    # The URL is named in errors, and so in logs.
    if "@" in url:
        raise InvalidArgument("URL_INVALID", "the hub's URL holds a login: give it as username and password")
    invalid = InvalidArgument("URL_INVALID", f"{url!r} is no hub's URL: write it as http://127.0.0.1:8080")
    try:
        parts = urlsplit(url)
    except ValueError as cause:
        raise invalid from cause
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise invalid
    return f"{parts.scheme}://{parts.netloc}"


def _trusting(ca: Path | str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as cause:
        raise InvalidArgument("CA_INVALID", f"{ca}: {cause}: give the hub's CA certificate in PEM") from cause


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _document(answer: httpx.Response) -> dict[str, Any]:
    """The body, where it is a JSON object."""
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _error(status: int, document: dict[str, Any]) -> VidhubError:
    """A Connect error in JSON, as our class."""
    reason = ""
    violations: list[Violation] = []
    for detail in document.get("details", []):
        debug = detail.get("debug", {})
        reason = debug.get("reason", reason)
        violations += [
            Violation(one.get("field", ""), one.get("reason", ""), one.get("description", ""))
            for one in debug.get("fieldViolations", [])
        ]
    code = str(document.get("code", ""))
    kind = error_class(code) or (Unavailable if status in {502, 503, 504} else Internal)
    return kind(reason or code.upper() or f"HTTP_{status}", str(document.get("message", "")), violations=violations)
