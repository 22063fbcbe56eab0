"""The people's edge: an ASGI app with the API by Connect and the console's files.

It stands behind our own front (axum) on a Unix socket; nothing else reaches it, so its `X-Forwarded-For` is believed.
"""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from connectrpc.compat import google_protobuf_binary_codec
from connectrpc.server import ConnectASGIApplication
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from vidhub.api import MESSAGE_MAX_BYTES, METHODS, SERVICES
from vidhub.api.adapter import ConnectAdapter
from vidhub.api.auth import Doorkeeper
from vidhub.api.compression import Gzip
from vidhub.api.json_codec import JsonCodec
from vidhub.api.live import LiveCalls
from vidhub.api.status import connect_body, to_status
from vidhub.errors import Unimplemented
from vidhub.places import SHIPPED
from vidhub.telemetry import Telemetry
from vidhub.turns import Turns

CONSOLE = Path(__file__).resolve().parent.parent / "console"
# The outlines of regions for the map: no secret, as the console itself is none.
OUTLINES_PATH = "/places/outlines.geojson"
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; worker-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
}
_API = "/vidhub.v1."
_UNARY_TYPES = (b"application/json", b"application/proto")
_STREAM_TYPES = (b"application/connect+json", b"application/connect+proto")


def http_app(
    servicers: Mapping[str, object],
    *,
    doorkeeper: Doorkeeper,
    live: LiveCalls,
    telemetry: Telemetry,
    is_https: bool,
    turns: Turns,
    console: Path = CONSOLE,
) -> ASGIApp:
    """servicers: by full name, as in "vidhub.v1.CameraService". is_https: whether browsers reach us by TLS. turns: what
    gives way to the calls of people."""
    adapter = ConnectAdapter(doorkeeper, live, telemetry.requests("connect", METHODS), METHODS, turns)
    services = {
        service: _Service(service, adapter, servicers.get(service))
        for service in SERVICES
        if service.startswith("vidhub.")
    }
    routes: list[Mount | Route] = [Route(OUTLINES_PATH, _outlines)]
    if (console / "index.html").is_file():
        routes.append(Mount("/", _Console(console)))
    return _Edge(Starlette(routes=routes, exception_handlers={404: _not_found}), services, is_https=is_https)


class _Service(ConnectASGIApplication[Any]):
    def __init__(self, service: str, adapter: ConnectAdapter, servicer: object) -> None:
        self._path = f"/{service}"
        super().__init__(
            service=servicer,
            endpoints=lambda held: {
                f"/{method.path}": adapter.endpoint(method, held) for method in SERVICES[service].values()
            },
            interceptors=[adapter],
            read_max_bytes=MESSAGE_MAX_BYTES,
            compressions=[Gzip()],
            codecs=[google_protobuf_binary_codec(), JsonCodec()],
        )

    @property
    def path(self) -> str:
        return self._path


class _Edge:
    """What holds for every answer: security headers, no caching of the API, no gRPC frames on this port.

    A call goes straight to its service; there is nothing to be searched for among routes, and its errors are its own.
    """

    def __init__(self, site: ASGIApp, services: Mapping[str, ASGIApp], *, is_https: bool) -> None:
        self._site = site
        self._services = services
        headers = dict(_HEADERS)
        if is_https:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        self._of_site = _Headers({**headers, "Content-Security-Policy": CONTENT_SECURITY_POLICY})
        self._of_api = _Headers({**headers, "Content-Security-Policy": _API_POLICY, "Cache-Control": "no-store"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._site(scope, receive, send)
            return
        path = scope["path"]
        is_api = path.startswith(_API)
        fixed = self._of_api if is_api else self._of_site

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = fixed.over(message.get("headers", ()))
            await send(message)

        app = self._site
        if is_api:
            refusal = _refusal(scope["method"], path, scope["headers"])
            app = refusal or self._services[path[1:].partition("/")[0]]
        await app(scope, receive, with_headers)


class _Headers:
    """Headers that every answer has, whatever it says itself."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._fixed = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self._names = frozenset(name for name, _ in self._fixed)

    def over(self, own: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        return [*(one for one in own if one[0].lower() not in self._names), *self._fixed]


def _refusal(verb: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Response | None:
    """The answer to what the Connect library would stumble over, or leave without a word or a reason."""
    method = METHODS.get(path.removeprefix("/"))
    if method is None:
        return _unknown_method()
    if verb != "POST":
        return _problem(405, "METHOD_NOT_ALLOWED", f"{verb} is not served here: call methods by POST")
    is_stream = method.takes_stream or method.gives_stream
    content = b""
    for name, value in headers:
        if not (name.isascii() and value.isascii()):
            return _problem(400, "HEADER_INVALID", "a header holds characters beyond ASCII")
        if name == b"content-type":
            content = value.partition(b";")[0].strip().lower()
        if name == b"connect-timeout-ms" and not re.fullmatch(rb"[0-9]{1,10}", value):
            return _problem(400, "HEADER_INVALID", "Connect-Timeout-Ms is a number of at most 10 digits")
        if name == b"connect-protocol-version" and value != b"1":
            return _problem(400, "HEADER_INVALID", "Connect-Protocol-Version is 1")
    if content.startswith(b"application/grpc"):
        return _problem(415, "CONTENT_TYPE", "this port speaks Connect (JSON or proto); for gRPC use port 50051")
    known = _STREAM_TYPES if is_stream else _UNARY_TYPES
    if content not in known:
        return _problem(415, "CONTENT_TYPE", f"send {' or '.join(one.decode() for one in known)}")
    return None


def _problem(status: int, reason: str, detail: str) -> Response:
    body = {"type": f"/problems/{reason.lower().replace('_', '-')}", "status": status, "detail": detail}
    return Response(json.dumps({**body, "reason": reason}), status, media_type="application/problem+json")


def _unknown_method() -> Response:
    status = to_status(Unimplemented("METHOD_UNKNOWN", "the API has no such method"))
    return Response(json.dumps(connect_body(status)), 404, media_type="application/json")


async def _not_found(_request: Request, _error: Exception) -> Response:
    return _problem(404, "NOT_FOUND", "there is nothing at this address")


async def _outlines(_request: Request) -> Response:
    return FileResponse(SHIPPED, media_type="application/geo+json", headers={"Cache-Control": "no-cache"})


class _Console(StaticFiles):
    """The console's files. Names under assets/ carry a hash of the content; everything else is asked for again."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory=directory, html=True)

    async def get_response(self, path: str, scope: Scope) -> Response:
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            # A page's address is the console's own business; a file that is missing is missing, and so is a service.
            is_page = "." not in path.partition("/")[0] and mimetypes.guess_type(path)[0] is None
            if error.status_code != 404 or not is_page or path.startswith("assets/"):
                raise
            path = "index.html"
            response = await super().get_response(path, scope)
        is_hashed = path.startswith("assets/")
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if is_hashed else "no-cache"
        return response
