"""Response and contrast normalisation within a map: chains of sums over windows, one map of one block at a time.

What one sum leaves for the next stays in scratch, in the first- or second-level cache. One Zen 3 core, AVX2, windows of
3 over 32 x 16 x 16, batch 128: 0.50 ms forward and 0.80 backward, some 12 and 19 cycles for a vector; the
multiplications alone, 17 and 22, take 8.5 and 11, so that arithmetic and not memory (0.18 ms) is what binds.
"""

from __future__ import annotations

from collections.abc import Callable

from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.neuron import neuron_gradient
from convjit.kernels.sums import Sums
from convjit.kernels.sweep import CHUNK, share, shares
from convjit.kernels.window import Window, box_sums, line_vectors, plus, window_of
from convjit.ops.norm import (
    ContrastNormBackward,
    ContrastNormForward,
    NormShape,
    ResponseNormBackward,
    ResponseNormForward,
)

__all__ = ["inverse_powers", "plus_square"]


def plus_square(k: Kernel, total: Value | None, value: Value) -> Value:
    """The sum so far and one more square."""
    return value * value if total is None else k.fma(value, value, total)


def inverse_powers(k: Kernel, ds: list[Value], power: float) -> tuple[list[Value], list[Value]]:
    """(d**-power, d**-(power + 1)) for every d > 0."""
    if power == 0.75:
        roots = math.inverse_fourth_roots(k, ds)
        squares = [root * root for root in roots]
        values = [root * square for root, square in zip(roots, squares, strict=True)]
        return values, [value * (square * square) for value, square in zip(values, squares, strict=True)]
    values = [math.power(k, d, -power) for d in ds]
    return values, [value / d for value, d in zip(values, ds, strict=True)]


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
            work.backward(op, views, block, channel)
    return problem.blocks * parts


def _inverse(k: Kernel, count: Index) -> Value:
    return 1.0 / k.broadcast(k.to_float(k.to_word(k.index(count))))


Backward = ResponseNormBackward | ContrastNormBackward


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
        self.shares = k.scratch(shape.maps.width) if centred else self.line
        if centred:
            self._fill_shares()

    def at(self, i: Index, j: Index) -> Index:
        """Place of a pixel in a plane of scratch."""
        return i * self.shape.maps.width + j

    def _fill_shares(self) -> None:
        """shares = 1 / the columns of a window inside the map, for the windows of a row."""
        k, shape = self.k, self.shape
        with k.loop(0, shape.maps.width, name="column") as x:
            self.shares.store(_inverse(k, window_of(k, x, shape.maps.width, shape.size, self.low).size), x)

    def mean_factor(self, i: Index, j: Index) -> Value:
        """1 / the pixels of the window of a pixel."""
        k, shape = self.k, self.shape
        rows = window_of(k, i, shape.maps.height, shape.size, self.low)
        return _inverse(k, rows.size) * self.shares.load(j)

    def centre(self, x: MapsView, block: Index, channel: Index) -> None:
        """means = m."""
        k, shape = self.k, self.shape

        def use(rows: Window, j: Index, totals: list[Value]) -> None:
            for step, total in enumerate(totals):
                column = j + step
                mean = total * self.mean_factor(rows.index, column)
                value = x.load(x.index(block, channel, rows.index, column)) - mean
                self.means.store(value, self.at(rows.index, column))

        def term(total: Value | None, i: Index, j: Index) -> Value:
            return plus(total, x.load(x.index(block, channel, i, j)))

        box_sums(k, shape.maps, shape.size, self.low, self.line, term, use)

    def forward(self, x: MapsView, y: MapsView, block: Index, channel: Index) -> None:
        """y of one map."""
        if self.centred:
            self.centre(x, block, channel)

        def use(rows: Window, j: Index, totals: list[Value]) -> None:
            factors, _ = self._powers(totals)
            source, target = (view.index(block, channel, rows.index, j) for view in (x, y))
            for step, factor in enumerate(factors):
                y.store(x.load(source + step) * factor, target + step)

        self._squares(x, block, channel, use)

    def backward(self, op: Backward, views: dict[str, MapsView], block: Index, channel: Index) -> None:
        """dx of one map."""
        k, shape, at = self.k, self.shape, self.at
        x, dy, dx = (views[name] for name in ("x", "dy", "dx"))
        # Contrast: the plane holds t, then q / |N|, and `means` m, then q.
        factor = -2 * self.alpha * shape.power
        vectors = shape.maps.height * shape.maps.width
        sums = Sums.of(k, dx, lambda i, j: dx.index(block, channel, i, j), at, vectors)
        if self.centred:
            self.centre(x, block, channel)

        def begin(rows: Window, j: Index, totals: list[Value]) -> None:
            """plane = t, and the direct part of dx."""
            i = rows.index
            source, given = (view.index(block, channel, i, j) for view in (x, dy))
            for step, (direct, steep) in enumerate(zip(*self._powers(totals), strict=True)):
                gradient = dy.load(given + step)
                self.plane.store(gradient * x.load(source + step) * steep, at(i, j) + step)
                gradient = gradient * direct
                sums.store(sums.old(i, j + step) + gradient if op.accumulate else gradient, i, j + step)

        def add(rows: Window, j: Index, totals: list[Value]) -> None:
            """The part through the sums of squares."""
            i = rows.index
            source = x.index(block, channel, i, j)
            for step, total in enumerate(totals):
                through = self.means.load(at(i, j) + step) if self.centred else x.load(source + step)
                q = through * (total * factor)
                gradient = sums.load(i, j + step) + q
                if self.centred:
                    sums.store(gradient, i, j + step)
                    self.means.store(q * self.mean_factor(i, j + step), at(i, j) + step)
                else:
                    put(gradient, i, j + step)

        def put(gradient: Value, i: Index, j: Index) -> None:
            """The whole gradient of a pixel."""
            if op.neuron:
                z = views["z"]
                gradient = neuron_gradient(k, op.neuron, gradient, z.load(z.index(block, channel, i, j)))
            dx.store(gradient, dx.index(block, channel, i, j))

        def subtract(rows: Window, j: Index, totals: list[Value]) -> None:
            """The part through the means."""
            for step, total in enumerate(totals):
                put(sums.load(rows.index, j + step) - total, rows.index, j + step)

        self._squares(x, block, channel, begin)

        def from_plane(total: Value | None, i: Index, j: Index) -> Value:
            return plus(total, self.plane.load(at(i, j)))

        box_sums(k, shape.maps, shape.size, self.low_back, self.line, from_plane, add)
        if self.centred:

            def from_means(total: Value | None, i: Index, j: Index) -> Value:
                return plus(total, self.means.load(at(i, j)))

            box_sums(k, shape.maps, shape.size, self.low_back, self.line, from_means, subtract)

    def _powers(self, totals: list[Value]) -> tuple[list[Value], list[Value]]:
        """d ** -power and d ** -(power + 1) from sums of squares."""
        k, alpha, constant = self.k, self.k.number(self.alpha), self.k.number(self.shape.constant)
        return inverse_powers(k, [k.fma(total, alpha, constant) for total in totals], self.shape.power)

    def _squares(
        self, x: MapsView, block: Index, channel: Index, use: Callable[[Window, Index, list[Value]], None]
    ) -> None:
        """Sums of the squares of x, or of m."""
        k = self.k

        def term(total: Value | None, i: Index, j: Index) -> Value:
            value = self.means.load(self.at(i, j)) if self.centred else x.load(x.index(block, channel, i, j))
            return plus_square(k, total, value)

        box_sums(k, self.shape.maps, self.shape.size, self.low, self.line, term, use)
