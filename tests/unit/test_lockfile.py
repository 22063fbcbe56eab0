"""One process at a time on a data directory."""

import os
import stat
import subprocess
import sys

import pytest

from vidhub.errors import FailedPrecondition, Unavailable
from vidhub.lockfile import DataLock


def test_the_second_is_told_who_holds_it(tmp_path):
    data = tmp_path / "a" / "data"
    with DataLock(data):
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        with pytest.raises(FailedPrecondition, match=f"HUB_RUNNING.*process {os.getpid()}"):
            DataLock(data)
    with DataLock(data):
        pass


def test_a_holder_that_was_killed_holds_nothing(tmp_path):
    code = (
        "import sys, os, signal; from pathlib import Path; from vidhub.lockfile import DataLock;"
        "lock = DataLock(Path(sys.argv[1])); print('held', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "held\n", done.stderr
    with DataLock(tmp_path):
        pass


def test_a_directory_that_is_none_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="DATA_DIR_UNUSABLE"):
        DataLock(tmp_path / "file" / "data")
