"""Training, testing and predicting on image files of many sizes: the same bits, whoever decodes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from photographs import write_photographs
from PIL import Image
from tiny_runs import NET, PARAMS, Recorder, kernels, strip_speed, train_tiny, write_net

import convjit
from convjit.cli import main
from convjit.data import Dataset, FileImages
from convjit.errors import ConfigError, RunError
from convjit.show.training import bound
from convjit.train.run_folder import RunFolder
from convjit.train.watch import Result

__all__ = ["kernels"]

COLOUR_NET = NET.replace("channels=1", "channels=3")
COLOUR_PARAMS = PARAMS.replace("1x8x8", "3x12x12").replace("crop=7", "crop=10").replace("minibatch=32", "minibatch=10")
DRAWN = [
    "recipe.cropArea=0.4",
    "recipe.rotate=10",
    "recipe.zoom=0.1",
    "recipe.brightness=0.2",
    "recipe.contrast=0.2",
    "recipe.saturation=0.3",
    "recipe.cutout=3",
    "recipe.colourNoise=0.1",
]


def files_of(folder: Path) -> Dataset:
    """Photographs as sources give them."""
    parts = []
    for split in ("train", "test"):
        paths = sorted((folder / split).glob("*/*.jpg"))
        classes = sorted({path.parent.name for path in paths})
        labels = np.array([classes.index(path.parent.name) for path in paths], np.int32)
        parts.append(FileImages(paths, labels))
    return Dataset("photographs", parts[0], parts[1], tuple(classes), "f" * 64)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return files_of(write_photographs(tmp_path_factory.mktemp("photographs"), train=12, test=5))


def run_on(folder: Path, data: Dataset, **options: Any) -> Result:
    net = None if "resume" in options else write_net(folder, COLOUR_NET, COLOUR_PARAMS)
    return train_tiny(folder, net=net, data=data, **{"epochs": 3, **options})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, photographs: Dataset) -> Result:
    return run_on(tmp_path_factory.mktemp("trained"), photographs)


@pytest.mark.parametrize("overrides", [[], DRAWN], ids=["crops", "all"])
def test_the_same_bits_on_any_number_of_threads_and_on_resume(
    tmp_path: Path, photographs: Dataset, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    # A rate that does not depend on how many epochs there will be.
    overrides = [*overrides, "fc3.epsW=0.002"]
    whole = run_on(tmp_path / "whole", photographs, overrides=overrides)
    monkeypatch.setenv("CONVJIT_DECODERS", "3")
    monkeypatch.setenv("CONVJIT_IMAGE_MEMORY", "0")
    part = run_on(tmp_path / "part", photographs, overrides=overrides, epochs=1, threads=2)
    done = run_on(tmp_path, photographs, resume=part.run, epochs=3, threads=3)
    assert done.weights_sha256 == whole.weights_sha256 and done.test_loss == whole.test_loss
    lines = [strip_speed(RunFolder.open(run).read_metrics()) for run in (done.run, whole.run)]
    assert lines[0][-1] == lines[1][-1]


@pytest.mark.parametrize("views", [1, 10])
def test_predict_gives_the_bits_of_test(trained: Result, photographs: Dataset, views: int) -> None:
    images = photographs.test
    assert isinstance(images, FileImages)
    with convjit.load(trained.run) as run:
        assert run.test(photographs).loss == trained.test_loss
        rows = run.mean_rows(images, views)
        again = run.mean_rows(FileImages(images.paths[::-1], images.labels[::-1]), views)[::-1]
        assert np.array_equal(rows, again), "neither its place in a batch nor its neighbours change an image's scores"
        if views == 1:
            found = [run.predict_file(path).probabilities for path in images.paths]
            assert rows.tolist() == [list(row) for row in found]
            features = np.array(list(run.rows("fc3", images)))
            assert np.allclose(np.exp(features) / np.exp(features).sum(1, keepdims=True), rows, rtol=1e-5)


def test_the_record_is_kept_and_obeyed(trained: Result, photographs: Dataset) -> None:
    with convjit.load(trained.run) as run:
        record = run.state.preprocessing
        assert record == run.preprocessing.record() and record["image"] == (3, 12, 12) and record["crop"] == (10, 10)
        assert (record["filter"], record["colours"], record["mean"]) == ("bilinear", "RGB", "image")
        counts = run.confusion(photographs)
        assert counts.sum() == 15 and counts.sum(1).tolist() == [5, 5, 5]
        right = round(15 * (1 - run.test(photographs).error))
        assert counts.trace() == right


class Broken(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.tested: list[str] = []

    def broken(self, line: str) -> None:
        self.lines.append(line)

    def left_out(self, line: str) -> None:
        self.tested.append(line)


def test_broken_files_are_told_once(tmp_path: Path) -> None:
    folder = write_photographs(tmp_path / "some", train=6, test=3)
    bad = [folder / "train" / "cup" / "IMG_0001.jpg", folder / "test" / "shoe" / "IMG_0000.jpg"]
    for path in bad:
        path.write_bytes(path.read_bytes()[:300])
    noted = Broken()
    data = files_of(folder)
    result = run_on(tmp_path, data, watcher=noted)
    assert len(noted.lines) == 1 and noted.lines[0].startswith(f"{bad[0]}: ")
    assert len(noted.tested) == 1 and noted.tested[0].startswith(f"{bad[1]}: "), "three tests, one line"
    with convjit.load(result.run) as run:
        found = run.test(data)
        assert (found.images, found.broken) == (8, 1) and found.loss == result.test_loss
        assert found.skipped == tuple(noted.tested) and run.test(data, views=10).skipped == found.skipped
        assert run.test(data, views=10).images == 8 and run.confusion(data).sum() == 8
        assert np.isnan(np.array(list(run.rows("fc3", data.test)))[6]).all()


def test_waiting_is_told(tmp_path: Path, photographs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_on(tmp_path, photographs, epochs=1)
    metrics = RunFolder.open(result.run).read_metrics()
    assert all(0 <= line["waiting"] <= 1 for line in metrics) and 0 <= result.waiting <= 1
    assert bound(0.01).startswith("bound by computing: data were ready 99.00 % of the time")
    assert bound(0.4).startswith("bound by data: 40.00 % of the time none were ready. Smaller files")
    assert "larger minibatches (--batch) help" in bound(0.4, decoded=True)
    assert "Each image is decoded once and kept" in bound(0.4, kept=result.kept)
    monkeypatch.setenv("CONVJIT_IMAGE_MEMORY", "0")
    assert not run_on(tmp_path / "other", photographs, epochs=1).kept


def test_what_cannot_be(tmp_path: Path, photographs: Dataset, trained: Result) -> None:
    net = write_net(tmp_path, COLOUR_NET, COLOUR_PARAMS.replace("image=3x12x12\n", ""))
    with pytest.raises(ConfigError, match="size of the images is not known"):
        train_tiny(tmp_path, net=net, data=photographs)
    for change in ("cropArea=0", "cropRatio=0.5", "rotate=200", "brightness=2", "cutout=-1", "saturation=none"):
        with pytest.raises(ConfigError, match=change.split("=")[0]):
            run_on(tmp_path, photographs, overrides=[f"recipe.{change}"])
    other = Dataset("x", photographs.train, photographs.test, ("a", "b", "c"), "f" * 64)
    with convjit.load(trained.run) as run, pytest.raises(RunError, match="other classes"):
        run.test(other)


def test_a_confusion_table(trained: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of images in a folder of one size, since the command opens them itself."""
    folder = tmp_path / "same"
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cup", "plant", "shoe"):
            (folder / split / name).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    assert main(["test", str(trained.run), "--data", str(folder), "--confusion"]) == 0
    out = capsys.readouterr().out
    assert "rows are the images' classes" in out and all(name in out for name in ("cup", "plant", "shoe", "right"))
    assert main(["test", str(trained.run), "--data", str(folder), "--confusion", "--json"]) == 0
    assert '"confusion": [[' in capsys.readouterr().out
