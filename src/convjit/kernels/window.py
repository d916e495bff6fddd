"""Sums over windows of numbers in a row: rows of a map, pixels of a row, channels.

A sum is formed anew for every window, in the order of its terms, rather than carried on from one window to the next:
it cannot drift, and does not depend on how the work is cut into tasks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.tile import near_equal
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.sweep import run
from convjit.ops.base import Maps

__all__ = ["STATIC", "Term", "Window", "add_up", "box_sums", "each_window", "line_vectors", "plus", "window_of"]

STATIC = 12
"""Largest window whose sum is written out; sums of more terms are loops."""
ABREAST = 4
"""Pixels that are worked on side by side, so that one need not wait for the other."""
CARRIED = 5
"""Largest window whose columns' sums stay in registers from one pixel to the next, and whose clipped forms at the edges
have code of their own."""

Term = Callable[[Value | None, Index], Value]
"""From the sum so far, None at its start, and a number to the sum with that one's term."""


def plus(total: Value | None, value: Value) -> Value:
    """The sum so far and one more; adding to a zero would be an instruction that LLVM may not leave out."""
    return value if total is None else total + value


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
        if first >= end:
            continue
        if size <= CARRIED and (first, end) != inside:
            for i in range(first, end):
                start = max(i - low, 0)
                body(Window(i, start, min(i - low + size, count) - start))
            continue
        with k.loop(first, end, name="window") as index:
            plain = (first, end) == inside
            body(Window(index, index - low, size) if plain else window_of(k, index, count, size, low))


def add_up(k: Kernel, first: Index, size: Index, term: Term) -> Value:
    """The sum that `term` makes for i = first, first + 1, ..., `size` of them."""
    if isinstance(size, int) and size <= STATIC:
        total = None
        for number in range(size):
            total = term(total, first + number)
        assert total is not None
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
    term: Callable[[Value | None, Index, Index], Value],
    use: Callable[[Window, Index, list[Value]], None],
) -> None:
    """Sums over size x size windows of one map that begin `low` before their pixel: down the columns, then across.

    `term(sum so far, row, column)` adds a pixel; `use(rows, column, sums)` gets the windows of some neighbouring pixels
    of a row. `line` is scratch.
    """

    def column(rows: Window, x: Index) -> Value:
        return add_up(k, rows.first, rows.size, lambda total, i: term(total, i, x))

    def carried(rows: Window) -> None:
        _carry(k, maps.width, size, low, lambda x: column(rows, x), lambda x, totals: use(rows, x, totals))

    def stored(rows: Window) -> None:
        def down(x: Index) -> None:
            line.store(column(rows, x), low + x)

        def across(x: Index, count: int) -> None:
            places = [x + i for i in range(count)]
            use(rows, x, [add_up(k, place, size, lambda total, i: plus(total, line.load(i))) for place in places])

        run(k, 0, maps.width, down, unroll=4 if isinstance(rows.size, int) else 1)
        abreast(k, maps.width, across)

    if size > CARRIED:
        for place in (*range(low), *range(low + maps.width, line_vectors(maps, size))):
            line.store(k.number(0.0), place)
    each_window(k, maps.height, size, low, stored if size > CARRIED else carried)


def _carry(
    k: Kernel,
    width: int,
    size: int,
    low: int,
    column: Callable[[Index], Value],
    use: Callable[[Index, list[Value]], None],
) -> None:
    """Sums across a row: every column is formed once, and stays in a register while windows contain it."""
    high, zero = size - 1 - low, k.number(0.0)
    kept = k.variables(size - 1)
    for place, x in zip(kept, range(-low, high), strict=True):
        place.store(column(x) if 0 <= x < width else zero)

    def visit(x: Index, last: list[Value]) -> None:
        columns = [*(place.load() for place in kept), *last]
        for place, value in zip(kept, columns[len(last) :], strict=True):
            place.store(value)
        windows = [columns[i : i + size] for i in range(len(last))]
        use(x, [_sum(window) for window in windows])

    inside = max(width - high, 0)
    if inside:
        abreast(k, inside, lambda x, count: visit(x, [column(x + (high + i)) for i in range(count)]))
    visit(inside, [zero] * (width - inside))


def _sum(values: list[Value]) -> Value:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def abreast(k: Kernel, count: int, body: Callable[[Index, int], None]) -> None:
    """Call `body(first, how many)` for 0 ... count - 1, some at a time."""
    done = 0
    for size, turns in near_equal(count, ABREAST):
        with k.loop(0, turns, name="tile") as turn:
            body(turn * size + done, size)
        done += size * turns
