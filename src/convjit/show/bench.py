"""The benchmark in words: a roofline of the launches, what is lost where, and what changed since another run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convjit.errors import UsageError
from convjit.runtime.candidates import Candidate, fastest
from convjit.show.console import Screen, megabytes
from convjit.train.benchmark import BenchResult

__all__ = ["bench_record", "read_record", "show_algorithms", "show_bench", "show_comparison"]

_WORST = 5


def bench_record(result: BenchResult) -> dict[str, Any]:
    """The benchmark for machines; bandwidths are (read, copy) in GB/s."""
    speed, machine = ("images_per_s", "ms", "gflops", "peak_gflops"), ("barrier_ns", "threads", "processor", "target")
    plain = (*speed, "batch", "dtype", *machine)
    keys = ("name", "op", "ms", "flops", "bytes", "intensity", "gflops", "gbps", "bound", "roof_ms", "share", "lost_ms")
    launches = [{key: getattr(launch, key) for key in keys} for launch in result.launches]
    memory = {level.name: [level.read, level.copy] for level in result.memory.levels}
    fitted = {"memory": result.fitted.record()} if result.fitted else {}
    return {**{key: getattr(result, key) for key in plain}, "memory_gbps": memory, "launches": launches, **fitted}


def show_bench(screen: Screen, result: BenchResult) -> None:
    """A row per launch, what is lost, then the step as a whole."""
    table = screen.table("launch", "op", ">ms", ">FLOP/byte", ">GFLOP/s", ">GB/s", "roof", ">of roof", ">ms lost")
    for one in result.launches:
        flops = (f"{one.intensity:.1f}", f"{one.gflops:.1f}") if one.flops else ("", "")
        share = f"{100 * one.share:.0f} %"
        table.add_row(
            one.name, one.op, f"{one.ms:.3f}", *flops, f"{one.gbps:.1f}", one.bound, share, f"{one.lost_ms:.3f}"
        )
    screen.show(table)
    lost, whole = sum(one.lost_ms for one in result.launches), sum(one.ms for one in result.launches)
    worst = ", ".join(f"{one.name} {one.lost_ms:.2f} ms" for one in result.worst[:_WORST])
    screen.line(f"lost: {lost:.2f} of {whole:.2f} ms are beyond the roofs, most in {worst}")
    screen.line(_rates(result))
    if result.fitted:
        screen.line(result.fitted.text())
    screen.line(
        f"{result.images_per_s:,.0f} images/s: {result.ms:.2f} ms a step of {result.batch} images in {result.dtype}, "
        f"{result.gflops:.0f} GFLOP/s, {100 * result.gflops / result.peak_gflops:.1f} % of the peak"
    )


def show_algorithms(screen: Screen, measured: Sequence[Candidate]) -> None:
    """A row per launch and algorithm; the one that arithmetic chooses has a mark, and so has the fastest."""
    best = fastest(measured)
    table = screen.table("launch", "algorithm", ">ms", ">GFLOP/s", ">workspace", ">error", "")
    last = ""
    for one in measured:
        marks = [
            word for word, holds in (("chosen", one.chosen), ("fastest", best[one.launch] == one.algorithm)) if holds
        ]
        error = f"{one.error:.1e}" if one.error is not None else ""
        name, last = ("" if one.launch == last else one.launch), one.launch
        numbers = (f"{one.ms:.3f}", f"{one.gflops:.1f}", megabytes(one.workspace) if one.workspace else "", error)
        table.add_row(name, one.algorithm, *numbers, ", ".join(marks))
    screen.show(table)
    times = {(one.launch, one.algorithm): one.ms for one in measured}
    chosen = sum(one.ms for one in measured if one.chosen)
    screen.line(f"chosen by arithmetic {chosen:.2f} ms, the fastest {sum(times[pair] for pair in best.items()):.2f} ms")


def _rates(result: BenchResult) -> str:
    memory = "; ".join(f"{one.name} {one.read:.0f} and {one.copy:.0f}" for one in result.memory.levels)
    machine = f"{result.processor}, {result.target}, {result.threads} threads"
    barrier = f", a barrier {result.barrier_ns:.0f} ns" if result.threads > 1 else ""
    return f"{machine}: peak {result.peak_gflops:.0f} GFLOP/s{barrier}; GB/s reading and copying: {memory}"


def read_record(path: Path) -> dict[str, Any]:
    """What `convjit bench --json` printed, out of a file."""
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        record = json.loads(lines[-1])
        numbers = [record["images_per_s"], record["ms"], *(launch["ms"] for launch in record["launches"])]
        names = [launch["name"] for launch in record["launches"]]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: a line that 'convjit bench NET --json' has printed is needed") from error
    if not all(isinstance(number, int | float) and number > 0 for number in numbers) or len(set(names)) != len(names):
        raise UsageError(f"{path}: its times are no positive numbers, or a launch is there twice")
    return dict(record)


def show_comparison(screen: Screen, before: Mapping[str, Any], result: BenchResult) -> None:
    """Launch by launch against an earlier record, and the step as a whole."""
    old = {launch["name"]: float(launch["ms"]) for launch in before["launches"]}
    new = {launch.name: launch.ms for launch in result.launches}
    table = screen.table("launch", ">ms before", ">ms now", ">change")
    for name in dict.fromkeys((*old, *new)):
        row = [f"{times[name]:.3f}" if name in times else "" for times in (old, new)]
        table.add_row(name, *row, _change(old.get(name), new.get(name)))
    for name, times in (
        ("in all, one by one", (sum(old.values()), sum(new.values()))),
        ("step", (before["ms"], result.ms)),
    ):
        table.add_row(name, f"{times[0]:.3f}", f"{times[1]:.3f}", _change(*times))
    screen.show(table)
    for key, now in (
        ("batch", result.batch),
        ("dtype", result.dtype),
        ("threads", result.threads),
        ("target", result.target),
    ):
        if key in before and before[key] != now:
            screen.warn(f"not the same: {key} was {before[key]} and is {now}")
    faster = result.images_per_s / before["images_per_s"]
    screen.line(
        f"{before['images_per_s']:,.0f} images/s before, {result.images_per_s:,.0f} now: {faster:.2f} times as fast"
    )


def _change(before: float | None, now: float | None) -> str:
    if before is None or now is None:
        return "new" if before is None else "gone"
    return f"{100 * (now / before - 1):+.0f} %"
