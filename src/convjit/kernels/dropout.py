"""Dropout: the mask is drawn in vector registers, from the counter that the image and the feature give."""

from __future__ import annotations

import math as scalars
from collections.abc import Callable

from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import Place, sweep
from convjit.ops.dropout import DropoutBackward, DropoutForward, Scale

__all__ = ["mask"]

LOW_BITS = 0xFFFFFFFF
SIGN = -(2**31)


def mask(
    k: Kernel, key: tuple[Value, Value], first: Value, features: int, keep: float
) -> Callable[[Value, Index], Value]:
    """A function that says, for a block and a feature, which lanes keep it.

    `key` is two vectors of equal words, `first` the number of the first block's first image.
    """
    offsets = [lane * features for lane in range(k.lanes)]
    offset_low, offset_high = k.words([o & LOW_BITS for o in offsets]), k.words([o >> 32 for o in offsets])
    # u / 2**24 < keep, for a whole number u.
    threshold = scalars.ceil(keep * 2**24)

    def kept(block: Value, feature: Index) -> Value:
        start = (block * k.lanes + first) * features + feature
        low = k.broadcast(k.to_word(start)) + offset_low
        # An unsigned sum has wrapped around if it is below its term; compared with sign, both are moved by 2**31.
        carry = k.select((low ^ SIGN) < (offset_low ^ SIGN), k.word(1), 0)
        high = k.broadcast(k.to_word(start >> 32)) + offset_high + carry
        return (math.draw(k, key, low, high) >> 8) < threshold

    return kept


@generator(DropoutForward, DropoutBackward)
def dropout(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, DropoutForward | DropoutBackward)
    source, target = op.in_place[0]
    x, y = problem.view(k, source), problem.view(k, target)
    accumulate = isinstance(op, DropoutBackward) and op.accumulate
    key = k.integers("key")
    words, first = (k.broadcast(key.load(0)), k.broadcast(key.load(1))), k.to_index(key.load(2))
    kept = mask(k, words, first, op.maps.features, op.keep)

    def body(place: Place, block: Value, feature: Index) -> None:
        value, where = x.load(place(source)), place(target)
        value = k.select(kept(block, feature), value * (1 / op.keep) if op.inverted else value, 0.0)
        y.store(y.load(where) + value if accumulate else value, where)

    return sweep(k, problem, (source, target), body, unroll=1)


@generator(Scale)
def scale(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, Scale)
    x, y = problem.view(k, "x"), problem.view(k, "y")

    def body(place: Place, block: Value, feature: Index) -> None:
        value, where = x.load(place("x")) * op.factor, place("y")
        y.store(y.load(where) + value if op.accumulate else value, where)

    return sweep(k, problem, ("x", "y"), body)
