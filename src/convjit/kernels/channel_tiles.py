"""Sums over windows of channels: chunks of pixels, tiles of channels, and sums that neighbouring windows share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import MapsView, Problem
from convjit.kernels.sweep import outgrows_caches, run, share, shares
from convjit.kernels.window import ABREAST

__all__ = ["Chunk", "chunk_pixels", "each_tile", "tile_channels", "window_sums"]

Add = Callable[[Value | None, Value], Value]
"""From the sum so far, None at its start, and a number to the sum with that one's term."""


def tile_channels(size: int) -> int:
    """Channels of a tile: at most those of a window, so that all windows of a tile have a channel in common."""
    return min(ABREAST, size)


def chunk_pixels(k: Kernel, lines: int) -> int:
    """Pixels of a chunk of which `lines` channels fit into the first-level cache."""
    return max(4, k.target.first_level // (4 * k.lanes * lines))


class Chunk:
    """Neighbouring pixels, from number `first` to before `end` of a row, or of the map where rows have no gaps."""

    def __init__(self, k: Kernel, problem: Problem, views: dict[str, MapsView], most: int) -> None:
        maps = next(iter(views.values())).maps
        gaps = any(view.halo.left or view.halo.right for view in views.values())
        length = maps.width if gaps else maps.height * maps.width
        parts, rows = shares(length, most), maps.height if gaps else 1
        self.k, self.views = k, views
        self.block, self.row, part = k.split(k.task, problem.blocks, rows, parts)
        self.first, self.end = share(k, part, length, most)
        self.streams = "y" in views and outgrows_caches(problem, "y")
        self.tasks = problem.blocks * rows * parts

    def index(self, name: str, channel: Index, i: Index) -> Index:
        """Place of a pixel in one operand."""
        return self.views[name].index(self.block, channel, self.row) + i

    def load(self, name: str, channel: Index, i: Index) -> Value:
        """A pixel of one operand."""
        return self.views[name].load(self.index(name, channel, i))

    def each(self, body: Callable[[Index], None]) -> None:
        """Visit the pixels; unrolling gained nothing."""
        run(self.k, self.first, self.end, body, unroll=1)

    def fetch(self, name: str, channel: Index, i: Index) -> None:
        """Ask for a pixel of a channel that is needed soon, and lies in another page of memory; no channel is past the
        last.
        """
        view = self.views[name]
        ahead = self.k.minimum(self.k.index(channel), view.maps.channels - 1)
        self.k.prefetch(view.pointer + self.index(name, ahead, i))


def each_tile(
    k: Kernel,
    channels: int,
    end: int,
    size: int,
    reach: tuple[int, int],
    body: Callable[[Index, Callable[[int], bool]], None],
) -> None:
    """Tiles of `size` channels at 0, size, ... below `end`: `body(first, there)`.

    `there(offset)` says whether channel first + offset is one of the `channels`. Tiles of which all channels from
    reach[0] before the first to reach[1] behind the last are there share their code; every other one has its own.
    """
    firsts = range(0, end, size)
    inside = [f for f in firsts if f >= reach[0] and f + size + reach[1] <= channels]

    def alone(first: int) -> None:
        body(k.index(first), lambda offset: 0 <= first + offset < channels)

    for first in firsts:
        if first not in inside:
            alone(first)
        elif first == inside[0]:
            with k.loop(first, inside[-1] + 1, size, name="tile") as base:
                body(base, lambda offset: True)


def window_sums(add: Add, values: Sequence[Value | None], size: int) -> list[Value | None]:
    """Sums over all windows of `size` of some neighbouring numbers, not more windows than that; None is no number.

    What all windows share is summed once, then goes on to the right, number by number; the left is summed from there
    outwards. So 4 windows of 5 take 9 additions in the place of 16.
    """
    count = len(values) - size + 1

    def added(total: Value | None, value: Value | None) -> Value | None:
        return total if value is None else add(total, value)

    core: Value | None = None
    for value in values[count - 1 : size]:
        core = added(core, value)
    rights = [core]
    for value in values[size:]:
        rights.append(added(rights[-1], value))
    lefts: list[Value | None] = [None]
    for value in reversed(values[: count - 1]):
        lefts.append(added(lefts[-1], value))
    return [
        left if right is None else right if left is None else left + right
        for left, right in zip(reversed(lefts), rights, strict=True)
    ]
