"""Sums over windows of numbers in a row: rows of a map, pixels of a row, channels.

A sum is formed anew for every window, in the order of its terms, rather than carried on from one window to the next:
it cannot drift, and does not depend on how the work is cut into tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.sweep import run
from convjit.ops.base import Maps

__all__ = ["STATIC", "Window", "add_up", "box_sums", "each_window", "line_vectors", "window_of"]

STATIC = 12
"""Largest window whose sum is written out; sums of more terms are loops."""


@dataclass(frozen=True)
class Window:
    """The window that belongs to number `index`: `size` numbers from `first` on; a plain size is written out."""

    index: Index
    first: Index
    size: Index


def window_of(k: Kernel, index: Index, count: int, size: int, low: int) -> Window:
    """[index - low, index - low + size), clipped to 0 ... count - 1."""
    start = k.index(index) - low
    first = k.maximum(start, 0)
    return Window(index, first, k.minimum(start + size, count) - first)


def each_window(k: Kernel, count: int, size: int, low: int, body: Callable[[Window], None]) -> None:
    """Call `body` for the windows of numbers 0 ... count - 1, in order."""
    inside = (low, count - (size - 1 - low))
    if size > STATIC or inside[0] >= inside[1]:
        inside = (count, count)
    for first, end in ((0, inside[0]), inside, (inside[1], count)):
        if first < end:
            with k.loop(first, end, name="window") as i:
                plain = (first, end) == inside
                body(Window(i, i - low, size) if plain else window_of(k, i, count, size, low))


def add_up(k: Kernel, first: Index, size: Index, term: Callable[[Value, Index], Value]) -> Value:
    """The sum that `term(sum so far, i)` makes for i = first, first + 1, ..., `size` of them."""
    if isinstance(size, int) and size <= STATIC:
        total = k.number(0.0)
        for number in range(size):
            total = term(total, first + number)
        return total
    (place,) = k.variables(1)
    place.store(k.number(0.0))
    with k.loop(first, first + size if isinstance(first, Value) else size + first, name="term") as i:
        place.store(term(place.load(), i))
    return place.load()


def line_vectors(maps: Maps, size: int) -> int:
    """Vectors of scratch that `box_sums` needs."""
    return maps.width + size - 1


def box_sums(
    k: Kernel,
    maps: Maps,
    size: int,
    low: int,
    line: Pointer,
    term: Callable[[Value, Index, Index], Value],
    use: Callable[[Window, Index, Value], None],
) -> None:
    """Sums over size x size windows of one map that begin `low` before their pixel: down the columns, then across.

    `term(sum so far, row, column)` adds a pixel; `use(rows, column, sum)` gets a window. `line` is scratch.
    """
    for place in (*range(low), *range(low + maps.width, line_vectors(maps, size))):
        line.store(k.number(0.0), place)

    def row(rows: Window) -> None:
        def down(x: Index) -> None:
            line.store(add_up(k, rows.first, rows.size, lambda total, i: term(total, i, x)), low + x)

        def across(x: Index) -> None:
            use(rows, x, add_up(k, x, size, lambda total, i: total + line.load(i)))

        run(k, 0, maps.width, down, unroll=4 if isinstance(rows.size, int) else 1)
        run(k, 0, maps.width, across, unroll=2 if size <= STATIC else 1)

    each_window(k, maps.height, size, low, row)
