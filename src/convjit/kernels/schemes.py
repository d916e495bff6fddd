"""Ways to compute m outputs of a filter of r taps from n = m + r - 1 pixels with fewer than m r multiplications.

    y = A' [(G w) * (B' x)]          in one dimension; a tile of pixels takes it twice, down and across

Multiplying is cheap where there are many maps, since every map's transform serves all of the other side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Protocol

from convjit.kernels.transforms import Matrix, Transform

__all__ = ["POINTS", "SCHEMES", "Fourier", "Scheme", "Winograd"]


def _opposites(*points: tuple[int, int]) -> tuple[Fraction, ...]:
    return tuple(Fraction(sign * p, q) for p, q in points for sign in (1, -1))


_ZERO = (Fraction(0),)
_SMALLEST_SIDE = 4
_FEW = (*_ZERO, *_opposites((1, 1), (2, 1), (1, 2)))
POINTS: Mapping[int, tuple[Fraction, ...]] = {
    **{side: _FEW[: side - 1] for side in range(_SMALLEST_SIDE, 9)},
    9: _opposites((1, 4), (2, 3), (5, 4), (5, 2)),
    10: (*_ZERO, *_opposites((1, 2), (3, 4), (5, 4), (5, 2))),
}
"""The finite points of a tile of n pixels; infinity is always one more. Those of the large tiles are, of many that were
tried, the ones with the least error: 5e-7 for n = 4, 6e-6 for n = 8, 7e-6 for n = 9, 2e-5 for n = 10 in float32."""


class Scheme(Protocol):
    """One way for one size of filters; what it cannot do is not `possible`, and has no matrices."""

    @property
    def size(self) -> int:
        """r: taps."""

    @property
    def made(self) -> int:
        """m: outputs of a tile across."""

    @property
    def side(self) -> int:
        """n: pixels of a tile across."""

    @property
    def points(self) -> int:
        """Multiplications of a tile across."""

    @property
    def possible(self) -> bool:
        """Whether there is such a way."""

    @property
    def output(self) -> Transform:
        """A', m x points."""

    @property
    def weights(self) -> Transform:
        """G, points x r."""

    @property
    def data(self) -> Transform:
        """B', points x n."""


@dataclass(frozen=True)
class Winograd:
    """Winograd's minimal filtering F(m, r): a polynomial product of degree n - 1 run backwards, from n points.

    Toom and Cook; Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016. Every point of
    POINTS that comes with its opposite shares the even and the odd half of its row.
    """

    size: int
    made: int

    @property
    def side(self) -> int:
        return self.made + self.size - 1

    @property
    def points(self) -> int:
        return self.side

    @property
    def possible(self) -> bool:
        return self.size >= 2 and self.side in POINTS

    @property
    def output(self) -> Transform:
        """Powers of the points."""
        rows = [[a**power for a in self._points] for power in range(self.made)]
        return (tuple((*row, Fraction(power == self.made - 1)) for power, row in enumerate(rows)),)

    @property
    def weights(self) -> Transform:
        """Powers of the points over the products of their distances."""
        points = self._points
        rows = []
        for i, a in enumerate(points):
            distances = Fraction(1)
            for b in (*points[:i], *points[i + 1 :]):
                distances *= a - b
            rows.append(tuple(a**power / distances for power in range(self.size)))
        return ((*rows, tuple(Fraction(power == self.size - 1) for power in range(self.size))),)

    @property
    def data(self) -> Transform:
        """Coefficients of the product of (x - b) over all other points b; infinity's is over all."""
        points = self._points
        others = [*((*points[:i], *points[i + 1 :]) for i in range(len(points))), points]
        rows = [_product(roots) for roots in others]
        return (tuple((*row, *[Fraction(0)] * (self.side - len(row))) for row in rows),)

    @property
    def _points(self) -> tuple[Fraction, ...]:
        return POINTS[self.side]


