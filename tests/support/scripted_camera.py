"""A camera that misbehaves as a script says: RTSP, a clip in a loop, and a clock, numbers or a login of its own.

The scripts are `tests/vectors/rtsp/*.toml`; the keys are the fields of `Script`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import itertools
import re
import secrets
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from support.cameras import make_clip, nal_units, tcp_camera

FPS = 25
PAYLOAD = 1200
_ALGORITHMS = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


@dataclass(frozen=True)
class Script:
    """What the camera does wrong. Moments are seconds after PLAY.

    clip: plain (a keyframe a second), long_gop (one in ten seconds), b_frames, two_sizes (2 s each).
    picture, sound: what there is; sound is "", pcmu_16k or g726. codec: what SDP calls the picture.
    sprop, in_band: whether parameter sets stand in SDP, and in the stream.
    speed: of the clock. leaps: [moment, seconds that the clock is ahead from then on].
    restart_s: clock and numbers begin anew. udp: TCP is not offered.
    jumps: [moment, packets that the count skips]. double_every, swap_every: packets.
    whole_buffers: a picture goes with its sets and the start codes between them as if it were one NAL unit.
    lose_fragment_s: a fragment from the middle of a picture is missing so often. markers: whether any is set.
    silent_s, reset_s: nothing more; the connection reset.
    split_answers: media stands between the header lines of answers.
    challenges: in that order. nonce_requests: so many requests a nonce is good for.
    """

    clip: str = "plain"
    picture: bool = True
    sound: str = ""
    codec: str = "H264"
    sprop: bool = True
    in_band: bool = True
    speed: float = 1.0
    leaps: Sequence[Sequence[float]] = ()
    restart_s: float = 0.0
    udp: bool = False
    jumps: Sequence[Sequence[float]] = ()
    double_every: int = 0
    swap_every: int = 0
    whole_buffers: bool = False
    lose_fragment_s: float = 0.0
    markers: bool = True
    silent_s: float | None = None
    reset_s: float = 0.0
    split_answers: bool = False
    challenges: Sequence[str] = ()
    username: str = ""
    password: str = ""
    nonce_requests: int = 0


class Clips:
    """The clips, made once: access units as lists of NAL units."""

    def __init__(self, folder: Path) -> None:
        common = {"size": "320x180", "fps": FPS}
        plain = _units(make_clip(folder / "plain.h264", seconds=4, key_interval=FPS, **common))
        small = _units(make_clip(folder / "small.h264", seconds=2, size="160x96", fps=FPS, key_interval=FPS))
        self._clips = {
            "plain": plain,
            "long_gop": _units(make_clip(folder / "long.h264", seconds=10, key_interval=10 * FPS, **common)),
            "b_frames": _units(make_clip(folder / "b.h264", seconds=4, key_interval=FPS, b_frames=2, **common)),
            "two_sizes": plain[: 2 * FPS] + small,
        }

    def __getitem__(self, name: str) -> list[list[bytes]]:
        return self._clips[name]


def _units(path: Path) -> list[list[bytes]]:
    """Cut before what follows a slice and begins a picture."""
    units: list[list[bytes]] = []
    for nal in nal_units(path.read_bytes()):
        is_slice = (nal[0] & 0x1F) in (1, 5)
        has_slice = bool(units) and any((one[0] & 0x1F) in (1, 5) for one in units[-1])
        if not units or (has_slice and (not is_slice or nal[1] & 0x80)):
            units.append([])
        units[-1].append(nal)
    return units


@dataclass
class ScriptedCamera:
    script: Script
    units: list[list[bytes]]
    url: str = ""
    connections: int = 0
    # Algorithm of each login that was right.
    logins: list[str] = field(default_factory=list)
    # Logins that were wrong, answers to a nonce that had run out not counted.
    failures: int = 0
    _nonces: dict[str, int] = field(default_factory=dict)
    # Next sequence number of each track.
    _numbers: dict[int, int] = field(default_factory=dict)

    @cached_property
    def _display(self) -> list[int]:
        """Place of display of each picture within its second: B pictures are shown before the one that they follow."""
        places: list[int] = []
        for start in range(0, len(self.units), FPS):
            group = self.units[start : start + FPS]
            own, shown, held = [0] * len(group), 0, None
            for at, unit in enumerate(group):
                if not _is_b(unit):
                    if held is not None:
                        own[held] = shown
                        shown += 1
                    held = at
                else:
                    own[at] = shown
                    shown += 1
            if held is not None:
                own[held] = shown
            places += own
        return places

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        playing: asyncio.Task[None] | None = None
        ways: dict[int, Callable[[bytes], object]] = {}
        sockets: list[asyncio.DatagramTransport] = []
        try:
            while True:
                head = await reader.readuntil(b"\r\n")
                if head[:1] == b"$":  # a receiver report, of which the line feed is a part or not
                    size = struct.unpack(">H", head[2:4])[0]
                    rest = 4 + size - len(head)
                    if rest > 0:
                        await reader.readexactly(rest)
                    continue
                request = (head + await reader.readuntil(b"\r\n\r\n")).decode()
                method, url, _ = request.split(" ", 2)
                headers = dict(re.findall(r"^([\w-]+): *(.*?)\r?$", request, re.MULTILINE))
                refusal = self._challenge(method, headers)
                if refusal:
                    self._answer(writer, headers, 401, refusal)
                    continue
                if method == "DESCRIBE":
                    base = [f"Content-Base: {url.rstrip('/')}/", "Content-Type: application/sdp"]
                    self._answer(writer, headers, 200, base, self._sdp())
                elif method == "SETUP":
                    track = len(ways)
                    ports = re.search(r"client_port=(\d+)-(\d+)", headers.get("Transport", ""))
                    channels = re.search(r"interleaved=(\d+)-(\d+)", headers.get("Transport", ""))
                    if self.script.udp and ports is not None:
                        pair = await _udp_pair()
                        sockets += pair
                        to = (writer.get_extra_info("peername")[0], int(ports[1]))
                        ways[track] = functools.partial(pair[0].sendto, addr=to)
                        own = pair[0].get_extra_info("sockname")[1]
                        told = f"RTP/AVP;unicast;client_port={ports[1]}-{ports[2]};server_port={own}-{own + 1}"
                    elif not self.script.udp and channels is not None:
                        ways[track] = functools.partial(_interleave, writer, int(channels[1]))
                        told = f"RTP/AVP/TCP;unicast;interleaved={channels[1]}-{channels[2]}"
                    else:
                        self._answer(writer, headers, 461, [])
                        continue
                    self._answer(
                        writer, headers, 200, ["Session: 5A3C;timeout=4", f"Transport: {told};ssrc={42 + track:08X}"]
                    )
                elif method == "PLAY":
                    self._answer(writer, headers, 200, ["Session: 5A3C;timeout=4", "Range: npt=0.000-"])
                    playing = asyncio.create_task(self._play(writer, ways))
                else:
                    self._answer(writer, headers, 200, ["Session: 5A3C", "Public: OPTIONS, GET_PARAMETER, TEARDOWN"])
                    if method == "TEARDOWN":
                        return
        finally:
            if playing is not None:
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
            for socket in sockets:
                socket.close()

    # Answers.

    def _answer(
        self, writer: asyncio.StreamWriter, asked: dict[str, str], status: int, lines: list[str], body: str = ""
    ) -> None:
        phrase = {200: "OK", 401: "Unauthorized", 461: "Unsupported Transport"}[status]
        head = [f"RTSP/1.0 {status} {phrase}", f"CSeq: {asked.get('CSeq', '0')}", *lines]
        if body:
            head.append(f"Content-Length: {len(body)}")
        if self.script.split_answers and "Session" in asked:
            first, *rest = head
            # A sender report of nobody, on a channel that nobody has set up.
            stray = b"$\x0a\x00\x08" + bytes((0x80, 201, 0, 1, 0, 0, 0, 9))
            writer.write(first.encode() + b"\r\n" + stray + "\r\n".join([*rest, "", ""]).encode() + body.encode())
            return
        writer.write(("\r\n".join([*head, "", ""]) + body).encode())

    def _sdp(self) -> str:
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=control:*"]
        if self.script.picture:
            static = self.script.codec == "JPEG"
            lines += [f"m=video 0 RTP/AVP {26 if static else 96}"]
            lines += [] if static else [f"a=rtpmap:96 {self.script.codec}/90000"]
            if not static:
                sets = {nal[0] & 0x1F: nal for nal in self.units[0]}
                sprop = ",".join(base64.b64encode(sets[kind]).decode() for kind in (7, 8))
                known = f";sprop-parameter-sets={sprop}" if self.script.sprop else ""
                lines += [f"a=fmtp:96 packetization-mode=1{known}"]
            lines += ["a=control:trackID=1"]
        if self.script.sound:
            encoding = {"pcmu_16k": "PCMU/16000", "g726": "G726-32/8000"}[self.script.sound]
            lines += ["m=audio 0 RTP/AVP 97", f"a=rtpmap:97 {encoding}", "a=control:trackID=2"]
        return "\r\n".join([*lines, ""])

    def _challenge(self, method: str, headers: dict[str, str]) -> list[str]:
        """The header lines of a 401, or nothing when the login is right."""
        if not self.script.challenges or method == "OPTIONS":
            return []
        stale = False
        given = headers.get("Authorization", "")
        if given.startswith("Digest "):
            fields = dict(re.findall(r'(\w+)="?([^",]+)"?', given.removeprefix("Digest ")))
            # A quoted string may hold escaped characters (RFC 7616 §3.4).
            user = re.search(r'username="((?:[^"\\]|\\.)*)"', given)
            name = re.sub(r"\\(.)", r"\1", user[1]) if user else ""
            algorithm = fields.get("algorithm", "MD5")
            left = self._nonces.get(fields.get("nonce", ""), 0)
            if algorithm in self.script.challenges and self._is_right(fields, method, name, algorithm):
                if left > 0:
                    self._nonces[fields["nonce"]] = left - 1
                    self.logins.append(algorithm)
                    return []
                stale = True
        if given and not stale:
            self.failures += 1
        nonce = secrets.token_hex(12)
        self._nonces[nonce] = self.script.nonce_requests or 10_000
        lines = []
        for challenge in self.script.challenges:
            if challenge == "Basic":
                lines.append('WWW-Authenticate: Basic realm="a camera"')
                continue
            also = ", stale=true" if stale else ""
            lines.append(
                f'WWW-Authenticate: Digest realm="a, camera", nonce="{nonce}", algorithm={challenge}, qop="auth"{also}'
            )
        return lines

    def _is_right(self, fields: dict[str, str], method: str, name: str, algorithm: str) -> bool:
        def hashed(text: str) -> str:
            return _ALGORITHMS[algorithm](text.encode()).hexdigest()

        first = hashed(f"{self.script.username}:a, camera:{self.script.password}")
        second = hashed(f"{method}:{fields['uri']}")
        between = f"{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:auth" if "qop" in fields else fields["nonce"]
        return name == self.script.username and fields["response"] == hashed(f"{first}:{between}:{second}")

    # Media.

    async def _play(self, writer: asyncio.StreamWriter, ways: dict[int, Callable[[bytes], object]]) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            for number in itertools.count():
                moment = number / FPS
                await asyncio.sleep(max(0.0, began + moment - loop.time()))
                if writer.is_closing():
                    return
                if self.script.silent_s is not None and moment >= self.script.silent_s:
                    return
                if self.script.reset_s and moment >= self.script.reset_s:
                    writer.transport.abort()
                    return
                for track, packet in self._packets(number):
                    ways[track](packet)
                await writer.drain()
        except ConnectionError:
            pass

    def _packets(self, number: int) -> list[tuple[int, bytes]]:
        """Everything of one picture's time with its track, in the order in which it is sent."""
        script, moment = self.script, number / FPS
        restarted = bool(script.restart_s) and moment >= script.restart_s
        since = moment - script.restart_s if restarted else moment
        ahead = next((leap for at, leap in reversed(list(script.leaps)) if moment >= at), 0.0)
        # Near the wrap at first; from nothing after a restart.
        clock = (7 if restarted else 0xFFFF0000) + round((since * script.speed + ahead) * 90_000)
        if restarted and since < 1 / FPS:
            self._numbers.clear()
        for at, skipped in script.jumps:
            if number == round(at * FPS):
                self._number(0, int(skipped))
        out: list[tuple[int, bytes]] = []
        if script.picture:
            place = number % len(self.units)
            shift = self._display[place] - place % FPS if script.clip == "b_frames" else 0
            for payload, marker in self._payloads(number):
                kind = 0x80 * (marker and script.markers) | 96
                out.append((0, self._rtp(0, kind, clock + shift * 90_000 // FPS, payload)))
        if script.sound == "pcmu_16k":
            samples = 16_000 // FPS
            out.append(
                (
                    int(script.picture),
                    self._rtp(int(script.picture), 97, number * samples, b"\xff\x7f" * (samples // 2)),
                )
            )
        for at in range(script.swap_every - 1, len(out) - 1, script.swap_every or 1) if script.swap_every else ():
            out[at], out[at + 1] = out[at + 1], out[at]
        if script.double_every:
            out = [one for at, one in enumerate(out, 1) for _ in range(2 if at % script.double_every == 0 else 1)]
        return out

    def _payloads(self, number: int) -> Iterator[tuple[bytes, bool]]:
        """RFC 6184 payloads of one picture, and which is its last."""
        unit = self.units[number % len(self.units)]
        if not self.script.in_band:
            unit = [nal for nal in unit if nal[0] & 0x1F not in (7, 8)]
        if self.script.whole_buffers:
            unit = [b"\0\0\0\1".join(unit)]
        every = round(self.script.lose_fragment_s * FPS)
        loses = every > 0 and number % every == every // 2
        for place, nal in enumerate(unit):
            is_last = place == len(unit) - 1
            if len(nal) <= PAYLOAD:
                yield nal, is_last
                continue
            starts = range(1, len(nal), PAYLOAD - 2)
            for at, start in enumerate(starts):
                ends = start + PAYLOAD - 2 >= len(nal)
                if loses and at == len(starts) // 2:
                    self._number(0, 1)
                    continue
                head = bytes([nal[0] & 0xE0 | 28, (0x80 if at == 0 else 0) | (0x40 if ends else 0) | nal[0] & 0x1F])
                yield head + nal[start : start + PAYLOAD - 2], is_last and ends

    def _rtp(self, track: int, kind: int, clock: int, payload: bytes) -> bytes:
        return struct.pack(">BBHII", 0x80, kind, self._number(track, 1), clock % 2**32, 42 + track) + payload

    def _number(self, track: int, count: int) -> int:
        """Takes so many sequence numbers; the first of them."""
        first = self._numbers.get(track, 65_500)
        self._numbers[track] = (first + count) % 65_536
        return first


def _interleave(writer: asyncio.StreamWriter, channel: int, packet: bytes) -> None:
    writer.write(struct.pack(">BBH", 0x24, channel, len(packet)) + packet)


async def _udp_pair() -> list[asyncio.DatagramTransport]:
    """Two sockets on neighbouring ports, the first even."""
    loop = asyncio.get_running_loop()
    while True:
        first, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", 0))
        port = first.get_extra_info("sockname")[1]
        if port % 2 == 0:
            with contextlib.suppress(OSError):
                second, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, ("127.0.0.1", port + 1))
                return [first, second]
        first.close()


def _is_b(unit: list[bytes]) -> bool:
    """A picture that nothing refers to: in the clips those are the B pictures."""
    return all(nal[0] & 0x60 == 0 for nal in unit if nal[0] & 0x1F == 1) and not any(nal[0] & 0x1F == 5 for nal in unit)


@contextlib.asynccontextmanager
async def scripted_camera(script: Script, clips: Clips) -> AsyncIterator[ScriptedCamera]:
    camera = ScriptedCamera(script, clips[script.clip])
    async with tcp_camera(camera.serve) as url:
        camera.url = url
        yield camera
