"""A hub's Connect API as an operator's client uses it: JSON over HTTP, and WHEP."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from vidhub.errors import Internal, InvalidArgument, Unavailable, Violation, error_class

LARGEST_ANSWER = 8 * 1024 * 1024


class Operator:
    """One person's calls to one hub."""

    def __init__(self, hub: str) -> None:
        parts = urlsplit(hub)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise InvalidArgument("URL_INVALID", f"{hub!r} is no hub's URL: write it as http://127.0.0.1:8080")
        self._hub = hub.rstrip("/")
        # With the login comes a cookie, and what carries it must say that it is not another site's doing.
        origin = {"Origin": f"{parts.scheme}://{parts.netloc}"}
        self._client = httpx.AsyncClient(timeout=30, trust_env=False, headers=origin)
        self._token = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def login(self, username: str, password: str) -> None:
        answer = await self.call("AuthService/Login", {"username": username, "password": password})
        self._token = answer["accessToken"]

    async def logout(self) -> None:
        await self.call("AuthService/Logout", {})

    async def open_session(self, camera: str, kind: str, reference: str = "") -> dict[str, Any]:
        purpose = {"kind": kind, "reference": reference}
        return await self.call("SessionService/OpenSession", {"cameraId": camera, "purpose": purpose})

    async def close_session(self, session: str) -> None:
        await self.call("SessionService/CloseSession", {"sessionId": session})

    async def call(self, method: str, body: dict[str, Any]) -> dict[str, Any]:
        """One unary call of `vidhub.v1`. Raises the error that the hub raised."""
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        answer = await self._post(f"{self._hub}/vidhub.v1.{method}", json=body, headers=headers)
        try:
            document = answer.json()
        except ValueError:
            document = {}
        if answer.status_code == httpx.codes.OK and isinstance(document, dict):
            return document
        raise _error(answer.status_code, document if isinstance(document, dict) else {})

    async def whep(self, url: str, ticket: str, offer: str) -> str:
        """Posts the offer; the answer's SDP. Raises the error that the hub raised."""
        answer = await self._post(
            url, content=offer, headers={"Authorization": f"Bearer {ticket}", "Content-Type": "application/sdp"}
        )
        if answer.status_code == httpx.codes.CREATED:
            return answer.text
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        raise Unavailable(problem.get("reason", f"HTTP_{answer.status_code}"), problem.get("detail", "the hub refused"))

    async def _post(self, url: str, **request: Any) -> httpx.Response:
        try:
            return await self._client.post(url, **request)
        except httpx.HTTPError as cause:
            raise Unavailable("HUB_UNREACHABLE", f"no hub answers at {self._hub}: {cause}") from cause


def _error(status: int, document: dict[str, Any]) -> Exception:
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
    kind = error_class(code) or Internal
    return kind(reason or code.upper() or f"HTTP_{status}", str(document.get("message", "")), violations=violations)
