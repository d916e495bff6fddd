"""Code of the user's own for initial weights: only if allowed, and only from files that nobody else can write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_runs import NET, kernels, tiny_data, train_tiny, write_net

import convjit
from convjit.errors import ConfigError, UsageError

__all__ = ["kernels"]

CODE = """\
import numpy as np

def weights(name, index, shape, params):
    assert (name, index, params) == ("conv1", 0, ["a", "b"]) and shape == (9, 4)
    return np.arange(36, dtype=np.float32).reshape(shape)

def fc(name, index, shape, params):
    return np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape) / 1000

def biases(name, shape, params):
    assert shape == (4, 1)
    return np.ones(shape, np.float32)

def wrong(name, index, shape, params):
    return np.zeros((3, 3), np.float32)

def broken(name, index, shape, params):
    raise ValueError("two\\nlines")
"""

ASKING = NET.replace("initW=0.01\n", "initW=0.01\ninitWFunc=mine.weights(a,b)\ninitBFunc=mine.biases()\n")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "mine.py").chmod(0o600)
    return tmp_path


def started(place: Path, net: str = ASKING, **options: Any) -> dict[str, NDArray[np.float32]]:
    from convjit.train.job import Notes

    options.setdefault("allow_code", True)
    told: list[str] = []
    result = train_tiny(
        place,
        net=write_net(place, net),
        epochs=1,
        overrides=["conv1.epsW=0", "conv1.epsB=0", "fc3.epsW=0"],
        notes=Notes(told.append),
        **options,
    )
    assert [line for line in told if "mine.py" in line] == [
        f"importing {place / 'mine.py'}, which this net asks for (--allow-code)"
    ]
    with convjit.load(result.run) as run:
        return dict(run.checkpoint.arrays())


def test_as_the_original_called_it(place: Path) -> None:
    found = started(place, ASKING.replace("initW=0.05\n", "initW=0.05\ninitWFunc=mine.fc()\n"))
    matrix = np.arange(36, dtype=np.float32).reshape(9, 4)
    assert np.array_equal(found["conv1.weights"], matrix.T.reshape(4, 1, 3, 3)) and (found["conv1.biases"] == 1).all()
    rows = found["fc3.weights"].shape[1]
    assert np.array_equal(found["fc3.weights"], (np.arange(rows * 3, dtype=np.float32) / 1000).reshape(rows, 3).T)


def test_only_if_allowed(place: Path) -> None:
    (place / "mine.py").write_text("open('mark', 'w')")
    with pytest.raises(ConfigError, match="needs --allow-code"):
        train_tiny(place, net=write_net(place, ASKING), epochs=1)
    assert not (place / "mark").exists()


def test_not_if_others_can_write_it(place: Path) -> None:
    for path, mode in ((place / "mine.py", 0o602), (place, 0o702)):
        before = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(ConfigError, match="can be written by everybody"):
            train_tiny(place, net=write_net(place, ASKING), data=tiny_data(), allow_code=True)
        path.chmod(before)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ("mine.none()", "module 'mine' has no function 'none'"),
        ("yours.weights()", r"no file yours\.py"),
        ("mine.wrong()", r"made float32 \[3, 3\]; float32 \[9, 4\] is needed"),
        ("mine.broken()", r"mine\.broken raised ValueError: two\\nlines"),
    ],
)
def test_errors(place: Path, function: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        train_tiny(place, net=write_net(place, ASKING.replace("mine.weights(a,b)", function)), allow_code=True)
    assert "layer 'conv1'" in str(caught.value) and "\n" not in str(caught.value)


def test_lenient_runs_go_on(place: Path) -> None:
    """What only a lenient reader takes is not in the run, which anybody reads."""
    net = write_net(place, NET.replace("[conv1]", "[conv1]\nfancy=1"))
    with pytest.raises(ConfigError, match="unknown key 'fancy'"):
        train_tiny(place, net=net, epochs=1)
    result = train_tiny(place, net=net, epochs=1, lenient=True)
    assert "fancy" in (result.run / "net.given.cfg").read_text()
    assert train_tiny(place, resume=result.run, epochs=2).step == 14
    with pytest.raises(UsageError, match="--lenient cannot be given with --resume"):
        train_tiny(place, resume=result.run, lenient=True)
