"""Zeros around maps. In memory the halo on the right of a row and that on the left of the next are one gap."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import CHUNK, run, share, shares
from convjit.ops.base import NO_HALO
from convjit.ops.halo import ClearHalo

__all__: list[str] = []


@generator(ClearHalo)
def clear_halo(k: Kernel, problem: Problem) -> int:
    """Task: some channels of a block."""
    op = problem.op
    assert isinstance(op, ClearHalo)
    view = problem.view(k, "x")
    halo, height, width = view.halo, op.maps.height, op.maps.width
    if halo == NO_HALO:
        return 1
    most = CHUNK // view.plane
    parts = shares(op.maps.channels, most)
    block, part = k.split(k.task, problem.blocks, parts)
    first, end = share(k, part, op.maps.channels, most)

    def clear(start: Index, vectors: int) -> None:
        run(k, 0, vectors, lambda i: view.store(k.number(0.0), start + i))

    with k.loop(first, end, name="channel") as c:
        corner = view.index(block, c)
        clear(corner - view.origin, view.origin)
        if height > 1 and halo.left + halo.right:
            with k.loop(0, height - 1, name="row") as y:
                clear(corner + y * view.row + width, halo.right + halo.left)
        clear(corner + ((height - 1) * view.row + width), halo.right + halo.bottom * view.row)
    return problem.blocks * parts
