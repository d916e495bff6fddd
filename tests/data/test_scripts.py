"""Short forms of the scripts about sources."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from photographs import write_photographs

import convjit

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.mark.parametrize(
    "command",
    [
        ["hostile_archives.py", "--cases", "300", "--seed", "7"],
        # The memory is 170 to 300 MB for a million.
        ["million_entries.py", "--entries", "20000", "--seconds", "60", "--megabytes", "50"],
    ],
    ids=lambda command: command[0],
)
def test_it_ends_well(command: list[str], tmp_path: Path) -> None:
    run(command, tmp_path)


def test_decoding(tmp_path: Path) -> None:
    write_photographs(tmp_path / "photos", train=2, test=1)
    out = run(["decoding.py", "photos", "--rounds", "1"], tmp_path)
    assert "convjit: " in out and "Pillow: " in out and "times as fast" in out


def run(command: list[str], tmp_path: Path) -> str:
    """What a script prints, if it ends well."""
    environment = {**os.environ, "PYTHONPATH": str(Path(convjit.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / command[0]), *command[1:]],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
