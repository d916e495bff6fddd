"""docs/your_own_images.md, command by command, on generated photographs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from photographs import photograph, write_turned
from tiny_runs import kernels

from convjit.cli import main
from convjit.graph import Recipe

__all__ = ["kernels"]

PAGE = Path(__file__).parents[1] / "docs" / "your_own_images.md"
CLASSES = ("cup", "plant", "shoe")


def write_phone_pictures(folder: Path) -> None:
    """photos/<class>/*.jpg, and new/ with one of each class."""
    rng = np.random.default_rng(0)
    for kind, name in enumerate(CLASSES):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(40):
            height, width = (int(side) for side in rng.integers(120, 320, 2))
            path = folder / "photos" / name / f"IMG_{number:04}.jpg"
            write_turned(path, photograph(rng, kind, height, width), (1, 3, 6, 8)[number % 4], quality=90)
        (folder / "new").mkdir(exist_ok=True)
        write_turned(folder / "new" / f"IMG_200{kind + 1}.jpg", photograph(rng, kind, 300, 210), 6, quality=90)


def test_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_phone_pictures(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    said = {}
    for command in re.findall(r"<!-- run -->\n```sh\nconvjit (.+)\n```", PAGE.read_text()):
        assert main(shlex.split(command)) == 0, command
        said[command] = capsys.readouterr().out
    trained, table, views, predicted, as_json = said.values()

    assert "decoded when they are needed, to 3x36x36, 3 classes" in trained and "bound by " in trained
    assert float(re.findall(r"test error ([\d.]+) %", trained)[-1]) < 15
    error = re.findall(r"test error ([\d.]+) %", table)
    assert error == re.findall(r"test error ([\d.]+) %", trained) and len(re.findall(r"test error", views)) == 1
    rows = {line.split()[0]: line.split()[1:4] for line in table.splitlines() if line.startswith(CLASSES)}
    counts = np.array([[int(cell.replace(".", "0")) for cell in rows[name]] for name in CLASSES])
    assert counts.trace() == round(counts.sum() * (1 - float(error[0]) / 100)) and counts.sum(1).min() >= 1

    best = [block.split()[2] for block in re.split(r"new/IMG_200\d\.jpg\n", predicted)[1:]]
    assert best == [*CLASSES]
    found = json.loads(as_json)
    assert found["image"] == "new/IMG_2001.jpg" and found["classes"][0]["class"] == "cup"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.jpg")} == before


def test_the_keys_of_augmentation_are_the_recipe_s() -> None:
    page = (PAGE.parent / "augmentation.md").read_text()
    keys = re.findall(r"^\| `(\w+)`(?:, `\w+`)? \| (?:`(\w+)`)? ?\|", page, re.MULTILINE)
    options = {option.key: name for name, option in Recipe.options().items()}
    assert len(keys) == 14
    for key, attribute in keys:
        assert key in options and attribute in ("", options[key])
