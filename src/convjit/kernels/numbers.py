"""Numbers: V rows of float32 are gathered number by number; a layer behind them does far more than that."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import Place, sweep
from convjit.ops.numbers import Numbers

__all__: list[str] = []


@generator(Numbers)
def numbers(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block; lanes beyond the last image read that one."""
    op = problem.op
    assert isinstance(op, Numbers)
    pixels, mean, x = k.scalars("pixels"), k.scalars("mean"), problem.view(k, "x")
    maps = op.maps

    def body(place: Place, block: Value, feature: Index) -> None:
        images = [k.minimum(block * k.lanes + lane, problem.batch - 1) for lane in range(k.lanes)]
        values = k.pack([pixels.load(image * maps.features + feature) for image in images])
        x.store(values - k.broadcast(mean.load(feature)), place("x"))

    return sweep(k, problem, ("x",), body, unroll=1)
