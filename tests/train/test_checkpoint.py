"""Checkpoints: whole or refused, atomic, and never at the cost of somebody else's files."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from convjit.errors import RunError
from convjit.train import checkpoint
from convjit.train.checkpoint import State, file_name, load, newest, prune, save
from convjit.train.disk import remove_litter, write_file
from convjit.train.sums import Sums

STATE = State(
    definition="[data]\ntype=data\n",
    parameters="[conv1]\nepsW=0.1 # 1e-1 \u00e4\n",
    step=7,
    reported=6,
    epochs=3,
    batch=32,
    seed=2**64 - 1,
    data="sample",
    fingerprint="f" * 64,
    train_images=200,
    classes=("cat", "d\u00f6g", "<script>"),
    image=(1, 8, 8),
    crop=(7, 7),
    mirror=True,
    mean="image",
    target="avx512",
    version="0.1.0",
    interval=Sums(0.1 + 0.2, 1 / 3, 32),
    epoch=Sums(1e-300, 12.5, 224),
)
ARRAYS: dict[str, NDArray[np.float32]] = {
    "mean": np.full((1, 7, 7), 120.5, np.float32),
    "conv1.weights": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / np.float32(7),
    "conv1.weights.inc": -np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "conv1.biases": np.zeros(2, np.float32),
}


def saved(folder: Path, step: int = 7) -> Path:
    return save(folder, replace(STATE, step=step), ARRAYS)


def header_size(path: Path) -> int:
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def test_all_comes_back(tmp_path: Path) -> None:
    found = load(saved(tmp_path))
    assert found.state == STATE
    arrays = dict(found.arrays())
    assert arrays.keys() == ARRAYS.keys()
    assert all(np.array_equal(arrays[name], array) for name, array in ARRAYS.items())


def test_it_is_a_safetensors_file(tmp_path: Path) -> None:
    found = load_file(saved(tmp_path))
    assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items())


def test_equal_states_make_equal_files(tmp_path: Path) -> None:
    first = saved(tmp_path).read_bytes()
    assert saved(tmp_path).read_bytes() == first


def test_every_cut_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path)
    data, header = path.read_bytes(), header_size(path)
    for size in (*range(header + 1), *range(header, len(data), 5), len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(RunError, match=re.escape(str(path))):
            load(path)
    path.write_bytes(data + b"\0")
    with pytest.raises(RunError):
        load(path)


def test_damage_to_any_byte_of_the_header_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path)
    data = path.read_bytes()
    for position in range(header_size(path)):
        for bit in (position % 8, 5):  # the latter turns a into A, a blank into nothing
            path.write_bytes(data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :])
            with pytest.raises(RunError):
                load(path)


def test_damage_anywhere_is_found(tmp_path: Path) -> None:
    path = save(tmp_path, STATE, {**ARRAYS, "fc.weights": np.ones((64, 64), np.float32)})
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        broken, position = bytearray(data), int(rng.integers(len(data)))
        broken[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        with pytest.raises(RunError):
            load(path)
    for _ in range(50):
        broken, position = bytearray(data), int(rng.integers(len(data) - 512))
        broken[position : position + 512] = rng.bytes(512)
        path.write_bytes(broken)
        with pytest.raises(RunError):
            load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"step": -1},
        {"step": True},
        {"step": 1.0},
        {"batch": 0},
        {"seed": 2**64},
        {"classes": "abc"},
        {"classes": [1]},
        {"mirror": 1},
        {"interval": {"loss": 1.0}},
        {"train_loss": 3},
        {"definition": None},
        {"more": 1},
    ],
)
def test_a_state_of_another_kind_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        State.parse(json.dumps(json.loads(STATE.text()) | change))


def test_sizes_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / file_name(1)
    for size in (0, 1, 2**25 + 1, 2**40, 2**63, 2**64 - 1):
        path.write_bytes(size.to_bytes(8, "little") + b"{}" * 50)
        with pytest.raises(RunError, match="header"):
            load(path)


def test_the_newest_whole_one_is_used(tmp_path: Path) -> None:
    older, newer = saved(tmp_path, 7), saved(tmp_path, 8)
    said: list[str] = []
    assert newest(tmp_path, said.append).path == newer
    assert not said
    newer.write_bytes(newer.read_bytes()[:-1])
    assert newest(tmp_path, said.append).path == older
    assert len(said) == 1 and str(newer) in said[0]
    older.write_bytes(b"")
    with pytest.raises(RunError, match="no whole checkpoint"):
        newest(tmp_path, said.append)
    assert newer.exists() and older.exists()


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for step in range(5):
        saved(tmp_path, step)
    assert sorted(p.name for p in tmp_path.iterdir()) == [file_name(3), file_name(4)]


def test_a_damaged_one_ahead_costs_no_whole_one(tmp_path: Path) -> None:
    """A run that goes on from before a damaged checkpoint must not count that one as kept."""
    ahead = saved(tmp_path, 9)
    ahead.write_bytes(ahead.read_bytes()[:-1])
    for step in (5, 6, 7):
        saved(tmp_path, step)
    assert {p.name for p in tmp_path.iterdir()} == {file_name(6), file_name(7), ahead.name}


def test_pruning_touches_only_what_convjit_wrote(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    letters = [*"step-0123456789.safetensors", "..", " ", "\n", "\u00e9"]
    names = {"".join(rng.choice(letters, int(rng.integers(1, 20)))) for _ in range(300)}
    names |= {"step-1.safetensors", "step-000000001.safetensors", "step-00000001.safetensors.bak", "step-00000001"}
    names |= {"step-\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661.safetensors", "STEP-00000001.safetensors"}
    foreign = {name: name.encode() for name in names if name.strip(".")}
    # The right name, but not ours: another program's file, one of ours without its header, a link.
    foreign |= {file_name(2): b"", file_name(3): b"\x02\0\0\0\0\0\0\0{}", file_name(4): b"mine"}
    for name, content in foreign.items():
        (tmp_path / name).write_bytes(content)
    elsewhere = saved(tmp_path.parent, 5)
    (tmp_path / file_name(5)).symlink_to(elsewhere)
    for step in range(10, 20):
        saved(tmp_path, step)
    prune(tmp_path, 19)
    remove_litter(tmp_path)
    for name, content in foreign.items():
        assert (tmp_path / name).read_bytes() == content
    assert (tmp_path / file_name(5)).is_symlink() and elsewhere.exists()
    assert len(list(tmp_path.iterdir())) == len(foreign) + 1 + 2


@pytest.mark.parametrize("step", ["open", "write", "fsync", "replace"])
def test_a_full_disk_costs_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    before = saved(tmp_path, 7)

    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(checkpoint, "write_file", lambda path, parts: write_file(path, Failing(parts)))
        else:
            patch.setattr(*{"open": (Path, "open"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[step], fail)
        with pytest.raises(RunError, match=r"step-00000008.*No space left"):
            saved(tmp_path, 8)
    assert newest(tmp_path, lambda text: pytest.fail(text)).path == before
    assert list(tmp_path.iterdir()) == [before]


class Failing:
    """Parts of a file, of which the second cannot be written."""

    def __init__(self, parts: Any) -> None:
        self.parts = parts

    def __iter__(self) -> Any:
        yield next(iter(self.parts))
        raise OSError(28, "No space left on device")


def test_litter_of_dead_runs_is_removed(tmp_path: Path) -> None:
    litter = tmp_path / ".step-00000012.safetensors.0123456789abcdef.tmp"
    others = [tmp_path / ".step-00000012.safetensors.tmp", tmp_path / ".mine.0123456789abcdef.tmp", tmp_path / "a.tmp"]
    for path in (litter, *others):
        path.write_bytes(b"half")
    remove_litter(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
