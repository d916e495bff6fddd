"""Vector code for linear transforms whose matrices are known: those of the convolutions that multiply point by point.

A transform is a matrix, or several, of which the last is applied first. Two rows, or two columns, that are equal but
for signs share the even and the odd half of their sums.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TypeAlias

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value

__all__ = ["Matrix", "Transform", "linear", "operations", "sides", "square", "transposed"]

Matrix: TypeAlias = tuple[tuple[Fraction, ...], ...]
Transform: TypeAlias = tuple[Matrix, ...]
"""The product of some matrices."""


@dataclass(frozen=True)
class _Halves:
    """A matrix with pairs of rows, or of columns, replaced by their sum and difference over 2."""

    rows: Matrix
    pairs: tuple[tuple[int, int], ...]
    of_columns: bool


@cache
def _halved(matrix: Matrix) -> _Halves:
    columns, pairs = _pair(_turned(matrix))
    if pairs:
        return _Halves(_turned(columns), pairs, True)
    return _Halves(*_pair(matrix), False)


def _turned(matrix: Matrix) -> Matrix:
    """Rows as columns."""
    return tuple(zip(*matrix, strict=True))


def transposed(transform: Transform) -> Transform:
    """Rows as columns."""
    return tuple(_turned(matrix) for matrix in reversed(transform))


def sides(transform: Transform) -> tuple[int, int]:
    """(rows, columns) of the product."""
    return len(transform[0]), len(transform[-1][0])


def _pair(rows: Matrix) -> tuple[Matrix, tuple[tuple[int, int], ...]]:
    """Pairs whose half sum and half difference have no column in common, and the rows with those in their place."""
    found, pairs = list(rows), list[tuple[int, int]]()
    for p in range(len(rows)):
        for q in range(p + 1, len(rows)):
            if any(p in pair or q in pair for pair in pairs):
                continue
            if not all(abs(a) == abs(b) for a, b in zip(rows[p], rows[q], strict=True)):
                continue
            even = tuple((a + b) / 2 for a, b in zip(rows[p], rows[q], strict=True))
            odd = tuple((a - b) / 2 for a, b in zip(rows[p], rows[q], strict=True))
            if any(even) and any(odd):
                found[p], found[q] = even, odd
                pairs.append((p, q))
    return tuple(found), tuple(pairs)


def linear(k: Kernel, transform: Transform, values: Sequence[Value]) -> list[Value]:
    """The transform of a vector of vectors."""
    for matrix in reversed(transform):
        values = _multiplied(k, matrix, list(values))
    return list(values)


def _multiplied(k: Kernel, matrix: Matrix, values: list[Value]) -> list[Value]:
    halves = _halved(matrix)
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


def operations(transform: Transform) -> int:
    """Vector instructions of `linear`."""
    halved = [_halved(matrix) for matrix in transform]
    return sum(2 * len(halves.pairs) + sum(max(sum(map(bool, row)) - 1, 0) for row in halves.rows) for halves in halved)


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
    transform: Transform,
    load: Callable[[int, Value], Value],
    store: Callable[[Value, int, Value], None],
    room: Pointer,
    first_row: Index = 0,
) -> None:
    """M X M' for a square X of vectors: down the columns into `room`, then along the rows from `first_row` on.

    `load(i, j)` gives X[i, j], `store(i, j, value)` takes a result. Loops, not one long piece of code: 64 values
    would not stay in registers anyway, and a pass through the first-level cache costs less than spilling them.
    """
    made, side = sides(transform)
    with k.loop(0, side, name="column") as column:
        for i, value in enumerate(linear(k, transform, [load(i, column) for i in range(side)])):
            room.store(value, i * side + column)
    with k.loop(first_row, made, name="row") as row:
        for j, value in enumerate(linear(k, transform, [room.load(row * side + j) for j in range(side)])):
            store(row, j, value)
