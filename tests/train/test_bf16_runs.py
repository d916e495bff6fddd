"""Trainings whose activations and gradients are stored as bfloat16."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import Recorder, kernels, strip_speed, tiny_data, train_tiny

from convjit.errors import UsageError
from convjit.graph import Net, lower
from convjit.layers import Conv, Data, Fc, Logreg, Pool, Softmax
from convjit.runtime import Executor, Store
from convjit.train import api
from convjit.train.checkpoint import State, newest
from convjit.train.run_folder import RunFolder
from convjit.train.watch import Result

__all__ = ["kernels"]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The run that nothing disturbs."""
    return train_tiny(tmp_path_factory.mktemp("narrow"), dtype="bf16")


def test_it_learns_as_with_float32(narrow: Result, tmp_path: Path) -> None:
    one, other = Recorder(), Recorder()
    wide = train_tiny(tmp_path / "wide", watcher=one, epochs=10)
    half = train_tiny(tmp_path / "half", watcher=other, epochs=10, dtype="bf16")
    assert wide.weights_sha256 != half.weights_sha256
    assert one.losses != other.losses
    assert np.mean(other.losses[-7:]) == pytest.approx(np.mean(one.losses[-7:]), rel=0.02)
    assert np.mean(other.losses[-7:]) < 0.8 * np.mean(other.losses[:7])


def test_any_number_of_threads(narrow: Result, tmp_path: Path) -> None:
    for threads in (2, 3):
        again = train_tiny(tmp_path / str(threads), threads=threads, dtype="bf16")
        assert again.weights_sha256 == narrow.weights_sha256


def test_a_resumed_run_goes_on_bit_for_bit(narrow: Result, tmp_path: Path) -> None:
    stop = Recorder(lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 9 else None)
    assert train_tiny(tmp_path, dtype="bf16", watcher=stop).interrupted == signal.SIGTERM
    with pytest.raises(UsageError, match="is a run with bf16, not fp32; that cannot change within a run"):
        train_tiny(tmp_path, resume=tmp_path / "run", dtype="fp32")
    again = train_tiny(tmp_path, resume=tmp_path / "run", threads=2)
    assert again.weights_sha256 == narrow.weights_sha256
    found, wanted = (strip_speed(RunFolder(run).read_metrics()) for run in (again.run, narrow.run))
    assert found[-1]["test_loss"] == wanted[-1]["test_loss"]
    assert train_tiny(tmp_path, resume=tmp_path / "run", dtype="bf16").weights_sha256 == narrow.weights_sha256


def test_the_run_remembers(narrow: Result) -> None:
    assert json.loads((narrow.run / "run.json").read_text())["settings"]["dtype"] == "bf16"
    with api.load(narrow.run) as run:
        assert run.state.dtype == "bf16"
        assert run.test(tiny_data()).loss == narrow.test_loss
        programs = [executor.program for executor in run._session._programs]
    assert all(any(b.narrow for b in program.buffers().values()) for program in programs)
    assert api.test(narrow.run, tiny_data()).error == narrow.test_error


def test_a_checkpoint_from_before_is_of_float32(narrow: Result) -> None:
    state = json.loads(newest(narrow.run / "checkpoints", pytest.fail).state.text())
    del state["dtype"]
    assert State.parse(json.dumps(state)).dtype == "fp32"
    with pytest.raises(ValueError, match=r"dtype 'fp8' is not known"):
        State.parse(json.dumps({**state, "dtype": "fp8"}))


def test_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dtype 'fp16' is not known.*there are fp32, bf16"):
        api.train("default", tiny_data(), dtype="fp16", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_memory_of_a_step_is_smaller(narrow: Result, tmp_path: Path) -> None:
    layers = [
        *(Data("data"), Data("labels", data_idx=1)),
        Conv("conv", "data", filters=16, filter_size=3, padding=1, neuron="relu"),
        Pool("pool", "conv", pool="max", size_x=3, stride=2),
        *(Fc("fc", "pool", outputs=3), Softmax("probs", "fc"), Logreg("cost", "labels, probs")),
    ]
    net = Net(layers, image=(3, 24, 24), classes=3)
    sizes = []
    for dtype in ("fp32", "bf16"):
        with Executor(lower(net, 32, dtype=dtype), Store(), threads=1) as executor:
            sizes.append(len(executor.arena))
    assert sizes[1] < 0.55 * sizes[0]
