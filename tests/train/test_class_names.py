"""Classes are known by their names (gate D8): data of others are refused by name, data of some are matched."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_runs import kernels, train_tiny

import convjit
from convjit.cli import main
from convjit.errors import RunError
from convjit.train.watch import Result

__all__ = ["kernels"]

COUNT = 40


def write_set(folder: Path, classes: str = "abc", *, size: int = 8, count: int = COUNT) -> Path:
    """Class folders of grey pictures with a bright row at the place of the class."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng([ord(name), i]).integers(0, 120, (8, 8), dtype=np.uint8)
            pixels[1 + 2 * (ord(name) % 3)] += 120
            image = Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST)
            image.save(folder / name / f"{i:03}.png")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("names")
    return train_tiny(folder, data=write_set(folder / "set"), epochs=20)


def refused(*args: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(args) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_other_classes_are_named(trained: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = str(write_set(tmp_path / "more", "abcd"))
    other = str(write_set(tmp_path / "other", "abd"))
    run = shutil.copytree(trained.run, tmp_path / "run")
    cases = {more: "the data have 'd'", other: "the data have 'd', they lack 'c'"}
    for data, says in cases.items():
        for args in (["test", str(run), "--data", data], ["train", "--resume", str(run), "--data", data]):
            line = refused(*args, capsys=capsys)
            assert f"other classes than those of the run: {says}; give data of these classes" in line
    few = str(write_set(tmp_path / "few", "ab"))
    assert "they lack 'c'" in refused("train", "--resume", str(run), "--data", few, capsys=capsys)


def test_a_renamed_class_is_seen_when_a_run_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_set(tmp_path / "set")
    run = train_tiny(tmp_path, data=data, epochs=1).run
    (data / "b").rename(data / "z")
    line = refused("train", "--resume", str(run), "--epochs", "2", capsys=capsys)
    assert "the data have 'z', they lack 'b'" in line
    assert "the data have 'z', they lack 'b'" in refused("test", str(run), capsys=capsys)


def test_some_of_the_classes_are_matched_by_name(trained: Result, tmp_path: Path) -> None:
    with convjit.load(trained.run) as run:
        assert run.test().error < 0.2
        # All images of a set without a split are tested, in whichever form they are.
        for size, classes in ((8, "c"), (8, "bc"), (8, "abc"), (32, "bc"), (13, "abc")):
            folder = tmp_path / f"{size}{classes}"
            if len(classes) == 1:
                # Of one class alone it takes a folder that says what it is for.
                write_set(folder / "test", classes)
                write_set(folder / "train", classes)
            else:
                write_set(folder, classes, size=size)
            result = run.test(folder)
            assert result.images == COUNT * len(classes) and result.error < 0.2


def test_the_run_s_own_data_keep_their_split(trained: Result) -> None:
    with convjit.load(trained.run) as run:
        images = run.test().images
        assert 3 <= images < COUNT and run.test(run.state.data).images == images


def test_a_share_of_another_size(tmp_path: Path) -> None:
    data = write_set(tmp_path / "set")
    run = train_tiny(tmp_path, data=f"{data}#validation=0.5", epochs=1).run
    with convjit.load(run) as loaded:
        assert loaded.state.data.endswith("#validation=0.5") and 40 <= loaded.test().images <= 80
        with pytest.raises(RunError, match="they lack"):
            loaded.test(write_set(tmp_path / "other", "ade"))
