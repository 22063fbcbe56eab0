"""A caller of the API through the public port that costs next to nothing itself: HTTP/1.1 by hand, lines kept open.

What is measured beside other load is the hub; a whole HTTP library in one process with that load would be most of it.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from support.hub import HubProcess

_Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Caller:
    """One person with their token; as many lines to the hub as calls are under way."""

    def __init__(self, running: HubProcess, token: str) -> None:
        host, _, port = running.ready["http"].rpartition(":")
        self._host, self._port, self._token = host, int(port), token
        self._idle: list[_Line] = []

    async def call(self, method: str, **message: object) -> dict[str, Any]:
        """The answer as JSON, whatever its status. Raises OSError or IncompleteReadError of a hub that hangs up."""
        body = json.dumps(message).encode()
        head = (
            f"POST /vidhub.v1.{method} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
            f"Authorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        line = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        reader, writer = line
        writer.write(head.encode() + body)
        fields = (await reader.readuntil(b"\r\n\r\n")).lower()
        answer: dict[str, Any] = json.loads(await _body(reader, fields))
        self._idle.append(line)
        return answer

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def _body(reader: asyncio.StreamReader, fields: bytes) -> bytes:
    _, named, rest = fields.partition(b"\r\ncontent-length:")
    if named:
        return await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    parts: list[bytes] = []
    while size := int(await reader.readline(), 16):
        parts.append((await reader.readexactly(size + 2))[:-2])
    await reader.readexactly(2)
    return b"".join(parts)
