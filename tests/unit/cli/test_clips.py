"""Demo footage: whatever comes in, what comes out is H.264 as cameras send it."""

from itertools import pairwise
from pathlib import Path

import av
import pytest

from vidhub.cli import clips
from vidhub.errors import InvalidArgument


@pytest.mark.parametrize("source", clips.packaged(), ids=lambda path: path.stem)
def test_a_clip_has_no_b_frames_and_short_groups_of_pictures(source: Path, tmp_path: Path) -> None:
    clip = clips.prepare(source, tmp_path)
    with av.open(str(source)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    with av.open(str(clip.path), format="h264") as container:
        stream = container.streams.video[0]
        keyframes = [packet.is_keyframe for packet in container.demux(stream) if packet.size]
        assert stream.codec_context.name == "h264"
        assert not stream.codec_context.has_b_frames
    assert len(keyframes) == pictures
    assert keyframes[0]
    starts = [*(place for place, is_key in enumerate(keyframes) if is_key), len(keyframes)]
    longest = max(after - before for before, after in pairwise(starts))
    assert longest <= clips.GOP_S * clip.frame_rate + 1


def test_a_clip_is_prepared_once(tmp_path: Path) -> None:
    source = clips.packaged()[0]
    first = clips.prepare(source, tmp_path)
    made = first.path.stat().st_mtime_ns
    assert clips.prepare(source, tmp_path) == first
    assert first.path.stat().st_mtime_ns == made


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    source = tmp_path / "letter.mp4"
    source.write_text("not a video")
    with pytest.raises(InvalidArgument, match=r"letter\.mp4"):
        clips.prepare(source, tmp_path / "cache")
