"""A picture as programs get it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture.

    image: uint8 BGR, shape (height, width, 3), as OpenCV takes it; nobody else holds it.
    time: presentation time in seconds, from 0 at the viewer's first picture, by the clock of the camera's stream, which
        the hub keeps with real time. It never runs backwards; after a reconnection it goes on by this machine's clock.
    """

    image: npt.NDArray[np.uint8]
    time: float
