"""Visiting every pixel of some maps once: what all kernels that work element by element share."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import MapsView, Problem
from convjit.ops.base import Maps

__all__ = ["Place", "each_pixel", "outgrows_caches", "run", "share", "shares", "sweep"]

Place = Callable[[str], Index]
"""Gives an operand's index, in vectors, of the pixel that is being visited."""

CHUNK = 1024
"""Vectors that one task works on, about: 64 KiB of 16 lanes, some microseconds."""


def outgrows_caches(problem: Problem, operand: str) -> bool:
    """Whether maps are so large that their beginning has left the caches when their end is written: only then do
    stores past the caches win, and below they lose.
    """
    return (
        problem.vector_bytes(operand) * problem.blocks * _maps(problem, operand).features > problem.target.third_level
    )


def _maps(problem: Problem, operand: str) -> Maps:
    maps = problem.op.operands()[operand]
    assert isinstance(maps, Maps)
    return maps


def share(k: Kernel, part: Value, total: int, most: int) -> tuple[Index, Index]:
    """Cut `total` into equal parts of at most `most` (the last may be shorter): (first, end) of one part."""
    size = share_size(total, most)
    first = part * size
    return first, first + size if total % size == 0 else k.minimum(first + size, total)


def share_size(total: int, most: int) -> int:
    """Size of such a part."""
    return -(-total // -(-total // max(most, 1)))


def shares(total: int, most: int) -> int:
    """How many such parts there are."""
    return -(-total // share_size(total, most))


def run(k: Kernel, start: Index, stop: Index, body: Callable[[Index], None], unroll: int = 4) -> None:
    """Call `body` for start, start + 1, ..., stop - 1, `unroll` of them in one turn of the loop."""
    if isinstance(start, int) and isinstance(stop, int):
        whole = start + (stop - start) // unroll * unroll
        if whole > start + unroll:
            with k.loop(start, whole, unroll, name="pixels") as i:
                for step in range(unroll):
                    body(i + step)
            start = whole
        for rest in range(start, stop):
            body(rest)
        return
    whole_turns = k.index(stop) - (k.index(stop) - start) % unroll
    with k.loop(start, whole_turns, unroll, name="pixels") as i:
        for step in range(unroll):
            body(i + step)
    with k.loop(whole_turns, stop, name="rest") as i:
        body(i)


def each_pixel(
    k: Kernel,
    views: Mapping[str, MapsView],
    block: Index,
    channels: tuple[Index, Index],
    body: Callable[[Place, Index], None],
    unroll: int = 4,
) -> None:
    """Visit the pixels of channels [first, last) of one block: `body(place, feature)`, features counted over (C, H, W).

    All views have the same maps; halos are stepped over.
    """
    any_view = next(iter(views.values()))
    maps = any_view.maps
    first, last = channels
    pixels = maps.height * maps.width

    def visit(start: Index, stop: Index, base: Mapping[str, Index], feature: Index) -> None:
        """A run of pixels that lie side by side in all views."""
        run(k, start, stop, lambda i: body(lambda operand: base[operand] + i, feature + i), unroll)

    if all(view.dense for view in views.values()):
        bases = {name: view.index(block) for name, view in views.items()}
        visit(first * pixels, last * pixels, bases, 0)
        return
    wide = any(view.halo.left or view.halo.right for view in views.values())
    with k.loop(first, last, name="channel") as c:
        if not wide:
            visit(0, pixels, {name: view.index(block, c) for name, view in views.items()}, c * pixels)
            return
        with k.loop(0, maps.height, name="row") as y:
            bases = {name: view.index(block, c, y) for name, view in views.items()}
            visit(0, maps.width, bases, c * pixels + y * maps.width)


def sweep(
    k: Kernel, problem: Problem, names: tuple[str, ...], body: Callable[[Place, Value, Index], None], unroll: int = 4
) -> int:
    """Tasks over blocks of images and shares of the channels: `body(place, block, feature)`. Returns their number."""
    views = {name: problem.view(k, name) for name in names}
    maps = views[names[0]].maps
    most = CHUNK // (maps.height * maps.width)
    parts = shares(maps.channels, most)
    block, part = k.split(k.task, problem.blocks, parts)
    channels = share(k, part, maps.channels, most)
    each_pixel(k, views, block, channels, lambda place, f: body(place, block, f), unroll)
    return problem.blocks * parts
