"""Winograd's minimal filtering for the forward pass and the gradient of the input: tiles multiplied point by point.

    y = A' [ sum over r of (G w G') * (B' x B) ] A         m x m outputs from a tile of n x n pixels, n = m + K - 1

64 multiplications make 4x4 outputs of a 5x5 filter instead of 400, 36 make 4x4 of a 3x3 filter instead of 144. A lane
is an image, so that the transforms are plain vector code. Stage 0 transforms the weights into the workspace. Stage 1
takes a few tiles at a time through all three steps, so that what is between the steps stays near.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Pointer, Value
from convjit.kernels.base import WORKSPACE, Algorithm, MapsView, Problem, algorithm
from convjit.kernels.neuron import apply_neuron
from convjit.kernels.schemes import SCHEMES
from convjit.kernels.transforms import square
from convjit.kernels.winograd_products import Room, blocking, multiply, packed_place
from convjit.kernels.winograd_tiling import Tiling, corner_of, gain, square_cost, tiling, transform_source
from convjit.ops.conv import ConvBackwardData, ConvForward

__all__ = ["taps_of"]

_EFFICIENCY = 0.8
"""Share of the peak that the products reach."""


def _gain(way: str, problem: Problem) -> float:
    t = tiling(problem, way)
    return gain(
        problem,
        t,
        _EFFICIENCY,
        lambda: (
            t.reduced * square_cost(t.scheme.data, problem.target)
            + t.outputs * square_cost(t.scheme.output, problem.target)
        ),
    )


def _workspace(way: str, problem: Problem) -> int:
    t = tiling(problem, way)
    return t.points * t.shape.groups * t.outputs * t.reduced * 4


def _transform_weights(way: str, k: Kernel, problem: Problem) -> int:
    """Task: the weights of one reduced map, for V outputs at a time."""
    t, lanes = tiling(problem, way), k.lanes
    s, n, flipped = t.shape, t.scheme.points, isinstance(problem.op, ConvBackwardData)
    u, room = k.scalars(WORKSPACE), k.scratch(n * t.scheme.size)
    group, r = k.split(k.task, s.groups, t.reduced)
    heights = blocking(t, problem.blocks, problem.target).heights

    with k.loop(0, t.outputs, step=lanes, name="outputs") as o:
        # Lanes beyond the last output repeat it, and store the same number in the same place.
        outputs = [k.minimum_index(o + lane, t.outputs - 1) for lane in range(lanes)]
        places = [packed_place(k, heights, output, r, t.reduced) for output in outputs]

        def store(i: Value, j: int, value: Value, places: list[Value] = places) -> None:
            point = (i * n + j) * (s.groups * t.outputs * t.reduced) + group * (t.outputs * t.reduced)
            for lane, place in enumerate(places):
                u.store(k.lane(value, lane), point + place)

        square(k, t.scheme.weights, taps_of(k, t, group, r, outputs, flipped=flipped), store, room)
    return s.groups * t.reduced


def taps_of(
    k: Kernel, t: Tiling, group: Value, r: Value, outputs: Sequence[Value], *, flipped: bool
) -> Callable[[int, Value], Value]:
    """The weights of V outputs of a group at a tap (i, j) of the tiling's filter, for one reduced map."""
    s, w = t.shape, k.scalars("w")
    filter_floats = s.group_channels * s.size**2
    step_o, step_c = (s.size**2, filter_floats) if flipped else (filter_floats, s.size**2)
    channel, phase_y, phase_x = k.split(r, t.reduced // t.stride**2, t.stride, t.stride)
    first = group * (s.group_filters * filter_floats) + channel * step_c

    def load(i: int, j: Value) -> Value:
        y, x = k.index(i) * t.stride + phase_y, j * t.stride + phase_x
        if flipped:
            y, x = s.size - 1 - y, s.size - 1 - x
        inside = (y < s.size) & (x < s.size)
        tap = first + k.select(inside, y * s.size + x, 0)
        taps = k.pack([w.load(tap + output * step_o) for output in outputs])
        return k.select(inside, taps, 0) if t.stride > 1 else taps

    return load


def _convolve(way: str, k: Kernel, problem: Problem) -> int:
    """Task: a few neighbouring tiles, of one block of images or two, of one group."""
    t = tiling(problem, way)
    s, op = t.shape, problem.op
    assert isinstance(op, ConvForward | ConvBackwardData)
    source, result = (problem.view(k, name) for name in (("x", "y") if isinstance(op, ConvForward) else ("dy", "dx")))
    b = blocking(t, problem.blocks, problem.target)
    v = Room.make(k, t.points, t.reduced, b.tiles, b.width)
    m = Room.make(k, t.points, b.outputs, b.tiles, b.width)
    room = k.scratch(t.points)
    count = sum(n for _, n in b.groups)
    group, part = k.split(k.task, s.groups, count)
    first_source, first_output = group * (t.reduced // t.stride**2), group * t.outputs

    first, before = 0, 0
    for tiles, n in b.groups:
        with k.when((part >= before) & (part < before + n)):
            start = (part - before) * tiles + first
            with k.loop(0, t.reduced, name="map") as r, k.loop(0, tiles, name="tile") as tile:
                transform_source(k, t, source, start + tile, first_source, r, v.at(0, r, tile), v.step, room)
            done = 0
            for height, many, times in b.turns:
                with k.loop(0, times, name="turn") as turn:
                    o = first_output + turn * (many * height) + done
                    multiply(k, t, v, m, k.scalars(WORKSPACE) + o * t.reduced, tiles, height, many)
                    with k.loop(0, many * height, name="output") as i, k.loop(0, tiles, name="tile") as tile:
                        _transform_result(k, t, op, result, m.at(0, i, tile), m.step, start + tile, o + i, room)
                done += many * height * times
        first, before = first + tiles * n, before + n
    return s.groups * count


def _transform_result(
    k: Kernel,
    t: Tiling,
    op: ConvForward | ConvBackwardData,
    result: MapsView,
    sums: Pointer,
    step: int,
    tile: Value,
    output: Value,
    room: Pointer,
) -> None:
    """A' m A of one tile of one output map, with what follows: biases, what is there already, the neuron."""
    n, corner = t.scheme.points, corner_of(k, t, tile)
    biases = k.scalars("b") if isinstance(op, ConvForward) and op.biases != "none" else None

    def put(i: Value, j: int, value: Value) -> None:
        y, x = corner.y + i, corner.x + j
        place = result.index(corner.block, output, y, x)
        if biases is not None:
            assert isinstance(op, ConvForward)
            unshared = (output * t.rows + y) * t.columns + x
            value = value + k.broadcast(biases.load(output if op.biases == "shared" else unshared))
        if op.accumulate:
            value = value + result.load(place)
        if isinstance(op, ConvForward) and op.neuron:
            value = apply_neuron(k, op.neuron, value)
        result.store(value, place)

    def store(i: Value, j: int, value: Value) -> None:
        if t.columns % t.scheme.made == 0:
            put(i, j, value)
            return
        with k.when(corner.x + j >= corner.new_x):
            put(i, j, value)

    square(k, t.scheme.output, lambda i, j: sums.load((i * n + j) * step), store, room, corner.new_y - corner.y)


for _way in SCHEMES:
    for _op in (ConvForward, ConvBackwardData):
        algorithm(
            _op,
            _way,
            Algorithm(
                (partial(_transform_weights, _way), partial(_convolve, _way)),
                partial(_gain, _way),
                partial(_workspace, _way),
            ),
        )
