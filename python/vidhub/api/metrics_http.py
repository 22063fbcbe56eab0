"""The ASGI app of port 9464: /metrics, /healthz and /readyz, there only."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def metrics_app(
    registry: CollectorRegistry, *, alive: Callable[[], str | None], ready: Callable[[], str | None]
) -> Starlette:
    """alive, ready: None when all is well, else the sentence to show with 503."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={**_HEADERS, "Content-Type": content_type})

    def probe(question: Callable[[], str | None]) -> Callable[[Request], Response]:
        def answer(_request: Request) -> Response:
            trouble = question()
            return PlainTextResponse(
                "ok\n" if trouble is None else f"{trouble}\n",
                status_code=200 if trouble is None else 503,
                headers=_HEADERS,
            )

        return answer

    async def healthz(request: Request) -> Response:
        return probe(alive)(request)

    async def readyz(request: Request) -> Response:
        return probe(ready)(request)

    return Starlette(routes=[Route("/metrics", metrics), Route("/healthz", healthz), Route("/readyz", readyz)])
