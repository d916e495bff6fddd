"""The transforms of Winograd's minimal filtering on tiles of 6x6, as vector code and as a matrix.

The points are 0, 1, -1, 2, -2 and infinity, for 3x3 filters (4x4 outputs) and for 5x5 filters (2x2 outputs) alike, so
that the transform of the data is the same for both. Points p and -p share their even and their odd half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Value

__all__ = ["SIDE", "data_transform", "output_transform", "square", "weights_matrix"]

SIDE = 6
"""Pixels of a tile across."""
POINTS = (0, 1, -1, 2, -2)
SCALES = (1 / 4, -1 / 6, -1 / 6, 1 / 24, 1 / 24)


def weights_matrix(size: int) -> list[list[float]]:
    """G: a filter of `size` taps at each point, scaled; the last row is infinity's."""
    rows = [[scale * point**power for power in range(size)] for point, scale in zip(POINTS, SCALES, strict=True)]
    return [*rows, [0.0] * (size - 1) + [1.0]]


def data_transform(k: Kernel, x: Sequence[Value]) -> list[Value]:
    """B' x for six vectors, in 12 operations."""
    four, five, two = k.number(4.0), k.number(5.0), k.number(2.0)
    even, odd = k.fma(-four, x[2], x[4]), k.fma(-four, x[1], x[3])
    far, near = x[4] - x[2], x[3] - x[1]
    return [
        k.fma(four, x[0], k.fma(-five, x[2], x[4])),
        even + odd,
        even - odd,
        k.fma(two, near, far),
        k.fma(-two, near, far),
        k.fma(four, x[1], k.fma(-five, x[3], x[5])),
    ]


def output_transform(k: Kernel, m: Sequence[Value], count: int) -> list[Value]:
    """A' m for six vectors: `count` outputs."""
    sum1, sum2, difference1, difference2 = m[1] + m[2], m[3] + m[4], m[1] - m[2], m[3] - m[4]
    found = [m[0] + sum1 + sum2]
    for power in range(1, count):
        near, far = (sum1, sum2) if power % 2 == 0 else (difference1, difference2)
        found.append(k.fma(k.number(2.0**power), far, near))
    found[-1] = found[-1] + m[5]
    return found


def square(transform: Callable[[Sequence[Value]], list[Value]], grid: Sequence[Sequence[Value]]) -> list[list[Value]]:
    """A transform along the columns of a grid, then along its rows."""
    columns = [transform(column) for column in zip(*grid, strict=True)]
    return [transform(row) for row in zip(*columns, strict=True)]
