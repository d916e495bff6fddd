"""Images on another grid, and in other colours: copies bit for bit, the rest up to its roundings."""

from __future__ import annotations

import numpy as np
import pytest
from harness import NdArray, assert_matches, batches, integers, on_every_target, problem, run_kernel

from convjit.codegen.target import Target
from convjit.ops import (
    Blur,
    Halo,
    Maps,
    Mirror,
    Nailbed,
    NailbedBackward,
    Op,
    Rescale,
    Resize,
    RgbToLab,
    RgbToYuv,
)

HALOS = [Halo(1, 2, 3, 0), Halo(0, 1, 0, 2)]
MAPS = Maps(2, 9, 7)
OPS: list[tuple[Op, float]] = [
    (Mirror(MAPS), 0),
    (Mirror(Maps(1)), 0),
    (Nailbed(MAPS, 3), 0),
    (Nailbed(MAPS, 1), 0),
    (Nailbed(Maps(1, 2, 2), 5), 0),
    (NailbedBackward(MAPS, 3), 0),
    (NailbedBackward(MAPS, 2, accumulate=True), 0),
    # Two sums of K products each.
    (Blur(MAPS, 3, 0.7), 20),
    (Blur(MAPS, 9, 2.5, accumulate=True), 40),
    (Blur(Maps(1, 2, 3), 7, 1), 40),
    # Two differences, products and sums; a place, which is right to 2**-24, times a difference.
    (Resize(MAPS, Maps(2, 6, 5), 1.4), 16),
    (Resize(MAPS, Maps(2, 18, 14), 0.5), 16),
    (Resize(Maps(1, 1, 1), Maps(1, 1, 1), 1.0), 16),
    (RgbToYuv(Maps(3, 2, 5)), 8),
]


def arrays(op: Op, images: int) -> dict[str, NdArray]:
    """Whole numbers."""
    names = [*op.reads, *(op.writes if getattr(op, "accumulate", False) else ())]
    return {name: integers(op.operands()[name].logical(images), i) for i, name in enumerate(names)}


@on_every_target
@pytest.mark.parametrize(("op", "terms"), OPS, ids=lambda one: one.text() if isinstance(one, Op) else "")
def test_ops(target: Target, op: Op, terms: float) -> None:
    halos = dict(zip(op.names, HALOS, strict=True))
    assert_matches(problem(op, target.lanes + 1, target), arrays(op, target.lanes + 1), terms=terms, scale=8)
    assert_matches(problem(op, 1, target, **halos), arrays(op, 1), terms=terms, scale=8)


@on_every_target
def test_batches(target: Target) -> None:
    for images in batches(target):
        for op, terms in (OPS[0], OPS[7]):
            assert_matches(problem(op, images, target), arrays(op, images), terms=terms, scale=8)


@on_every_target
@pytest.mark.parametrize("maps", [Maps(2, 9, 7), Maps(1, 5, 5), Maps(1, 1, 1)], ids=str)
def test_rescale(target: Target, maps: Maps) -> None:
    """All sizes are drawn in some of the steps, the whole image too."""
    side = min(maps.height, maps.width)
    smallest = max(side // 2, 1)
    op = Rescale(maps, Maps(maps.channels, maps.height * smallest // side, maps.width * smallest // side), smallest)
    x = arrays(op, 3)["x"]
    for step in range(12):
        key = np.random.default_rng(step).integers(-(2**31), 2**31, 2).astype(np.int32)
        assert_matches(problem(op, 3, target), {"x": x, "key": key}, terms=16, scale=8)


def test_sizes_are_drawn_in_proportion_to_squares() -> None:
    thresholds = Rescale(Maps(1, 8, 8), Maps(1, 6, 6), 6).thresholds()
    np.testing.assert_allclose(np.array(thresholds) / 2**24, [1 / 14, 5 / 14], atol=1e-7)


@on_every_target
def test_colours_by_hand(target: Target) -> None:
    colours = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], np.float32)
    given = {"x": np.tile(colours.T[None, :, :, None], (target.lanes + 1, 1, 1, 1))}
    maps = Maps(3, 5, 1)
    yuv = run_kernel(problem(RgbToYuv(maps), target.lanes + 1, target), given)["y"]
    np.testing.assert_allclose(yuv[-1, :, 3, 0], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(yuv[-1, :, 0, 0], [0.2126, -0.09991, 0.615], rtol=1e-6)
    # White: X = Y = Z = 1. Red: X = .49, Y = .17697, Z = 0, so f = .78838, .56147, .13793.
    want = [[49.13, 113.462, 84.707], [92.239, -128.14, 143.524], [9.509, 182.463, -155.349], [100, 0, 0], [0, 0, 0]]
    for centred, off in ((False, 0), (True, 50)):
        lab = run_kernel(problem(RgbToLab(maps, centred), target.lanes + 1, target), given)["y"][-1, :, :, 0].T
        np.testing.assert_allclose(lab, want - np.array([off, 0, 0]), atol=1e-3)


@on_every_target
def test_lab_of_random_colours(target: Target) -> None:
    op = RgbToLab(Maps(3, 4, 3))
    x = np.random.default_rng(0).uniform(-0.2, 1.5, op.maps.logical(3)).astype(np.float32)
    # The power is a logarithm and an exponential; 500 times a difference of numbers near 1.
    assert_matches(problem(op, 3, target), {"x": x}, terms=40, scale=500)
    assert_matches(problem(op, 3, target), {"x": x}, terms=40, scale=500, in_place=("x", "y"))


def test_nailbed_is_centred() -> None:
    assert Nailbed(Maps(1, 6, 7), 3).start == (1, 0)
    assert Nailbed(Maps(1, 4, 5), 2).start == (1, 0)
    assert Nailbed(Maps(1, 4, 5), 2).maps == Maps(1, 2, 3)
