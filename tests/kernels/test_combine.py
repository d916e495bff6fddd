"""Sums, maxima and copies of several maps, and pooling across channels: on whole numbers, bit for bit."""

from __future__ import annotations

import pytest
from harness import NdArray, assert_matches, batches, integers, on_every_target, problem

from convjit.codegen.target import Target
from convjit.ops import (
    Concat,
    CrossPoolBackward,
    CrossPoolForward,
    CrossPoolShape,
    Cut,
    Halo,
    Maps,
    Maximum,
    MaximumBackward,
    Op,
    Scale,
    WeightedSum,
)

HALOS = [Halo(1, 2, 3, 0), Halo(0, 1, 0, 2), Halo(1, 0, 0, 1), Halo(2, 1, 0, 0)]
MAPS = Maps(5, 3, 4)
OPS: list[Op] = [
    WeightedSum(MAPS, (2, -3, 0.5)),
    WeightedSum(Maps(3), (4,)),
    Scale(MAPS, -2, accumulate=True),
    Maximum(MAPS, 3),
    MaximumBackward(MAPS),
    MaximumBackward(Maps(37), accumulate=True),
    Concat((MAPS, Maps(1, 3, 4), Maps(2, 3, 4))),
    Concat((Maps(7), Maps(3))),
    Cut(MAPS, Maps(2, 2, 3), 1, 1, 0),
    Cut(MAPS, Maps(4, 3, 4), 1),
    Cut(Maps(19), Maps(6), 5, accumulate=True),
]
CROSS_POOLS = [
    CrossPoolShape(Maps(7, 3, 2), 3, 2, 0, 3),
    CrossPoolShape(Maps(7, 3, 2), 3, 2, -2, 4),
    CrossPoolShape(Maps(4), 4, 1, -3, 7),
    CrossPoolShape(Maps(6, 2, 2), 2, 2, 0, 3),
    CrossPoolShape(Maps(1, 2, 3), 1, 1, 0, 1),
]


def arrays(op: Op, images: int) -> dict[str, NdArray]:
    """Whole numbers for every operand; few different ones, so that there are ties."""
    names = [*op.reads, *(op.writes if getattr(op, "accumulate", False) else ())]
    return {name: integers(op.operands()[name].logical(images), i, -2, 2) for i, name in enumerate(names)}


@on_every_target
@pytest.mark.parametrize("op", OPS, ids=lambda op: op.text())
def test_exactly(target: Target, op: Op) -> None:
    halos = dict(zip(op.names, HALOS, strict=False))
    assert_matches(problem(op, target.lanes + 1, target), arrays(op, target.lanes + 1))
    assert_matches(problem(op, 1, target, **halos), arrays(op, 1))
    if op.in_place and not getattr(op, "accumulate", False):
        for pair in op.in_place:
            assert_matches(problem(op, 2, target), arrays(op, 2), in_place=pair)


@on_every_target
@pytest.mark.parametrize("shape", CROSS_POOLS, ids=str)
def test_across_channels(target: Target, shape: CrossPoolShape) -> None:
    images = target.lanes + 1
    x, dy, old = (
        integers(maps.logical(images), i, -2, 2) for i, maps in enumerate((shape.maps, shape.output, shape.maps))
    )
    y = CrossPoolForward(shape).reference({"x": x})["y"]
    halos = dict(zip(("x", "y", "dy", "dx"), HALOS, strict=True))
    assert_matches(problem(CrossPoolForward(shape), images, target), {"x": x})
    assert_matches(problem(CrossPoolForward(shape), images, target, x=HALOS[0], y=HALOS[1]), {"x": x})
    given = {"x": x, "y": y, "dy": dy}
    assert_matches(problem(CrossPoolBackward(shape), images, target), given)
    assert_matches(problem(CrossPoolBackward(shape, accumulate=True), images, target, **halos), {**given, "dx": old})


@on_every_target
def test_batches(target: Target) -> None:
    for images in batches(target):
        for op in (OPS[0], OPS[6]):
            assert_matches(problem(op, images, target), arrays(op, images))
