"""RTSP's marks: what readers cost and wait for, and what is left of those that came, stalled or went."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches import footage, programs
from benches.figures import Figures, Mark
from benches.measure import PROC, Reading, Use
from benches.media import CAMERAS, COST, Bench, Plan, cameras, fresh

TCP = "RTSP over TCP, 1 camera to {} readers"
UDP = "RTSP, media by UDP, 1 camera to {} readers"
TLS = "RTSP over TLS, 1 camera to {} readers"
FAN_IN = "RTSP over TCP, {} cameras, a reader each"
STARTS = "RTSP, first pictures"
ENDURANCE = "RTSP, readers that stall, and that come and go"

READERS = (200, 500)
UDP_READERS = 50
TLS_READERS = 50
AT_ONCE = 50
CROWD = 200
JOINS = 20_000


async def measure(
    plan: Plan, figures: Figures, cache: Path, step: Callable[[str], None], *, joins: int = JOINS
) -> None:
    """Raises programs.Failed when a program does not play along."""
    async with cameras(plan, plan.clip) as address:
        for number in range(1, plan.rounds + 1):
            of = f"round {number} of {plan.rounds}"
            for readers in READERS:
                step(f"RTSP to {readers}, {of}")
                async with fresh(plan, figures, address) as bench:
                    await _fan_out(bench, readers)
            step(f"RTSP by UDP to {UDP_READERS}, {of}")
            async with fresh(plan, figures, address) as bench:
                await _fan_out(bench, UDP_READERS, by_udp=True)
            step(f"RTSP over TLS to {TLS_READERS}, {of}")
            async with fresh(plan, figures, address) as bench:
                await _over_tls(bench)
            step(f"{AT_ONCE} readers at once, {of}")
            async with fresh(plan, figures, address) as bench:
                await _joins_at_once(bench)
            step(f"{CAMERAS} cameras, {of}")
            async with fresh(plan, figures, address) as bench:
                await _fan_in(bench)
        step(f"{joins} joins and leaves")
        async with fresh(plan, figures, address) as bench:
            await _churn(bench, joins)
    async with cameras(plan, plan.clip, clock_every=1) as address, fresh(plan, figures, address) as bench:
        for number in range(1, plan.rounds + 1):
            step(f"a stalled reader among {CROWD}, round {number} of {plan.rounds}")
            await _stalled(bench, is_first=number % 2 == 0)
    clip = await asyncio.to_thread(footage.clip, cache, interval=footage.RATE)
    async with cameras(plan, clip) as address:
        step(f"{CAMERAS} cameras that nobody watches")
        async with fresh(plan, figures, address) as bench:
            await _cold(bench)
        step(f"{CROWD} readers of a camera that nobody watched")
        async with fresh(plan, figures, address) as bench:
            await _one_pull(bench)


async def _pulled(bench: Bench, viewers: int) -> list[dict[str, str]]:
    """A target whose camera is being pulled when its readers come."""
    targets = [await bench.target(0, viewers + 1)]
    await bench.readers(targets, 1, rate=1, warmup_s=2.5, seconds=0.1)
    return targets


async def _fan_out(bench: Bench, readers: int, *, by_udp: bool = False) -> None:
    group = (UDP if by_udp else TCP).format(readers)
    floor = await bench.floor("udp" if by_udp else "tcp", readers)
    targets = await _pulled(bench, readers)
    answer, use = await bench.readers(
        targets, readers, rate=max(readers / 4, 50), warmup_s=2, seconds=bench.plan.window_s, by_udp=by_udp
    )
    bench.cost(group, answer, use, floor["cpu_s_per_1m"], Mark(2, of_ratio=True))
    # What they share, such as the wire forms of the cache, weighs too much on a few.
    memory = Mark(32) if readers >= CROWD else None
    bench.figures.add(group, "private memory for each", "KiB", use.memory_kib / readers, mark=memory)
    within = 0.0 if by_udp else floor["delay_ms"]["p50"]
    mark = None if by_udp else Mark(3)
    bench.figures.add(group, "relay delay, p50", "ms", answer["relay_ms"]["p50"], floor=within, mark=mark)
    bench.figures.add(group, "relay delay, p99", "ms", answer["relay_ms"]["p99"])


async def _over_tls(bench: Bench) -> None:
    """What the cipher adds: the same readers in clear are the floor."""
    window = {"rate": 50.0, "warmup_s": 2.0, "seconds": bench.plan.window_s}
    plain, in_clear = await bench.readers(await _pulled(bench, TLS_READERS), TLS_READERS, **window)
    target = await bench.target(0, TLS_READERS)
    secure = {**target, "url": f"rtsps://{bench.hub.ready['rtsps']}/{target['url'].rpartition('/')[2]}"}
    ca = bench.hub.data / "ca.pem"
    answer, use = await bench.readers([secure], TLS_READERS, ca=ca, **window)
    group, floor = TLS.format(TLS_READERS), in_clear.cpu_s / plain["packets"] * 1e6
    note = "the floor is the hub itself without TLS"
    bench.figures.add(group, COST, "s", use.cpu_s / answer["packets"] * 1e6, floor=floor, note=note)
    bench.figures.add(group, "packets lost", "", answer["lost"])
    bench.figures.add(group, "relay delay, p50", "ms", answer["relay_ms"]["p50"])


async def _joins_at_once(bench: Bench) -> None:
    targets = await _pulled(bench, AT_ONCE)
    answer, _ = await bench.readers(targets, AT_ONCE, rate=1e6, warmup_s=1, seconds=0.1)
    name = f"first keyframe, camera pulled already, {AT_ONCE} at once"
    bench.figures.add(STARTS, f"{name}, p50", "ms", answer["first_key_ms"]["p50"])
    bench.figures.add(STARTS, f"{name}, p95", "ms", answer["first_key_ms"]["p95"], mark=Mark(50))


async def _cold(bench: Bench) -> None:
    """Each camera once by itself and once through the hub, which has not pulled it."""
    directly = [{"url": f"rtsp://{bench.camera}/{number}", "ticket": ""} for number in range(CAMERAS)]
    alone, _ = await bench.readers(directly, CAMERAS, rate=10, warmup_s=3, seconds=0.1)
    through = [await bench.target(number, 1) for number in range(CAMERAS)]
    answer, _ = await bench.readers(through, CAMERAS, rate=10, warmup_s=3, seconds=0.1)
    name = f"first keyframe of {CAMERAS} cameras not yet pulled"
    direct, ours = alone["first_key_ms"], answer["first_key_ms"]
    note = f"a keyframe a second; the same client at the camera itself: {direct['p50']:.0f} ms"
    bench.figures.add(STARTS, f"{name}, p50", "ms", ours["p50"], note=note, mark=Mark(direct["p50"] + 100))
    bench.figures.add(STARTS, f"{name}, slowest", "ms", ours["max"])
    bench.figures.add(STARTS, "of them failed", "", CAMERAS - answer["playing"], mark=Mark(0))


async def _one_pull(bench: Bench) -> None:
    targets = [await bench.target(0, CROWD)]
    await bench.readers(targets, CROWD, rate=1e6, warmup_s=2, seconds=0.5)
    port = int(bench.camera.rpartition(":")[2])
    pulls = bench.connections_to(port)
    bench.figures.add(STARTS, f"connections to a camera that {CROWD} ask for at once", "", pulls, mark=Mark(1))


async def _stalled(bench: Bench, *, is_first: bool) -> None:
    """Each picture of the whole clip tells its delay, with and without: a p99 is that of keyframes, and they differ.

    is_first: the stalled one comes in the first half.
    """
    targets = await _pulled(bench, 2 * CROWD + 8)
    window = footage.PICTURES / footage.RATE
    p99 = {}
    for stalled in (1, 0) if is_first else (0, 1):
        answer, _ = await bench.readers(
            targets, CROWD + stalled, rate=CROWD / 2, warmup_s=2, seconds=window, stalled=stalled
        )
        p99[stalled] = answer["relay_ms"]["p99"]
    name = f"relay delay of {CROWD} good readers beside a stalled one, p99"
    mark = Mark(1.1, of_ratio=True)
    note = "the floor is without the stalled one"
    bench.figures.add(ENDURANCE, name, "ms", p99[1], floor=p99[0], mark=mark, note=note)


async def _fan_in(bench: Bench) -> None:
    group = FAN_IN.format(CAMERAS)
    floor = await bench.floor("relay", CAMERAS)
    targets = [await bench.target(number, 1) for number in range(CAMERAS)]
    answer, use = await bench.readers(targets, CAMERAS, rate=50, warmup_s=4, seconds=bench.plan.window_s)
    bench.cost(group, answer, use, floor["cpu_s_per_1m"], Mark(4))
    bench.figures.add(group, "relay delay, p50", "ms", answer["relay_ms"]["p50"])
    gop = footage.largest_gop(bench.plan.clip) / 1024
    note = f"its source and its reader included; a group of pictures has up to {gop:.0f} KiB"
    bench.figures.add(
        group, "private memory for each stream", "KiB", use.memory_kib / CAMERAS, mark=Mark(gop + 128 + 32), note=note
    )


async def _churn(bench: Bench, joins: int) -> None:
    at_once = 20
    [target] = await _pulled(bench, 2 * at_once)
    before = _held(bench.pid)
    # What a hub's first seconds and its first thousand readers fill is kept for good, and no growth.
    await _come_and_go(bench, target, joins // 10, at_once)
    begin = await _settled(bench)
    first = await _come_and_go(bench, target, joins // 2, at_once)
    half = await _settled(bench)
    second = await _come_and_go(bench, target, joins // 2, at_once)
    end = await _settled(bench)
    after = before
    # The last ones are given a moment to be gone.
    for _ in range(50):
        after = _held(bench.pid)
        if after == before:
            break
        await asyncio.sleep(0.1)
    add = bench.figures.add
    name = f"{joins:,} joins and leaves".replace(",", " ")
    failures, error = first["failures"] + second["failures"], first["error"] or second["error"]
    add(ENDURANCE, f"{name}, failures", "", failures, mark=Mark(0), note=error)
    add(ENDURANCE, f"{name}, first keyframe p99", "ms", max(of["first_key_ms"]["p99"] for of in (first, second)))
    add(ENDURANCE, f"{name}, descriptors left over", "", after[0] - before[0], mark=Mark(0))
    add(ENDURANCE, f"{name}, threads left over", "", after[1] - before[1], mark=Mark(0))
    cost = Use.between(begin, end).cpu_s / joins
    add(
        ENDURANCE, f"{name}, CPU for each", "ms", 1000 * cost, note="from the connection to its end, the cache included"
    )
    growth = (end.memory_kib - half.memory_kib) / 1024
    add(ENDURANCE, f"{name}, memory grown in the second half", "MiB", growth, mark=Mark(1))


async def _come_and_go(bench: Bench, target: dict[str, str], joins: int, at_once: int) -> dict[str, Any]:
    configuration = {"target": target, "joins": joins, "at_once": at_once, "core": bench.plan.load_core}
    return await programs.result(bench.plan.load, "churn", configuration=configuration)


async def _settled(bench: Bench) -> Reading:
    """With the least memory within some groups of pictures: the stream's cache grows with each, and begins anew."""
    readings = [bench.read()]
    for _ in range(20):
        await asyncio.sleep(0.15)
        readings.append(bench.read())
    return dataclasses.replace(readings[0], memory_kib=min(reading.memory_kib for reading in readings))


def _held(pid: int) -> tuple[int, int]:
    """Descriptors and threads of a process."""
    place = PROC / str(pid)
    return sum(1 for _ in (place / "fd").iterdir()), sum(1 for _ in (place / "task").iterdir())
