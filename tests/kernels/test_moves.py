"""Kernels that move numbers without changing them: Copy, Reshape, Export, ClearHalo."""

from __future__ import annotations

import numpy as np
import pytest
from harness import assert_matches, batches, integers, on_every_target, problem, run_stored

from convjit.codegen.target import Target
from convjit.ops import ClearHalo, Copy, Export, Halo, Maps, Reshape

HALOS = {"x": Halo(1, 2, 3, 0), "y": Halo(0, 1, 0, 2)}
MAPS = [Maps(1), Maps(3, 4, 5), Maps(37), Maps(2, 1, 40), Maps(1500)]


@on_every_target
@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_copy(target: Target, maps: Maps) -> None:
    for images in batches(target):
        arrays = {"x": integers(maps.logical(images), 1)}
        assert_matches(problem(Copy(maps), images, target), arrays)
    arrays["y"] = integers(maps.logical(images), 2)
    assert_matches(problem(Copy(maps, accumulate=True), images, target, **HALOS), arrays)
    upright = {"x": Halo(1, 0, 1, 0), "y": Halo(0, 0, 2, 0)}
    assert_matches(problem(Copy(maps, accumulate=True), images, target, **upright), arrays)


@on_every_target
@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_reshape(target: Target, maps: Maps) -> None:
    images, flat = target.lanes + 1, Maps(maps.features)
    for source, result in ((maps, flat), (flat, maps)):
        arrays = {"x": integers(source.logical(images), 1)}
        assert_matches(problem(Reshape(source, result), images, target), arrays)
        arrays["y"] = integers(result.logical(images), 2)
        assert_matches(problem(Reshape(source, result, accumulate=True), images, target, **HALOS), arrays)


@on_every_target
@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_export(target: Target, maps: Maps) -> None:
    for images in batches(target):
        arrays = {"x": np.random.default_rng(images).normal(size=maps.logical(images)).astype(np.float32)}
        assert_matches(problem(Export(maps), images, target), arrays)
    assert_matches(problem(Export(maps), images, target, x=HALOS["x"]), arrays)


@on_every_target
@pytest.mark.parametrize("maps", [Maps(1), Maps(3, 4, 5), Maps(40, 6, 6)], ids=str)
@pytest.mark.parametrize(
    "halo", [Halo(1, 2, 3, 4), Halo(1, 0, 0, 0), Halo(0, 0, 0, 9), Halo(9, 0, 9, 0), Halo()], ids=str
)
def test_clear_halo(target: Target, maps: Maps, halo: Halo) -> None:
    images = target.lanes + 1
    inside = integers(maps.logical(images), 1, 1, 9)
    cleared = problem(ClearHalo(maps), images, target, x=halo)
    stored = run_stored(cleared, {"x": inside})["x"]
    assert_matches(problem(Copy(maps), images, target, x=halo), {"x": inside})
    rows, columns = slice(halo.top, halo.top + maps.height), slice(halo.left, halo.left + maps.width)
    kept = np.moveaxis(stored[:, :, rows, columns], -1, 1).reshape(-1, *inside.shape[1:])[:images]
    np.testing.assert_array_equal(kept, inside)
    stored[:, :, rows, columns] = 0
    assert not stored.any()
