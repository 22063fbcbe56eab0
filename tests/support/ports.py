"""Ports that a test chooses beforehand, for a hub that comes back to where it was."""

from __future__ import annotations

import contextlib
import os
import random
import socket

# Below those that the kernel gives to connections and other listeners (from 32,768 on), and above the demo's: one of
# them is still free when the hub comes back. Each worker of the tests has numbers of its own.
_FIRST, _EACH = 20_000, 3_000
_given: set[int] = set()


def free_port() -> int:
    """A port of loopback that nobody listens at, by TCP or UDP, and that was not given before."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4
    while True:
        port = _FIRST + worker * _EACH + random.randrange(_EACH)
        if port in _given:
            continue
        with (
            contextlib.suppress(OSError),
            socket.create_server(("127.0.0.1", port)),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        ):
            datagrams.bind(("127.0.0.1", port))
            _given.add(port)
            return port


def standing(*listeners: str) -> tuple[str, ...]:
    """The options of a hub that give these listeners ("grpc") an address that stays theirs."""
    return tuple(word for name in listeners for word in (f"--{name}", f"127.0.0.1:{free_port()}"))
