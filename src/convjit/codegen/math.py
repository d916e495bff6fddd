"""Functions of vectors of float32, and the random numbers of `convjit.random`, in straight-line code.

All but `power` are within 4 units in the last place of the exact result; tests measure it. The polynomials
interpolate at Chebyshev points. Infinities and NaN give what IEEE functions give; results below the smallest normal
number may be 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Value
from convjit.random import PARITY, ROTATIONS

__all__ = ["draw", "exp", "expm1", "inverse_fourth_roots", "log", "log1p", "logistic", "polynomial", "power", "tanh"]

LOG2_HIGH, LOG2_LOW = 0.693359375, -2.12194440e-4
"""log 2 in two parts; multiples of the first by small integers are exact."""

# (exp(r) - 1 - r) / r**2 for |r| <= log(2) / 2; error 2e-10 of exp(r).
EXP = (0.500000001, 0.166666667, 0.0416664649, 0.00833331093, 0.00139336479, 0.000198909884)
# (log(1 + f) - f + f**2 / 2) / f**3 for 1 + f in [sqrt(1/2), sqrt(2)]; error 5e-9.
LOG = (
    *(0.333333312, -0.24999997, 0.200007157, -0.166678023, 0.142490576),
    *(-0.124256873, 0.116854199, -0.114797338, 0.0697161146),
)
# (tanh(x) - x) / x**3 in x**2 for |x| <= 0.625; error 6e-10 of tanh(x) / x.
TANH = (-0.333333332, 0.133333036, -0.0539592596, 0.0217689186, -0.00834394548, 0.00229274478)

# t**(-1/4) - 1 in t - FOURTH_ROOT_MIDDLE for the t that the first guess of a fourth root leaves, in [0.75, 0.9493];
# error 7e-9.
FOURTH_ROOT = (0.04146642, -0.306313666, 0.225219605, -0.198716689, 0.19291456, -0.19353144)
FOURTH_ROOT_MIDDLE = 0.85
FOURTH_ROOT_BITS = 0x4F500000
"""Less a quarter of the bits of a number, these are the bits of about its power -1/4."""

ROUNDER = 1.5 * 2**23
"""Added to a small number, leaves its nearest integer in the low bits."""
ROUNDER_BITS = 0x4B400000


def polynomial(k: Kernel, x: Value, coefficients: Sequence[float]) -> Value:
    """Sum of coefficients[i] * x**i, by Horner's rule."""
    total = k.number(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = k.fma(total, x, k.number(coefficient))
    return total


def _reduce(k: Kernel, x: Value) -> tuple[Value, Value]:
    """(n, r): x = n * log 2 + r with n an int32 and |r| about log(2) / 2 at most."""
    shifted = k.fma(x, k.number(1 / math.log(2)), k.number(ROUNDER))
    n = shifted - ROUNDER
    r = k.fma(n, k.number(-LOG2_HIGH), x)
    return k.as_words(shifted) - ROUNDER_BITS, k.fma(n, k.number(-LOG2_LOW), r)


def _power_of_two(k: Kernel, n: Value) -> Value:
    """2.0**n for n from -126 to 127."""
    return k.as_floats((n + 127) << 23)


def exp(k: Kernel, x: Value) -> Value:
    """e**x: 0 far below, infinity far above."""
    clamped = k.minimum(k.maximum(x, -104.0), 89.0)
    n, r = _reduce(k, clamped)
    value = k.fma(polynomial(k, r, EXP), r * r, r) + 1.0
    # In two steps, since 2**n itself may lie outside the range of float32 where the result does not.
    half = ((n + 256) >> 1) - 128
    return value * _power_of_two(k, half) * _power_of_two(k, n - half)


def expm1(k: Kernel, x: Value) -> Value:
    """e**x - 1, without cancellation near 0."""
    near = k.fma(polynomial(k, x, EXP), x * x, x)
    return k.select(k.absolute(x) < 0.34, near, exp(k, x) - 1.0)


def log(k: Kernel, x: Value) -> Value:
    """Natural logarithm: -infinity of 0, NaN of what is below."""
    # Adding the distance of sqrt(1/2) from 1 makes the exponent that of the number nearest to 1 times a power of two.
    bits = k.as_words(x)
    exponent = ((bits + (0x3F800000 - 0x3F3504F3)) >> 23) - 127
    f = k.as_floats(bits - (exponent << 23)) - 1.0
    e, square = k.to_float(exponent), f * f
    low = k.fma(polynomial(k, f, LOG), square * f, e * LOG2_LOW)
    value = k.fma(e, k.number(LOG2_HIGH), k.fma(square, k.number(-0.5), low) + f)
    value = k.select(x < math.inf, value, x)
    value = k.select(x < 0.0, math.nan, value)
    # Subnormal numbers count as 0, as they do to a processor that flushes them.
    return k.select(k.absolute(x) < 2.0**-126, -math.inf, value)


def log1p(k: Kernel, x: Value) -> Value:
    """log(1 + x) for x >= 0, accurate near 0."""
    w = x + 1.0
    # Kahan: what rounding did to 1 + x, it did to the logarithm in the same proportion.
    exact = log(k, w) * (x / (w - 1.0))
    return k.select(w > 1.0, k.select(w < math.inf, exact, w), x)


def logistic(k: Kernel, x: Value) -> Value:
    """1 / (1 + e**-x)."""
    return 1.0 / (exp(k, -x) + 1.0)


def tanh(k: Kernel, x: Value) -> Value:
    """Hyperbolic tangent."""
    magnitude = k.absolute(x)
    square = x * x
    near = k.fma(polynomial(k, square, TANH), square * x, x)
    far = 1.0 - 2.0 / (exp(k, magnitude + magnitude) + 1.0)
    signed = k.select(x < 0.0, -far, far)
    return k.select(magnitude < 0.625, near, signed)


def power(k: Kernel, x: Value, exponent: float) -> Value:
    """x**exponent for x >= 0 and an exponent known beforehand.

    Multiples of 1/4 up to 4 take square roots and products; the error of others is about |exponent * log x| units.
    """
    quarters = exponent * 4
    if quarters != int(quarters) or abs(quarters) > 16:
        return exp(k, log(k, x) * exponent)
    whole, part = divmod(int(abs(quarters)), 4)
    factors = [x] * whole
    if part:
        root = k.sqrt(x)
        factors += [root] * (part >= 2) + [k.sqrt(root)] * (part % 2)
    value = k.number(1.0)
    for index, factor in enumerate(factors):
        value = value * factor if index else factor
    return 1.0 / value if exponent < 0 else value


def inverse_fourth_roots(k: Kernel, xs: Sequence[Value]) -> list[Value]:
    """x**(-1/4) for normal numbers x > 0, within 2 units.

    A guess y by the bits, then a polynomial in x * y**4. Beside a shorter polynomial and a step of Newton's it saves
    two of 13 instructions; two square roots and a division take twice as long. Each waits for the one before, 40 cycles
    in all: several numbers are taken abreast, since a processor's queues hold no more than two or three such chains.
    """
    ys = [k.as_floats(FOURTH_ROOT_BITS - (k.as_words(x) >> 2)) for x in xs]
    squares = [y * y for y in ys]
    products = [x * square for x, square in zip(xs, squares, strict=True)]
    rests = [k.fma(a, b, k.number(-FOURTH_ROOT_MIDDLE)) for a, b in zip(products, squares, strict=True)]
    sums = [k.number(FOURTH_ROOT[-1]) for _ in xs]
    for coefficient in reversed(FOURTH_ROOT[:-1]):
        sums = [k.fma(total, rest, k.number(coefficient)) for total, rest in zip(sums, rests, strict=True)]
    return [k.fma(y, total, y) for y, total in zip(ys, sums, strict=True)]


def _rotate(word: Value, count: int) -> Value:
    return (word << count) | (word >> (32 - count))


def draw(k: Kernel, key: tuple[Value, Value], low: Value, high: Value) -> Value:
    """The first word of `random.threefry(key, low, high)`; all are vectors of int32."""
    schedule = [key[0], key[1], key[0] ^ key[1] ^ PARITY]
    a, b = low + schedule[0], high + schedule[1]
    for block in range(5):
        for rotation in ROTATIONS[:4] if block % 2 == 0 else ROTATIONS[4:]:
            a = a + b
            b = _rotate(b, rotation) ^ a
        a = a + schedule[(block + 1) % 3]
        b = b + schedule[(block + 2) % 3] + (block + 1)
    return a
