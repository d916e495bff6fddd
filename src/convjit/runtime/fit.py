"""A training step made to fit a limit of memory, and what that costs, known before anything is compiled.

Weights are updated as soon as their gradients are there, which costs nothing. Then, whichever costs least by
arithmetic, activations are computed again, and launches take algorithms that need less workspace. Computing again
changes no bit of a result; another algorithm rounds otherwise, and is kept with the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from convjit.codegen.target import Target, host_target
from convjit.errors import UsageError
from convjit.kernels import Problem, candidates, choose, workspace_bytes
from convjit.kernels.base import DIRECT
from convjit.program import AGAIN, Launch, Program, Recomputing, plan
from convjit.program.traffic import traffic
from convjit.runtime.planned import kernel_memory_of
from convjit.runtime.ways import Ways

__all__ = ["Fitted", "bytes_of", "fit", "size_text"]

FLOPS_PER_BYTE = 8
"""What processors of today compute, about, in the time in which their memory moves a byte."""

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def bytes_of(limit: str | int) -> int:
    """A limit such as "500MB", "2GiB", or plain bytes; UsageError otherwise."""
    match = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([a-z]*)", str(limit).strip().lower())
    size = int(float(match[1]) * _UNITS[match[2]]) if match and match[2] in _UNITS else 0
    if size < 1:
        shown = str(limit)[:40]
        raise UsageError(f"--memory {shown}: a size such as 500MB or 2GiB, or a number of bytes, is needed")
    return size


def size_text(size: int) -> str:
    """In whole megabytes, or kilobytes, rounded up: what `bytes_of` takes for at least as much."""
    return f"{-(-size // 10**6)} MB" if size >= 10**7 else f"{-(-size // 10**3)} kB"


@dataclass(frozen=True)
class Fitted:
    """A program that takes `total` bytes, within `limit`."""

    program: Program
    ways: Ways
    limit: int
    total: int
    again: tuple[str, ...] = ()
    """Buffers that are computed again."""
    plainer: tuple[str, ...] = ()
    """Launches that take an algorithm with less workspace."""
    extra: float = 0.0
    """Time added, as a share of the step's, by arithmetic."""

    def text(self) -> str:
        """What was done and what it costs, on one line."""
        done = [_counted(len(self.again), "activation", "activations", "computed again")]
        done.append(_counted(len(self.plainer), "launch", "launches", "by an algorithm with less workspace"))
        percent = 100 * self.extra
        cost = f", about {percent:.0f} % more time" if percent >= 1 else ", less than 1 % more time"
        said = " and ".join(one for one in done if one)
        return f"memory limit {size_text(self.limit)}: {said + cost if said else 'kept at no cost'}"

    def record(self) -> dict[str, object]:
        """For machines."""
        return {"limit": self.limit, "again": list(self.again), "plainer": list(self.plainer), "extra": self.extra}


def _counted(count: int, one: str, many: str, rest: str) -> str:
    return f"{count} {one if count == 1 else many} {rest}" if count else ""


def fit(
    program: Program, limit: int, ways: Ways, *, threads: int, target: Target | None = None, fixed: bool = False
) -> Fitted:
    """The program, and the ways to compute it, in at most `limit` bytes on so many threads.

    `fixed` leaves the algorithms as they are. UsageError if nothing that can be done is enough.
    """
    target = target or host_target()
    usual = _problems(program, ways, target)
    total = plan(program, target.lanes).total + _kernel_bytes(usual, threads)
    if total <= limit:
        return Fitted(program, ways, limit, total)
    planned = plan(program, target.lanes)
    usual_cost = _Cost(usual, program.batch, target)
    full, search = usual_cost.of(program), Recomputing(program, usual_cost, target.lanes)
    best: Fitted | None = None
    least = total
    for changed in [{}] if fixed else _cheaper(usual, target):
        problems = {name: problem and _changed(problem, changed.get(name)) for name, problem in usual.items()}
        cost = _Cost(problems, program.batch, target)
        slower = max(cost.of(program) - full, 0.0)
        if best and slower / full >= best.extra:
            continue
        beside = planned.total - planned.arena + _kernel_bytes(problems, threads)
        made = search.within(limit - beside)
        total = beside + made.arena
        least = min(least, total)
        extra = (slower + sum(cost(one) for one in made.program.launches if one.name.endswith(AGAIN))) / full
        if total <= limit and (best is None or extra < best.extra):
            kept = Ways({**ways.chosen, **changed}, ways.workspace)
            best = Fitted(made.program, kept, limit, total, made.again, tuple(changed), extra)
    if best is None:
        way_out = "fewer --threads need" if fixed else "a smaller --batch, or a larger --accumulate, needs"
        found = f"{program.batch} images at a time take at least {size_text(least)}"
        raise UsageError(f"--memory {size_text(limit)}: {found}; {way_out} less")
    return best


def _problems(program: Program, ways: Ways, target: Target) -> dict[str, Problem | None]:
    return {one.name: ways.problem(one, program.batch, target) for one in program.launches}


def _kernel_bytes(problems: Mapping[str, Problem | None], threads: int) -> int:
    scratch, workspace = kernel_memory_of(list(problems.values()))
    return scratch * threads + workspace


def _cheaper(problems: Mapping[str, Problem | None], target: Target) -> Iterator[dict[str, str]]:
    """Algorithms to be changed so that no workspace is larger than the next smaller one, down to none; first, none."""
    sizes = sorted({workspace_bytes(p) for p in problems.values() if p} | {0}, reverse=True)
    for most in sizes:
        yield {
            name: choose(_changed(p, DIRECT), most).algorithm
            for name, p in problems.items()
            if p and workspace_bytes(p) > most
        }


def _changed(problem: Problem, algorithm: str | None) -> Problem:
    return replace(problem, algorithm=algorithm) if algorithm else problem


@dataclass(frozen=True)
class _Cost:
    """How long a launch takes, by arithmetic alone, in the time that memory needs for a byte."""

    problems: Mapping[str, Problem | None]
    batch: int
    target: Target

    def __call__(self, launch: Launch) -> float:
        problem = self.problems[launch.name.removesuffix(AGAIN)]
        gain = candidates(_changed(problem, DIRECT))[problem.algorithm] if problem else 1.0
        moved = traffic(launch, self.batch, self.target.lanes)
        return max(launch.op.flops() * self.batch / gain / FLOPS_PER_BYTE, moved.read + moved.written)

    def of(self, program: Program) -> float:
        """A whole step."""
        return sum(map(self, program.launches))
