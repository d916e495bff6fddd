"""Several views of an image, the outputs of inner layers, and predictions as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tiny_runs import NET, kernels, tiny_data, train_tiny, write_net

import convjit
from convjit.data import Images, views
from convjit.data.dataset import in_memory
from convjit.errors import UsageError
from convjit.train.evaluate import Run
from convjit.train.features import write_features, write_predictions
from convjit.train.watch import Result

__all__ = ["kernels"]

COUNTS = (9, 10)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("views")
    return train_tiny(folder, net=write_net(folder), epochs=1)


def test_places() -> None:
    # The order of cuda-convnet's cifar-cropped and of cuda-convnet2's image: the five plain ones first.
    plain = [(0, 0), (0, 8), (4, 4), (8, 0), (8, 8)]
    assert list(views(10, (32, 32), (24, 24))) == [(*place, m) for m in (0, 1) for place in plain]
    grid = [(y, x, 0) for y in (0, 4, 8) for x in (0, 4, 8)]
    assert list(views(9, (32, 32), (24, 24))) == grid and views(1, (32, 30), (24, 24)) == ((4, 3, 0),)
    with pytest.raises(UsageError, match="there are 1, 9 and 10"):
        views(5, (32, 32), (24, 24))


@pytest.mark.parametrize("count", COUNTS)
def test_views_are_the_mean_of_single_views(trained: Result, count: int) -> None:
    """A net that sees only pixels cut out by hand gives the same probabilities as the view does."""
    data = tiny_data()
    with convjit.load(trained.run) as run:
        session = run._ready("predict")
        cut = []
        for y, x, mirror in session.views(count):
            # The same crop, moved into the centre of the image (the 8x8 image has its crop of 7 at 0, 0).
            seen = in_memory(data.test).pixels[:, :, y : y + 7, x : x + 7]
            moved = np.zeros_like(in_memory(data.test).pixels)
            moved[:, :, :7, :7] = seen
            rows = session.mean_rows("probs", Images(moved, data.test.labels), [(0, 0, mirror)])
            cut.append(np.array(list(rows), np.float64))
        mean = np.mean(cut, 0)
        found = run.test(data, views=count)
        right = mean[np.arange(60), data.test.labels]
        assert found.loss == pytest.approx(-np.log(right).mean(), rel=1e-12)
        assert found.error == pytest.approx((mean.argmax(1) != data.test.labels).mean(), abs=1e-12)
        assert np.allclose(run.mean_rows(data.test, count), mean, rtol=1e-12, atol=0)
        assert run.test(data).loss != found.loss and found.images == 60


def test_one_view_is_the_centre(trained: Result) -> None:
    data = tiny_data()
    with convjit.load(trained.run) as run:
        assert np.array_equal(run.mean_rows(data.test, 1), run.predict(in_memory(data.test).pixels).astype(float))


def test_views_in_a_recipe(tmp_path: Path) -> None:
    ten = train_tiny(tmp_path, epochs=1, overrides=["recipe.views=10"])
    with convjit.load(ten.run) as run:
        assert run.test(tiny_data()).loss == ten.test_loss and run.test(tiny_data(), views=1).loss != ten.test_loss


def test_features(trained: Result, tmp_path: Path) -> None:
    data = tiny_data()
    with Run.load(trained.run) as run:
        files = write_features(run, "fc3", data, tmp_path / "out")
        assert [file.name for file in files] == ["features.npz", "features.safetensors", "features.json"]
        with np.load(files[0]) as found:
            fc3, labels = found["data"], found["labels"]
        assert fc3.shape == (60, 3) and fc3.dtype == np.float32 and np.array_equal(labels, data.test.labels)
        again = load_file(files[1])
        assert np.array_equal(again["data"], fc3) and np.array_equal(again["labels"], labels)
        about = json.loads(files[2].read_text())
        assert about["num_vis"] == 3 and about["layer"] == "fc3" and about["source_model"] == str(trained.run)
        powers = np.exp(fc3 - fc3.max(1, keepdims=True))
        assert np.allclose(powers / powers.sum(1, keepdims=True), run.predict(in_memory(data.test).pixels), atol=1e-6)
        # The name of a layer means what goes into its neuron.
        before, after = (np.array(list(run.rows(name, data.test))) for name in ("conv1", "conv1_neuron"))
        assert before.min() < 0 and np.array_equal(np.maximum(before, 0), after) and before.shape == (60, 4 * 7 * 7)
        with pytest.raises(UsageError, match=r"'conv2' has no output to export \(did you mean 'conv1'"):
            write_features(run, "conv2", data, tmp_path / "out")
        assert len(np.array(list(run.rows("conv1", data.train)))) == 200


def test_predictions(trained: Result, tmp_path: Path) -> None:
    with Run.load(trained.run) as run:
        write_predictions(run, tiny_data(), tmp_path / "p.npz", views=10)
        with np.load(tmp_path / "p.npz") as found:
            assert np.array_equal(found["data"], run.mean_rows(tiny_data().test, 10).astype(np.float32))
        with pytest.raises(UsageError, match=r"written as \.npz"):
            write_predictions(run, tiny_data(), tmp_path / "p.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"] and "neuron=relu" in NET
