"""Vector functions against float64, and the random numbers against NumPy's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import evaluate, on_every_target
from numpy.typing import NDArray

from convjit import random
from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.values import Value
from convjit.kernels.dropout import mask

COUNT = 16 * 1024
Function = Callable[[Kernel, Value], Value]


def spread(low: float, high: float, seed: int = 0) -> NDArray[np.float32]:
    """Numbers of every magnitude between e**low and e**high."""
    return np.exp(np.random.default_rng(seed).uniform(low, high, COUNT)).astype(np.float32)


SIGNED = spread(-30, 3) * np.where(np.arange(COUNT) % 2, -1, 1).astype(np.float32)
RANGE = np.linspace(-87, 88.5, COUNT).astype(np.float32)
CASES: dict[str, tuple[Function, Callable[[NDArray[Any]], NDArray[Any]], list[NDArray[np.float32]]]] = {
    "exp": (math.exp, np.exp, [RANGE, SIGNED]),
    "expm1": (math.expm1, np.expm1, [RANGE, SIGNED]),
    "log": (math.log, np.log, [spread(-87, 88), spread(-0.7, 0.7)]),
    "log1p": (math.log1p, np.log1p, [spread(-80, 88), spread(-0.7, 0.7)]),
    "tanh": (math.tanh, np.tanh, [SIGNED, RANGE]),
    "inverse_fourth_roots": (
        lambda k, x: math.inverse_fourth_roots(k, [x])[0],
        lambda x: x**-0.25,
        [spread(-87, 88), spread(-0.7, 2)],
    ),
    "logistic": (math.logistic, lambda x: 1 / (1 + np.exp(-x)), [RANGE, SIGNED]),
}


def worst(found: NDArray[Any], want: NDArray[Any]) -> float:
    """Largest error in units in the last place."""
    unit = np.spacing(np.maximum(np.abs(want), 2.0**-126).astype(np.float32)).astype(np.float64)
    return float(np.max(np.abs(found - want) / unit))


@on_every_target
@pytest.mark.parametrize("name", CASES)
def test_error_is_within_four_units(target: Target, name: str) -> None:
    function, reference, samples = CASES[name]
    x = np.concatenate(samples)
    found = evaluate(target, lambda k, v: function(k, v[0]), x)
    assert worst(found, reference(x.astype(np.float64))) <= 4


@on_every_target
@pytest.mark.parametrize("exponent", [-1.5, -1, -0.75, -0.5, 0, 0.25, 0.75, 2, 3.25])
def test_power_by_roots(target: Target, exponent: float) -> None:
    x = spread(-5, 5)
    found = evaluate(target, lambda k, v: math.power(k, v[0], exponent), x)
    assert worst(found, x.astype(np.float64) ** exponent) <= 4


@on_every_target
def test_power_by_logarithm(target: Target) -> None:
    x = spread(-5, 5)
    found = evaluate(target, lambda k, v: math.power(k, v[0], 0.3), x)
    # Three roundings of a logarithm of at most 5, in units of 1, times the exponent; and three units of exp.
    assert worst(found, x.astype(np.float64) ** 0.3) <= 3 + 3 * 5 * 0.3


@on_every_target
@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("exp", [0, np.inf, -np.inf, np.nan, 200, -200, 88.73], [1, np.inf, 0, np.nan, np.inf, 0, np.inf]),
        ("log", [0, -0.0, np.inf, -np.inf, np.nan, -1, 1], [-np.inf, -np.inf, np.inf, np.nan, np.nan, np.nan, 0]),
        ("tanh", [0, np.inf, -np.inf, np.nan, 100, -100], [0, 1, -1, np.nan, 1, -1]),
        ("logistic", [0, np.inf, -np.inf, np.nan, 200, -200], [0.5, 1, 0, np.nan, 1, 0]),
        ("log1p", [0, np.inf, np.nan], [0, np.inf, np.nan]),
        ("expm1", [0, np.inf, -np.inf, np.nan], [0, np.inf, -1, np.nan]),
    ],
)
def test_edges(target: Target, name: str, x: list[float], y: list[float]) -> None:
    padded = np.zeros(16, np.float32)
    padded[: len(x)] = x
    found = evaluate(target, lambda k, v: CASES[name][0](k, v[0]), padded)
    np.testing.assert_array_equal(found[: len(y)], np.array(y, np.float32))


@on_every_target
def test_draw_is_threefry(target: Target) -> None:
    rng = np.random.default_rng(1)
    low, high = rng.integers(0, 2**32, (2, 64), dtype=np.uint32)
    key = (0x9E3779B9, 0x12345678)

    def body(k: Kernel, v: list[Value]) -> Value:
        return k.as_floats(math.draw(k, (k.words([key[0]] * k.lanes), k.words([key[1]] * k.lanes)), v[0], v[1]))

    found = evaluate(target, body, low.view(np.int32), high.view(np.int32))
    np.testing.assert_array_equal(found.view(np.uint32), random.threefry(key, low, high)[0])


@on_every_target
@pytest.mark.parametrize("features", [3, 2**28 + 5, 2**32 - 1, 2**32 + 7])
@pytest.mark.parametrize("first", [0, 100])
def test_mask_counts_beyond_32_bits(target: Target, features: int, first: int) -> None:
    key, block, feature = (5, 2**32 - 9), 3, features - 1

    def body(k: Kernel, v: list[Value]) -> Value:
        words = k.words([key[0]] * k.lanes), k.words([key[1]] * k.lanes)
        kept = mask(k, words, k.index(first), features, 0.5)(k.index(block), k.index(feature))
        return k.select(kept, k.number(1.0), 0.0)

    found = evaluate(target, body, np.zeros(target.lanes, np.float32))
    image = first + block * target.lanes + np.arange(target.lanes, dtype=np.uint64)
    index = image * np.uint64(features) + np.uint64(feature)
    words = random.threefry(
        key, (index & np.uint64(2**32 - 1)).astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
    )
    np.testing.assert_array_equal(found, words[0] >> np.uint32(8) < 2**23)
