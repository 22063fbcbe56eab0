"""What the doctor advises on a stream that plays, but not everywhere."""

from __future__ import annotations

import pytest

from vidhub.doctor.camera import _hop


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("h264 1920x1080", ""),
        ("h264 1920x1080 with B-frames", "switch B-frames off"),
        ("h264 3840x2160 with keyframes of 2100 packets", "lower its bitrate"),
        ("h265 3840x2160 with keyframes of 2100 packets", "lower its bitrate"),
        ("h265 3840x2160", "sub stream"),
    ],
)
def test_what_keeps_a_stream_from_browsers_comes_with_what_to_do(message: str, advice: str) -> None:
    hop = _hop("camera.main.codec", "", message)
    assert (hop.reason, hop.message) == ("", message)
    assert advice in hop.remedy
    assert bool(hop.remedy) == bool(advice)
