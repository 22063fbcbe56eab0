"""The log goes to stderr, and no secret goes into it."""

import subprocess
import sys

import pytest

from vidhub import logs

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzaWQiOiJzMSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "event",
    [
        {"event": "x", "password": "hunter22"},
        {"event": "x", "rtsp_password": "hunter22"},
        {"event": "x", "Authorization": "Bearer hunter22"},
        {"event": "dial rtsp://admin:hunter22@10.0.0.1/1"},
        {"event": "GET /x?ticket=hunter22&a=b"},
        {"event": "x", "url": "rtsp://admin:hunter22@10.0.0.1/1"},
    ],
)
def test_secrets_are_taken_out_by_name_and_by_shape(event):
    assert "hunter22" not in repr(logs.redact(None, "info", event))


def test_a_token_is_taken_out_wherever_it_stands():
    assert JWT not in logs.clean(f"shown {JWT} at the door")
    assert logs.clean("session s1 of camera 3606") == "session s1 of camera 3606"


def test_our_log_and_that_of_libraries_go_to_stderr():
    code = (
        "import logging, structlog; from vidhub import logs; logs.configure();"
        "structlog.get_logger('a').info('ready', ticket='hunter22', camera='3606');"
        "logging.getLogger('lib').warning('bad %s', 'rtsp://a:hunter22@h');"
        "logging.getLogger('lib').info('chatter')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    assert "camera=3606" in done.stderr
    assert "bad rtsp://" in done.stderr
    assert "chatter" not in done.stderr
    assert "hunter22" not in done.stderr


def test_who_looks_on_sees_what_a_logger_says_that_began_before_the_last_configuration():
    code = (
        "import structlog; from structlog.testing import capture_logs; from vidhub import logs;"
        "log = structlog.get_logger('a'); logs.configure(); log.info('first'); logs.configure()\n"
        "with capture_logs() as lines: log.info('second')\n"
        "assert [line['event'] for line in lines] == ['second'], lines\n"
        "log.info('third')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert [word for word in ("first", "second", "third") if word in done.stderr] == ["first", "third"]
