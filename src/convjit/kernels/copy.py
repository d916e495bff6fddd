"""Copy, and adding to."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import Place, sweep
from convjit.ops.copy import Copy

__all__: list[str] = []


@generator(Copy)
def copy(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, Copy)
    x, y = problem.view(k, "x"), problem.view(k, "y")

    def body(place: Place, block: Value, feature: Index) -> None:
        value, where = x.load(place("x")), place("y")
        y.store(y.load(where) + value if op.accumulate else value, where)

    return sweep(k, problem, ("x", "y"), body)
