"""A small RTSP client over TCP, which shows what a hub really sends, byte by byte and when."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Reply:
    """One message of the hub: an answer, or (status 0) a request of its own, whose method is `phrase`."""

    status: int
    phrase: str
    headers: dict[str, list[str]]
    body: bytes
    at: float

    def header(self, name: str) -> str:
        return self.headers.get(name.lower(), [""])[0]

    @property
    def reason(self) -> str:
        return self.header("X-Vidhub-Reason")


@dataclass(frozen=True)
class RtpPacket:
    at: float
    channel: int
    sequence: int
    timestamp: int
    marker: bool
    payload: bytes


@dataclass
class RtspClient(asyncio.Protocol):
    """One connection. `on_packet` replaces the list for those who only count."""

    address: str
    path: str
    query: str = ""
    packets: list[RtpPacket] = field(default_factory=list)
    notices: list[Reply] = field(default_factory=list)
    on_packet: Callable[[RtpPacket], None] | None = None

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[float] = loop.create_future()
        self._buffer = bytearray()
        self._replies: asyncio.Queue[Reply] = asyncio.Queue()
        self._cseq = 0
        self._session = ""
        self._base = ""
        self._controls: list[str] = []
        self._arrived = asyncio.Event()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def connect(cls, url: str, *, receive_buffer: int = 0, local: str = "") -> Self:
        """local: the address to come from."""
        parts = urlsplit(url)
        client = cls(parts.netloc, parts.path, f"?{parts.query}" if parts.query else "")
        connected = socket.socket()
        connected.setblocking(False)
        if receive_buffer:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if local:
            connected.bind((local, 0))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connected, (parts.hostname, parts.port))
        await loop.create_connection(lambda: client, sock=connected)
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drop()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def stall(self) -> None:
        """Reads no more, and keeps the connection."""
        assert self._transport is not None
        self._transport.pause_reading()

    def resume(self) -> None:
        assert self._transport is not None
        self._transport.resume_reading()

    @property
    def url(self) -> str:
        return f"rtsp://{self.address}{self.path}"

    # Asking.

    async def ask(self, method: str, url: str = "", **headers: str) -> Reply:
        """Header names are written with `_` for `-`."""
        assert self._transport is not None
        self._cseq += 1
        lines = [f"{method} {url or self.url + self.query} RTSP/1.0", f"CSeq: {self._cseq}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if self._session:
            lines.append(f"Session: {self._session}")
        self._transport.write("\r\n".join([*lines, "", ""]).encode())
        async with asyncio.timeout(PATIENCE_S):
            reply = await self._replies.get()
        assert reply.header("CSeq") in ("", str(self._cseq))
        return reply

    async def describe(self, **headers: str) -> Reply:
        reply = await self.ask("DESCRIBE", Accept="application/sdp", **headers)
        self._base = reply.header("Content-Base") or self.url + "/"
        media = reply.body.decode().partition("\nm=")[2]
        self._controls = re.findall(r"^a=control:(\S+)", media, re.MULTILINE)
        return reply

    async def log_in(self, user: str, password: str, *, algorithm: str = "SHA-256") -> Reply:
        """DESCRIBE with Digest, after the challenge."""
        challenge = await self.describe()
        assert challenge.status == 401
        found = next(one for one in challenge.headers["www-authenticate"] if algorithm in one or "algorithm" not in one)
        return await self.describe(Authorization=digest(found, user, password, "DESCRIBE", self.url, algorithm))

    async def set_up(self, track: int = 0, **headers: str) -> Reply:
        transport = f"RTP/AVP/TCP;unicast;interleaved={2 * track}-{2 * track + 1}"
        reply = await self.ask("SETUP", self._base + self._controls[track], Transport=transport, **headers)
        self._session = reply.header("Session").partition(";")[0] or self._session
        return reply

    async def play(self) -> Reply:
        return await self.ask("PLAY", self._base)

    async def watch(self, **headers: str) -> Self:
        """From DESCRIBE to PLAY, one track."""
        reply = await self.describe(**headers)
        assert reply.status == 200, (reply.status, reply.reason)
        assert (await self.set_up()).status == 200
        assert (await self.play()).status == 200
        return self

    # What comes.

    async def until(self, reached: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        """Looks again at each arrival."""
        async with asyncio.timeout(within_s):
            while not reached():
                self._arrived.clear()
                assert not self.closed.done(), "the hub has closed the connection"
                await self._arrived.wait()

    async def end(self, within_s: float = PATIENCE_S) -> tuple[str, float]:
        """Waits until the hub closes; its reason, and when it said so."""
        async with asyncio.timeout(within_s):
            at = await asyncio.shield(self.closed)
        told = [notice for notice in self.notices if notice.phrase == "TEARDOWN"]
        return (told[0].reason, told[0].at) if told else ("", at)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(time.monotonic())
        self._arrived.set()

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= 4:
            if buffer[at] == 0x24:
                end = at + 4 + int.from_bytes(buffer[at + 2 : at + 4], "big")
                if len(buffer) < end:
                    break
                self._take(buffer[at + 1], bytes(buffer[at + 4 : end]), now)
                at = end
                continue
            end = buffer.find(b"\r\n\r\n", at)
            if end < 0:
                break
            message = _parse(bytes(buffer[at:end]).decode(), now)
            length = int(message.header("Content-Length") or 0)
            if len(buffer) < end + 4 + length:
                break
            body = bytes(buffer[end + 4 : end + 4 + length])
            at = end + 4 + length
            message = Reply(message.status, message.phrase, message.headers, body, now)
            if message.status:
                self._replies.put_nowait(message)
            else:
                self.notices.append(message)
        del buffer[:at]
        self._arrived.set()

    def _take(self, channel: int, data: bytes, now: float) -> None:
        if channel % 2:
            return
        _, kind, sequence, timestamp, _ = struct.unpack_from(">BBHII", data)
        packet = RtpPacket(now, channel, sequence, timestamp, bool(kind & 0x80), data[12:])
        if self.on_packet is not None:
            self.on_packet(packet)
        else:
            self.packets.append(packet)

    # What was seen.

    @property
    def pictures(self) -> int:
        return sum(packet.marker for packet in self.packets)

    def nal_units(self) -> Iterator[bytes]:
        return nal_units(self.packets)


def nal_units(packets: list[RtpPacket]) -> Iterator[bytes]:
    """Put back together (RFC 6184); only whole ones."""
    fragment: bytearray | None = None
    for packet in packets:
        kind = packet.payload[0] & 0x1F
        if kind == 24:
            at = 1
            while at + 2 <= len(packet.payload):
                length = int.from_bytes(packet.payload[at : at + 2], "big")
                yield packet.payload[at + 2 : at + 2 + length]
                at += 2 + length
        elif kind == 28:
            head = packet.payload[1]
            if head & 0x80:
                fragment = bytearray([packet.payload[0] & 0xE0 | head & 0x1F])
            if fragment is not None:
                fragment += packet.payload[2:]
                if head & 0x40:
                    yield bytes(fragment)
                    fragment = None
        else:
            yield packet.payload


def gaps(packets: list[RtpPacket]) -> int:
    """How many packets are missing between the first and the last."""
    numbers = [packet.sequence for packet in packets]
    return sum((after - before - 1) % 65_536 for before, after in itertools.pairwise(numbers))


def digest(challenge: str, user: str, password: str, method: str, uri: str, algorithm: str) -> str:
    """An Authorization header for a challenge, with qop=auth where it is offered."""
    fields = dict(re.findall(r'(\w+)="?([^",]+)"?', challenge.partition(" ")[2]))
    make = hashlib.sha256 if algorithm == "SHA-256" else hashlib.md5

    def hashed(text: str) -> str:
        return make(text.encode()).hexdigest()

    first = hashed(f"{user}:{fields['realm']}:{password}")
    second = hashed(f"{method}:{uri}")
    answer = {"username": user, "realm": fields["realm"], "nonce": fields["nonce"], "uri": uri}
    if "qop" in fields:
        answer |= {"nc": "00000001", "cnonce": "0a4f113b", "qop": "auth"}
        answer["response"] = hashed(f"{first}:{fields['nonce']}:00000001:0a4f113b:auth:{second}")
    else:
        answer["response"] = hashed(f"{first}:{fields['nonce']}:{second}")
    if "algorithm" in fields:
        answer["algorithm"] = fields["algorithm"]
    plain = {"nc", "qop", "algorithm"}
    return "Digest " + ", ".join(f"{k}={v}" if k in plain else f'{k}="{v}"' for k, v in answer.items())


def _parse(text: str, now: float) -> Reply:
    first, *lines = text.split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    words = first.split(" ", 2)
    if words[0].startswith("RTSP/"):
        return Reply(int(words[1]), words[2] if len(words) > 2 else "", headers, b"", now)
    return Reply(0, words[0], headers, b"", now)
