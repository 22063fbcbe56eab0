"""The clip: 1080p, 25 pictures a second, about 4 Mbit/s, a keyframe every two seconds, no B-frames. And one of pictures
that weigh nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice, repeat
from pathlib import Path

import av

from vidhub.cli import clips

NAME = "bench-1080p25.h264"
SOURCE = "bigbuckbunny.mp4"
PICTURES = 500
RATE = 25
BITS_PER_S = 4_000_000


def clip(cache: Path, *, interval: int = 2 * RATE) -> Path:
    """Makes the clip, once, out of the demo's footage. interval: pictures from keyframe to keyframe."""
    target = cache / (NAME if interval == 2 * RATE else f"interval-{interval}-{NAME}")
    return _make(target, size=(1920, 1080), bits_per_s=BITS_PER_S, interval=interval)


def small(cache: Path, bits_per_s: int, size: tuple[int, int]) -> Path:
    """Makes a clip of that rate and size, once."""
    return _make(cache / f"{bits_per_s // 1000}k-{NAME}", size=size, bits_per_s=bits_per_s, interval=2 * RATE)


def still(cache: Path) -> Path:
    """Makes a clip whose pictures are a packet each, once: for what does not hang on their weight."""
    return _make(cache / f"still-{NAME}", size=(160, 90), bits_per_s=30_000, interval=2 * RATE)


def _make(target: Path, *, size: tuple[int, int], bits_per_s: int, interval: int) -> Path:
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    source = next(path for path in clips.packaged() if path.name == SOURCE)
    scratch = target.with_suffix(".part")
    with av.open(str(scratch), "w", format="h264") as output:
        encoder = output.add_stream("libx264", rate=RATE)
        (encoder.width, encoder.height), encoder.pix_fmt = size, "yuv420p"
        encoder.bit_rate = bits_per_s
        encoder.options = {
            "preset": "veryfast",
            # Nothing is held back: PyAV gives the next picture the memory of the one before.
            "tune": "zerolatency",
            "profile": "main",
            "maxrate": str(bits_per_s),
            "bufsize": str(bits_per_s),
            "x264-params": f"keyint={interval}:min-keyint={interval}:scenecut=0:bframes=0"
            ":repeat-headers=1:threads=1:sliced-threads=0",
        }
        for frame in islice(chain.from_iterable(map(_frames, repeat(source))), PICTURES):
            picture = frame.reformat(*size, "yuv420p")
            picture.pict_type = 0
            picture.pts = None
            output.mux(encoder.encode(picture))
        output.mux(encoder.encode())
    scratch.replace(target)
    return target


def largest_gop(clip: Path) -> int:
    """Octets of the clip's largest group of pictures, the clip going round."""
    sizes: list[int] = []
    with av.open(str(clip)) as container:
        for packet in container.demux(video=0):
            if packet.is_keyframe and packet.size:
                sizes.append(0)
            if sizes:
                sizes[-1] += packet.size
    return max(sizes)


def _frames(source: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(source)) as container:
        yield from container.decode(video=0)
