"""Decoding of single pictures (FFmpeg by PyAV). What comes in is a camera's, so anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import av
import numpy as np
import numpy.typing as npt

from vidhub.errors import Unavailable

if TYPE_CHECKING:
    from typing_extensions import Buffer

# 8K: a hostile parameter set may claim any size, and memory is taken by what it claims.
MOST_PIXELS = 7680 * 4320
LONGEST_SIDE = 8192

_DECODERS = {"h264": "h264", "h265": "hevc"}


def decode_keyframe(codec: str, octets: Buffer) -> npt.NDArray[np.uint8]:
    """The picture of one keyframe; uint8 BGR, shape (height, width, 3).

    codec: "h264" or "h265". octets: one access unit in Annex B, its parameter sets in front.
    Takes up to seconds and 250 MiB for the largest picture: call it in a thread, and not in many at once.
    Raises Unavailable PICTURE_TOO_LARGE, PICTURE_BROKEN: the next keyframe may be better.
    """
    decoder = cast("av.VideoCodecContext", av.CodecContext.create(_DECODERS[codec], "r"))
    decoder.thread_count = 1
    decoder.options = {"max_pixels": str(MOST_PIXELS)}
    try:
        frames = [*decoder.decode(av.Packet(bytes(octets))), *decoder.decode(None)]
        frame = frames[0] if frames else None
        if frame is None or frame.is_corrupt:
            raise Unavailable("PICTURE_BROKEN", "the camera's newest keyframe can't be decoded: try again")
        if max(frame.width, frame.height) > LONGEST_SIDE or frame.width * frame.height > MOST_PIXELS:
            raise _too_large(frame.width, frame.height)
        return cast("npt.NDArray[np.uint8]", frame.to_ndarray(format="bgr24"))
    except (av.FFmpegError, ValueError, MemoryError) as cause:
        if decoder.width * decoder.height > MOST_PIXELS:
            raise _too_large(decoder.width, decoder.height) from cause
        raise Unavailable("PICTURE_BROKEN", "the camera's newest keyframe can't be decoded: try again") from cause


def _too_large(width: int, height: int) -> Unavailable:
    return Unavailable("PICTURE_TOO_LARGE", f"the camera's picture is {width}x{height}: set it to at most 7680x4320")
