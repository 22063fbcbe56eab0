"""A loop that stood still, and a clock that was set, are noticed; a busy machine is not taken for either."""

from __future__ import annotations

from vidhub.events.pulse import Pulse


class Clocks:
    def __init__(self) -> None:
        self.steady, self.wall = 100.0, 1_800_000_000.0

    def pass_(self, seconds: float, *, wall: float | None = None) -> None:
        self.steady += seconds
        self.wall += seconds if wall is None else wall


def watched(clocks: Clocks) -> tuple[Pulse, list[float], list[float]]:
    stalled: list[float] = []
    jumped: list[float] = []
    pulse = Pulse(stalled.append, jumped.append, wall=lambda: clocks.wall, steady=lambda: clocks.steady)
    return pulse, stalled, jumped


def test_a_loop_that_stands_still_is_noticed_once():
    clocks = Clocks()
    pulse, stalled, jumped = watched(clocks)
    for passed in (0.5, 0.9, 1.4, 5.5, 0.5):
        clocks.pass_(passed)
        pulse.beat()
    assert (stalled, jumped) == ([5.0], [])
    assert (pulse.stalls, pulse.stalled_s) == (1, 5.0)


def test_a_clock_that_is_set_is_noticed_either_way_and_a_stall_is_no_jump():
    clocks = Clocks()
    pulse, stalled, jumped = watched(clocks)
    for passed, wall in ((0.5, 600.5), (0.5, 0.5), (0.5, -599.5), (10.0, 10.0), (0.5, 1.5)):
        clocks.pass_(passed, wall=wall)
        pulse.beat()
    assert [round(one) for one in jumped] == [600, -600]
    assert stalled == [9.5]
