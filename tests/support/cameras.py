"""Cameras for whole hubs: gst-rtsp-server in a process of its own, clips to play, and cameras that are broken."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import itertools
import json
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

# The system's own Python, which has the GStreamer bindings.
SYSTEM_PYTHON = "/usr/bin/python3"
PROGRAM = Path(__file__).parent.parent / "integration" / "gst_camera.py"
PATIENCE_S = 60.0


class GstCamera:
    """One running `gst_camera.py`, and how many connections it has seen."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url
        self.open = 0
        self.most_open = 0
        self._all = self._forgotten = 0
        self._changed = asyncio.Condition()

    @property
    def connections(self) -> int:
        return self._all - self._forgotten

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].partition("/")[0])

    async def follow(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            counts = json.loads(line)
            async with self._changed:
                self._all, self.open = counts["connections"], counts["open"]
                self.most_open = max(self.most_open, self.open)
                self._changed.notify_all()

    async def until_open(self, wanted: int) -> None:
        """Returns when exactly so many connections are open."""
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: self.open == wanted)

    def forget(self) -> None:
        """Counts anew from here, beside what is open."""
        self._forgotten, self.most_open = self._all, self.open

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def gst_camera(*, at: Sequence[str] = (), **options: object) -> AsyncIterator[GstCamera]:
    """options: those of the program, `user="admin", key_interval=10`. at: as for `hub`."""
    flags = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    process = await asyncio.create_subprocess_exec(
        *(*at, SYSTEM_PYTHON, str(PROGRAM), *flags),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    following: asyncio.Task[None] | None = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            line = await process.stdout.readline()
        assert line, "the camera did not start: see above"
        camera = GstCamera(process, json.loads(line)["url"])
        following = asyncio.create_task(camera.follow())
        yield camera
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if following is not None:
            await following


def make_clip(
    path: Path,
    *,
    seconds: float = 4,
    size: str = "320x180",
    fps: int = 25,
    key_interval: int = 25,
    bitrate_k: int = 0,
    codec: str = "h264",
    b_frames: int = 0,
) -> Path:
    """An elementary stream, every picture unlike the others.

    bitrate_k: noise, so much of it. b_frames: of H.264, between each two pictures that are referred to.
    """
    kilobits = f"{bitrate_k}k"
    rate = ["-b:v", kilobits, "-maxrate", kilobits, "-bufsize", kilobits] if bitrate_k else ["-crf", "23"]
    noise = ",noise=alls=80:allf=t+u" if bitrate_k else ""
    keys = f"keyint={key_interval}:min-keyint={key_interval}:scenecut=0"
    if codec == "h265":
        encoder = ["libx265", "-x265-params", f"{keys}:bframes=0:open-gop=0:log-level=error:info=0"]
    else:
        keys += f":bframes={b_frames}:b-adapt=0:b-pyramid=0"
        encoder = ["libx264", "-profile:v", "main" if b_frames else "baseline", "-threads", "1", "-x264-params", keys]
    tune = [] if b_frames else ["-tune", "zerolatency"]
    subprocess.run(
        [
            *("ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={fps}{noise}"),
            *("-t", str(seconds), "-pix_fmt", "yuv420p", "-c:v", *encoder, "-preset", "ultrafast", *tune, *rate),
            *("-f", "hevc" if codec == "h265" else codec, str(path)),
        ],
        check=True,
        timeout=120,
    )
    return path


def nal_units(annex_b: bytes) -> Iterator[bytes]:
    """The NAL units of an elementary stream, without the zeros behind them."""
    at = annex_b.find(b"\0\0\1")
    while at >= 0:
        following = annex_b.find(b"\0\0\1", at + 3)
        yield annex_b[at + 3 : following if following >= 0 else len(annex_b)].rstrip(b"\0")
        at = following


def slice_hashes(units: Iterator[bytes], codec: str = "h264") -> list[str]:
    """What carries picture, hashed, in order."""

    def is_slice(unit: bytes) -> bool:
        return unit[0] >> 1 < 32 if codec == "h265" else unit[0] & 0x1F in (1, 5)

    return [hashlib.sha256(unit).hexdigest() for unit in units if unit and is_slice(unit)]


@contextlib.asynccontextmanager
async def tcp_camera(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A listener that behaves as `serve` does with each connection; its RTSP address."""
    tasks: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield f"rtsp://127.0.0.1:{server.sockets[0].getsockname()[1]}/live"
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def silence(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Accepts, reads, and never says a word."""
    while await reader.read(65_536):
        pass


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers everything with what is no RTSP."""
    while await reader.read(65_536):
        writer.write(bytes(range(256)) * 16)
        await writer.drain()


def without_keyframes(clip: Path) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """A camera that tells its parameters in the SDP and then sends every picture of the clip but the keyframes."""
    units = list(nal_units(clip.read_bytes()))
    kinds = {unit[0] & 0x1F: unit for unit in units}
    sprop = ",".join(base64.b64encode(kinds[kind]).decode() for kind in (7, 8))
    sdp = (
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
        f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={sprop}\r\na=control:trackID=0\r\n"
    )
    slices = [unit for unit in units if unit[0] & 0x1F == 1]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            request = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, url, _ = request.split(" ", 2)
            cseq = next(line for line in request.splitlines() if line.lower().startswith("cseq"))
            head, body = [cseq], ""
            if method == "DESCRIBE":
                head, body = [*head, f"Content-Base: {url}/", "Content-Type: application/sdp"], sdp
            elif method == "SETUP":
                head += ["Session: 1", "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"]
            elif method == "PLAY":
                head += ["Session: 1"]
            head.append(f"Content-Length: {len(body)}")
            writer.write(("\r\n".join(["RTSP/1.0 200 OK", *head, "", ""]) + body).encode())
            if method == "PLAY":
                break
        for number in itertools.count():
            unit = slices[number % len(slices)]
            rtp = struct.pack(">BBHII", 0x80, 0x80 | 96, number % 65_536, number * 9_000 % 2**32, 7) + unit
            writer.write(struct.pack(">BBH", 0x24, 0, len(rtp)) + rtp)
            await writer.drain()
            await asyncio.sleep(0.1)  # ten pictures a second

    return serve
