"""Softmax against the reference.

exp has 2 roundings of its own and |x - max| from its argument, here at most 20; the sum of C terms has C, the quotient
2. So has the sum in the gradient, of numbers that are at most 1.
"""

from __future__ import annotations

import numpy as np
import pytest
from harness import NdArray, assert_matches, batches, on_every_target, problem, run_kernel

from convjit.codegen.target import Target
from convjit.ops import Halo, Maps, SoftmaxBackward, SoftmaxForward

MAPS = [Maps(1), Maps(10), Maps(1000), Maps(3, 2, 5)]
HALOS = {"x": Halo(1, 2, 3, 0), "y": Halo(0, 1, 0, 2), "dy": Halo(1, 0, 0, 1), "dx": Halo(2, 1, 0, 0)}


def terms(maps: Maps) -> int:
    """Roundings of a result."""
    return maps.features + 30


def normal(maps: Maps, images: int, seed: int) -> NdArray:
    """Random numbers in [-10, 10]."""
    return np.random.default_rng(seed).uniform(-10, 10, maps.logical(images)).astype(np.float32)


@on_every_target
@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_forward(target: Target, maps: Maps) -> None:
    op, images = SoftmaxForward(maps), target.lanes + 1
    arrays = {"x": normal(maps, images, 1)}
    assert_matches(problem(op, images, target, x=HALOS["x"], y=HALOS["y"]), arrays, terms=terms(maps))
    assert_matches(problem(op, images, target), arrays, terms=terms(maps), in_place=("x", "y"))


@on_every_target
@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_backward(target: Target, maps: Maps) -> None:
    images = target.lanes + 1
    y = SoftmaxForward(maps).reference({"x": normal(maps, images, 1).astype(np.float64)})["y"].astype(np.float32)
    arrays: dict[str, NdArray] = {"dy": normal(maps, images, 2) / 10, "y": y}
    op = SoftmaxBackward(maps)
    assert_matches(problem(op, images, target), arrays, terms=terms(maps), scale=1, in_place=("dy", "dx"))
    arrays["dx"] = normal(maps, images, 3)
    halos = {name: HALOS[name] for name in ("dy", "y", "dx")}
    added = SoftmaxBackward(maps, accumulate=True)
    assert_matches(problem(added, images, target, **halos), arrays, terms=terms(maps), scale=10)


@on_every_target
def test_batches(target: Target) -> None:
    for images in batches(target):
        arrays = {"x": normal(Maps(10), images, images)}
        assert_matches(problem(SoftmaxForward(Maps(10)), images, target), arrays, terms=terms(Maps(10)))


@on_every_target
def test_large_inputs_do_not_overflow(target: Target) -> None:
    x = np.array([1000, 999, -1000], np.float32).reshape(1, 3, 1, 1)
    y = run_kernel(problem(SoftmaxForward(Maps(3)), 1, target), {"x": x})["y"].ravel()
    np.testing.assert_allclose(y, [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0], rtol=1e-6)
