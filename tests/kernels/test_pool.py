"""Pooling against the reference, on whole numbers: maxima and sums are exact; means, up to their rounding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from harness import (
    NdArray,
    assert_matches,
    batches,
    compile_text_for,
    integers,
    on_every_target,
    problem,
    run_kernel,
)

from convjit.codegen.target import Target
from convjit.ops import (
    AvgPoolBackward,
    AvgPoolForward,
    Halo,
    MaxAbsPoolForward,
    MaxPoolBackward,
    MaxPoolForward,
    Neuron,
    Op,
    PoolShape,
)
from convjit.ops.neuron import ThroughNeuron

HALOS = {
    "x": Halo(1, 2, 3, 0),
    "y": Halo(0, 1, 0, 2),
    "dy": Halo(1, 0, 0, 1),
    "dx": Halo(2, 1, 0, 0),
    "z": Halo(0, 2, 1, 1),
}
SHAPES = [
    "c1 h1 k1 s1",
    "c2 h8 k3 s2",
    "c3 h7 w9 k3 s2 start-1",
    "c1 h6 k2 s2",
    "c2 h5 k3 s3",
    "c2 h9 k3 s1 start-1",
    "c1 h6 k6 s1",
    "c1 h13 w11 k5 s2 start-2",
    "c5 h3 w40 k3 s2",
    "c1 h4 k1 s3",  # a stride beyond the window: pixels without a window
    "c1 h5 k2 s4 start-3",  # a first window outside the image
    "c1 h4 k2 s2 rows5 columns3",  # last windows outside the image
    "c2 h20 k12 s1 start-3",  # loops over the windows
    "c1 h19 k13 s7 start-5 rows4",
]
PLAIN = [
    "c2 h32 k3 s2",
    "c1 h55 k3 s2",
    "c2 h13 k3 s2",
    "c1 h4 k1 s3",
    "c2 h20 k12 s1 start-3",
]
# A mean: a sum of up to K*K whole numbers is exact, its factor 1 / pixels and the product are rounded. In the gradient
# that is so for each window that contains the pixel, as are the sums over them; all are at most 4.
MEAN_TERMS = 2


def ops(shape: PoolShape, accumulate: bool) -> list[tuple[Op, float]]:
    """All ops of a shape, and the roundings that each may make."""
    windows = min(-(-shape.size // shape.stride), shape.rows) * min(-(-shape.size // shape.stride), shape.columns)
    return [
        (MaxPoolForward(shape), 0),
        (MaxPoolForward(shape, rectified=True), 0),
        (MaxAbsPoolForward(shape), 0),
        (AvgPoolForward(shape), MEAN_TERMS),
        (AvgPoolForward(shape, sum=True), 0),
        (MaxPoolBackward(shape, accumulate), 0),
        (MaxPoolBackward(shape, accumulate, rectified=True), 0),
        (AvgPoolBackward(shape, accumulate=accumulate), 4 * windows + 1),
        (AvgPoolBackward(shape, True, accumulate), 0),
    ]


def arrays(op: Op, shape: PoolShape, images: int) -> dict[str, NdArray]:
    """Whole numbers for every operand; few different ones, so that there are ties."""
    x = integers(shape.input.logical(images), 1)
    if shape.size > 9:
        # The largest of so many would hardly ever be below 0.
        x -= 4
    y = MaxPoolForward(shape, getattr(op, "rectified", False)).reference({"x": x})["y"]
    found = {"x": x, "y": y, "dy": integers(shape.output.logical(images), 2), "z": integers(x.shape, 4)}
    if getattr(op, "accumulate", False):
        found["dx"] = integers(shape.input.logical(images), 3)
    wanted = {*op.reads, "dx"} & set(op.names)
    return {name: array for name, array in found.items() if name in wanted}


@on_every_target
@pytest.mark.parametrize("text", SHAPES)
def test_shapes_with_halos_adding(target: Target, text: str) -> None:
    shape, images = PoolShape.parse(text), target.lanes + 1
    for op, terms in ops(shape, accumulate=True):
        assert_matches(problem(op, images, target, **HALOS), arrays(op, shape, images), terms=terms, scale=4)


@on_every_target
@pytest.mark.parametrize("text", PLAIN)
def test_shapes_without_halos_replacing(target: Target, text: str) -> None:
    shape = PoolShape.parse(text)
    for op, terms in ops(shape, accumulate=False):
        assert_matches(problem(op, 2, target), arrays(op, shape, 2), terms=terms, scale=4)


@on_every_target
@pytest.mark.parametrize("text", SHAPES)
def test_gradients_through_a_neuron(target: Target, text: str) -> None:
    shape, images = PoolShape.parse(text), target.lanes + 1
    gradients = [(op, terms) for op, terms in ops(shape, accumulate=False) if isinstance(op, ThroughNeuron)]
    assert len(gradients) == 4
    for op, terms in gradients:
        through = replace(op, neuron=Neuron("relu"))
        assert_matches(problem(through, images, target, **HALOS), arrays(through, shape, images), terms=terms, scale=4)


@on_every_target
def test_batches(target: Target) -> None:
    shape = PoolShape.parse("c3 h7 k3 s2 start-1")
    for images in batches(target):
        for op, terms in ops(shape, accumulate=True):
            assert_matches(problem(op, images, target), arrays(op, shape, images), terms=terms, scale=4)


@on_every_target
def test_every_tie_gets_the_gradient(target: Target) -> None:
    shape = PoolShape.parse("c1 h4 k2 s2")
    ones = np.ones(shape.input.logical(1), np.float32)
    halves = np.ones(shape.output.logical(1), np.float32)
    found = run_kernel(problem(MaxPoolBackward(shape), 1, target), {"x": ones, "y": halves, "dy": 3 * halves})
    np.testing.assert_array_equal(found["dx"], 3 * ones)


@on_every_target
def test_infinities_stay(target: Target) -> None:
    shape = PoolShape.parse("c1 h3 k3 s1")
    x = np.full(shape.input.logical(1), -np.inf, np.float32)
    assert run_kernel(problem(MaxPoolForward(shape), 1, target), {"x": x})["y"] == -np.inf
    x[0, 0, 1, 1] = np.inf
    assert run_kernel(problem(MaxPoolForward(shape), 1, target), {"x": x})["y"] == np.inf


@on_every_target
def test_of_equal_magnitudes_the_last_counts(target: Target) -> None:
    shape = PoolShape.parse("c1 h2 k2 s2")
    for numbers, largest in (((1, -3, 3, 2), 3), ((1, 3, -3, 2), -3), ((-5, 5, 0, 0), 5), ((5, -1, 2, -5), -5)):
        x = np.array(numbers, np.float32).reshape(1, 1, 2, 2)
        assert run_kernel(problem(MaxAbsPoolForward(shape), 1, target), {"x": x})["y"] == largest


@on_every_target
def test_outputs_larger_than_the_caches_are_stored_past_them(target: Target) -> None:
    small = replace(target, third_level=100)
    shape = PoolShape.parse("c2 h9 w10 k3 s2")
    op = MaxPoolBackward(shape)
    past = {"avx512": "vmovntps", "avx2": "vmovntps", "sse": "movntps"}
    asked = problem(op, target.lanes + 1, small)
    assert past.get(target.name, "stnp") in compile_text_for(asked)
    assert_matches(asked, arrays(op, shape, target.lanes + 1))
