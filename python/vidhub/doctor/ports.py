"""Each listener: who has it, or whether it is free."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from vidhub.config import OFF, ListenOptions, split_address
from vidhub.link.probe import HOP_S, Hop

_UDP = ("rtsp_udp",)
_BOTH = ("webrtc",)
# State of a TCP socket that listens (include/net/tcp_states.h), and of a UDP socket that is bound.
_LISTENING = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
# Processes that are looked through for the one that has a port.
_MOST_PROCESSES = 10_000


def of_running(addresses: Mapping[str, object], pid: int) -> list[Hop]:
    """addresses: what the hub has bound, by listener; None for what is off. Those of TCP are connected to."""
    return [
        _answers(f"port.{name}", name, str(bound), pid) if bound else Hop(f"port.{name}", "", "off")
        for name, bound in addresses.items()
        if name != "pid"
    ]


def of_stopped(listen: ListenOptions) -> list[Hop]:
    """Whether a hub that starts can have its ports."""
    return [_free(name, getattr(listen, name)) for name in ListenOptions.__dataclass_fields__]


def _answers(check: str, name: str, bound: str, pid: int) -> Hop:
    told = f"{bound} is this hub's (process {pid})"
    if name in _UDP:
        return Hop(check, "", told)
    host, port = split_address(bound)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  where it listens everywhere
    try:
        socket.create_connection((host, port), timeout=HOP_S).close()
    except OSError as cause:
        return Hop(
            check,
            "PORT_SILENT",
            f"{bound} was this hub's, and takes no connection: {cause.strerror or 'no answer'}",
            "see the hub's log, and restart it; a firewall of this machine may also be in between",
        )
    return Hop(check, "", told)


def _free(name: str, listener: str) -> Hop:
    check = f"port.{name}"
    if listener == OFF:
        return Hop(check, "", "off")
    host, port = split_address(listener)
    if port == 0:
        return Hop(check, "", f"{listener}: a free one is chosen when the hub starts")
    wanted = [(socket.SOCK_STREAM, port)]
    if name in _BOTH:
        wanted.append((socket.SOCK_DGRAM, port))
    elif name in _UDP:
        wanted = [(socket.SOCK_DGRAM, port), (socket.SOCK_DGRAM, port + 1)]  # RTP, RTCP
    for kind, number in wanted:
        if (taken := _bind(check, name, host, number, kind)) is not None:
            return taken
    return Hop(check, "", f"{listener} is free")


def _bind(check: str, name: str, host: str, port: int, kind: socket.SocketKind) -> Hop | None:
    """None where it can be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as probe:
        if kind is socket.SOCK_STREAM:
            # Connections of before that are not forgotten yet keep nobody from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            if kind is socket.SOCK_STREAM:
                probe.listen(1)
        except OSError as cause:
            code = cause.errno
        else:
            return None
    word, option = ("UDP" if kind is socket.SOCK_DGRAM else "TCP"), f"listen.{name}"
    if code == errno.EADDRINUSE:
        holder = _holder(port, udp=kind is socket.SOCK_DGRAM)
        return Hop(
            check,
            "LISTENER_IN_USE",
            f"{word} port {port} of {host} is taken by {holder or 'another program'}",
            f"end that program, or choose another port by {option}",
        )
    remedy = {
        errno.EADDRNOTAVAIL: f"this machine has no address {host}: correct {option}",
        errno.EACCES: f"a port below 1024 needs privileges: choose a higher one by {option}",
    }.get(code or 0, f"correct {option}")
    return Hop(check, "LISTENER_FAILED", f"{host} port {port}: {os.strerror(code or 0)}", remedy)


def _holder(port: int, *, udp: bool) -> str:
    """ "process 12 (nginx)", as far as this user may see; else ""."""
    inodes = {inode for table in (("udp", "udp6") if udp else ("tcp", "tcp6")) for inode in _inodes(table, port)}
    if not inodes:
        return ""
    for number, process in enumerate(Path("/proc").glob("[0-9]*")):
        if number >= _MOST_PROCESSES:
            break
        with contextlib.suppress(OSError):  # another user's, or one that has ended
            for handle in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if handle.readlink().name.removeprefix("socket:[").removesuffix("]") in inodes:
                        return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def _inodes(table: str, port: int) -> Iterator[str]:
    """Of sockets that have the port: proc(5), /proc/net/tcp."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTENING[table] and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]
