"""`make bench`: everything that we claim a number for, measured on this machine, beside the floor of the same run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from support.hub import Ended

from benches import ROOT, control, footage, link_media, links, media, network, programs, rtsp
from benches.figures import Figures, Mark, document, page, table

PARTS = ("core", "rtsp", "media", "network", "control", "links")
CACHE = ROOT / ".cache"
CORE = "The core, 100,000 cameras"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of everything, in under three minutes")
    parser.add_argument("--only", choices=PARTS, action="append", help="leave the rest out; may be repeated")
    parser.add_argument("--json", type=Path, default=CACHE / "bench.json", help="where the figures go")
    parser.add_argument("--markdown", type=Path, help="also write the table in Markdown")
    parser.add_argument("--nice", type=int, default=0, help="below 0 keeps other work out, where one may")
    options = parser.parse_args()
    if options.nice:
        os.nice(options.nice)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("bench: the hub and its load want a core each, and this machine lets us have one", file=sys.stderr)
        return 1
    console = Console()
    figures = Figures()
    progress = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=Console(stderr=True)
    )
    begun = time.monotonic()
    try:
        with progress:
            task = progress.add_task("starting", total=None)
            asyncio.run(_all(options, figures, cores, lambda name: progress.update(task, description=name)))
    except (programs.Failed, Ended) as failure:
        console.print(table(figures))
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("bench: interrupted", file=sys.stderr)
        return 130
    about = _about(options, cores, time.monotonic() - begun)
    console.print(table(figures))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(document(figures, about), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(page(figures, about), encoding="utf-8")
    console.print(f"{about['command']}: {about['seconds']} s; figures in {options.json}")
    return 0


async def _all(options: argparse.Namespace, figures: Figures, cores: list[int], step: Callable[[str], None]) -> None:
    """Runs what is wanted; SIGTERM ends it as Ctrl-C does, with every program that it started."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    wanted = options.only or PARTS
    rounds = 1 if options.quick else 3
    step("building the load programs")
    built = await asyncio.to_thread(programs.build, ("load", "core"))
    # The hub on the last core: the first one serves most interrupts.
    load_core, hub_core = cores[0], cores[-1]
    if "core" in wanted:
        for number in range(rounds):
            step(f"the core, round {number + 1} of {rounds}")
            await _core(built["core"], figures, hub_core)
    if {"media", "rtsp", "network", "links"} & set(wanted):
        step("making the clip")
        clip = await asyncio.to_thread(footage.clip, CACHE / "clips")
        plan = media.Plan(
            built["load"], clip, hub_core, load_core, rounds, window_s=5 if options.quick else 8,
            floor_s=2 if options.quick else 4,
        )  # fmt: skip
        if "rtsp" in wanted:
            joins = rtsp.JOINS // 10 if options.quick else rtsp.JOINS
            await rtsp.measure(plan, figures, CACHE / "clips", step, joins=joins)
        if "media" in wanted:
            await media.measure(plan, figures, step)
    if "network" in wanted:
        try:
            viewers = await asyncio.to_thread(network.build_viewers, CACHE)
        except programs.Failed as cause:
            print(f"bench: no rows behind a bad network: {cause}", file=sys.stderr)
        else:
            often = 1 if options.quick else 2
            still = await asyncio.to_thread(footage.still, CACHE / "clips")
            bad = network.Plan(built["load"], viewers, clip, still, hub_core, load_core, rounds=often)
            await network.measure(bad, figures, step)
    if "control" in wanted:
        size = {"rounds": 2, "per_round": 10_000} if options.quick else {"rounds": 5, "per_round": 20_000}
        await control.measure(figures, step, cores=(hub_core, load_core), **size)
    if "links" in wanted:
        many = 20_000 if options.quick else 100_000
        await links.measure(figures, step, cores=(hub_core, load_core), cameras=many, rounds=rounds)
        await link_media.measure(plan, figures, CACHE / "clips", step)


async def _core(program: Path, figures: Figures, core: int) -> None:
    with media.on_core(core):
        answer = await programs.result(program, configuration={})
    add = figures.add
    add(CORE, "memory, all indexes included", "bytes/camera", answer["bytes_per_camera"], mark=Mark(400))
    add(CORE, "memory, every state known", "bytes/camera", answer["bytes_per_camera_states_known"])
    add(CORE, "loading them", "s", answer["load_s"])
    grants = f"{answer['grants']:,} grants, one core"
    add(CORE, "decisions from the policies", "1/s", answer["decisions_per_s"], is_rate=True, note=grants)
    add(
        CORE,
        "decisions kept",
        "1/s",
        answer["decisions_kept_per_s"],
        is_rate=True,
        note="asked before, nothing changed",
    )
    add(
        CORE,
        "a page of 100, each row judged from the policies",
        "ms",
        answer["list_page_undecided_ms"],
        mark=Mark(2),
    )
    add(CORE, "a page of 100, each row judged before", "ms", answer["list_page_ms"])
    add(CORE, "a page of 100 of a text search", "ms", answer["list_page_search_ms"])
    add(CORE, "lookups by id", "1/s", answer["lookups_per_s"], is_rate=True)


def _about(options: argparse.Namespace, cores: list[int], seconds: float) -> dict[str, Any]:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")),
        platform.machine(),
    )  # fmt: skip
    return {
        "command": " ".join(["python -m benches.run", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git("describe", "--always", "--dirty", "--exclude=*") or "unknown",
        "machine": f"{model}, {len(cores)} cores, Linux {platform.release()}, Python {platform.python_version()}",
        "load": " ".join(f"{value:.1f}" for value in os.getloadavg()),
        "seconds": round(seconds),
    }


if __name__ == "__main__":
    sys.exit(main())
