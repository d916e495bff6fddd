"""Convolution forward and the gradient of its input: one register tile of filters x neighbouring pixels.

For each filter tap a pixel's vector is loaded once and shared by the tile's filters, a weight is broadcast once and
shared by the tile's pixels. Weights are read where they lie, (F, C, K, K): for a tile of TF filters that is TF
streams, and nothing has to be packed. The gradient of the input is the same sum with filters and channels exchanged
and the taps walked backwards; at a stride S it falls into S x S phases, each a dense sum of its own over every S-th
tap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.tile import Product, Tile, near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.neuron import apply_neuron
from convjit.ops.conv import ConvBackwardData, ConvForward

__all__ = ["Operands", "backward_data", "forward", "tile_sizes"]


@dataclass(frozen=True)
class Correlation:
    """out[o, q] = init + sum over r, u, v of source[r, q*step + (u, v)*tap_step] * w[o, r, u, v], inside one group.

    `outputs` channels o are made from `reduced` channels r on a grid of `columns` pixels in a row. `source_r` and
    `source_u` are the distances of what neighbouring r and u see, in vectors; `weight_o`, `weight_r`, `weight_u`,
    `weight_v` those of neighbouring weights, in floats.
    """

    outputs: int
    reduced: int
    columns: int
    taps_y: int
    taps_x: int
    step: int
    tap_step: int
    source_r: int
    source_u: int
    weight_o: int
    weight_r: int
    weight_u: int
    weight_v: int


@dataclass(frozen=True)
class Operands:
    """How a correlation reads what it multiplies: `together` reduced channels at once, as numbers or as pairs."""

    source: Callable[[MapsView], Pointer]
    weights: Callable[[Kernel], Pointer]
    together: int = 1
    product: Product | None = None


NUMBERS = Operands(lambda view: view.pointer, lambda k: k.scalars("w"))


def tile_sizes(outputs: int, columns: int, target: Target) -> tuple[int, int]:
    """(outputs, pixels) of the register tile: few loads per multiply-add, parts of equal size, all in registers.

    A tile of a x b needs a + b loads for a * b multiply-adds and a*b + b + 1 registers, and LLVM one more to schedule:
    of 16 registers 4x3 spills an accumulator and stays at 45 % of the peak, where 6x2 reaches 85. A remainder costs
    code of its own to compile, so that it has to be worth it.
    """
    best, best_cost = (1, 1), float("inf")
    for a, b in product(range(1, 9), range(1, 9)):
        if a * b + b + 2 > target.registers or a > outputs or b > columns:
            continue
        rows, pixels = -(-outputs // a), -(-columns // b)
        loads = rows * columns + pixels * outputs
        # An add takes 4 cycles, so that fewer than 8 accumulators leave two multipliers waiting, and 8 now and then.
        idle = sum(n * m * max(10, p * q) for p, n in near_equal(outputs, a) for q, m in near_equal(columns, b)) / (
            outputs * columns
        )
        variants = len(near_equal(outputs, a)) * len(near_equal(columns, b))
        cost = idle + 0.25 * loads / (outputs * columns) + 0.03 * (variants - 1)
        if cost < best_cost - 1e-9:
            best, best_cost = (a, b), cost
    return best


def correlate(
    k: Kernel,
    c: Correlation,
    product: Product | None,
    source: Pointer,
    weights: Pointer,
    init: Callable[[Value, Index, Index], Value],
    finish: Callable[[Value, Index, Index], None],
) -> None:
    """Emit one row of pixels for all outputs of a group.

    `source` points to the source vector of pixel 0, tap (0, 0), channel 0. `init(output, column)` gives an
    accumulator's start and `finish(value, output, column)` takes its end.
    """
    tile_o, tile_q = tile_sizes(c.outputs, c.columns, k.target)
    first_q = 0
    for width, count_q in near_equal(c.columns, tile_q):
        with k.loop(0, count_q, name="pixels") as part_q:
            q = part_q * width + first_q
            first_o = 0
            for height, count_o in near_equal(c.outputs, tile_o):
                with k.loop(0, count_o, name="outputs") as part_o:
                    o = part_o * height + first_o
                    tile = Tile(k, height, width, product)
                    _tile(k, c, tile, source + q * c.step, weights + o * c.weight_o, o, q, init, finish)
                first_o += height * count_o
        first_q += width * count_q


def _tile(
    k: Kernel,
    c: Correlation,
    tile: Tile,
    source: Pointer,
    weights: Pointer,
    o: Value,
    q: Value,
    init: Callable[[Value, Index, Index], Value],
    finish: Callable[[Value, Index, Index], None],
) -> None:
    tile.init(lambda i, p: init(k.number(0), o + i, q + p))
    if c.taps_y and c.taps_x:
        with k.loop(0, c.reduced, name="reduced") as r, k.loop(0, c.taps_y, name="tap_row") as u:
            line = source + (r * c.source_r + u * c.source_u)
            taps = weights + (r * c.weight_r + u * c.weight_u)
            pixels: dict[int, Value] = {}
            for v in range(c.taps_x):
                places = [p * c.step + v * c.tap_step for p in range(tile.columns)]
                for place in places:
                    if place not in pixels:
                        pixels[place] = line.load(place)
                for i in range(tile.rows):
                    weight = k.broadcast(taps.load(i * c.weight_o + v * c.weight_v))
                    tile.multiply_add_row(i, weight, [pixels[place] for place in places])
    tile.each(lambda i, p, value: finish(value, o + i, q + p))


@generator(ConvForward)
def conv_forward(k: Kernel, problem: Problem) -> int:
    """Task: one row of output pixels of one group and block of images."""
    return forward(k, problem, NUMBERS)


def forward(k: Kernel, problem: Problem, operands: Operands) -> int:
    """`conv_forward` with operands that are read in any way."""
    op = problem.op
    assert isinstance(op, ConvForward)
    s = op.shape
    x, y, w = problem.view(k, "x"), problem.view(k, "y"), operands.weights(k)
    reduced = s.group_channels // operands.together
    c = Correlation(
        outputs=s.group_filters,
        reduced=reduced,
        columns=s.columns,
        taps_y=s.size,
        taps_x=s.size,
        step=s.stride,
        tap_step=1,
        source_r=x.plane * operands.together,
        source_u=x.row,
        weight_o=reduced * s.size**2,
        weight_r=s.size**2,
        weight_u=s.size,
        weight_v=1,
    )
    block, group, row = k.split(k.task, problem.blocks, s.groups, s.rows)
    filters = group * s.group_filters
    source = operands.source(x) + x.index(block, group * s.group_channels, row * s.stride - s.padding, -s.padding)
    biases = None if op.biases == "none" else k.scalars("b")

    def init(zero: Value, o: Index, q: Index) -> Value:
        if op.accumulate:
            return y.load(y.index(block, filters + o, row, q))
        if biases is None:
            return zero
        f = filters + o
        return k.broadcast(biases.load(f if op.biases == "shared" else (f * s.rows + row) * s.columns + q))

    def finish(value: Value, o: Index, q: Index) -> None:
        if op.neuron:
            value = apply_neuron(k, op.neuron, value)
        y.store(value, y.index(block, filters + o, row, q))

    correlate(k, c, operands.product, source, w + filters * c.weight_o, init, finish)
    return problem.blocks * s.groups * s.rows


@generator(ConvBackwardData)
def conv_backward_data(k: Kernel, problem: Problem) -> int:
    """Task: one row of input pixels of one group and block of images."""
    return backward_data(k, problem, NUMBERS)


def backward_data(k: Kernel, problem: Problem, operands: Operands) -> int:
    """`conv_backward_data` with operands that are read in any way."""
    op = problem.op
    assert isinstance(op, ConvBackwardData)
    s = op.shape
    dy, dx, w = problem.view(k, "dy"), problem.view(k, "dx"), operands.weights(k)
    reduced = s.group_filters // operands.together
    block, group, row = k.split(k.task, problem.blocks, s.groups, s.height)
    channels = group * s.group_channels
    filter_floats = s.group_channels * s.size**2
    weights = w + group * (reduced * filter_floats)
    reached = row + s.padding

    def phase(first_y: int, first_v: int) -> None:
        """Pixels whose taps are first_y, first_y + S, ... down and first_v, first_v + S, ... across."""
        start = (first_v - s.padding) % s.stride
        if start >= s.width:
            return
        c = Correlation(
            outputs=s.group_channels,
            reduced=reduced,
            columns=len(range(start, s.width, s.stride)),
            taps_y=len(range(first_y, s.size, s.stride)),
            taps_x=len(range(first_v, s.size, s.stride)),
            step=1,
            tap_step=-1,
            source_r=dy.plane * operands.together,
            source_u=-dy.row,
            weight_o=s.size**2,
            weight_r=filter_floats,
            weight_u=s.stride * s.size,
            weight_v=s.stride,
        )

        def place(o: Index, q: Index) -> Index:
            return dx.index(block, channels + o, row, q * s.stride + start)

        def init(zero: Value, o: Index, q: Index) -> Value:
            return dx.load(place(o, q)) if op.accumulate else zero

        def finish(value: Value, o: Index, q: Index) -> None:
            dx.store(value, place(o, q))

        source = operands.source(dy) + dy.index(
            block, group * s.group_filters, reached // s.stride, (start + s.padding) // s.stride
        )
        correlate(k, c, operands.product, source, weights + (first_y * s.size + first_v), init, finish)

    for first_y in range(s.stride):
        if s.stride == 1:
            phase(0, 0)
            break
        with k.when((reached % s.stride).equals(first_y)):
            for first_v in range(s.stride):
                phase(first_y, first_v)
    return problem.blocks * s.groups * s.height
