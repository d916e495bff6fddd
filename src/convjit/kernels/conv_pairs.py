"""Convolution forward and the gradient of its input on maps stored as bfloat16, where a processor multiplies these in
pairs: vdpbf16ps adds two products to a float32, which is twice the work of a multiply-add.

The pairs are of neighbouring reduced channels. What lies in memory is not paired: a pair is put together when a pixel's
vectors are loaded, and then serves all filters of the tile and all taps of its row. Weights are rounded to bfloat16 in
pairs by stage 0, into the workspace; the learned ones stay float32.

On a processor without the instruction, tests put both products and sums in its place.
"""

from __future__ import annotations

from convjit.codegen.bf16 import Bf16Pointer, PairPointer, dot_pairs, pairs, rounded
from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import Product
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import WORKSPACE, Algorithm, MapsView, Problem, algorithm
from convjit.kernels.conv import Operands, backward_data, forward
from convjit.kernels.sweep import run
from convjit.ops.conv import ConvBackwardData, ConvForward, ConvShape

__all__ = ["PAIRS", "pair", "pair_run", "product"]

PAIRS = "pairs"

_FASTER = 1.7
"""Than the multiply-adds of the direct way: twice, less the pairing of pixels."""


def _shape(problem: Problem) -> tuple[ConvShape, bool]:
    """The shape, and whether it is filters that are reduced."""
    op = problem.op
    assert isinstance(op, ConvForward | ConvBackwardData)
    return op.shape, isinstance(op, ConvBackwardData)


def _gain(problem: Problem) -> float:
    s, backward = _shape(problem)
    able = problem.target.bf16 and ("dy" if backward else "x") in problem.narrow
    return _FASTER if able and (s.group_filters if backward else s.group_channels) % 2 == 0 else 0.0


def _workspace(problem: Problem) -> int:
    s, _ = _shape(problem)
    return 2 * s.filters * s.group_channels * s.size**2


def _pair_weights(k: Kernel, problem: Problem) -> int:
    """Task: the weights of a filter, or of a pair of filters where these are reduced.

    Both halves of the pairs come in runs of `length`, one behind the other: the taps of a channel, or a whole filter.
    """
    s, backward = _shape(problem)
    w, made = k.scalars("w"), k.integers(WORKSPACE)
    length = s.size**2 * (s.group_channels if backward else 1)
    runs, tasks = (1, s.filters // 2) if backward else (s.group_channels // 2, s.filters)
    with k.loop(0, runs, name="run") as number:
        at = (k.task * runs + number) * length
        low = w + at * 2
        pair_run(k, low, low + length, made + at, length)
    return tasks


def pair_run(k: Kernel, low: Pointer, high: Pointer, place: Pointer, length: int) -> None:
    """`length` pairs of numbers at `low` and at `high`, both rounded, as words at `place`."""
    whole = length // k.lanes * k.lanes

    def put(low: Pointer, high: Pointer, place: Pointer, i: Index) -> None:
        place.store(pair(k, low.load(i), high.load(i)), i)

    if whole:
        firsts, seconds, words = k.loose_vectors(low), k.loose_vectors(high), k.word_vectors(place)
        run(k, 0, length // k.lanes, lambda i: put(firsts, seconds, words, i), unroll=1)
    if whole < length:
        with k.loop(whole, length, name="rest") as i:
            put(low, high, place, i)


def pair(k: Kernel, low: Value, high: Value) -> Value:
    """Numbers, or vectors of them, both rounded, as words."""
    return pairs(*(rounded(half, native=k.target.bf16) for half in (low, high)))


def product(k: Kernel) -> Product:
    """Sums of words' two products each."""
    return lambda a, b, total: dot_pairs(total, a, b, native=k.target.bf16)


def _convolve(k: Kernel, problem: Problem) -> int:
    """Task: that of the direct way."""

    def source(view: MapsView) -> Pointer:
        assert isinstance(view.pointer, Bf16Pointer)
        return PairPointer(**vars(view.pointer), apart=view.plane)

    operands = Operands(source, lambda k: k.integers(WORKSPACE), 2, product(k))
    way = backward_data if isinstance(problem.op, ConvBackwardData) else forward
    return way(k, problem, operands)


for _op in (ConvForward, ConvBackwardData):
    algorithm(_op, PAIRS, Algorithm((_pair_weights, _convolve), _gain, _workspace))
