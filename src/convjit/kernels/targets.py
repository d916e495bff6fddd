"""Targets: V rows are gathered number by number; there are few of them."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import Place, sweep
from convjit.ops.targets import Targets

__all__: list[str] = []


@generator(Targets)
def targets(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, Targets)
    rows, x, features = k.scalars("rows"), problem.view(k, "x"), op.maps.features

    def body(place: Place, block: Value, feature: Index) -> None:
        first = block * k.lanes
        numbers = [rows.load((first + lane) * features + feature) for lane in range(k.lanes)]
        here = k.broadcast(k.to_word(first)) + k.lane_numbers() < problem.batch
        x.store(k.select(here, k.pack(numbers), -1.0), place("x"))

    return sweep(k, problem, ("x",), body, unroll=1)
