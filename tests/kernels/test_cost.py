"""Costs against the reference, on probabilities that are multiples of 1/16, of which many are equal."""

from __future__ import annotations

import numpy as np
import pytest
from harness import NdArray, assert_matches, batches, on_every_target, problem, run_kernel

from convjit.codegen.target import Target
from convjit.ops import CostTotals, Halo, LogregBackward, LogregForward, Maps, SoftmaxLogregBackward


def arrays(classes: int, images: int, seed: int = 0) -> dict[str, NdArray]:
    """Probabilities with ties, and labels of which some say "none"."""
    rng = np.random.default_rng(seed)
    p = rng.integers(1, 5, Maps(classes).logical(images)) / 16
    return {"p": p.astype(np.float32), "labels": rng.integers(-1, classes, images).astype(np.int32)}


@on_every_target
@pytest.mark.parametrize(("classes", "topk"), [(1, 1), (2, 1), (10, 3), (37, 5)])
def test_logreg_forward(target: Target, classes: int, topk: int) -> None:
    op = LogregForward(classes, topk)
    for images in batches(target):
        # log: 4 units of a number below 3; errors: a quotient and a difference, at most 1.
        given = arrays(classes, images, images)
        assert_matches(problem(op, images, target, p=Halo(0, 1, 1, 0)), given, terms=8, scale=1)
        assert_matches(problem(op, images, target), given, terms=8, scale=1)


@on_every_target
def test_probability_zero_is_finite(target: Target) -> None:
    given = {"p": np.array([0, 1], np.float32).reshape(1, 2, 1, 1), "labels": np.zeros(1, np.int32)}
    costs = run_kernel(problem(LogregForward(2), 1, target), given)["costs"]
    np.testing.assert_allclose(costs, [[126 * np.log(2), 1, 1]], rtol=1e-6)
    dx = run_kernel(problem(LogregBackward(2, 0.5), 1, target), given)["dx"]
    np.testing.assert_allclose(dx.ravel(), [-(2.0**125), 0])


@on_every_target
@pytest.mark.parametrize("classes", [1, 10, 37])
def test_backward(target: Target, classes: int) -> None:
    for images in batches(target):
        given = arrays(classes, images, images)
        # 1/p is rounded once; differences of multiples of 1/16 are exact.
        assert_matches(problem(LogregBackward(classes, 0.5), images, target), given, terms=2)
        assert_matches(problem(SoftmaxLogregBackward(classes, 0.5), images, target), given)
        given["dx"] = np.ones_like(given["p"])
        halos = {"p": Halo(0, 1, 1, 0), "dx": Halo(1, 0, 0, 1)}
        op = SoftmaxLogregBackward(classes, 0.5, accumulate=True)
        assert_matches(problem(op, images, target, **halos), given)
        op_apart = LogregBackward(classes, 0.5, accumulate=True)
        assert_matches(problem(op_apart, images, target, **halos), given, terms=2, scale=16)


@on_every_target
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_totals_count_real_images_only(target: Target, columns: int) -> None:
    for images in (*batches(target), 100):
        costs = np.random.default_rng(images).normal(size=(images, columns)).astype(np.float32)
        assert_matches(problem(CostTotals(columns), images, target), {"costs": costs})
