"""docs/original.md says what is so: its tests are there, its layers and options are the program's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from convjit.layers import LAYERS
from convjit.train.original_options import OPTIONS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "original.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_every_test_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 60
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not test or test in functions, f"{file} has no {test}"


def test_every_file_is_there() -> None:
    for path in re.findall(r"`((?:cfg|data|graph|layers|ops|show|train)/\w+\.py)`", PAGE):
        assert (ROOT / "src" / "convjit" / path).is_file(), path


def test_layers_are_those_of_the_program() -> None:
    assert set(re.findall(r"^\| `([\w.]+)` \|", section("Layers"), re.M)) == set(LAYERS)


def test_options_are_those_of_the_program() -> None:
    assert set(re.findall(r"`--([\w-]+)`", section("The command line"))) == set(OPTIONS)
