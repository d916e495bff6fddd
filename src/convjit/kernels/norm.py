"""Response and contrast normalisation within a map: chains of sums over windows, one map of one block at a time.

What one sum leaves for the next stays in scratch, in the first- or second-level cache.
"""

from __future__ import annotations

from collections.abc import Callable

from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.sweep import CHUNK, share, shares
from convjit.kernels.window import Window, box_sums, line_vectors, window_of
from convjit.ops.norm import (
    ContrastNormBackward,
    ContrastNormForward,
    NormShape,
    ResponseNormBackward,
    ResponseNormForward,
)

__all__ = ["inverse_power"]


def inverse_power(k: Kernel, d: Value, power: float) -> tuple[Value, Value]:
    """(d**-power, d**-(power + 1)) for d > 0."""
    if power == 0.75:
        root = math.inverse_fourth_root(k, d)
        square = root * root
        value = root * square
        return value, value * (square * square)
    value = math.power(k, d, -power)
    return value, value / d


def _mean_factor(k: Kernel, shape: NormShape, low: int, rows: Window, x: Index) -> Value:
    """1 / the number of pixels of a window inside the map."""
    columns = window_of(k, x, shape.maps.width, shape.size, low)
    assert isinstance(columns.size, Value)
    return 1.0 / k.broadcast(k.to_float(k.to_word(columns.size * rows.size)))


@generator(ResponseNormForward, ContrastNormForward, ResponseNormBackward, ContrastNormBackward)
def norm(k: Kernel, problem: Problem) -> int:
    """Task: some channels of a block."""
    op = problem.op
    assert isinstance(op, ResponseNormForward | ResponseNormBackward | ContrastNormBackward)
    maps = op.shape.maps
    most = CHUNK // (maps.height * maps.width)
    parts = shares(maps.channels, most)
    block, part = k.split(k.task, problem.blocks, parts)
    first, end = share(k, part, maps.channels, most)
    work = _MapNorm(k, op.shape, isinstance(op, ContrastNormForward | ContrastNormBackward))
    views = {name: problem.view(k, name) for name in op.names}
    with k.loop(first, end, name="channel") as channel:
        if isinstance(op, ResponseNormForward):
            work.forward(views["x"], views["y"], block, channel)
        else:
            work.backward(views["x"], views["dy"], views["dx"], block, channel, op.accumulate)
    return problem.blocks * parts


class _MapNorm:
    """One map at a time, and the scratch for it."""

    def __init__(self, k: Kernel, shape: NormShape, centred: bool) -> None:
        self.k, self.shape, self.centred = k, shape, centred
        self.alpha = shape.scale / shape.size**2
        # Of windows, and of the windows in which a pixel lies.
        self.low = shape.size // 2
        self.low_back = shape.size - 1 - self.low
        self.line = k.scratch(line_vectors(shape.maps, shape.size))
        self.plane = k.scratch(shape.maps.height * shape.maps.width)
        self.means = k.scratch(shape.maps.height * shape.maps.width) if centred else self.plane

    def at(self, i: Index, j: Index) -> Index:
        """Place of a pixel in a plane of scratch."""
        return i * self.shape.maps.width + j

    def centre(self, x: MapsView, block: Index, channel: Index) -> None:
        """means = m."""
        k, shape = self.k, self.shape

        def use(rows: Window, j: Index, total: Value) -> None:
            mean = total * _mean_factor(k, shape, self.low, rows, j)
            value = x.load(x.index(block, channel, rows.index, j)) - mean
            self.means.store(value, self.at(rows.index, j))

        def term(total: Value, i: Index, j: Index) -> Value:
            return total + x.load(x.index(block, channel, i, j))

        box_sums(k, shape.maps, shape.size, self.low, self.line, term, use)

    def forward(self, x: MapsView, y: MapsView, block: Index, channel: Index) -> None:
        """y of one map."""
        k, shape = self.k, self.shape
        if self.centred:
            self.centre(x, block, channel)

        def use(rows: Window, j: Index, total: Value) -> None:
            factor, _ = inverse_power(k, self._denominator(total), shape.power)
            value = x.load(x.index(block, channel, rows.index, j)) * factor
            y.store(value, y.index(block, channel, rows.index, j))

        self._squares(x, block, channel, use)

    def backward(self, x: MapsView, dy: MapsView, dx: MapsView, block: Index, channel: Index, accumulate: bool) -> None:
        """dx of one map."""
        k, shape, at = self.k, self.shape, self.at
        # Contrast: the plane holds t, then q / |N|, and `means` m, then q.
        factor = -2 * self.alpha * shape.power
        if self.centred:
            self.centre(x, block, channel)

        def begin(rows: Window, j: Index, total: Value) -> None:
            """plane = t, and the direct part of dx."""
            i = rows.index
            direct, steep = inverse_power(k, self._denominator(total), shape.power)
            gradient = dy.load(dy.index(block, channel, i, j))
            self.plane.store(gradient * x.load(x.index(block, channel, i, j)) * steep, at(i, j))
            place = dx.index(block, channel, i, j)
            gradient = gradient * direct
            dx.store(dx.load(place) + gradient if accumulate else gradient, place)

        def add(rows: Window, j: Index, total: Value) -> None:
            """The part through the sums of squares."""
            place = dx.index(block, channel, rows.index, j)
            through = (
                self.means.load(at(rows.index, j)) if self.centred else x.load(x.index(block, channel, rows.index, j))
            )
            q = through * (total * factor)
            dx.store(dx.load(place) + q, place)
            if self.centred:
                self.means.store(q * _mean_factor(k, shape, self.low, rows_of(rows.index), j), at(rows.index, j))

        def rows_of(i: Index) -> Window:
            return window_of(k, i, shape.maps.height, shape.size, self.low)

        def subtract(rows: Window, j: Index, total: Value) -> None:
            """The part through the means."""
            place = dx.index(block, channel, rows.index, j)
            dx.store(dx.load(place) - total, place)

        self._squares(x, block, channel, begin)

        def from_plane(total: Value, i: Index, j: Index) -> Value:
            return total + self.plane.load(at(i, j))

        box_sums(k, shape.maps, shape.size, self.low_back, self.line, from_plane, add)
        if self.centred:

            def from_means(total: Value, i: Index, j: Index) -> Value:
                return total + self.means.load(at(i, j))

            box_sums(k, shape.maps, shape.size, self.low_back, self.line, from_means, subtract)

    def _denominator(self, total: Value) -> Value:
        return self.k.fma(total, self.k.number(self.alpha), self.k.number(self.shape.constant))

    def _squares(self, x: MapsView, block: Index, channel: Index, use: Callable[[Window, Index, Value], None]) -> None:
        """Sums of the squares of x, or of m."""
        k = self.k

        def term(total: Value, i: Index, j: Index) -> Value:
            value = self.means.load(self.at(i, j)) if self.centred else x.load(x.index(block, channel, i, j))
            return k.fma(value, value, total)

        box_sums(k, self.shape.maps, self.shape.size, self.low, self.line, term, use)
