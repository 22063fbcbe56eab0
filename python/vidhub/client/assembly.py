"""Pictures put together from their packets, as large as cameras send them."""

from __future__ import annotations

from aiortc import RTCRtpReceiver
from aiortc.jitterbuffer import JitterBuffer, JitterFrame

# Packets of one picture, a power of two: at 1,200 octets each about 4.9 MB. aiortc has room for 512 (0.6 MB), which the
# keyframes of a good 1080p camera outgrow: then none is ever complete.
CAPACITY = 4096


class Assembly(JitterBuffer):
    """aiortc's buffer for any size of picture: a packet costs one look, not one at each packet before it."""

    def __init__(self) -> None:
        super().__init__(capacity=CAPACITY, is_video=True)
        # So many packets from the first on are there and of one picture.
        self._begin: int | None = None
        self._whole = 0

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        """The oldest picture, once the first packet of the next has come; None before."""
        if self._origin is None:
            return None
        if self._begin != self._origin:
            self._begin, self._whole = self._origin, 0
        first = self._packets[self._origin % CAPACITY]
        while first is not None and self._whole < CAPACITY:
            packet = self._packets[(self._origin + self._whole) % CAPACITY]
            if packet is None:
                return None
            if packet.timestamp != first.timestamp:
                places = ((self._origin + place) % CAPACITY for place in range(self._whole))
                # aiortc hangs a packet's share of the picture onto it.
                parts = [part._data for place in places if (part := self._packets[place])]  # type: ignore[attr-defined]
                self.remove(self._whole)
                return JitterFrame(data=b"".join(parts), timestamp=first.timestamp)
            self._whole += 1
        return None


def take_large_pictures(receiver: RTCRtpReceiver) -> None:
    """Lets an aiortc receiver of video take pictures of up to `CAPACITY` packets. To be called before media comes."""
    # There is no public way; the version of aiortc is bounded, and a test sees large pictures through a hub.
    receiver._RTCRtpReceiver__jitter_buffer = Assembly()  # type: ignore[attr-defined]
