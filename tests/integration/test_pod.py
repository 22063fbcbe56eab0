"""A hub as its pod runs it: the manifests' environment, a root that nobody writes, no rights, a network of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.manifests import ROOT, environment, one

PATIENCE_S = 60.0
# What the kubelet and the container's runtime do. The volume's root is the group's (fsGroup); $1 is the source, what
# follows the arguments of the container.
SCRIPT = """
set -e
mount --make-rprivate /
ip link set lo up
ip address add 10.1.2.3/32 dev lo
mount -t tmpfs -o mode=0755 none /mnt
mkdir /mnt/src
mount --bind "$1" /mnt/src
mount -o remount,bind,ro /mnt/src
mount -t tmpfs none /var/lib
mkdir /var/lib/vidhub
chown 0:10001 /var/lib/vidhub
chmod 2775 /var/lib/vidhub
mount -t tmpfs -o mode=1777,size=64m none /tmp
mount -o remount,bind,ro /
cd /mnt/src
shift
exec setpriv --reuid 10001 --regid 10001 --groups 10001 --bounding-set=-all --inh-caps=-all --no-new-privs \
    /mnt/src/.venv/bin/python -m vidhub.cli --json "$@"
"""
PYTHON = "/mnt/src/.venv/bin/python"


@dataclass
class Pod:
    process: asyncio.subprocess.Process
    ready: dict[str, Any]
    environment: dict[str, str]

    async def run(self, *words: str) -> tuple[int, str]:
        """A command inside, as `kubectl exec` would: the same user, file systems and network."""
        process = await asyncio.create_subprocess_exec(
            *("nsenter", "--target", str(self.process.pid), "--mount", "--net", "--wd"),
            *("setpriv", "--reuid", "10001", "--regid", "10001", "--groups", "10001", "--no-new-privs", *words),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self.environment,
        )
        async with asyncio.timeout(PATIENCE_S):
            out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    async def ask(self, path: str) -> str:
        code = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464{path}', timeout=5).read().decode())"
        status, out = await self.run(PYTHON, "-c", code)
        assert status == 0, out
        return out.strip()


@contextlib.asynccontextmanager
async def pod(workload: dict[str, Any], options: dict[str, str]) -> AsyncIterator[Pod]:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    inside = {**options, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": "/mnt/src/python"}
    inside["PYTHONDONTWRITEBYTECODE"] = "1"
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--net", "sh", "-c", SCRIPT, "sh", str(ROOT), *container["args"]),
        stdout=asyncio.subprocess.PIPE,
        env=inside,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            line = await process.stdout.readline()
        assert line, "the hub did not start: see its log"
        yield Pod(process, json.loads(line)["ready"], inside)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("place", ["base", "overlays/city"])
async def test_the_hub_runs_as_its_pod_would(place: str):
    assert os.geteuid() == 0, "wants root, for namespaces"
    assert Path(sys.prefix) == ROOT / ".venv"
    workload = one(place, "StatefulSet")
    grace = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    async with pod(workload, environment(place)) as hub:
        assert hub.ready["http"] == "0.0.0.0:8080"
        assert await hub.ask("/readyz") == "ok"
        assert await hub.ask("/healthz") == "ok"
        # It may do no more than the manifests say.
        status = Path(f"/proc/{hub.process.pid}/status").read_text()
        facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert facts["Uid"].split() == ["10001"] * 4
        assert {facts[name] for name in ("CapEff", "CapPrm", "CapBnd")} == {"0" * 16}
        assert (await hub.run("touch", "/etc/written"))[0] != 0
        # Keys stay the owner's on a volume that is the group's, and a backup goes beside the data and back.
        mode = "import os, sys; print(oct(os.stat('/var/lib/vidhub/data/keys/hub.key').st_mode & 0o777))"
        assert (await hub.run(PYTHON, "-c", mode))[1].strip() == "0o600"
        vidhub = (PYTHON, "-m", "vidhub.cli", "--json")
        status_, out = await hub.run(*vidhub, "backup", "/var/lib/vidhub/hub.backup")
        assert status_ == 0, out
        status_, out = await hub.run(
            *vidhub, "--data-dir", "/var/lib/vidhub/again", "restore", "/var/lib/vidhub/hub.backup"
        )
        assert status_ == 0, out
        hub.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(grace):
            assert await hub.process.wait() == 0


async def test_the_demos_cameras_play_in_their_pod():
    """They encode footage where alone they may write, and answer where the manifest says."""
    workload = one("overlays/demo", "Deployment", "cameras")
    port = workload["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]
    async with pod(workload, {}) as cameras:
        assert cameras.ready["rtsp"] == f"0.0.0.0:{port}"
        ask = (
            f"import socket; s = socket.create_connection(('127.0.0.1', {port}), 5);"
            "s.sendall(b'OPTIONS * RTSP/1.0\\r\\nCSeq: 1\\r\\n\\r\\n'); print(s.recv(99).split(b'\\r')[0].decode())"
        )
        assert await cameras.run(PYTHON, "-c", ask) == (0, "RTSP/1.0 200 OK\n")
