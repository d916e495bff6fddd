"""Gradients of biases against the reference: sums of whole numbers are exact."""

from __future__ import annotations

import pytest
from harness import assert_matches, batches, integers, on_every_target, problem

from convjit.codegen.target import Target
from convjit.ops import BiasBackward, Halo, Maps


@on_every_target
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "unshared"])
@pytest.mark.parametrize("maps", [Maps(1), Maps(3, 5, 7), Maps(67), Maps(2, 1, 300)], ids=str)
def test_shapes(target: Target, maps: Maps, shared: bool) -> None:
    for images in batches(target)[-2:]:
        dy = integers(maps.logical(images), images)
        assert_matches(problem(BiasBackward(maps, shared), images, target), {"dy": dy})
        old = integers((maps.channels,) if shared else (maps.channels, maps.height, maps.width), 9)
        added = BiasBackward(maps, shared, accumulate=True)
        assert_matches(problem(added, images, target, dy=Halo(1, 2, 0, 1)), {"dy": dy, "db": old})


@on_every_target
def test_batches(target: Target) -> None:
    for images in (*batches(target), 3 * target.lanes):
        dy = integers(Maps(4, 3, 3).logical(images), images)
        assert_matches(problem(BiasBackward(Maps(4, 3, 3)), images, target), {"dy": dy})
