"""Using a trained net: test and prediction agree with training, and image files are brought into the run's form."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_runs import kernels, tiny_data, train_tiny

import convjit
from convjit.data import Preprocessing
from convjit.data.dataset import in_memory
from convjit.errors import DataError, RunError
from convjit.train.evaluate import read_image
from convjit.train.watch import Result

__all__ = ["kernels"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return train_tiny(tmp_path_factory.mktemp("trained"))


def test_a_test_repeats_that_of_training(trained: Result) -> None:
    found = convjit.test(trained.run, tiny_data())
    assert (found.loss, found.error, found.images, found.step) == (trained.test_loss, trained.test_error, 60, 21)


def test_a_checkpoint_alone_is_enough(tmp_path: Path, trained: Result) -> None:
    shutil.copy(trained.run / "checkpoints" / "step-00000021.safetensors", tmp_path / "net.safetensors")
    assert convjit.test(tmp_path / "net.safetensors", tiny_data()).error == trained.test_error


def test_predictions_agree_with_the_test(trained: Result) -> None:
    data = tiny_data()
    with convjit.load(trained.run) as run:
        rows, counts = run.predict(in_memory(data.test).pixels), run.confusion(data)
    assert rows.shape == (60, 3)
    np.testing.assert_allclose(rows.sum(1), 1, rtol=1e-5)
    wrong = float((rows.argmax(1) != data.test.labels).mean())
    assert trained.test_error == pytest.approx(wrong)
    assert counts.sum() == 60 and np.trace(counts) == round(60 * (1 - wrong))
    loss = -np.log(rows[np.arange(60), data.test.labels]).mean()
    assert trained.test_loss == pytest.approx(loss, rel=1e-5)


def test_a_file_is_predicted_as_its_pixels(tmp_path: Path, trained: Result) -> None:
    pixels = in_memory(tiny_data().test).pixels[:40]
    paths = [tmp_path / f"{number}.png" for number in range(40)]
    for path, image in zip(paths, pixels, strict=True):
        Image.fromarray(image[0]).save(path)
    found = convjit.predict(trained.run, paths)
    with convjit.load(trained.run) as run:
        rows = run.predict(pixels)
    assert [prediction.probabilities for prediction in found] == [tuple(row) for row in rows.tolist()]
    assert found[0].classes == ("a", "b", "c")
    best, probability = found[0].top(1)[0]
    assert probability == max(found[0].probabilities) and best == "abc"[int(rows[0].argmax())]


def test_broken_files_do_not_stop_the_others(tmp_path: Path, trained: Result) -> None:
    good = tmp_path / "good.png"
    Image.new("RGB", (30, 20), (200, 10, 10)).save(good)
    (tmp_path / "bad.png").write_bytes(b"no image")
    with convjit.load(trained.run) as run:
        found = list(run.predict_files([tmp_path / "bad.png", good, tmp_path / "none.png", tmp_path]))
        with pytest.raises(DataError, match=r"bad\.png"):
            run.predict_file(tmp_path / "bad.png")
    assert [isinstance(one, DataError) for one in found] == [True, False, True, True]


def test_other_data_are_refused(trained: Result) -> None:
    with pytest.raises(RunError, match="the data have 'x', they lack 'c'"):
        convjit.test(trained.run, tiny_data(classes=("a", "b", "x")))
    with pytest.raises(RunError, match="the data have 'd'; give data of these classes"):
        convjit.test(trained.run, tiny_data(classes=("a", "b", "c", "d")))
    with pytest.raises(RunError, match="arrays"):
        convjit.test(trained.run)
    with convjit.load(trained.run) as run, pytest.raises(DataError, match="1x8x8"):
        run.predict(np.zeros((1, 3, 8, 8), np.uint8))


@pytest.mark.parametrize(
    ("size", "mode", "shape"),
    [((8, 8), "L", (1, 8, 8)), ((80, 30), "RGB", (1, 8, 8)), ((5, 9), "RGB", (3, 8, 6)), ((1, 1), "L", (3, 4, 4))],
)
def test_any_image_fits(tmp_path: Path, size: tuple[int, int], mode: str, shape: tuple[int, int, int]) -> None:
    Image.new(mode, size, "white").save(tmp_path / "image.png")
    found = read_image(tmp_path / "image.png", Preprocessing(shape))
    assert found.shape == shape and found.dtype == np.uint8 and found.min() == 255


def test_the_centre_is_what_counts(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30), np.uint8)
    pixels[:, 10:20] = 255
    for times, inner in ((1, slice(None)), (4, slice(1, -1))):
        Image.fromarray(np.repeat(np.repeat(pixels, times, 0), times, 1)).save(tmp_path / "image.png")
        assert read_image(tmp_path / "image.png", Preprocessing((1, 10, 10)))[0, :, inner].min() > 250
