"""A register tile: rows x columns of vector accumulators, and how many fit."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Value

__all__ = ["Product", "Tile", "near_equal"]

Product = Callable[[Value, Value, Value], Value]


def near_equal(total: int, most: int) -> list[tuple[int, int]]:
    """Cut `total` into the fewest parts of at most `most`, sizes differing by one: [(size, how many), ...], large
    first.
    """
    parts = -(-total // most)
    small, larger = divmod(total, parts)
    return [(size, count) for size, count in ((small + 1, larger), (small, parts - larger)) if count]


class Tile:
    """Accumulators in registers: `rows` operands of one kind against `columns` of the other.

    `product(a, b, c)` is a * b + c, of numbers unless it says otherwise.
    """

    def __init__(self, k: Kernel, rows: int, columns: int, product: Product | None = None) -> None:
        self.rows, self.columns, self._product = rows, columns, product or k.fma
        self._places = dict(zip(self.cells, k.variables(rows * columns), strict=True))

    @property
    def cells(self) -> list[tuple[int, int]]:
        """(row, column) of every accumulator."""
        return list(itertools.product(range(self.rows), range(self.columns)))

    def init(self, value: Callable[[int, int], Value]) -> None:
        """Set each accumulator."""
        for row, column in self.cells:
            self._places[row, column].store(value(row, column))

    def multiply_add(self, rows: Sequence[Value], columns: Sequence[Value]) -> None:
        """accumulator[r, c] += rows[r] * columns[c]."""
        for row, a in enumerate(rows):
            self.multiply_add_row(row, a, columns)

    def multiply_add_row(self, row: int, a: Value, columns: Sequence[Value]) -> None:
        """accumulator[row, c] += a * columns[c]."""
        for column, b in enumerate(columns):
            place = self._places[row, column]
            place.store(self._product(a, b, place.load()))

    def each(self, use: Callable[[int, int, Value], None]) -> None:
        """Hand every accumulator's value to `use(row, column, value)`."""
        for row, column in self.cells:
            use(row, column, self._places[row, column].load())
