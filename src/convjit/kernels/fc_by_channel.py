"""Fully connected layers of few images: vectors of V outputs, whose weights are read once, where they lie.

V rows of V weights are turned around in registers, which takes less time than memory to deliver them. Each sum is
formed in the order of the kernel for many images, from the bias on, so that it has the same bits.
"""

from __future__ import annotations

from itertools import product

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


def _op(problem: Problem) -> FcForward:
    assert isinstance(problem.op, FcByChannel)
    return problem.op.op


def _gather(k: Kernel, problem: Problem) -> int:
    """Task: a channel of an image's input, into a plain row in the workspace."""
    m = _op(problem).shape.input
    x, rows = Numbers.of(k, problem, "x"), k.scalars(WORKSPACE)
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
    y, w, x = problem.view(k, "y"), k.scalars("w"), k.scalars(WORKSPACE)
    # Beyond the last output the weights are the last one's; nothing is stored there.
    first = k.task * many
    outputs = [
        [k.minimum_index((first + i) * lanes + lane, s.outputs - 1) for lane in range(lanes)] for i in range(many)
    ]
    rows = [[w + output * inputs for output in some] for some in outputs]
    sums = [k.variables(many) for _ in range(batch)]
    for image in range(batch):
        for i in range(many):
            start = k.pack([k.scalars("b").load(o) for o in outputs[i]]) if op.biases else k.number(0)
            there = y.index(image, k.minimum_index(first + i, blocks - 1))
            sums[image][i].store(y.load(there) if op.accumulate else start)

    def add(at: Value, i: int, weights: Value) -> None:
        for image in range(batch):
            number = k.broadcast(x.load(at + image * inputs))
            sums[image][i].store(k.fma(weights, number, sums[image][i].load()))

    # A cache line of every row at a time: rows whose distance is a multiple of 4096 bytes drive each other out.
    line = max(lanes, 16)
    whole = inputs // line * line
    if whole:
        with k.loop(0, whole, line, name="inputs") as at:
            for i, begin in product(range(many), range(0, line, lanes)):
                vectors = [k.loose_vectors(row + at).load(begin // lanes) for row in rows[i]]
                for offset, weights in enumerate(transposed(k, vectors)):
                    add(at + (begin + offset), i, weights)
    if whole < inputs:
        with k.loop(whole, inputs, name="rest") as at:
            for i in range(many):
                add(at, i, k.pack([row.load(at) for row in rows[i]]))
    for i in range(many):
        with k.when(first + i < blocks):
            for image in range(batch):
                value = sums[image][i].load()
                y.store(apply_neuron(k, op.neuron, value) if op.neuron else value, y.index(image, first + i))
    return -(-blocks // many)


def _workspace(problem: Problem) -> int:
    return 4 * problem.batch * _op(problem).shape.input.features


algorithm(FcByChannel, DIRECT, Algorithm((_gather, _multiply), lambda problem: 1.0, _workspace))
