"""Serving an ASGI app on a socket of our own, inside the hub's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from vidhub.config import split_address
from vidhub.errors import Unavailable

# Longest path that a Unix socket's address takes, with the zero at its end (sun_path).
_LONGEST_PATH = 100
# How often the Date of answers is set.
_TICK_S = 1.0


class AsgiServer:
    """One listener: `run` until `stop`."""

    def __init__(self, name: str, app: ASGIApp, listener: socket.socket, *, grace_s: int = 3) -> None:
        self._name = name
        self._listener = listener
        self._server = _Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                # Behind our front, which bounds a request's header, httptools (what "auto" takes), which does not;
                # whoever reaches a port of ours is read by h11, which gives up at 64 KiB.
                http="auto" if listener.family is socket.AF_UNIX else "h11",
                ws="none",
                timeout_graceful_shutdown=grace_s,
            )
        )
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> asyncio.Task[None]:
        """Returns once it accepts; the task ends when the server does."""
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]), name=self._name)
        started = asyncio.create_task(self._server.accepts.wait())
        await asyncio.wait({self._task, started}, return_when=asyncio.FIRST_COMPLETED)
        if not started.done():
            started.cancel()
            await self._task
            raise Unavailable("LISTENER_FAILED", "an internal listener did not start: see the log")
        return self._task

    async def stop(self) -> None:
        self._server.end()
        if self._task is not None:
            await asyncio.wait({self._task})
        self._listener.close()


class _Server(uvicorn.Server):
    """Leaves signals to the hub, tells when it accepts, and sleeps while nothing happens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepts = asyncio.Event()
        self._ends = asyncio.Event()

    def end(self) -> None:
        self.should_exit = True
        self._ends.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepts.set()

    async def main_loop(self) -> None:
        # uvicorn's own looks ten times a second whether it shall end.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ends.wait(), _TICK_S)


class PrivateDirectory:
    """A directory held open, so that sockets in it can be named however long its own path is."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def address(self, name: str) -> str:
        """The path by which this process binds or connects to a socket in the directory."""
        plain = self.path.absolute() / name
        return str(plain) if len(os.fsencode(plain)) < _LONGEST_PATH else f"/proc/self/fd/{self._handle}/{name}"

    def listen(self, name: str) -> socket.socket:
        """A socket that only the owner may connect to, in place of what a hub that was killed left behind."""
        (self.path / name).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(self.address(name))
        finally:
            os.umask(before)
        listener.listen(512)
        listener.setblocking(False)
        return listener

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def close(self) -> None:
        os.close(self._handle)


def tcp_listener(address: str, option: str) -> tuple[socket.socket, str]:
    """The socket and its bound address. Raises Unavailable LISTENER_IN_USE naming the option."""
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as cause:
        raise Unavailable(
            "LISTENER_IN_USE", f"{address}: {cause.strerror}: choose another address with {option}"
        ) from cause
    listener.setblocking(False)
    bound = listener.getsockname()
    return listener, f"[{bound[0]}]:{bound[1]}" if family == socket.AF_INET6 else f"{bound[0]}:{bound[1]}"
