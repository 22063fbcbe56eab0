"""Pictures put together from their packets."""

from __future__ import annotations

import random

from aiortc.jitterbuffer import JitterBuffer
from aiortc.rtp import RtpPacket

from vidhub.client.assembly import CAPACITY, Assembly

STEP = 3000


def packets(sizes: list[int], *, first: int = 65_000) -> list[RtpPacket]:
    """Of pictures of so many packets, one behind the other, over the end of the sequence numbers."""
    made: list[RtpPacket] = []
    for number, size in enumerate(sizes):
        for _ in range(size):
            packet = RtpPacket(sequence_number=(first + len(made)) % 65_536, timestamp=number * STEP)
            packet._data = len(made).to_bytes(4)  # type: ignore[attr-defined]
            made.append(packet)
    return made


def frames(buffer: JitterBuffer, given: list[RtpPacket]) -> list[tuple[int, bytes]]:
    found = (buffer.add(packet)[1] for packet in given)
    return [(frame.timestamp, frame.data) for frame in found if frame is not None]


def test_a_picture_is_whole_when_the_next_begins_however_many_packets_it_has():
    sizes = [1, CAPACITY - 1, 600, 1, 1]
    made = packets(sizes)
    whole, at = [], 0
    for number, size in enumerate(sizes[:-1]):
        whole.append((number * STEP, b"".join(place.to_bytes(4) for place in range(at, at + size))))
        at += size
    assert frames(Assembly(), made) == whole


def test_small_pictures_out_of_order_and_with_gaps_come_as_from_aiortc_itself():
    for seed in range(8):
        chance = random.Random(seed)
        made = packets([chance.randint(1, 40) for _ in range(60)])
        given = [packet for packet in made if chance.random() > 0.02]
        for place in range(len(given) - 5):
            if chance.random() < 0.2:
                other = place + chance.randint(1, 5)
                given[place], given[other] = given[other], given[place]
        given += given[-20:]
        assert frames(Assembly(), given) == frames(JitterBuffer(capacity=CAPACITY, is_video=True), given), seed


def test_what_has_no_room_goes_and_a_keyframe_is_asked_for():
    buffer = Assembly()
    assert not any(buffer.add(packet)[0] for packet in packets([CAPACITY]))
    flag, frame = buffer.add(packets([CAPACITY, 1])[-1])
    assert flag
    assert frame is None
