"""Dropout against the reference: the same mask, bit for bit; a product is rounded once, its factor once."""

from __future__ import annotations

import numpy as np
import pytest
from harness import NdArray, assert_matches, batches, on_every_target, problem, run_kernel

from convjit import random
from convjit.codegen.target import Target
from convjit.ops import DropoutBackward, DropoutForward, Halo, Maps, Scale

MAPS = [Maps(1), Maps(3, 4, 5), Maps(1100)]
HALOS = {"x": Halo(1, 2, 3, 0), "y": Halo(0, 1, 0, 2), "dy": Halo(1, 0, 0, 1), "dx": Halo(2, 1, 0, 0)}


def key(step: int, first: int = 0) -> NdArray:
    """The two words and the first image as they lie in the key's buffer."""
    return np.array([*random.derive_key(1, "dropout", step), first], np.uint32).view(np.int32)


def normal(maps: Maps, images: int, seed: int) -> NdArray:
    """Random numbers."""
    return np.random.default_rng(seed).normal(size=maps.logical(images)).astype(np.float32)


@on_every_target
@pytest.mark.parametrize("maps", MAPS, ids=str)
@pytest.mark.parametrize("keep", [0.5, 0.3, 1.0])
def test_forward(target: Target, maps: Maps, keep: float) -> None:
    images = target.lanes + 1
    arrays = {"x": normal(maps, images, 1), "key": key(images)}
    assert_matches(problem(DropoutForward(maps, keep, False), images, target), arrays, in_place=("x", "y"))
    op = DropoutForward(maps, keep, True)
    assert_matches(problem(op, images, target, x=HALOS["x"], y=HALOS["y"]), arrays, terms=2)


@on_every_target
@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_backward(target: Target, maps: Maps) -> None:
    images = target.lanes + 1
    arrays = {"dy": normal(maps, images, 1), "key": key(3)}
    assert_matches(problem(DropoutBackward(maps, 0.5, True), images, target), arrays, in_place=("dy", "dx"))
    arrays["dx"] = normal(maps, images, 2)
    op = DropoutBackward(maps, 0.3, False, accumulate=True)
    assert_matches(problem(op, images, target, dy=HALOS["dy"], dx=HALOS["dx"]), arrays, terms=1)


@on_every_target
def test_batches(target: Target) -> None:
    maps = Maps(3, 4, 5)
    for images in batches(target):
        arrays = {"x": normal(maps, images, 1), "key": key(images)}
        assert_matches(problem(DropoutForward(maps, 0.5, False), images, target), arrays)


@on_every_target
def test_parts_have_the_masks_of_the_whole(target: Target) -> None:
    maps, images, first = Maps(3, 4, 5), target.lanes + 3, 2
    x, op = normal(maps, images, 1), DropoutForward(maps, 0.5, True)
    whole = run_kernel(problem(op, images, target), {"x": x, "key": key(1)})["y"]
    part = run_kernel(problem(op, images - first, target), {"x": x[first:], "key": key(1, first)})["y"]
    np.testing.assert_array_equal(part, whole[first:])


@on_every_target
def test_share_kept(target: Target) -> None:
    maps = Maps(5000)
    arrays = {"x": np.ones(maps.logical(8), np.float32), "key": key(0)}
    y = run_kernel(problem(DropoutForward(maps, 0.3, False), 8, target), arrays)["y"]
    # Six standard deviations of the mean of 40,000 numbers.
    assert abs(y.mean() - 0.3) < 6 * np.sqrt(0.3 * 0.7 / y.size)


@on_every_target
def test_scale(target: Target) -> None:
    for maps in MAPS:
        for images in batches(target):
            arrays = {"x": normal(maps, images, 1)}
            assert_matches(problem(Scale(maps, 0.5), images, target, **{n: HALOS[n] for n in ("x", "y")}), arrays)
            assert_matches(problem(Scale(maps, 0.5), images, target), arrays, in_place=("x", "y"))
