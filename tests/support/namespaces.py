"""Networks of the tests' own: namespaces joined by links that can be slow, lossy, narrow or cut, and a border with NAT.

Wants root, `ip` and `nft`. Packets of a `Wire` are carried in user space, as not every kernel has `netem`; both ends
are TUN devices with an MTU of 1500, so the counters of its devices see packets as a line would carry them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import heapq
import os
import random
import secrets
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CLONE_NEWNET = 0x4000_0000
_TUNSETIFF = 0x4004_54CA
_TUN_WITHOUT_HEADER = 0x1001
_QUEUE_S = 2.0
_libc = ctypes.CDLL(None, use_errno=True)


def run(*words: str) -> str:
    """A command that has to work; what it printed."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def enter(namespace: str) -> None:
    """Takes this thread, and what it starts, into the namespace."""
    with Path(f"/var/run/netns/{namespace}").open() as file:
        assert _libc.setns(file.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())


@dataclass
class Namespace:
    """One machine."""

    name: str

    def ip(self, *words: str) -> str:
        return run("ip", "-n", self.name, *words)

    def nft(self, rules: str) -> None:
        run("ip", "netns", "exec", self.name, "nft", rules)

    def prefix(self) -> tuple[str, ...]:
        """Before the words of a program: it then runs here."""
        return ("ip", "netns", "exec", self.name)

    async def do(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Awaits `work()` on a loop of its own whose sockets are in this namespace."""

        def there() -> Any:
            enter(self.name)
            return asyncio.run(work())

        # A thread of its own: it never comes back out of the namespace.
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def tell(set_: Callable[[Any], None], value: Any) -> None:
            if not answer.done():
                set_(value)

        def body() -> None:
            try:
                value = there()
            except BaseException as error:
                loop.call_soon_threadsafe(tell, answer.set_exception, error)
            else:
                loop.call_soon_threadsafe(tell, answer.set_result, value)

        threading.Thread(target=body, name=f"in-{self.name}", daemon=True).start()
        return await answer

    def socket(self) -> socket.socket:
        """A TCP socket of this namespace, which stays of it wherever it is used."""

        def make() -> socket.socket:
            enter(self.name)
            return socket.socket(socket.AF_INET, socket.SOCK_STREAM)

        with ThreadPoolExecutor(1) as thread:
            return thread.submit(make).result()

    @contextlib.asynccontextmanager
    async def reach(self, address: str) -> AsyncIterator[str]:
        """An address of this process that leads to one of the namespace (HOST:PORT)."""
        host, _, port = address.rpartition(":")

        async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = self.socket()
            there.setblocking(False)
            try:
                await asyncio.get_running_loop().sock_connect(there, (host, int(port)))
                far_reader, far_writer = await asyncio.open_connection(sock=there)
            except OSError:
                there.close()
                writer.close()
                return
            await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))

        async with await asyncio.start_server(lead, "127.0.0.1", 0) as server:
            here, number = server.sockets[0].getsockname()
            yield f"{here}:{number}"

    def octets(self, device: str) -> tuple[int, int]:
        """What a device has received and sent, IP headers included."""
        root = f"/sys/class/net/{device}/statistics"
        read = run(*self.prefix(), "cat", f"{root}/rx_bytes", f"{root}/tx_bytes").split()
        return int(read[0]), int(read[1])


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@dataclass
class Wire:
    """A line between two namespaces. What it does may be changed while packets are on it, the same both ways.

    delay_s: one way. loss: share of packets. rate_bps: bits a second each way, 0 for no limit; what would wait longer
    than 2 s is dropped. is_cut: carries nothing.
    """

    ends: tuple[Namespace, Namespace]
    device: str
    delay_s: float = 0.0
    loss: float = 0.0
    rate_bps: float = 0.0
    is_cut: bool = False
    carried: list[int] = field(default_factory=lambda: [0, 0])

    def restore(self) -> None:
        self.delay_s, self.loss, self.rate_bps, self.is_cut = 0.0, 0.0, 0.0, False


@contextlib.contextmanager
def namespace(word: str) -> Iterator[Namespace]:
    here = Namespace(f"vh-{word}-{secrets.token_hex(3)}")
    run("ip", "netns", "add", here.name)
    try:
        here.ip("link", "set", "lo", "up")
        yield here
    finally:
        run("ip", "netns", "del", here.name)


@contextlib.contextmanager
def wire(ends: tuple[Namespace, Namespace], addresses: tuple[str, str], device: str) -> Iterator[Wire]:
    """A line with a TUN device of this name at either end, of these addresses."""
    line = Wire(ends, device)
    descriptors: list[int] = []
    ready, stop = threading.Event(), os.eventfd(0)
    trouble: list[BaseException] = []

    def body() -> None:
        try:
            for end in ends:
                enter(end.name)
                descriptors.append(_tun(device))
            for end, own, peer in ((ends[0], *addresses), (ends[1], *reversed(addresses))):
                end.ip("addr", "add", own, "peer", peer, "dev", device)
                end.ip("link", "set", device, "mtu", "1500", "txqueuelen", "10000", "up")
        except BaseException as error:
            trouble.append(error)
            return
        finally:
            ready.set()
        _carry(line, descriptors, stop)

    thread = threading.Thread(target=body, name=f"wire-{device}", daemon=True)
    thread.start()
    ready.wait(10.0)
    if trouble:
        raise trouble[0]
    try:
        yield line
    finally:
        os.eventfd_write(stop, 1)
        thread.join(5.0)
        for descriptor in (*descriptors, stop):
            os.close(descriptor)


def _tun(device: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _TUN_WITHOUT_HEADER))
    return descriptor


def _carry(line: Wire, descriptors: list[int], stop: int) -> None:
    chance = random.Random(7)
    waiting: list[tuple[float, int, int, bytes]] = []
    free = [0.0, 0.0]
    order = 0
    poll = select.poll()
    for descriptor in (*descriptors, stop):
        poll.register(descriptor, select.POLLIN)
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, to, packet = heapq.heappop(waiting)
            with contextlib.suppress(OSError):  # a full device loses it, as networks do
                os.write(descriptors[to], packet)
                line.carried[to] += len(packet)
        wait_ms = None if not waiting else max(0.0, (waiting[0][0] - now) * 1000)
        for descriptor, _ in poll.poll(wait_ms):
            if descriptor == stop:
                return
            here = descriptors.index(descriptor)
            for _ in range(64):
                try:
                    packet = os.read(descriptor, 65_536)
                except OSError:
                    break
                now = time.monotonic()
                if line.is_cut or (line.loss and chance.random() < line.loss):
                    continue
                due = now
                if line.rate_bps:
                    begins = max(free[here], now)
                    if begins - now > _QUEUE_S:
                        continue
                    due = free[here] = begins + len(packet) * 8 / line.rate_bps
                order += 1
                heapq.heappush(waiting, (due + line.delay_s, order, 1 - here, packet))


@dataclass
class Levels:
    """Province, city and district. The district stands behind a border that lets nothing in and hides its address."""

    province: Namespace
    city: Namespace
    border: Namespace
    district: Namespace
    up: Wire
    """Between city (its first end) and province."""
    down: Wire
    """Between border (its first end) and city."""

    PROVINCE = "10.77.1.1"
    CITY = "10.77.1.2"
    """As the province knows it."""
    CITY_BELOW = "10.77.2.1"
    """As the district knows it."""
    DISTRICT = "10.77.3.2"
    """As nobody outside knows it."""


@contextlib.contextmanager
def levels() -> Iterator[Levels]:
    with contextlib.ExitStack() as stack:
        province, city, border, district = (
            stack.enter_context(namespace(word)) for word in ("province", "city", "border", "district")
        )
        up = stack.enter_context(wire((city, province), (Levels.CITY, Levels.PROVINCE), "up0"))
        down = stack.enter_context(wire((border, city), ("10.77.2.2", Levels.CITY_BELOW), "down0"))
        run(
            *("ip", "link", "add", "in0", "netns", border.name, "type", "veth"),
            *("peer", "out0", "netns", district.name),
        )
        for end, address, device in ((border, "10.77.3.1", "in0"), (district, Levels.DISTRICT, "out0")):
            end.ip("addr", "add", f"{address}/24", "dev", device)
            end.ip("link", "set", device, "up")
        district.ip("route", "add", "default", "via", "10.77.3.1")
        border.ip("route", "add", Levels.CITY, "via", Levels.CITY_BELOW)
        run(*border.prefix(), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        border.nft(
            """
            table ip border {
              chain forward {
                type filter hook forward priority filter; policy drop;
                ct state established,related accept
                iifname "in0" accept
              }
              chain leaving {
                type nat hook postrouting priority srcnat;
                oifname "down0" masquerade
              }
            }
            """
        )
        yield Levels(province, city, border, district, up, down)
