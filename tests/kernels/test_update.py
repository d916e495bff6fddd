"""The update against the reference: exact for small whole numbers and rates that are powers of two."""

from __future__ import annotations

import numpy as np
import pytest
from harness import NdArray, assert_matches, integers, on_every_target, problem

from convjit.codegen.target import Target
from convjit.ops import Array, Update

RATES = np.array([0.5, 0.25, 0.125, 0.0625], np.float32)


def arrays(shape: tuple[int, ...]) -> dict[str, NdArray]:
    """Whole numbers and the rates."""
    found = {name: integers(shape, seed) for seed, name in enumerate(("weights", "increments", "gradient"))}
    return found | {"rates": RATES}


@on_every_target
@pytest.mark.parametrize("shape", [(1,), (3,), (4,), (15,), (16,), (17,), (5, 7, 11), (8192,), (20003,)], ids=str)
def test_lengths(target: Target, shape: tuple[int, ...]) -> None:
    assert_matches(problem(Update(Array(shape)), 1, target), arrays(shape))


@on_every_target
def test_any_rates(target: Target) -> None:
    rng = np.random.default_rng(0)
    shape = (100, 3)
    given = {name: rng.normal(size=shape).astype(np.float32) for name in ("weights", "increments", "gradient")}
    given["rates"] = np.array([0.001, 0.9, 0.0005, 1 / 128], np.float32)
    # Five products and sums of numbers of at most 5.
    assert_matches(problem(Update(Array(shape)), 128, target), given, terms=6, scale=5)
