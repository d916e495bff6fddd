"""Colours of every pixel from its three channels."""

from __future__ import annotations

from collections.abc import Sequence

from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import Place, each_pixel
from convjit.ops.colour import BASE, POWER, SLOPE, SMALL, XYZ, YUV, RgbToLab, RgbToYuv

__all__: list[str] = []


@generator(RgbToYuv, RgbToLab)
def colour(k: Kernel, problem: Problem) -> int:
    """Task: a block."""
    op = problem.op
    assert isinstance(op, RgbToYuv | RgbToLab)
    x, y = problem.view(k, "x"), problem.view(k, "y")

    def product(rows: Sequence[Sequence[float]], colours: list[Value]) -> list[Value]:
        found = []
        for row in rows:
            total = colours[0] * row[0]
            for factor, value in zip(row[1:], colours[1:], strict=True):
                total = k.fma(value, k.number(factor), total)
            found.append(total)
        return found

    def curve(t: Value) -> Value:
        root = math.power(k, k.maximum(t, SMALL), POWER)
        return k.select(t > SMALL, root, k.fma(t, k.number(SLOPE), k.number(BASE)))

    def body(place: Place, feature: Index) -> None:
        colours = [x.load(place("x") + c * x.plane) for c in range(3)]
        if isinstance(op, RgbToYuv):
            found = product(YUV, colours)
        else:
            fx, fy, fz = map(curve, product(XYZ, colours))
            lightness = k.fma(fy, k.number(116), k.number(-66 if op.centred else -16))
            found = [lightness, (fx - fy) * 500.0, (fy - fz) * 200.0]
        for c, value in enumerate(found):
            y.store(value, place("y") + c * y.plane)

    # The first channel's pixels; the others lie a plane further on.
    each_pixel(k, {"x": x, "y": y}, k.task, (0, 1), body, unroll=1)
    return problem.blocks
