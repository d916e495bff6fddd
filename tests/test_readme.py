"""What the README says can be done as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from convjit.cfg import net_names
from convjit.cli import main

README = Path(__file__).parents[1] / "README.md"


def test_the_python_example_learns(tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert float(done.stdout.split("%")[0]) < 25


def test_both_commands_are_there() -> None:
    for name in ("run", "test"):
        assert re.search(rf"<!-- {name} -->\n```sh\n.+\n```", README.read_text())


@pytest.mark.parametrize("command", sorted(set(re.findall(r"\.venv/bin/convjit (\w[\w-]*)", README.read_text()))))
def test_its_commands_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"convjit {command}" in capsys.readouterr().out


def test_it_names_the_nets() -> None:
    assert all(f"`{name}`" in README.read_text() for name in net_names())
