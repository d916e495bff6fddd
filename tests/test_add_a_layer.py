"""docs/add_a_layer.md does what it says: its files, lines and commands, one after the other, in a copy of the sources.

A marker in front of a block of code says what becomes of it:

    file: PATH              the block is this file
    lines: PATH             each line goes to the place that its comment names
    append: PATH            the block is added to the file
    replace: PATH SECTION   the block takes the place of a section of a net file
    run: WARNING            the commands are run; the last one prints the warning, and none without one
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import shared_cache

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add_a_layer.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- (\w+)(?:: (.*?))? -->\n```\w+\n(.*?)```\n", re.DOTALL)
SLOW = "no kernel yet"
ANCHORS = {
    "with the imports": re.compile(
        r"^(?=from convjit\.(?:layers|ops)\.)|(?<=^from convjit\.kernels import \(\n)", re.M
    ),
    "in __all__": re.compile(r"(?<=^__all__ = \[\n)", re.M),
    "in LAYERS": re.compile(r"(?<=    for layer in \(\n)"),
    "in OPS": re.compile(r"(?<=    for op in \(\n)"),
}


def insert(text: str, lines: str) -> str:
    """Each line at the first place that its comment may mean."""
    for line in lines.splitlines():
        code, _, where = line.partition("  # ")
        place = ANCHORS[where].search(text)
        assert place, where
        text = f"{text[: place.start()]}{code}\n{text[place.start() :]}"
    return text


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_step(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(copy / "src"),
        "CONVJIT_CACHE": str(shared_cache(tmp_path_factory)),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)], cwd=copy, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    for kind, argument, code in BLOCK.findall(PAGE):
        path, _, section = argument.partition(" ")
        if kind == "run":
            outputs = [run(command) for command in code.splitlines()]
            assert argument in outputs[-1] and (argument or not any(SLOW in output for output in outputs))
            errors = re.findall(r"^test error ([\d.]+) %", "\n".join(outputs), re.M)
            assert all(float(error) < 40 for error in errors) and ("train" not in code or errors)
            continue
        before = (copy / path).read_text() if kind != "file" else ""
        start = before.find(section)
        end = before.find("\n[", start) + 1
        assert start >= 0 and (kind != "file" or not (copy / path).exists())
        texts = {
            "file": code,
            "lines": insert(before, code) if kind == "lines" else "",
            "append": f"{before}\n{code}",
            "replace": f"{before[:start]}{code}\n{before[end:]}",
        }
        (copy / path).write_text(texts[kind])
    assert {"layers/leaky.py", "ops/gain.py", "layers/gain.py", "kernels/gain.py"} == {
        str(path.relative_to(copy / "src/convjit"))
        for path in (copy / "src").rglob("*.py")
        if not (ROOT / path.relative_to(copy)).exists()
    }
