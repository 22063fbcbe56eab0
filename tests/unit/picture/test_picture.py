"""Stills: decoded from what cameras send, readable watermarks, JPEGs that fit."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cameras import make_clip

from vidhub.errors import Unavailable
from vidhub.picture import decode_keyframe, jpeg, watermark
from vidhub.picture.still import MOST_OCTETS

Image = npt.NDArray[np.uint8]
LINES = ("张伟 zhang 鹰潭市公安局", "2026-11-26 12:00:00 +0800 36060200111322000001")


@pytest.fixture(scope="module")
def keyframes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One of each codec, of the same picture."""
    folder = tmp_path_factory.mktemp("keyframes")
    made = {"h264": make_clip(folder / "one.h264", seconds=0.04).read_bytes()}
    words = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-frames:v", "1", "-pix_fmt", "yuv420p")
    encode = ("-c:v", "libx265", "-x265-params", "log-level=none:crf=18", "-f", "hevc", str(folder / "one.h265"))
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, *encode], check=True, timeout=60)
    made["h265"] = (folder / "one.h265").read_bytes()
    return made


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Image:
    path = tmp_path_factory.mktemp("source") / "one.png"
    words = ("-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-frames:v", "1")
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, str(path)], check=True, timeout=60)
    return cv2.imread(str(path))  # type: ignore[return-value]


def psnr(one: Image, other: Image) -> float:
    return float(cv2.PSNR(one, other))


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_a_keyframe_becomes_the_picture_it_was_made_of(keyframes: dict[str, bytes], source: Image, codec: str):
    image = decode_keyframe(codec, memoryview(keyframes[codec]))
    assert (image.shape, image.dtype) == ((180, 320, 3), np.uint8)
    # The source has not lost colour to 4:2:0 yet.
    assert psnr(image, source) > 24
    assert psnr(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.cvtColor(source, cv2.COLOR_BGR2GRAY)) > 28


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_what_is_no_keyframe_has_a_reason(keyframes: dict[str, bytes], codec: str):
    good = keyframes[codec]
    rng = np.random.default_rng(7)
    shuffled = bytearray(good)
    for place in rng.integers(0, len(good), 400):
        shuffled[place] = rng.integers(256)
    for octets in (b"", b"\0\0\0\1", b"\0\0\0\1\x65", good[:30], rng.bytes(10_000), good[len(good) // 2 :]):
        with pytest.raises(Unavailable) as broken:
            decode_keyframe(codec, octets)
        assert broken.value.reason == "PICTURE_BROKEN"
    # Damage may be concealed, as on the viewers' screens; it is never a crash.
    for octets in (bytes(shuffled), good[: len(good) // 2]):
        with contextlib.suppress(Unavailable):
            assert decode_keyframe(codec, octets).shape[2] == 3


def test_a_picture_that_claims_too_much_is_refused_before_it_takes_the_memory(tmp_path: Path):
    path = tmp_path / "large.h264"
    words = ("-f", "lavfi", "-i", "color=size=8192x4352", "-frames:v", "1", "-c:v", "libx264", "-preset", "ultrafast")
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words, "-f", "h264", str(path)], check=True, timeout=60)
    with pytest.raises(Unavailable) as refused:
        decode_keyframe("h264", path.read_bytes())
    assert refused.value.reason == "PICTURE_TOO_LARGE"


@pytest.mark.parametrize("size", [(1080, 1920), (180, 320), (48, 64), (2160, 3840), (1080, 200)])
def test_the_watermark_stands_at_the_foot_and_leaves_the_rest_alone(size: tuple[int, int]):
    height, width = size
    image = np.full((height, width, 3), 120, np.uint8)
    rows = watermark(image, LINES)
    assert 0 < rows <= max(26, height // 8)
    assert (image[: height - rows - 3] == 120).all()
    foot = image[height - rows :]
    assert foot.max() > 200
    assert np.median(foot) < 60
    if width >= 320:
        # No line runs out of the picture.
        assert (foot[:, -2:] < 60).all()


def test_a_chinese_name_is_written_in_its_own_signs():
    def drawn(text: str) -> Image:
        image = np.zeros((200, 900, 3), np.uint8)
        watermark(image, [text])
        return image

    names = [drawn(name) for name in ("张", "伟", "鹰", "潭", "\ue000")]
    unknown = names[-1]
    assert all((name != unknown).any() for name in names[:-1]), "a sign the font lacks is a question mark"
    assert all((one != other).any() for one, other in itertools.pairwise(names))


def test_a_name_can_not_break_the_line_or_grow_without_end():
    plain, broken = np.zeros((200, 900, 3), np.uint8), np.zeros((200, 900, 3), np.uint8)
    watermark(plain, ["zhang  wei"])
    watermark(broken, ["zhang\n\rwei"])
    assert (plain == broken).all()
    watermark(np.zeros((200, 900, 3), np.uint8), ["x" * 100_000])


@given(
    line=st.text(st.characters(exclude_categories=()), max_size=200),
    size=st.sampled_from([(1, 1), (2, 2), (1, 500), (500, 1), (100, 100), (360, 640)]),
)
@settings(max_examples=200)
def test_whatever_people_are_called_and_however_small_the_picture_there_is_a_still(line: str, size: tuple[int, int]):
    image = np.zeros((*size, 3), np.uint8)
    assert 0 < watermark(image, [line, line[::-1]]) <= size[0]
    assert jpeg(image).startswith(b"\xff\xd8")


def test_a_jpeg_fits_into_one_answer():
    noise = np.random.default_rng(1).integers(0, 255, (2160, 3840, 3), np.uint8)
    assert jpeg(noise[:90, :160]).startswith(b"\xff\xd8")
    assert len(jpeg(noise)) <= MOST_OCTETS
