"""Fully connected layers: products of the weights (F, I) with vectors of images.

Forward reads the rows of a register tile as streams, where they lie. The gradient of the input reads neighbours of one
row after the other, which are copied first. A chunk's part of the source fits the second-level cache. The gradient of
the weights wants vectors along I: its slice of x is turned around first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import Product, Tile, near_equal
from convjit.codegen.values import F32, I32, Index, Pointer, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.conv import tile_sizes
from convjit.kernels.fc_product import TASKS, Axis, Columns, Ends, Part, Share, Terms, Way, chunk_of, multiply
from convjit.kernels.neuron import apply_neuron
from convjit.ops.fc import FcBackwardData, FcBackwardWeights, FcForward

__all__ = ["Images", "backward_data", "backward_weights", "forward", "store_part"]


def _numbers(k: Kernel, problem: Problem, terms: Terms) -> Way:
    """Numbers where they lie; weights that lie side by side are copied."""
    outer, *inner = terms.axes
    rest = 1
    for axis in inner:
        rest *= axis.count
    most = max(1, chunk_of(problem) // rest)

    def start(share: Share) -> Callable[[Value, int], Part]:
        columns = None
        if terms.weight_o == 1:
            columns = Columns.make(k, min(most, outer.count), share, terms.weights)

        def part(at: Value, length: int) -> Part:
            source = terms.source.pointer + (terms.source.origin + at * outer.source)
            weights = terms.weights + at * outer.weights
            if columns:
                assert not inner

                def read(row: Value, column: Value, whole: bool) -> Value:
                    place = weights + (row * outer.weights + column)
                    return (k.loose_vectors(place) if whole else place).load()

                columns.fill(length, read)
                return Part(source, terms.source.block, columns.taps(length, outer.source), 1)
            axes = [Axis(length, outer.source, outer.weights), *inner]
            return Part(
                source, terms.source.block, lambda o, height: (weights + o * terms.weight_o, axes), terms.weight_o
            )

        return part

    return Way(outer.count, most, start)


@generator(FcForward)
def fc_forward(k: Kernel, problem: Problem) -> int:
    """Task: a range of outputs, for all images."""
    return forward(k, problem, _numbers)


def forward(k: Kernel, problem: Problem, way: Callable[[Kernel, Problem, Terms], Way]) -> int:
    """`fc_forward`, with terms that are added up in any way."""
    op = problem.op
    assert isinstance(op, FcForward)
    s = op.shape
    x, y = problem.view(k, "x"), problem.view(k, "y")
    m = s.input
    axes = [Axis(m.features, 1, 1)]
    if not x.dense:
        axes = [Axis(m.channels, x.plane, m.height * m.width), Axis(m.height, x.row, m.width), Axis(m.width, 1, 1)]

    def begin(o: Value) -> Value | None:
        if op.accumulate:
            return None
        return k.broadcast(k.scalars("b").load(o)) if op.biases else k.number(0)

    neuron = op.neuron
    end = (lambda value: apply_neuron(k, neuron, value)) if neuron else None
    terms = Terms(s.outputs, axes, x, k.scalars("w"), m.features)
    return multiply(k, problem, s.outputs, way(k, problem, terms), Ends(y, lambda b, o: y.index(b, o), begin, end))


@generator(FcBackwardData)
def fc_backward_data(k: Kernel, problem: Problem) -> int:
    """Task: a range of input features, for all images."""
    return backward_data(k, problem, _numbers)


def backward_data(k: Kernel, problem: Problem, way: Callable[[Kernel, Problem, Terms], Way]) -> int:
    """`fc_backward_data`, with terms that are added up in any way."""
    op = problem.op
    assert isinstance(op, FcBackwardData)
    s = op.shape
    dy, dx = problem.view(k, "dy"), problem.view(k, "dx")
    m = s.input

    def place(block: Value | int, o: Index) -> Index:
        if dx.dense:
            return block * dx.block + o
        channel, y, x = k.split(k.index(o), m.channels, m.height, m.width)
        return dx.index(block, channel, y, x)

    terms = Terms(m.features, [Axis(s.outputs, dy.plane, m.features)], dy, k.scalars("w"), 1)
    begin = (lambda o: None) if op.accumulate else (lambda o: k.number(0))
    return multiply(k, problem, m.features, way(k, problem, terms), Ends(dx, place, begin))


@dataclass(frozen=True)
class Images:
    """How the gradient of the weights reads images: one by one as numbers, or `together` as words.

    `turn` gives the elements of x at an index, `gradient` the i-th of dy at an index, in every lane.
    """

    turn: Callable[[Kernel, MapsView, Index], Sequence[Value]]
    gradient: Callable[[Kernel, MapsView, Index, Value], Value]
    together: int = 1
    product: Product | None = None


def _lanes(k: Kernel, x: MapsView, index: Index) -> Sequence[Value]:
    vector = x.load(index)
    return [k.lane(vector, lane) for lane in range(k.lanes)]


_SINGLE = Images(_lanes, lambda k, dy, index, i: k.spread(dy.numbers, index * k.lanes + i))


@generator(FcBackwardWeights)
def fc_backward_weights(k: Kernel, problem: Problem) -> int:
    """Task: a slice of input features against all outputs, in groups of as many as a register tile takes."""
    return backward_weights(k, problem, _SINGLE)


def backward_weights(k: Kernel, problem: Problem, images: Images) -> int:
    """`fc_backward_weights`, with images that are read in any way."""
    op = problem.op
    assert isinstance(op, FcBackwardWeights)
    s, lanes = op.shape, k.lanes
    x, dy = problem.view(k, "x"), problem.view(k, "dy")
    features, steps = s.input.features, k.lanes // images.together
    vectors = min(4 if problem.target.registers >= 32 else 2, -(-features // lanes))
    width = vectors * lanes
    # dy passes once for each slice: as wide as stays in the first-level cache, and leaves tasks enough.
    near = problem.target.first_level // (problem.blocks * steps * width * 4)
    groups = max(1, min(4, near, features // (width * TASKS)))
    size = problem.blocks * steps * vectors
    room = k.scratch(groups * size)
    kind, vector = (F32, k.vector) if images.together == 1 else (I32, k.word_vector)
    numbers, turned = room.view(kind, 4), room.view(vector, room.align)
    spare = k.scratch(1)
    start = k.task * (groups * width)
    stop = k.minimum_index(start + groups * width, features)

    with k.loop(start, stop, name="feature") as i, k.loop(0, problem.blocks, name="block") as block:
        channel, row, column = k.split(i, s.input.channels, s.input.height, s.input.width)
        group, place = (i - start) // width, (i - start) % width
        for n, element in enumerate(images.turn(k, x, x.index(block, channel, row, column))):
            numbers.store(element, group * (size * lanes) + (block * steps + n) * width + place)

    dw = k.scalars("dw")
    height = tile_sizes(s.outputs, vectors, problem.target)[0]
    before = 0
    for rows, many in near_equal(s.outputs, height):
        with k.loop(0, many, name="outputs") as part, k.loop(start, stop, step=width, name="group") as first:
            f = part * rows + before
            slice_ = turned + (first - start) // width * size
            tile = Tile(k, rows, vectors, images.product)
            tile.init(lambda i, v: k.number(0))
            with k.loop(0, problem.blocks, name="block") as block, k.loop(0, steps, name="images") as step:
                some = [slice_.load((block * steps + step) * vectors + v) for v in range(vectors)]
                at = dy.index(block, f)
                for i_o in range(rows):
                    tile.multiply_add_row(i_o, images.gradient(k, dy, at + i_o * dy.plane, step), some)

            def finish(i: int, v: int, value: Value, f: Value = f, first: Value = first) -> None:
                target = dw + ((f + i) * features + first + v * lanes)
                room = None if features % width == 0 else stop - first - v * lanes
                store_part(k, target, value, spare, room, op.accumulate)

            tile.each(finish)
        before += rows * many
    return -(-features // (groups * width))


def store_part(k: Kernel, target: Pointer, value: Value, spare: Pointer, room: Value | None, accumulate: bool) -> None:
    """Store a vector where all of it fits (always, if `room` is None), else its first `room` elements."""
    whole = k.loose_vectors(target)
    if room is None:
        whole.store(whole.load() + value if accumulate else value)
        return
    with k.when(room >= k.lanes):
        whole.store(whole.load() + value if accumulate else value)
    with k.when(room < k.lanes):
        spare.store(value)
        numbers = spare.view(target.element, 4)
        with k.loop(0, room, name="lane") as lane:
            number = numbers.load(lane)
            target.store(target.load(lane) + number if accumulate else number, lane)
