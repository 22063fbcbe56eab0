"""Writes pictures to a file, each at its own time."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av

from vidhub.client.frame import Frame
from vidhub.errors import InvalidArgument

_CLOCK_HZ = 90_000


def _check(path: Path) -> None:
    """FFmpeg opens the file with the first picture: too late to ask for another place."""
    is_new = not path.exists()
    try:
        path.open("ab").close()
        if is_new:
            path.unlink()
    except OSError as cause:
        raise InvalidArgument("FILE_NOT_WRITTEN", f"{path}: {cause.strerror}: choose another place") from cause


class ClipWriter:
    """An H.264 file. `add` takes milliseconds to encode: call it by `asyncio.to_thread`.

    A thread that was not waited for may still be in `add` when the watching is over: what it holds is not closed under
    it.
    """

    def __init__(self, path: Path | str) -> None:
        """path: ends in .mp4 or .mkv. Raises InvalidArgument FILE_NOT_WRITTEN."""
        try:
            self._container = av.open(str(path), "w")
        except (av.FFmpegError, OSError, ValueError) as cause:
            raise InvalidArgument(
                "FILE_NOT_WRITTEN", f"{path}: {cause}: choose a name that ends in .mp4 or .mkv"
            ) from cause
        _check(Path(path))
        self._stream: av.VideoStream | None = None
        self._start = 0.0
        self._last = -1
        self._lock = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, frame: Frame) -> None:
        with self._lock:
            if not self._is_closed:
                self._add(frame)

    def close(self) -> None:
        """Writes what is left. Idempotent."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._stream is not None:
                self._container.mux(self._stream.encode())
            self._container.close()

    def _add(self, frame: Frame) -> None:
        picture = av.VideoFrame.from_ndarray(frame.image, format="bgr24")
        if self._stream is None:
            self._stream = self._container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
            # 4:2:0 has colour for every other row and column.
            self._stream.width, self._stream.height = picture.width & ~1, picture.height & ~1
            self._stream.pix_fmt = "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, _CLOCK_HZ)
            self._start = frame.time
        picture = picture.reformat(width=self._stream.width, height=self._stream.height, format="yuv420p")
        picture.time_base = Fraction(1, _CLOCK_HZ)
        self._last = picture.pts = max(self._last + 1, round((frame.time - self._start) * _CLOCK_HZ))
        self._container.mux(self._stream.encode(picture))
