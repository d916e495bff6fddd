"""Locally connected layers: forward, and the gradient of the input: the same product, the taps backwards."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.conv import tile_sizes
from convjit.kernels.local_product import Split, Sum, Task, fit_near, split_of
from convjit.kernels.neuron import apply_neuron
from convjit.ops.local import LocalBackwardData, LocalForward

__all__: list[str] = []


def _ranges(k: Kernel, split: Split, part: Value, share: Value, pixels: int, outputs: int) -> list[tuple[Value, Value]]:
    """Pixels of a part, outputs of a share: [first, last)."""
    q, o = part * split.columns, share * split.outputs
    return [(q, k.minimum(q + split.columns, pixels)), (o, k.minimum(o + split.outputs, outputs))]


@generator(LocalForward)
def local_forward(k: Kernel, problem: Problem) -> int:
    """Task: some pixels of a row of outputs and of a group, or some of their filters."""
    op = problem.op
    assert isinstance(op, LocalForward)
    s = op.shape
    x, y, w = problem.view(k, "x"), problem.view(k, "y"), k.scalars("w")
    tile = tile_sizes(s.group_filters, problem.blocks, k.target)[0]
    split = split_of(s.rows * s.groups, s.columns, s.group_filters, tile)
    group, row, part, share = k.split(k.task, s.groups, s.rows, split.parts, split.shares)
    pixels, outputs = _ranges(k, split, part, share, s.columns, s.group_filters)
    top = row * s.stride - s.padding
    filters, one = group * s.group_filters, s.size**2 * s.group_channels
    total = Sum(
        outputs=s.group_filters,
        reduced=s.group_channels,
        rows=_inside(k, top, s.size, s.height),
        columns=lambda q: _inside(k, q * s.stride - s.padding, s.size, s.width),
        column=lambda q: q * s.stride - s.padding,
        backwards=False,
        seen=(
            k.maximum(pixels[0] * s.stride - s.padding, 0),
            k.minimum((pixels[1] - 1) * s.stride + (s.size - s.padding), s.width),
        ),
        most=min(s.width, (split.columns - 1) * s.stride + s.size),
        source_u=x.row,
        source_r=x.plane,
        weight_o=one,
        weight_q=lambda q: q * (s.filters * one),
        weight_u=s.size * s.group_channels,
        weight_v=s.group_channels,
        weight_r=1,
    )

    def start(o: Value, q: Value) -> Value | None:
        if op.accumulate:
            return None
        if not op.biases:
            return k.number(0)
        return k.broadcast(k.scalars("b").load(((filters + o) * s.rows + row) * s.columns + q))

    neuron = op.neuron
    end = (lambda value: apply_neuron(k, neuron, value)) if neuron else None
    source = x.pointer + x.index(0, group * s.group_channels, top)
    weights = w + (row * (s.columns * s.filters) + filters) * one
    task = Task(
        k,
        problem,
        split,
        pixels,
        outputs,
        source,
        x,
        weights,
        y,
        lambda b, o, q: y.index(b, filters + o, row, q),
        fit_near(s, k),
    )
    task.run(total, start, end)
    return s.groups * s.rows * split.parts * split.shares


@generator(LocalBackwardData)
def local_backward_data(k: Kernel, problem: Problem) -> int:
    """Task: some pixels of a row of inputs and of a group, or some of their channels."""
    op = problem.op
    assert isinstance(op, LocalBackwardData)
    s = op.shape
    dy, dx, w = problem.view(k, "dy"), problem.view(k, "dx"), k.scalars("w")
    tile = tile_sizes(s.group_channels, problem.blocks, k.target)[0]
    split = split_of(s.height * s.groups, s.width, s.group_channels, tile)
    group, row, part, share = k.split(k.task, s.groups, s.height, split.parts, split.shares)
    pixels, outputs = _ranges(k, split, part, share, s.width, s.group_channels)
    channels, filters = group * s.group_channels, group * s.group_filters
    one = s.size**2 * s.group_channels
    module = s.filters * one
    taps = -(-s.size // s.stride)
    # Pixel q meets the taps q' % S, q' % S + S, ... of the windows q' / S, q' / S - 1, ..., where q' = q + P.
    window, tap = (row + s.padding) // s.stride, (row + s.padding) % s.stride

    def window_of(q: Value) -> Value:
        return (q + s.padding) // s.stride

    def tap_of(q: Value) -> Value:
        return (q + s.padding) % s.stride

    total = Sum(
        outputs=s.group_channels,
        reduced=s.group_filters,
        rows=_met(k, window, tap, s.size, s.stride, s.rows),
        columns=lambda q: _met(k, window_of(q), tap_of(q), s.size, s.stride, s.columns),
        column=window_of,
        backwards=True,
        seen=(k.maximum(window_of(pixels[0]) - (taps - 1), 0), k.minimum(window_of(pixels[1] - 1) + 1, s.columns)),
        most=min(s.columns, (split.columns - 1) // s.stride + 1 + taps),
        source_u=-dy.row,
        source_r=dy.plane,
        weight_o=1,
        weight_q=lambda q: window_of(q) * module + tap_of(q) * s.group_channels,
        weight_u=s.stride * s.size * s.group_channels - s.columns * module,
        weight_v=s.stride * s.group_channels - module,
        weight_r=one,
    )

    def start(o: Value, q: Value) -> Value | None:
        return None if op.accumulate else k.number(0)

    source = dy.pointer + dy.index(0, filters, window)
    weights = w + (window * (s.columns * module) + filters * one + tap * (s.size * s.group_channels))
    task = Task(
        k,
        problem,
        split,
        pixels,
        outputs,
        source,
        dy,
        weights,
        dx,
        lambda b, o, q: dx.index(b, channels + o, row, q),
        fit_near(s, k),
    )
    task.run(total, start, None)
    return s.groups * s.height * split.parts * split.shares


def _inside(k: Kernel, start: Value, size: int, side: int) -> tuple[Value, Value]:
    """[first, last) of the taps of a window that see the image."""
    return k.maximum(-start, 0), k.minimum(side - start, size)


def _met(k: Kernel, window: Value, tap: Value, size: int, stride: int, windows: int) -> tuple[Value, Value]:
    """[first, last) of the numbers a for which tap + a*S is a tap and window - a a window."""
    taps = (k.maximum(size - tap, 0) + (stride - 1)) // stride
    return k.maximum(window - (windows - 1), 0), k.minimum(taps, window + 1)
