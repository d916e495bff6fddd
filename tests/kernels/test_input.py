"""Input against the reference: bytes minus whole numbers are exact."""

from __future__ import annotations

import numpy as np
import pytest
from harness import NdArray, assert_matches, batches, integers, on_every_target, problem

from convjit.codegen.target import Target
from convjit.ops import Halo, Input, Maps


def arrays(op: Input, images: int, seed: int = 0) -> dict[str, NdArray]:
    """Random pixels, and crops at every place inside the image, mirrored and not."""
    rng = np.random.default_rng(seed)
    source, maps = op.source, op.maps
    crops = [
        rng.integers(0, source.height - maps.height + 1, images),
        rng.integers(0, source.width - maps.width + 1, images),
        rng.integers(0, 2, images),
    ]
    found: dict[str, NdArray] = {
        "pixels": rng.integers(0, 256, source.logical(images), dtype=np.uint8),
        "crops": np.stack(crops, axis=1).astype(np.int32),
        "mean": integers((maps.channels, maps.height, maps.width), seed, 100, 150),
    }
    return found | ({"tints": integers((images, maps.channels), seed, -20, 20)} if op.factor else {})


@on_every_target
@pytest.mark.parametrize(
    ("source", "maps"),
    [
        (Maps(1), Maps(1)),
        (Maps(3, 8, 9), Maps(3, 5, 7)),  # rows below 16 bytes
        (Maps(3, 16, 16), Maps(3, 16, 16)),
        (Maps(3, 32, 32), Maps(3, 24, 24)),  # the last 16 bytes overlap
        (Maps(1, 40, 70), Maps(1, 37, 67)),  # several tasks for a channel
        (Maps(2, 3, 1100), Maps(2, 2, 1090)),  # rows longer than a task's share
    ],
    ids=lambda maps: str(maps),
)
def test_shapes(target: Target, source: Maps, maps: Maps) -> None:
    op, images = Input(source, maps), target.lanes + 1
    assert_matches(problem(op, images, target, x=Halo(2, 1, 0, 3)), arrays(op, images))


@on_every_target
def test_batches(target: Target) -> None:
    op = Input(Maps(3, 20, 20), Maps(3, 18, 18))
    for images in batches(target):
        assert_matches(problem(op, images, target), arrays(op, images, images))


@on_every_target
def test_colour_noise(target: Target) -> None:
    op = Input(Maps(3, 20, 20), Maps(3, 18, 18), factor=0.5)
    for images in batches(target):
        assert_matches(problem(op, images, target), arrays(op, images, images))
