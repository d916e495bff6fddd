"""Costs against targets: outputs and targets are multiples of 1/16, of which many are equal; some targets are none."""

from __future__ import annotations

import numpy as np
import pytest
from harness import NdArray, assert_matches, batches, integers, on_every_target, problem, run_kernel, run_stored

from convjit.codegen.target import Target
from convjit.ops import (
    BinaryBackward,
    BinaryCounts,
    BinaryForward,
    CrossEntropyBackward,
    CrossEntropyForward,
    Halo,
    LogisticBinaryBackward,
    Maps,
    Op,
    SoftmaxCrossEntropyBackward,
    SquaresBackward,
    SquaresForward,
    Targets,
)

MAPS = [Maps(1), Maps(10), Maps(3, 2, 5)]
HALOS = {"p": Halo(0, 1, 1, 0), "t": Halo(1, 0, 0, 2), "dx": Halo(1, 0, 0, 1), "x": Halo(2, 1, 0, 1)}


def arrays(op: Op, maps: Maps, images: int) -> dict[str, NdArray]:
    """Outputs in (0, 1), targets in [0, 1] or -1, an image without targets, and images without a label."""
    rng = np.random.default_rng(images)
    t = rng.integers(-2, 17, maps.logical(images)) / 16
    t[t < 0] = -1
    t[0] = -1 if images > 1 else 0.25
    found = {
        "p": rng.integers(1, 16, maps.logical(images)) / 16,
        "t": t,
        "x": rng.integers(-4, 5, maps.logical(images)),
        "labels": rng.integers(-1, 3, images),
        "dx": rng.integers(-4, 5, maps.logical(images)),
    }
    names = [*op.reads, *(op.writes if getattr(op, "accumulate", False) else ())]
    return {name: found[name].astype(np.int32 if name == "labels" else np.float32) for name in names}


@on_every_target
@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_costs(target: Target, maps: Maps) -> None:
    for images in batches(target):
        # Each term: a logarithm below 3 with 4 units, a product, a sum of up to 30 such.
        for op in (CrossEntropyForward(maps), BinaryForward(maps, 2.5)):
            assert_matches(problem(op, images, target), arrays(op, maps, images), terms=12 * maps.features, scale=8)
        squares = SquaresForward(maps)
        assert_matches(problem(squares, images, target), arrays(squares, maps, images))
        if maps.height == 1:
            counts = BinaryCounts(maps.channels)
            assert_matches(problem(counts, images, target), arrays(counts, maps, images))
    halos = {"p": HALOS["p"], "t": HALOS["t"]}
    forward = BinaryForward(maps)
    assert_matches(problem(forward, 1, target, **halos), arrays(forward, maps, 1), terms=12 * maps.features, scale=8)


@on_every_target
@pytest.mark.parametrize("maps", MAPS, ids=str)
def test_gradients(target: Target, maps: Maps) -> None:
    images = target.lanes + 1
    for accumulate in (False, True):
        # A quotient of at most 16 with a rounding; sums and products of multiples of 1/16 and 1/2 are exact.
        for op, terms in (
            (CrossEntropyBackward(maps, 0.5, accumulate), 3),
            (SoftmaxCrossEntropyBackward(maps, 0.5, accumulate), 0),
            (BinaryBackward(maps, 0.5, 2.5, accumulate), 6),
            (LogisticBinaryBackward(maps, 0.5, 2.5, accumulate), 0),
            (SquaresBackward(maps, 0.5, accumulate), 0),
        ):
            halos = {name: HALOS[name] for name in op.names if name in HALOS} if accumulate else {}
            assert_matches(problem(op, images, target, **halos), arrays(op, maps, images), terms=terms, scale=40)


@on_every_target
def test_logarithm_of_zero_is_minus_50(target: Target) -> None:
    p = np.array([0, 1], np.float32).reshape(1, 2, 1, 1)
    given = {"p": p, "t": 1 - p}
    entropy = run_kernel(problem(CrossEntropyForward(Maps(2)), 1, target), given)["costs"]
    np.testing.assert_allclose(entropy, [[50, 1]], rtol=1e-6)
    binary = run_kernel(problem(BinaryForward(Maps(2)), 1, target), given)["costs"]
    np.testing.assert_allclose(binary, [[100, 1, 1]], rtol=1e-6)


@on_every_target
def test_lanes_without_an_image_have_no_targets(target: Target) -> None:
    for maps in (Maps(1), Maps(10), Maps(3, 2, 2)):
        op = Targets(maps)
        for images in batches(target):
            rows = integers((images, maps.features), images)
            assert_matches(problem(op, images, target, x=HALOS["x"]), {"rows": rows})
            stored = run_stored(problem(op, images, target), {"rows": rows})["x"]
            lanes = np.moveaxis(stored, -1, 1).reshape(-1, maps.features)
            assert (lanes[images:] == -1).all()