def _product(roots: Sequence[Fraction]) -> tuple[Fraction, ...]:
    """Coefficients of the product of (x - root), the constant first."""
    found = [Fraction(1)]
    for root in roots:
        found = [low - root * high for low, high in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return tuple(found)


@dataclass(frozen=True)
class Fourier:
    """Fourier's transform of n real numbers, n a multiple of 4: the points are the n-th roots of unity.

    A root and its conjugate make one complex product (a + ib)(c + id), for which three real ones suffice (Gauss):
    c (a + b), a (d - c) and b (c + d). Roots are as many as one likes and harmless to the rounding error, which is
    why this way is there for the filters that are too large for Winograd's few points.

    The spectrum of a real vector is written as n numbers: f = 0, f = n/2, then real and imaginary part for f = 1 ...
    """

    side: int
    size: int

    @property
    def made(self) -> int:
        return self.side - self.size + 1

    @property
    def points(self) -> int:
        return 2 + 3 * (self.side // 2 - 1)

    @property
    def possible(self) -> bool:
        return self.size >= 6 and self.made >= 2

    @property
    def data(self) -> Transform:
        """First the sums and differences of x[j] and x[n-j], which cosines and sines are asked for; (a + b, a, b)."""
        n, half = self.side, self.side // 2
        folded = [_unit(n, {0: 1}), *(_unit(n, {j: 1, n - j: 1}) for j in range(1, half)), _unit(n, {half: 1})]
        folded += [_unit(n, {j: 1, n - j: -1}) for j in range(1, half)]
        even, odd = range(half + 1), range(1, half)

        def row(real: Callable[[int], Fraction], imaginary: Callable[[int], Fraction]) -> tuple[Fraction, ...]:
            return (*map(real, even), *map(imaginary, odd))

        def nothing(j: int) -> Fraction:
            return Fraction(0)

        spectrum = [row(partial(self._cosine, f), nothing) for f in (0, half)]
        for f in odd:
            spectrum += [row(partial(self._cosine, f), nothing), row(nothing, partial(self._minus_sine, f))]
        products = self._products(_unit(2, {0: 1, 1: 1}), _unit(2, {0: 1}), _unit(2, {1: 1}))
        return (products, tuple(spectrum), tuple(folded))

    @property
    def weights(self) -> Transform:
        """Of a correlation: the conjugate spectrum; (c, d - c, c + d). The factors of the way back are here."""
        taps = range(self.size)
        spectrum = [tuple(self._cosine(f, j) / self.side for j in taps) for f in (0, self.side // 2)]
        for f in range(1, self.side // 2):
            spectrum += [
                tuple(2 * self._cosine(f, j) / self.side for j in taps),
                tuple(-2 * self._minus_sine(f, j) / self.side for j in taps),
            ]
        return (self._products(_unit(2, {0: 1}), _unit(2, {0: -1, 1: 1}), _unit(2, {0: 1, 1: 1})), tuple(spectrum))

    @property
    def output(self) -> Transform:
        """Real part p0 - p2 and imaginary part p0 + p1 of every product; then the way back."""
        n, half, points = self.side, self.side // 2, self.points
        spectrum = [_unit(points, {0: 1}), _unit(points, {1: 1})]
        for first in range(2, points, 3):
            spectrum += [_unit(points, {first: 1, first + 2: -1}), _unit(points, {first: 1, first + 1: 1})]
        back = []
        for i in range(self.made):
            numbers = [Fraction(1), Fraction(1 if i % 2 == 0 else -1)]
            for f in range(1, half):
                numbers += [self._cosine(f, i), self._minus_sine(f, i)]
            back.append(tuple(numbers))
        assert len(spectrum) == n
        return (tuple(back), tuple(spectrum))

    def _products(self, *three: tuple[Fraction, ...]) -> Matrix:
        """The spectrum as factors: three sums for every complex number."""
        rows = [_unit(self.side, {0: 1}), _unit(self.side, {1: 1})]
        for first in range(2, self.side, 2):
            rows += [_unit(self.side, {first: int(real), first + 1: int(imaginary)}) for real, imaginary in three]
        return tuple(rows)

    def _cosine(self, f: int, j: int) -> Fraction:
        """cos(2 pi f j / n), with the symmetries of the circle exact."""
        n = self.side
        place = f * j % n
        place = min(place, n - place)
        if 4 * place > n:
            return -self._cosine(1, n // 2 - place)
        return Fraction(0) if 4 * place == n else Fraction(math.cos(2 * math.pi * place / n))

    def _minus_sine(self, f: int, j: int) -> Fraction:
        """-sin(2 pi f j / n): the imaginary part of exp(-2 pi i f j / n)."""
        return self._cosine(1, f * j + self.side // 4)


def _unit(length: int, ones: Mapping[int, int]) -> tuple[Fraction, ...]:
    """A row of zeros but for the numbers given."""
    return tuple(Fraction(ones.get(place, 0)) for place in range(length))


def _winograd(made: int, size: int) -> Scheme:
    return Winograd(size, made)


SCHEMES: Mapping[str, Callable[[int], Scheme]] = {
    **{f"winograd{made}": partial(_winograd, made) for made in range(2, 9)},
    **{f"fourier{side}": partial(Fourier, side) for side in (12, 16, 24)},
}
"""From the name of an algorithm, and the number of taps, to the scheme."""
