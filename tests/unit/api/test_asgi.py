"""A listener inside the hub's event loop."""

from __future__ import annotations

import asyncio
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from vidhub.api.asgi import AsgiServer, PrivateDirectory


async def test_it_says_the_date_and_its_task_ends_when_it_is_stopped(tmp_path: Path) -> None:
    directory = PrivateDirectory(tmp_path / "sockets")
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("here"))])
    server = AsgiServer("test", app, directory.listen("api"))
    task = await server.start()
    transport = httpx.AsyncHTTPTransport(uds=directory.address("api"))
    async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
        first = await client.get("/")
        assert first.text == "here"
    assert abs(parsedate_to_datetime(first.headers["date"]).timestamp() - time.time()) < 30
    async with asyncio.timeout(30):
        await server.stop()
    assert task.done()
    assert task.exception() is None
    directory.close()
