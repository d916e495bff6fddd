"""The transforms of Winograd's minimal filtering, exact matrices made from points, and vector code for them.

m outputs of a filter of r taps are a polynomial product of degree n - 1 = m + r - 2 run backwards (Toom and Cook;
Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016):

    y = A' [(G w) * (B' x)]          n = m + r - 1 points: POINTS[n] and infinity

Every point a of {0, 1, -1, 2, -2, 1/2, -1/2} that comes with its opposite shares the even and the odd half of its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TypeAlias

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value

__all__ = ["SIDES", "Matrix", "Scheme", "linear", "operations", "square", "transposed"]

Matrix: TypeAlias = tuple[tuple[Fraction, ...], ...]

POINTS = tuple(Fraction(*point) for point in ((0, 1), (1, 1), (-1, 1), (2, 1), (-2, 1), (1, 2), (-1, 2)))
"""In the order in which a larger tile takes them up; infinity is always the last of a tile's points."""
SIDES = range(4, len(POINTS) + 2)
"""Sides n of the tiles that the points suffice for: relative error 5e-7 at n = 4, 5e-6 at n = 8 in float32."""


@dataclass(frozen=True)
class Scheme:
    """F(m, r): `made` outputs of `size` taps from `side` = m + r - 1 pixels, in one dimension."""

    size: int
    made: int

    @property
    def side(self) -> int:
        """n: pixels, and points, of a tile across."""
        return self.made + self.size - 1

    @property
    def output(self) -> Matrix:
        """A', m x n: powers of the points."""
        rows = [[a**power for a in self._points] for power in range(self.made)]
        return tuple((*row, Fraction(power == self.made - 1)) for power, row in enumerate(rows))

    @property
    def weights(self) -> Matrix:
        """G, n x r: powers of the points over the products of their distances."""
        points = self._points
        rows = []
        for i, a in enumerate(points):
            distances = Fraction(1)
            for b in (*points[:i], *points[i + 1 :]):
                distances *= a - b
            rows.append(tuple(a**power / distances for power in range(self.size)))
        return (*rows, tuple(Fraction(power == self.size - 1) for power in range(self.size)))

    @property
    def data(self) -> Matrix:
        """B', n x n: coefficients of the product of (x - b) over all other points b; infinity's is over all."""
        points = self._points
        others = [*((*points[:i], *points[i + 1 :]) for i in range(len(points))), points]
        rows = [_product(roots) for roots in others]
        return tuple((*row, *[Fraction(0)] * (self.side - len(row))) for row in rows)

    @property
    def _points(self) -> tuple[Fraction, ...]:
        return POINTS[: self.side - 1]


def _product(roots: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Coefficients of the product of (x - root), the constant first."""
    found = [Fraction(1)]
    for root in roots:
        found = [low - root * high for low, high in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return tuple(found)


@dataclass(frozen=True)
class _Halves:
    """A matrix with pairs of rows, or of columns, replaced by their sum and difference over 2."""

    rows: Matrix
    pairs: tuple[tuple[int, int], ...]
    of_columns: bool


@cache
def _halved(matrix: Matrix) -> _Halves:
    columns, pairs = _pair(transposed(matrix))
    if pairs:
        return _Halves(transposed(columns), pairs, True)
    return _Halves(*_pair(matrix), False)


def transposed(matrix: Matrix) -> Matrix:
    """Rows as columns."""
    return tuple(zip(*matrix, strict=True))


def _pair(rows: Matrix) -> tuple[Matrix, tuple[tuple[int, int], ...]]:
    """Pairs whose half sum and half difference have no column in common, and the rows with those in their place."""
    found, pairs = list(rows), list[tuple[int, int]]()
    for p in range(len(rows)):
        for q in range(p + 1, len(rows)):
            if any(p in pair or q in pair for pair in pairs):
                continue
            even = tuple((a + b) / 2 for a, b in zip(rows[p], rows[q], strict=True))
            odd = tuple((a - b) / 2 for a, b in zip(rows[p], rows[q], strict=True))
            if any(even) and any(odd) and not any(a and b for a, b in zip(even, odd, strict=True)):
                found[p], found[q] = even, odd
                pairs.append((p, q))
    return tuple(found), tuple(pairs)


def linear(k: Kernel, matrix: Matrix, values: Sequence[Value]) -> list[Value]:
    """The matrix times a vector of vectors."""
    halves = _halved(matrix)
    values = list(values)
    if halves.of_columns:
        for p, q in halves.pairs:
            values[p], values[q] = values[p] + values[q], values[p] - values[q]
        return [_dot(k, row, values) for row in halves.rows]
    found: dict[int, Value] = {}
    for p, q in halves.pairs:
        # The difference is taken with its last factor last, which often makes it free.
        factor = next(a for a in reversed(halves.rows[q]) if a)
        even, odd = _dot(k, halves.rows[p], values), _dot(k, tuple(a / factor for a in halves.rows[q]), values)
        found[p], found[q] = _add(k, factor, odd, even), _add(k, -factor, odd, even)
    return [found[i] if i in found else _dot(k, row, values) for i, row in enumerate(halves.rows)]


def operations(matrix: Matrix) -> int:
    """Vector instructions of `linear`."""
    halves = _halved(matrix)
    return 2 * len(halves.pairs) + sum(max(sum(map(bool, row)) - 1, 0) for row in halves.rows)


def _dot(k: Kernel, row: Sequence[Fraction], values: Sequence[Value]) -> Value:
    # A factor of one comes first, since it costs nothing there.
    terms = sorted(((a, value) for a, value in zip(row, values, strict=True) if a), key=lambda term: term[0] != 1)
    first, total = terms[0]
    if first != 1:
        total = total * float(first)
    for factor, value in terms[1:]:
        total = _add(k, factor, value, total)
    return total


def _add(k: Kernel, factor: Fraction, value: Value, total: Value) -> Value:
    """total + factor * value."""
    if abs(factor) == 1:
        return total + value if factor > 0 else total - value
    return k.fma(k.number(float(factor)), value, total)


def square(
    k: Kernel,
    matrix: Matrix,
    load: Callable[[int, Value], Value],
    store: Callable[[Value, int, Value], None],
    room: Pointer,
    first_row: Index = 0,
) -> None:
    """M X M' for a square X of vectors: down the columns into `room`, then along the rows from `first_row` on.

    `load(i, j)` gives X[i, j], `store(i, j, value)` takes a result. Loops, not one long piece of code: 64 values
    would not stay in registers anyway, and a pass through the first-level cache costs less than spilling them.
    """
    made, side = len(matrix), len(matrix[0])
    with k.loop(0, side, name="column") as column:
        for i, value in enumerate(linear(k, matrix, [load(i, column) for i in range(side)])):
            room.store(value, i * side + column)
    with k.loop(first_row, made, name="row") as row:
        for j, value in enumerate(linear(k, matrix, [room.load(row * side + j) for j in range(side)])):
            store(row, j, value)
