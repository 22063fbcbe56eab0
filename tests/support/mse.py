"""A viewer over WebSocket, by asyncio alone: what it is told, the MP4 it is given, and how it ends."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

PATIENCE_S = 60.0
PLAYS_ALL = tuple(
    f'video/mp4; codecs="{codec}"'
    for codec in ("avc1.640034", "avc1.6e0034", "hvc1.1.6.L186.B0", "hvc1.2.4.L186.B0", "mp4a.40.2", "opus")
)
_TEXT, _BINARY, _CLOSE, _PING, _PONG = 1, 2, 8, 9, 10


@dataclass
class Closed(Exception):
    """The hub has closed the connection."""

    status: int
    reason: str


@dataclass
class MseViewer:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answer: dict[str, Any] = field(default_factory=dict)
    # All binary messages, one behind the other: a file of fragmented MP4.
    file: bytearray = field(default_factory=bytearray)
    fragments: int = 0

    def send(self, opcode: int, payload: bytes) -> None:
        mask = os.urandom(4)
        length = len(payload)
        head = (
            bytes([0x80 | opcode, 0x80 | length]) if length < 126 else struct.pack("!BBH", 0x80 | opcode, 0xFE, length)
        )
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.writer.write(head + mask + masked)

    async def next(self) -> tuple[int, bytes]:
        """One message of the hub. Raises Closed."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    first, length = await self.reader.readexactly(2)
                    if length == 126:
                        (length,) = struct.unpack("!H", await self.reader.readexactly(2))
                    elif length == 127:
                        (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
                    payload = await self.reader.readexactly(length)
                except (asyncio.IncompleteReadError, ConnectionError):
                    raise Closed(1006, "") from None
                opcode = first & 0x0F
                if opcode == _PING:
                    self.send(_PONG, payload)
                elif opcode == _CLOSE:
                    raise Closed(int.from_bytes(payload[:2]), payload[2:].decode())
                elif opcode != _PONG:
                    return opcode, payload

    async def watch(self, fragments: int) -> None:
        """As far as so many fragments more."""
        wanted = self.fragments + fragments
        while self.fragments < wanted:
            opcode, payload = await self.next()
            if opcode == _TEXT:
                self.answer = json.loads(payload)
                continue
            assert opcode == _BINARY
            self.file += payload
            self.fragments += payload[4:8] == b"moof"

    async def end(self) -> Closed:
        try:
            while True:
                await self.watch(1)
        except Closed as closed:
            return closed


@contextlib.asynccontextmanager
async def mse_viewer(url: str, ticket: str, mimes: tuple[str, ...] = PLAYS_ALL) -> AsyncIterator[MseViewer]:
    where = urlsplit(url)
    assert where.scheme == "ws", url
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    key = base64.b64encode(os.urandom(16)).decode()
    lines = (
        f"GET {where.path} HTTP/1.1",
        f"Host: {where.netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
    )
    writer.write("\r\n".join((*lines, "", "")).encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    viewer = MseViewer(reader, writer)
    viewer.send(_TEXT, json.dumps({"ticket": ticket, "mimes": mimes}).encode())
    try:
        yield viewer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
