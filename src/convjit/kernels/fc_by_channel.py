"""Fully connected layers of few images: vectors of V outputs, whose weights are read once.

The weights are packed first, V outputs side by side for each input: one long stream comes out of memory at nearly its
full rate, V rows of a matrix at less than half of it. Each sum is formed in the order of the kernel for many images,
from the bias on, so that it has the same bits.
"""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Value
from convjit.kernels.base import DIRECT, WORKSPACE, Algorithm, Problem, algorithm
from convjit.kernels.by_channel import Numbers, channel_blocks
from convjit.kernels.export import transposed
from convjit.kernels.neuron import apply_neuron
from convjit.ops.by_channel import FcByChannel
from convjit.ops.fc import FcForward

__all__: list[str] = []

_CHAINS = 2
"""Sums that one task has under way at once, at least: a sum waits four cycles for each of its terms."""
_UNROLLED = 16
"""Inputs of one turn of the innermost loop."""


def _op(problem: Problem) -> FcForward:
    assert isinstance(problem.op, FcByChannel)
    return problem.op.op


def _packed(problem: Problem) -> int:
    """Numbers of the packed weights, [outputs / V][inputs][V]; behind them in the workspace are rows of inputs."""
    shape, lanes = _op(problem).shape, problem.target.lanes
    return channel_blocks(shape.outputs, lanes) * lanes * shape.input.features


def _pack(k: Kernel, problem: Problem) -> int:
    """Task: the weights of V outputs. Beyond the last output they are the last one's; nothing comes of them."""
    shape, lanes = _op(problem).shape, k.lanes
    inputs = shape.input.features
    w, packed = k.scalars("w"), k.vectors(WORKSPACE) + k.task * inputs
    rows = [w + k.minimum_index(k.task * lanes + lane, shape.outputs - 1) * inputs for lane in range(lanes)]
    # A cache line of every row at a time: rows whose distance is a multiple of 4096 bytes drive each other out.
    line = max(lanes, 16)
    whole = inputs // line * line
    if whole:
        with k.loop(0, whole, line, name="inputs") as at:
            for begin in range(0, line, lanes):
                vectors = [k.loose_vectors(row + (at + begin)).load() for row in rows]
                for offset, weights in enumerate(transposed(k, vectors)):
                    packed.store(weights, at + (begin + offset))
    if whole < inputs:
        with k.loop(whole, inputs, name="rest") as at:
            packed.store(k.pack([row.load(at) for row in rows]), at)
    return channel_blocks(shape.outputs, lanes)


def _gather(k: Kernel, problem: Problem) -> int:
    """Task: a channel of an image's input, into a plain row behind the packed weights."""
    m = _op(problem).shape.input
    x, rows = Numbers.of(k, problem, "x"), k.scalars(WORKSPACE) + _packed(problem)
    image, channel = k.split(k.task, 0, m.channels)
    with k.loop(0, m.height, name="row") as y, k.loop(0, m.width, name="column") as column:
        to = (k.task * m.height + y) * m.width + column
        rows.store(x.pointer.load(x.place(image, channel, y, column)), to)
    return problem.batch * m.channels


def _multiply(k: Kernel, problem: Problem) -> int:
    """Task: a few vectors of outputs, for all images."""
    op, lanes, batch = _op(problem), k.lanes, problem.batch
    s, inputs = op.shape, op.shape.input.features
    blocks = channel_blocks(s.outputs, lanes)
    many = min(blocks, max(1, _CHAINS // batch))
    y, x = problem.view(k, "y"), k.scalars(WORKSPACE) + _packed(problem)
    # Beyond the last vector it is the last one's that is summed up; nothing is stored there.
    first = k.task * many
    own = [k.minimum_index(first + i, blocks - 1) for i in range(many)]
    weights = [k.vectors(WORKSPACE) + block * inputs for block in own]
    sums = [k.variables(many) for _ in range(batch)]
    for i, block in enumerate(own):
        outputs = [k.minimum_index(block * lanes + lane, s.outputs - 1) for lane in range(lanes)]
        start = k.pack([k.scalars("b").load(o) for o in outputs]) if op.biases else k.number(0)
        for image in range(batch):
            sums[image][i].store(y.load(y.index(image, block)) if op.accumulate else start)

    def add(at: Value) -> None:
        for image in range(batch):
            number = k.broadcast(x.load(at + image * inputs))
            for i in range(many):
                sums[image][i].store(k.fma(weights[i].load(at), number, sums[image][i].load()))

    whole = inputs // _UNROLLED * _UNROLLED
    if whole:
        with k.loop(0, whole, _UNROLLED, name="inputs") as at:
            for offset in range(_UNROLLED):
                add(at + offset)
    if whole < inputs:
        with k.loop(whole, inputs, name="rest") as at:
            add(at)
    for i in range(many):
        with k.when(first + i < blocks):
            for image in range(batch):
                value = sums[image][i].load()
                y.store(apply_neuron(k, op.neuron, value) if op.neuron else value, y.index(image, first + i))
    return -(-blocks // many)


def _workspace(problem: Problem) -> int:
    return 4 * (_packed(problem) + problem.batch * _op(problem).shape.input.features)


algorithm(FcByChannel, DIRECT, Algorithm((_pack, _gather, _multiply), lambda problem: 1.0, _workspace, prepares=1))
