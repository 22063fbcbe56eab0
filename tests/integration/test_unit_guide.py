"""The unit's ten minutes, word for word: the commands of `docs/guide/unit.md` on a real hub with real cameras."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path

import av
from support.cameras import gst_camera, make_clip
from support.hub import PASSWORD, HubProcess, hub
from support.site import HERE, cli

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples"
GATE = "36060301111320000001"
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(guide: str) -> list[str]:
    return _BLOCK.findall((DOCS / "guide" / guide).read_text())


def test_both_languages_say_the_same_commands() -> None:
    assert blocks("unit.md") == blocks("unit.zh-CN.md")
    assert len(blocks("unit.md")) >= 7


async def obey(block: str, folder: Path, running: HubProcess) -> str:
    """Does what a block of the guide says, in the folder where `vidhub-data` is; what it printed."""
    tools = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", block.replace("http://127.0.0.1:8080", running.url)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "PATH": tools, "PASSWORD": PASSWORD, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    async with asyncio.timeout(120):
        out, err = await process.communicate()
    assert process.returncode == 0, f"{block}\n{out.decode()}\n{err.decode()}"
    return out.decode()


def examples(folder: Path, camera: str) -> None:
    """The files that the guide begins with, of cameras that are here."""
    for name in ("cameras.csv", "camera.json", "register_camera.py"):
        shutil.copy(EXAMPLES / name, folder)
    for name in ("cameras.csv", "camera.json"):
        text = (folder / name).read_text()
        here, found = re.subn(r"rtsp://192\.0\.2\.\d+/[^,\"]*", camera, text)
        assert found == text.count("rtsp://")
        (folder / name).write_text(here)


async def test_from_the_enrolment_file_to_a_picture(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.h264", seconds=2, fps=15)
    async with (
        gst_camera(clip=str(clip), user="viewer", password="change-me") as camera,
        hub(tmp_path / "vidhub-data", **HERE) as running,
    ):
        examples(tmp_path, camera.url)
        said = {block: await obey(block, tmp_path, running) for block in blocks("unit.md")}
        # A hub that listens on its own machine alone says so where it matters first.
        assert "this machine for everybody" in next(out for block, out in said.items() if "unit token" in block)
        told = next(out for block, out in said.items() if "--dry-run" in block)
        assert "2 would be accepted (2 new" in told
        assert "2 accepted (2 new" in told
        client = next(out for block, out in said.items() if "register_camera.py" in block)
        assert json.loads(client) == {"id": "36060301111320000003", "state": "ONLINE", "reason": ""}
        assert "session.open" in next(out for block, out in said.items() if "audit list" in block)
        with av.open(str(tmp_path / "gate.png")) as picture:
            assert (picture.streams.video[0].width, picture.streams.video[0].height) == (320, 180)
        renewed = json.loads((tmp_path / "school" / "identity.json").read_text())
        assert renewed["not_after"] in next(out for block, out in said.items() if "unit renew" in block)
        # The school's technician sees what the guide says: both cameras, and what the certificate is for.
        listed = await cli("camera", "list", "--identity", tmp_path / "school")
        assert {one["id"] for one in listed.answer["cameras"]} >= {GATE, "36060301111320000002"}


async def test_the_example_client_says_what_is_wrong(tmp_path: Path) -> None:
    async with hub(tmp_path / "vidhub-data", **HERE) as running:
        examples(tmp_path, "rtsp://192.0.2.9/1")
        for block in blocks("unit.md")[:2]:
            await obey(block, tmp_path, running)
        record = json.loads((tmp_path / "camera.json").read_text())
        record["region_code"], record["legal"]["retention_days"] = "990000", 3
        (tmp_path / "camera.json").write_text(json.dumps(record))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "register_camera.py", "school", "camera.json", "1"),
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        _, err = await process.communicate()
    assert process.returncode == 1
    for word in ("INVALID_ARGUMENT", "region_code", "REGION_UNKNOWN", "legal.retention_days"):
        assert word in err.decode()
