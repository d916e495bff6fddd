"""What is done to pixels before the net sees them: colour noise, a scalar mean; and the order in which they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_runs import NET, PARAMS, Recorder, kernels, train_tiny, write_net

import convjit
from convjit import random
from convjit.cfg import parse_net
from convjit.data import Batch, Dataset, Feeder, Images, from_arrays, minibatches
from convjit.data.dataset import in_memory
from convjit.data.statistics import colour_axes, mean_image
from convjit.errors import ConfigError
from convjit.graph import Recipe
from convjit.train.initial import initial_weights
from convjit.train.order import Order, Place
from convjit.train.session import Session

__all__ = ["kernels"]

NOISY = 0.3


def colours(count: int = 40) -> Dataset:
    """Images whose colours lie along one direction, mostly."""
    rng = np.random.default_rng(0)
    along = rng.normal(0, 30, (count, 1, 6, 6)) * np.array([1, 2, 0.5])[:, None, None]
    pixels = (128 + along + rng.normal(0, 3, (count, 3, 6, 6))).clip(0, 255).astype(np.uint8)
    return from_arrays(pixels[:-10], np.arange(count - 10) % 3, pixels[-10:], np.arange(10) % 3, ("a", "b", "c"))


def test_axes_are_the_principal_ones() -> None:
    data = colours()
    axes = colour_axes(data)
    pixels = in_memory(data.train).pixels.transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
    assert np.allclose(axes.T @ axes, np.cov(pixels, bias=True), rtol=1e-4)
    gram = axes @ axes.T
    assert np.allclose(gram, np.diag(np.diag(gram)), atol=1e-2 * gram.max()) and (np.diff(np.diag(gram)) > 0).all()
    along = axes[2] / np.linalg.norm(axes[2])
    assert np.allclose(along, np.array([1, 2, 0.5]) / np.linalg.norm([1, 2, 0.5]), atol=0.05)


def test_every_image_gets_its_own_colour() -> None:
    """(pixel - mean + c * offset) / (1 + c), the offset a normal number along each axis; training only."""
    data = colours()
    net = parse_net(
        NET.replace("channels=1", "channels=3"),
        PARAMS.replace("1x8x8", f"3x6x6\ncolourNoise={NOISY}"),
        overrides=["recipe.crop=0"],
    ).net
    mean, axes = mean_image(data), colour_axes(data)
    with Session(net, 16, mean, axes=axes, threads=1) as session:
        session.executor("train")
        session.set_arrays(initial_weights(net, 1).items(), increments=False)
        crops = np.zeros((16, 3), np.int32)
        batch = Batch(in_memory(data.train).pixels[:16], data.train.labels[:16], crops, 16, 5, 4, np.arange(16))
        session.step(batch, seed=7, progress=0, epoch=0)
        tints = session.executor("train").host["tints"][:16]
        drawn = random.normals(random.derive_key(7, "colour", 4), np.arange(16), 3)
        assert np.allclose(tints, NOISY * drawn @ axes, rtol=1e-5) and len(np.unique(tints)) == 48
        launch = next(one for one in session.executor("train").program.launches if one.name == "data.input")
        found = launch.op.run({"pixels": batch.pixels, "crops": batch.crops, "mean": mean, "tints": tints})["x"]
        assert np.allclose(found, (batch.pixels - mean + tints[:, :, None, None]) / (1 + NOISY), rtol=1e-6)
        session.step(Batch(**{**vars(batch), "epoch": 5}), seed=7, progress=0, epoch=0)
        assert not np.array_equal(session.executor("train").host["tints"][:16], NOISY * drawn @ axes)
        assert "tints" not in session.executor("test").host


def test_noise_goes_on_as_it_was(tmp_path: Path) -> None:
    noisy = ["recipe.colourNoise=0.2", "fc3.epsW=0.002"]
    whole = train_tiny(tmp_path / "whole", overrides=noisy, epochs=2)
    first = train_tiny(tmp_path / "part", overrides=noisy, epochs=1)
    assert train_tiny(tmp_path, resume=first.run, epochs=2).weights_sha256 == whole.weights_sha256
    assert train_tiny(tmp_path / "plain", overrides=noisy[1:], epochs=2).weights_sha256 != whole.weights_sha256
    with convjit.load(whole.run) as run:
        assert "axes" in dict(run.checkpoint.arrays())


def test_a_scalar_mean(tmp_path: Path) -> None:
    found = train_tiny(tmp_path, overrides=["recipe.scalarMean=100.5"], epochs=1)
    with convjit.load(found.run) as run:
        mean = dict(run.checkpoint.arrays())["mean"]
        assert run.state.mean == "100.5" and mean.shape == (1, 7, 7) and (mean == 100.5).all()


@pytest.mark.parametrize("text", ["views=5", "colourNoise=-1", "scalarMean=256", "order=random", "average=mean"])
def test_wrong_recipes(text: str) -> None:
    with pytest.raises(ConfigError, match=text.split("=")[0]):
        parse_net(NET, PARAMS.replace("[recipe]", f"[recipe]\n{text}"))


def test_what_is_taken_off_in_a_word() -> None:
    assert [Recipe(scalar_mean=m).taken_off for m in (-1, 0, 120)] == ["image", "0", "120"]


def test_minibatches_keep_to_data_batches() -> None:
    assert minibatches(10, 4) == [(0, 4), (4, 8), (8, 10)]
    assert minibatches(10, 4, (5, 5)) == [(0, 4), (4, 5), (5, 9), (9, 10)]
    pixels = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    images = Images(pixels, np.arange(10, dtype=np.int32), (5, 5))
    with Feeder(images, 4, seed=0, start_step=2, stop_step=6, shuffle=False) as feeder:
        assert feeder.steps_per_epoch == 4
        found = [(b.step, b.epoch, b.pixels[: b.count, 0, 0, 0].tolist()) for b in feeder]
    assert found == [(2, 0, [5, 6, 7, 8]), (3, 0, [9]), (4, 1, [0, 1, 2, 3]), (5, 1, [4])]


def test_places_and_steps() -> None:
    order = Order((40, 10, 33), 16)
    assert order.steps_per_epoch == 3 + 1 + 3
    for step in range(30):
        assert order.step(order.place(step)) == step
    assert order.place(7) == Place(1, 0, 0) and order.place(10) == Place(1, 1, 0) and order.place(13) == Place(1, 2, 2)
    assert [order.epoch(step) for step in (0, 2, 3, 7, 10)] == [0, 0, 1 / 3, 1, 4 / 3]
    # In other data batches: at the same epoch and batch, or at the epoch's end.
    assert Order((40,), 16).step(order.place(10)) == 6 and Order((40, 10), 16).step(Place(0, 1, 5)) == 4


def test_a_trained_order_is_fixed(tmp_path: Path) -> None:
    """order=batches is the same run whatever the seed says of the order, as long as nothing else is random."""
    quiet = [
        "recipe.order=batches",
        "recipe.crop=0",
        "recipe.mirror=false",
        "drop1.keep=1",
        "conv1.initW=0",
        "fc3.initW=0",
    ]
    losses = []
    for seed in (1, 2):
        noted = Recorder()
        train_tiny(tmp_path / str(seed), net=write_net(tmp_path), overrides=quiet, epochs=1, seed=seed, watcher=noted)
        losses.append(noted.losses)
    assert losses[0] == losses[1]
