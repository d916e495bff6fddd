"""Normalisation against a direct sum in float64.

A window has at most n*n numbers of at most 3: n*n + 1 roundings of their squares' sum, of which the power passes on
3/4; the power itself and products make some 8 more. In a gradient as many terms are added again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from harness import EPSILON, NdArray, assert_matches, batches, on_every_target, problem, run_kernel

from convjit.codegen.target import Target
from convjit.ops import (
    ContrastNormBackward,
    ContrastNormForward,
    CrossMapNormBackward,
    CrossMapNormForward,
    Halo,
    Maps,
    Neuron,
    NormShape,
    Op,
    ResponseNormBackward,
    ResponseNormForward,
)

HALOS = {
    "x": Halo(1, 2, 3, 0),
    "y": Halo(0, 1, 0, 2),
    "dy": Halo(1, 0, 0, 1),
    "dx": Halo(2, 1, 0, 0),
    "z": Halo(0, 2, 1, 1),
}
FLAT_HALOS = {
    "x": Halo(1, 0, 3, 0),
    "y": Halo(0, 0, 2, 0),
    "dy": Halo(1, 0, 0, 0),
    "dx": Halo(2, 0, 0, 0),
    "z": Halo(0, 0, 1, 0),
}
WITHIN = [
    NormShape(Maps(2, 7, 9), 3, 0.5, 0.75),
    NormShape(Maps(1, 5, 4), 4, 0.5, 0.6, 2.0),
    NormShape(Maps(1, 3, 3), 3, 2.0, 0.75, 0.5),
    NormShape(Maps(1, 17, 14), 14, 3.0, 0.75),
    NormShape(Maps(1, 9, 13), 5, 3.0, 0.75),
    NormShape(Maps(1, 6, 2), 2, 3.0, 0.75),
    NormShape(Maps(2, 8, 8), 1, 3.0, 0.75),
]
ACROSS = [
    (NormShape(Maps(9, 3, 5), 5, 0.5, 0.75, 2.0), False),
    (NormShape(Maps(8, 2, 3), 4, 0.5, 0.5), False),
    (NormShape(Maps(2, 1, 1), 2, 0.5, 0.75), False),
    (NormShape(Maps(17, 1, 3), 14, 2.0, 0.75), False),
    (NormShape(Maps(3, 2, 2), 5, 0.5, 0.75), False),
    (NormShape(Maps(3, 9, 100), 2, 0.5, 0.75), False),
    (NormShape(Maps(25, 1, 2), 9, 0.5, 0.75), False),
    (NormShape(Maps(20, 2, 1), 5, 0.5, 0.75), False),
    (NormShape(Maps(13, 1, 3), 3, 0.5, 0.75), False),
    (NormShape(Maps(10, 3, 5), 4, 0.5, 0.75, 2.0), True),
    (NormShape(Maps(31, 1, 3), 14, 2.0, 0.75), True),
]


def terms(shape: NormShape, across: bool) -> int:
    """Roundings of a result."""
    return 2 * (shape.size if across else shape.size**2) + 40


def arrays(op: Op, images: int) -> dict[str, NdArray]:
    """Numbers for what the op reads."""
    rng = np.random.default_rng(images)
    names = [*(name for name in op.reads if name in op.names), *(("dx",) if getattr(op, "accumulate", False) else ())]
    found = {name: rng.uniform(-3, 3, op.operands()[name].logical(images)) for name in names}
    return {name: array.astype(np.float32) for name, array in found.items()}


def check(op: Op, images: int, target: Target, roundings: float, **halos: Halo) -> None:
    """Compare with the reference, in place too where there are no halos."""
    halos = {name: halo for name, halo in halos.items() if name in op.names}
    given = arrays(op, images)
    assert_matches(problem(op, images, target, **halos), given, terms=roundings, scale=6)
    if op.in_place and not halos and not getattr(op, "accumulate", False):
        assert_matches(problem(op, images, target), given, terms=roundings, scale=6, in_place=op.in_place[0])


@on_every_target
@pytest.mark.parametrize("shape", WITHIN, ids=str)
@pytest.mark.parametrize(
    ("forward", "backward"),
    [(ResponseNormForward, ResponseNormBackward), (ContrastNormForward, ContrastNormBackward)],
    ids=["response", "contrast"],
)
def test_within_maps(target: Target, shape: NormShape, forward: Any, backward: Any) -> None:
    images, roundings = target.lanes + 1, terms(shape, across=False)
    check(forward(shape), images, target, roundings, **HALOS)
    check(backward(shape), images, target, roundings)
    check(backward(shape, accumulate=True), 1, target, roundings, **HALOS)
    check(backward(shape, neuron=Neuron("relu")), 1, target, roundings, **HALOS)
    check(backward(shape, neuron=Neuron("relu")), images, target, roundings)


@on_every_target
@pytest.mark.parametrize(("shape", "blocked"), ACROSS, ids=str)
def test_across_maps(target: Target, shape: NormShape, blocked: bool) -> None:
    images, roundings = target.lanes + 1, terms(shape, across=True)
    check(CrossMapNormForward(shape, blocked), images, target, roundings, **FLAT_HALOS)
    check(CrossMapNormBackward(shape, blocked), images, target, roundings)
    check(CrossMapNormForward(shape, blocked), 1, target, roundings, **HALOS)
    check(CrossMapNormBackward(shape, blocked, accumulate=True), 1, target, roundings, **HALOS)
    check(CrossMapNormBackward(shape, blocked, neuron=Neuron("relu")), images, target, roundings)
    check(CrossMapNormBackward(shape, blocked, neuron=Neuron("relu")), 1, target, roundings, **FLAT_HALOS)


@on_every_target
def test_batches(target: Target) -> None:
    within, (across, _) = WITHIN[0], ACROSS[0]
    for images in batches(target):
        check(ResponseNormForward(within), images, target, terms(within, across=False))
        check(CrossMapNormBackward(across), images, target, terms(across, across=True))


@on_every_target
@pytest.mark.parametrize("size", [4, 5])
@pytest.mark.parametrize("blocked", [False, True])
def test_cross_map_against_a_sum_written_out(target: Target, size: int, blocked: bool) -> None:
    """The formula once more, term by term, with the scale divided and the window of even size leaning low."""
    shape = NormShape(Maps(11, 1, 2), size, 0.7, 0.75, 2.0)
    x = arrays(CrossMapNormForward(shape), 2)["x"]
    found = run_kernel(problem(CrossMapNormForward(shape, blocked), 2, target), {"x": x})["y"]
    for n, c, i, j in np.ndindex(*x.shape):
        start = c // size * size if blocked else c - {4: 2, 5: 2}[size]
        members = [other for other in range(start, start + size) if 0 <= other < 11]
        d = 2.0 + 0.7 / size * sum(float(x[n, other, i, j]) ** 2 for other in members)
        assert abs(found[n, c, i, j] - x[n, c, i, j] / d**0.75) <= 30 * EPSILON * 3


@on_every_target
def test_small_numbers_have_exact_gradients(target: Target) -> None:
    """Near 0 the original lost the gradient, which it derived from quotients of outputs and inputs."""
    op = CrossMapNormBackward(NormShape(Maps(4), 3, 1.0, 0.75))
    x = np.array([0, 1e-20, 2, 0], np.float32).reshape(1, 4, 1, 1)
    dx = run_kernel(problem(op, 1, target), {"x": x, "dy": np.ones_like(x)})["dx"]
    want = op.reference({"x": x.astype(np.float64), "dy": np.ones_like(x, np.float64)})["dx"]
    np.testing.assert_allclose(dx, want, rtol=1e-6)


@on_every_target
def test_outputs_larger_than_the_caches(target: Target) -> None:
    small = replace(target, third_level=100)
    shape = NormShape(Maps(7, 3, 4), 5, 0.5, 0.75)
    check(CrossMapNormForward(shape), target.lanes + 1, small, terms(shape, across=True), **FLAT_HALOS)
