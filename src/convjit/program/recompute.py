"""Recompute or keep: activations are dropped after the forward pass and computed again where the backward pass needs
them, so that a step fits a limit of memory.

A buffer of the arena that nobody uses for a long while gets two lives: before the while, and after it as a copy that
the launches which made the buffer make again. What these read and has gone meanwhile is made again too. The numbers are
the same, bit for bit: every launch finds in its buffers what it would have found (`_Step._same`), kernels are those of
the first time, and random masks are functions of the step's key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from math import inf

from convjit.ops.base import Maps
from convjit.program.buffer import Launch, Program, Role
from convjit.program.check import check
from convjit.program.planner import ALIGNMENT, buffer_bytes, plan

__all__ = ["AGAIN", "Recomputed", "Recomputing"]

AGAIN = " (again)"
"""Ends the names of launches that are run again and of the copies that they make; layers cannot have such names."""

_RUNG = 0.04
"""Share of the arena by which the limit is lowered in search of the least."""


@dataclass(frozen=True)
class Recomputed:
    """A program, the buffers that it computes again, what that costs, and the bytes of its arena."""

    program: Program
    again: tuple[str, ...]
    cost: float
    arena: int


class Recomputing:
    """A program in less memory.

    What frees most for its cost is dropped first; `cost` of a launch may have any unit. The choice depends on nothing
    but the arguments.
    """

    def __init__(self, program: Program, cost: Callable[[Launch], float], lanes: int) -> None:
        self._step = _Step(program, cost, lanes)

    def within(self, limit: int) -> Recomputed:
        """The program with an arena of at most `limit` bytes; that with the smallest if there is none."""
        found = _fitting(self._step, limit)
        if found.arena > limit:
            # The straight way may miss what small steps find.
            found = next((one for one in self._ladder if one.arena <= limit), self._ladder[-1])
        return found

    @cached_property
    def _ladder(self) -> list[Recomputed]:
        """From the whole program to the least that is found, whatever limit is asked for."""
        found = [self._step.made(frozenset())]
        while (better := _fitting(self._step, int(found[-1].arena * (1 - _RUNG)))).arena < found[-1].arena:
            found.append(better)
        return found


def _fitting(step: _Step, limit: int) -> Recomputed:
    """Drop buffers until the arena fits, or nothing helps any more; then keep what need not have been dropped."""
    dropped: frozenset[str] = frozenset()
    target, found = limit, step.made(dropped)
    while found.arena > limit:
        more = _dropped(step, dropped, target)
        if more == dropped:
            return found
        dropped, found = more, step.made(more)
        # The planner may need a little more than what lives at the same time.
        target -= max(found.arena - limit, 0)
    for name in sorted(dropped, key=lambda one: (-step.costs[one], one)):
        fewer = dropped - {name}
        if step.excess(fewer, limit) == 0 and (less := step.made(fewer)).arena <= limit:
            dropped, found = fewer, less
    return found


def _dropped(step: _Step, dropped: frozenset[str], target: int) -> frozenset[str]:
    """More buffers, until no more than `target` bytes live at any time or nothing helps."""
    while (excess := step.excess(dropped, target)) > 0:
        over = step.over(dropped, target)
        freed = {
            name: sum(min(step.sizes[name], beyond) for beyond in over[early + 1 : late])
            for name, (early, late) in step.gaps.items()
            if name not in dropped
        }
        ranked = sorted((one for one in freed if freed[one]), key=lambda one: (step.costs[one] / freed[one], one))
        helpful = (one for one in ranked if step.excess(dropped | {one}, target) < excess)
        if (name := next(helpful, None)) is None:
            break
        dropped |= {name}
    return dropped


@dataclass(frozen=True)
class _Run:
    """Launch `index` of the old program in the new one, where it uses copies of some buffers; if it is one that is run
    again, right before launch `at`.
    """

    index: int
    at: int
    copies: frozenset[str]

    @property
    def again(self) -> bool:
        return self.index < self.at


class _Step:
    """A program as numbers: which launch uses which buffer."""

    def __init__(self, program: Program, cost: Callable[[Launch], float], lanes: int) -> None:
        self.program, self._lanes, launches = program, lanes, program.launches
        self._cost = [cost(launch) for launch in launches]
        self._read = [sorted(launch.read) for launch in launches]
        self._written = [sorted(launch.written) for launch in launches]
        self._used = [dict.fromkeys(b.name for b in launch.buffers.values()) for launch in launches]
        arena = program.of_role(Role.ARENA)
        self.sizes = {n: -(-buffer_bytes(b, program.batch, lanes) // ALIGNMENT) * ALIGNMENT for n, b in arena.items()}
        self._uses = {name: [i for i, used in enumerate(self._used) if name in used] for name in arena}
        self._makers = {name: [i for i in self._uses[name] if name in self._written[i]] for name in arena}
        self._contents: dict[tuple[int, str, int], int] = {}
        self._found = [found for _, found in self._finds(self._runs(frozenset()))]
        self._live_of: dict[frozenset[str], list[tuple[_Run, int]]] = {}
        maps = [name for name, buffer in arena.items() if isinstance(buffer.operand, Maps)]
        self.gaps = {name: gap for name in maps if (gap := self._gap(name))}
        """The longest while without use of maps, as the launches around it, of those that can be made again."""
        self.gaps = {name: gap for name, gap in self.gaps.items() if self._same(self._runs(frozenset({name})))}
        self.costs = {name: self._cost_again(self._runs(frozenset({name}))) for name in self.gaps}

    def _gap(self, name: str) -> tuple[int, int] | None:
        pairs = zip(self._uses[name], self._uses[name][1:], strict=False)
        early, late = max(pairs, key=lambda pair: pair[1] - pair[0], default=(0, 0))
        return (early, late) if late - early > 1 else None

    def _runs(self, dropped: frozenset[str]) -> list[_Run]:
        """The launches of the new program."""
        due: dict[int, list[str]] = {}
        for name in dropped:
            due.setdefault(self.gaps[name][1], []).append(name)
        copied: frozenset[str] = frozenset()
        runs: list[_Run] = []
        for at, used in enumerate(self._used):
            if wanted := [name for name in due.get(at, ()) if name not in copied]:
                group = self._group(wanted, at, copied, dropped)
                copied |= group
                makers = sorted({i for name in group for i in self._makers_before(name, at)})
                runs += [_Run(i, at, copied.intersection(self._used[i])) for i in makers]
            runs.append(_Run(at, at, copied.intersection(used)))
        return runs

    def _makers_before(self, name: str, at: int) -> list[int]:
        return [i for i in self._makers[name] if i < at]

    def _group(self, wanted: Iterable[str], at: int, copied: frozenset[str], dropped: frozenset[str]) -> set[str]:
        """Buffers to be made again before launch `at`: those wanted, and what making them needs and has gone."""

        def gone(name: str) -> bool:
            return self._uses[name][-1] < at or (name in dropped and self.gaps[name][0] < at)

        group: set[str] = set()
        todo = list(wanted)
        while todo:
            if (name := todo.pop()) in group:
                continue
            group.add(name)
            for i in self._makers_before(name, at):
                others = [one for one in self._used[i] if one in self.sizes and one not in copied]
                todo += [one for one in others if one in self._written[i] or gone(one)]
        return group

    def _finds(self, runs: Iterable[_Run]) -> Iterator[tuple[_Run, list[int]]]:
        """What every launch finds in the buffers that it reads, as numbers that stand for contents."""
        now: dict[tuple[str, bool], int] = {}
        for run in runs:
            yield run, [now.get((name, name in run.copies), 0) for name in self._read[run.index]]
            for name in self._written[run.index]:
                # Of a buffer that is written in pieces, the earlier ones stay.
                key = name, name in run.copies
                made = run.index, name, now.get(key, 0)
                now[key] = self._contents.setdefault(made, len(self._contents) + 1)

    def _same(self, runs: Iterable[_Run]) -> bool:
        """Whether every launch finds what it has found in the old program, and none of those run again is heard of
        outside of the arena.
        """
        return all(
            found == self._found[run.index]
            and not (run.again and any(name not in self.sizes for name in self._written[run.index]))
            for run, found in self._finds(runs)
        )

    def _cost_again(self, runs: Iterable[_Run]) -> float:
        return sum(self._cost[run.index] for run in runs if run.again)

    def _live(self, dropped: frozenset[str]) -> list[tuple[_Run, int]]:
        """Every launch, and the bytes that live while it runs."""
        if dropped not in self._live_of:
            runs = self._runs(dropped)
            first: dict[tuple[str, bool], int] = {}
            last: dict[tuple[str, bool], int] = {}
            for place, run in enumerate(runs):
                for name in self._used[run.index]:
                    if name in self.sizes:
                        first.setdefault((name, name in run.copies), place)
                        last[name, name in run.copies] = place
            change = [0] * (len(runs) + 1)
            for key, place in first.items():
                change[place] += self.sizes[key[0]]
                change[last[key] + 1] -= self.sizes[key[0]]
            self._live_of[dropped] = list(zip(runs, accumulate(change), strict=False))
        return self._live_of[dropped]

    def excess(self, dropped: frozenset[str], target: int) -> float:
        """Bytes beyond `target`, added up over all launches; infinite if these buffers cannot all be dropped."""
        live = self._live(dropped)
        beyond = sum(max(size - target, 0) for _, size in live)
        return beyond if self._same(run for run, _ in live) else inf

    def over(self, dropped: frozenset[str], target: int) -> list[int]:
        """Bytes beyond `target` at every launch of the old program."""
        over = [0] * len(self._used)
        for run, size in self._live(dropped):
            over[run.at] = max(over[run.at], size - target)
        return over

    def made(self, dropped: frozenset[str]) -> Recomputed:
        """The new program."""
        buffers, launches = self.program.buffers(), []
        runs = self._runs(dropped)
        for run in runs:
            copies = {name: replace(buffers[name], name=name + AGAIN) for name in run.copies}
            launch = self.program.launches[run.index].rewired(copies)
            launches.append(replace(launch, name=launch.name + AGAIN) if run.again else launch)
        program = check(replace(self.program, launches=tuple(launches)))
        again = {name: None for run in runs if run.again for name in self._written[run.index]}
        return Recomputed(program, tuple(again), self._cost_again(runs), plan(program, self._lanes).arena)
