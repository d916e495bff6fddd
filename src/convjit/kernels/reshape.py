"""Reshape: the same vectors in the same order, around other halos."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import MapsView, Problem, generator
from convjit.kernels.sweep import CHUNK, run, share, shares
from convjit.ops.reshape import Reshape

__all__: list[str] = []


@generator(Reshape)
def reshape(k: Kernel, problem: Problem) -> int:
    """Task: a share of the features of a block."""
    op = problem.op
    assert isinstance(op, Reshape)
    x, y = problem.view(k, "x"), problem.view(k, "y")
    parts = shares(op.maps.features, CHUNK)
    block, part = k.split(k.task, problem.blocks, parts)
    first, end = share(k, part, op.maps.features, CHUNK)

    def move(feature: Index) -> None:
        value, where = x.load(_place(k, x, block, feature)), _place(k, y, block, feature)
        y.store(y.load(where) + value if op.accumulate else value, where)

    run(k, first, end, move, unroll=4 if x.dense and y.dense else 1)
    return problem.blocks * parts


def _place(k: Kernel, view: MapsView, block: Value, feature: Index) -> Index:
    """Index of a feature, counted over (C, H, W)."""
    if view.dense:
        return view.index(block) + feature
    channel, row, column = k.split(k.index(feature), view.maps.channels, view.maps.height, view.maps.width)
    return view.index(block, channel, row, column)
