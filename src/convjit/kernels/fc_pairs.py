"""Fully connected layers on maps stored as bfloat16, where a processor multiplies these in pairs.

A task pairs the numbers of a chunk's first half with those of its second half, so that vectors of weights are rounded
and paired at once, wherever they lie. The source is paired the same way. The learned weights stay float32. The gradient
of the weights sums over images, which lie in pairs.
"""

from __future__ import annotations

from collections.abc import Callable

from convjit.codegen.bf16 import Bf16Pointer, pairs
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import I32, Index, Value
from convjit.kernels.base import Algorithm, MapsView, Problem, algorithm
from convjit.kernels.conv_pairs import PAIRS, pair, pair_run, product
from convjit.kernels.fc import Images, backward_data, backward_weights, forward
from convjit.kernels.fc_product import Axis, Columns, Part, Share, Terms, Way, chunk_of
from convjit.ops.fc import FcBackwardData, FcBackwardWeights, FcForward

__all__: list[str] = []

_FASTER = 1.7
"""Than the multiply-adds of the direct way: twice, less the pairing."""
_FEWEST = 64
"""Outputs that pay for the pairing of a task's source."""


def _gain(problem: Problem) -> float:
    op = problem.op
    assert isinstance(op, FcForward | FcBackwardData)
    source, outputs, terms = "x", op.shape.outputs, op.shape.input.features
    if isinstance(op, FcBackwardData):
        source, outputs, terms = "dy", terms, outputs
    able = problem.target.bf16 and source in problem.narrow and source not in dict(problem.halos)
    return _FASTER if able and terms % 2 == 0 and outputs >= _FEWEST else 0.0


def _gain_of_weights(problem: Problem) -> float:
    return _FASTER if problem.target.bf16 and {"x", "dy"} <= set(problem.narrow) else 0.0


def _halves(k: Kernel, problem: Problem, terms: Terms) -> Way:
    """Chunks whose first and second halves are multiplied together."""
    (axis,) = terms.axes
    source, blocks, most = terms.source.pointer, problem.blocks, min(chunk_of(problem), axis.count // 2)
    assert isinstance(source, Bf16Pointer)

    def start(share: Share) -> Callable[[Value, int], Part]:
        words = k.word_vectors(k.scratch(most * blocks))
        # Rows of a cache line more than the chunk, lest those of a tile lie in one set of the cache.
        pitch = -(-most // 16) * 16 + 16
        integers = k.integers("w")
        columns = Columns.make(k, most, share, integers) if terms.weight_o == 1 else None
        rows = None if columns else k.scratch(-(-share.most * pitch // k.lanes)).view(I32, 4)

        def part(at: Value, length: int) -> Part:
            with k.loop(0, length, name="pair") as i, k.loop(0, blocks, name="block") as block:
                low = terms.source.origin + (at * 2 + i) * axis.source + block * terms.source.block
                high = low + length * axis.source
                words.store(pairs(source.bits(low), source.bits(high)), i * blocks + block)
            weights = terms.weights + at * (2 * axis.weights)
            if columns:

                def read(row: Value, column: Value, whole: bool) -> Value:
                    low = weights + (row * axis.weights + column)
                    high = low + length * axis.weights
                    low, high = (k.loose_vectors(half) if whole else half for half in (low, high))
                    return pair(k, low.load(), high.load())

                columns.fill(length, read)
                return Part(words, 1, columns.taps(length, blocks), 1)
            assert rows
            with k.loop(share.first, share.last, name="row") as o:
                line = weights + o * terms.weight_o
                pair_run(k, line, line + length, rows + (o - share.first) * pitch, length)
            return Part(words, 1, lambda o, _: (rows + (o - share.first) * pitch, [Axis(length, blocks, 1)]), pitch)

        return part

    return Way(axis.count // 2, most, start, product(k))


def _forward(k: Kernel, problem: Problem) -> int:
    """Task: that of the direct way."""
    return forward(k, problem, _halves)


def _backward_data(k: Kernel, problem: Problem) -> int:
    """Task: that of the direct way."""
    return backward_data(k, problem, _halves)


def _backward_weights(k: Kernel, problem: Problem) -> int:
    """Task: that of the direct way."""

    def turn(k: Kernel, x: MapsView, index: Index) -> list[Value]:
        assert isinstance(x.pointer, Bf16Pointer)
        words = x.pointer.two(index, None)
        return [k.lane(words, i) for i in range(k.lanes // 2)]

    def gradient(k: Kernel, dy: MapsView, index: Index, i: Value) -> Value:
        return k.broadcast(k.integers("dy").load(index * (k.lanes // 2) + i))

    return backward_weights(k, problem, Images(turn, gradient, 2, product(k)))


algorithm(FcForward, PAIRS, Algorithm((_forward,), _gain, lambda problem: 0))
algorithm(FcBackwardData, PAIRS, Algorithm((_backward_data,), _gain, lambda problem: 0))
algorithm(FcBackwardWeights, PAIRS, Algorithm((_backward_weights,), _gain_of_weights, lambda problem: 0))
