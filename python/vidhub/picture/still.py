"""A still that can be handed out: its watermark says who has it, and it is a JPEG."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from vidhub.errors import Internal, Unavailable

# What fits into one answer beside its base64 (8 MiB).
MOST_OCTETS = 6 * 1024 * 1024
QUALITIES = (90, 75, 50)

_LONGEST_LINE = 120
_SMALLEST_TEXT = 8
_MARGIN = 0.4  # of the height of the text
# OpenCV's own fonts hold Chinese too; a glyph that they lack becomes a question mark.
_FONT = "sans"
_WEIGHT = 600


def watermark(image: npt.NDArray[np.uint8], lines: Sequence[str]) -> int:
    """Writes the lines over the foot of the picture, in white on what is darkened behind them; how many rows that took.

    image: uint8 BGR, shape (height, width, 3); changed in place. A line that is too wide makes the text smaller.
    """
    height, width = int(image.shape[0]), int(image.shape[1])
    tidy = [_printable(line) for line in lines]
    font = cv2.FontFace(_FONT)
    size = max(_SMALLEST_TEXT, height // 28)
    widest = max((_width(line, font, size) for line in tidy), default=0)
    room = max(0.0, width - 2 * size * _MARGIN)
    if widest > room:
        size = max(_SMALLEST_TEXT, int(size * room / widest))
    pitch = round(size * (1 + _MARGIN))
    bar = min(height, pitch * len(tidy) + round(size * _MARGIN))
    foot = image[height - bar :]
    np.copyto(foot, foot // 3)
    for number, line in enumerate(tidy):
        base = height - bar + pitch * (number + 1)
        cv2.putText(image, line, (round(size * _MARGIN), base), (255, 255, 255), font, size, _WEIGHT)
    return bar


def jpeg(image: npt.NDArray[np.uint8]) -> bytes:
    """At quality 90, or lower where that is more than one answer takes.

    Raises Unavailable PICTURE_TOO_LARGE when it is too much at any.
    """
    for quality in QUALITIES:
        done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise Internal("JPEG_FAILED", "OpenCV made no JPEG")
        if encoded.size <= MOST_OCTETS:
            return encoded.tobytes()
    raise Unavailable("PICTURE_TOO_LARGE", f"the picture is more than {MOST_OCTETS >> 20} MiB as a JPEG")


def _printable(line: str) -> str:
    """What people are called is their own text: one line of bounded length."""
    return "".join(letter if letter.isprintable() else " " for letter in line)[:_LONGEST_LINE]


def _width(line: str, font: cv2.FontFace, size: int) -> int:
    box = cv2.getTextSize((0, 0), line, (0, 0), font, size, _WEIGHT)
    return int(box[2])
