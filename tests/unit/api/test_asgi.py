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
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vidhub.api.asgi import AsgiServer, PrivateDirectory, tcp_listener


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


async def test_a_header_without_end_is_refused_at_a_port() -> None:
    listener, address = tcp_listener("127.0.0.1:0", "--metrics")
    server = AsgiServer("test", Starlette(), listener)
    await server.start()
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nHost: hub\r\nX-Long: " + b"a" * 200_000)
    async with asyncio.timeout(30):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    await server.stop()


async def test_behind_the_front_requests_are_read_by_httptools(tmp_path: Path) -> None:
    directory = PrivateDirectory(tmp_path / "sockets")
    server = AsgiServer("test", Starlette(), directory.listen("api"))
    await server.start()
    assert server._server.config.http_protocol_class is HttpToolsProtocol
    await server.stop()
    directory.close()
