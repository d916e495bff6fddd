"""Input against the reference: bytes minus whole numbers are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from harness import NdArray, assert_matches, batches, integers, on_every_target, problem

from convjit.codegen.target import Target
from convjit.ops import Halo, Input, Maps, Numbers


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
    sides = [maps.height, maps.width]
    corners = rng.integers(-3, sides, (images, 2))
    drawn: dict[str, NdArray] = {
        "tints": integers((images, maps.channels), seed, -20, 20),
        # Eighths and quarters, so that every product is exact; points inside the image and beyond all of its edges.
        "places": np.concatenate(
            [
                rng.integers(-16, 8 * source.height, (images, 1)) / 8,
                rng.integers(-4, 10, (images, 2)) / 8,
                rng.integers(-16, 8 * source.width, (images, 1)) / 8,
                rng.integers(-4, 10, (images, 2)) / 8,
            ],
            axis=1,
        ).astype(np.float32),
        "colours": (rng.integers(-8, 9, (images, maps.channels, maps.channels + 1)) / 4).astype(np.float32),
        "cuts": np.concatenate([corners, corners + rng.integers(0, 9, (images, 2))], axis=1).astype(np.int32),
    }
    return found | {name: array for name, array in drawn.items() if name in op.names}


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


DRAWN = [
    {"warp": True},
    {"recolour": True},
    {"cutout": True},
    {"warp": True, "recolour": True, "cutout": True, "factor": 0.5},
    {"recolour": True, "factor": 0.5},
]


@on_every_target
@pytest.mark.parametrize("options", DRAWN, ids=lambda options: "+".join(options))
@pytest.mark.parametrize(
    ("source", "maps"),
    [
        (Maps(3, 20, 24), Maps(3, 18, 19)),
        (Maps(1, 9, 9), Maps(1, 5, 7)),
        (Maps(3, 40, 70), Maps(3, 37, 67)),
        (Maps(1, 1, 1), Maps(1, 1, 1)),
    ],
    ids=lambda maps: str(maps),
)
def test_what_is_drawn(target: Target, source: Maps, maps: Maps, options: dict[str, Any]) -> None:
    op = Input(source, maps, **options)
    for images in (1, target.lanes + 1):
        assert_matches(problem(op, images, target, x=Halo(1, 2, 0, 1)), arrays(op, images, images))


def test_a_still_place_is_a_crop() -> None:
    """The reference by itself: without turn or zoom points are the pixels of the crop; a quarter of a turn is one."""
    plain, warp = Input(Maps(3, 9, 9), Maps(3, 5, 5)), Input(Maps(3, 9, 9), Maps(3, 5, 5), warp=True)
    found = arrays(plain, 6)
    top, left = found["crops"][:, :2].T
    one, none = np.ones(6), np.zeros(6)
    still = np.stack([top, one, none, left, none, one], axis=1)
    assert np.array_equal(warp.run(found | {"places": still})["x"], plain.run(found)["x"])
    turned = np.stack([top + 4, none, -one, left, one, none], axis=1)
    unmirrored = found | {"crops": found["crops"] * [1, 1, 0], "mean": np.zeros((3, 5, 5))}
    expected = np.rot90(plain.run(unmirrored)["x"], -1, (2, 3))
    assert np.array_equal(warp.run(unmirrored | {"places": turned})["x"], expected)


@on_every_target
@pytest.mark.parametrize("maps", [Maps(1), Maps(37), Maps(3, 5, 7)], ids=str)
@pytest.mark.parametrize("halo", [Halo(), Halo(1, 2, 0, 1)], ids=str)
def test_numbers(maps: Maps, halo: Halo, target: Target) -> None:
    shape = (maps.channels, maps.height, maps.width)
    for images in batches(target):
        given = {"pixels": integers((images, *shape), images), "mean": integers(shape, 1)}
        assert_matches(problem(Numbers(maps), images, target, x=halo), given)
