"""Constraints and updates of several steps: kernels against references, and against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from harness import assert_matches, integers, on_every_target, problem, run_kernel

from convjit.codegen.target import Target
from convjit.ops import Array, Constrain, PeriodicUpdate, Rule

RULES = (Rule("sphere", 3.0), Rule("ball", 3.0), Rule("deviation", 0.2), Rule("deviation", 0.2, 0.15))


@on_every_target
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (7, 16), (9, 75), (3, 5, 5, 17), (2, 9000)], ids=str)
def test_constraints(target: Target, rule: Rule, shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape[1:]))
    weights = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    weights[1:2] = 0
    # A sum of `size` squares, a root, a division, a product.
    assert_matches(problem(Constrain(Array(shape), size, rule), 1, target), {"weights": weights}, terms=4 + size**0.5)


def test_constraints_by_hand() -> None:
    filters = {"weights": np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])}

    def held(rule: Rule) -> list[list[float]]:
        found = Constrain(Array((3, 2)), 2, rule).run(filters)["weights"]
        return [[round(float(w), 6) for w in row] for row in found]

    assert held(Rule("sphere", 10)) == [[6, 8], [6, 8], [0, 0]]
    assert held(Rule("ball", 1)) == [[0.6, 0.8], [0.3, 0.4], [0, 0]]
    # Deviations are sqrt(2 * 0.5**2) / 2 = 0.353553 and a tenth of it: divided by the count, not by its root.
    assert held(Rule("deviation", 0.1767767, 0.07071068)) == [[1.5, 2], [0.6, 0.8], [0, 0]]


@on_every_target
def test_periodic(target: Target) -> None:
    array = Array((5, 7))
    weights = integers(array.shape)
    op = Constrain(array, 7, Rule("sphere", 1.0), periodic=True)
    for due in (0, 1):
        given = {"weights": weights, "rates": np.array([0.5, 0.25, 0.125, 0.0625, due], np.float32)}
        found = run_kernel(problem(op, 1, target), given)["weights"]
        assert (found == weights).all() == (not due)
        assert_matches(problem(op, 1, target), given, terms=8)


@on_every_target
@pytest.mark.parametrize("due", [0, 1])
@pytest.mark.parametrize("shape", [(1,), (15,), (16,), (17,), (5, 7, 11), (20003,)], ids=str)
def test_update_of_several_steps(target: Target, shape: tuple[int, ...], due: int) -> None:
    names = ("weights", "increments", "total", "gradient")
    given = {name: integers(shape, seed) for seed, name in enumerate(names)}
    given["rates"] = np.array([0.5, 0.25, 0.125, 0.0625, due], np.float32)
    assert_matches(problem(PeriodicUpdate(Array(shape), 4), 1, target), given)
