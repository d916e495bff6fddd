"""Commands and options beside the plain ones: features, views, old checkpoints, lenient reading, code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from original_files import old_pickle
from tiny_runs import NET, PARAMS, kernels, tiny_data, write_idx, write_net

from convjit.cli import main
from convjit.train import benchmark as bench_module

__all__ = ["kernels"]

Command = Callable[..., str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with tiny.cfg and the images in "data"."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o700)
    write_net(tmp_path)
    write_idx(tmp_path / "data", tiny_data(classes=("0", "1", "2")))
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    def carry_out(line: str, code: int = 0) -> str:
        capsys.readouterr()
        found = main(line.split())
        out, err = capsys.readouterr()
        assert found == code, out + err
        return out + err

    return carry_out


def test_a_trained_net_is_looked_at(place: Path, run: Command) -> None:
    run("train tiny.cfg --data data --threads 1 --epochs 1 --out run")
    one, ten = run("test run"), run("test run --views 10 --test-out probs.npz")
    assert one != ten and "60 images" in ten
    with np.load("probs.npz") as found:
        assert found["data"].shape == (60, 3) and np.allclose(found["data"].sum(1), 1, atol=1e-5)
    assert "there are 1, 9 and 10" in run("test run --views 5", 2)
    assert "wrote out/features.npz" in run("features run conv1_neuron --out out --split train")
    with np.load("out/features.npz") as found:
        assert found["data"].shape == (200, 4 * 7 * 7) and len(found["labels"]) == 200
    assert "did you mean 'conv1'" in run("features run conv --out out", 2)
    # The batches of a set by number: a test on the training images.
    assert "200 images" in run("test run --data data#train=2,test=1")


def test_options_of_a_net_that_is_looked_at(place: Path, run: Command) -> None:
    (place / "tiny.params.cfg").write_text(PARAMS[PARAMS.index("[conv1]") :])
    assert "--set recipe.image=CxHxW" in run("net tiny.cfg", 1)
    out = run("net tiny.cfg --set recipe.image=1x9x9 --set conv1.filters=5 --set pool1.channels=5")
    assert "5 x 9 x 9" in out
    assert "every gradient is right" in run("check-grads tiny.cfg --set recipe.image=1x6x6")
    assert "did you mean 'filters'" in run("net tiny.cfg --set conv1.filtres=5", 1)


def test_an_old_checkpoint_becomes_a_run(place: Path, run: Command) -> None:
    rng = np.random.default_rng(0)
    shapes = {"conv1": ((9, 4), (4, 1)), "fc3": ((36, 3), (1, 3))}
    layers = {}
    for name, (weights, biases) in shapes.items():
        arrays = [rng.normal(0, 0.1, shape).astype(np.float32) for shape in (weights, biases)]
        layers[name] = {"name": name, "type": name[:-1], "weights": [arrays[0]], "biases": arrays[1]}
    state = {"layers": layers, "epoch": 1, "batchnum": 1, "train_outputs": [], "test_outputs": []}
    (place / "1.1").write_bytes(old_pickle({"model_state": state, "op": None}))
    # After 3x3 pixels of the pool 36 features are left: the crop of 7 gives 4x4, that of 6 gives 3x3.
    command = "import-checkpoint 1.1 tiny.cfg --data data --set recipe.crop=6 --threads 1 --out run"
    assert "go on with: convjit train --resume run" in run(command)
    assert "test error" in run("test run") and "going on after step 7 of 21" in run("train --resume run --threads 1")
    assert "no file" in run(command.replace("tiny.cfg", "none.cfg").replace("run", "other"), 1)
    assert "weights are 36x3" in run(command.replace("=6", "=7").replace("run", "other"), 1)
    assert "neither a file nor a folder" in run(command.replace("1.1", "none").replace("run", "other"), 1)


def test_lenient(place: Path, run: Command) -> None:
    write_net(place, NET.replace("[conv1]", "[conv1]\nfancy=1"))
    for command in ("net tiny.cfg", "check-grads tiny.cfg", "train tiny.cfg --data data --epochs 1 --threads 1"):
        assert "unknown key 'fancy'" in run(command, 1)
        assert "unknown key 'fancy'" in run(f"{command} --lenient")


def test_code_is_run_only_if_allowed(place: Path, run: Command) -> None:
    write_net(place, NET.replace("initW=0.05", "initW=0.05\ninitWFunc=own.ones()"))
    (place / "own.py").write_text(
        "import numpy\ndef ones(name, index, shape, params):\n    return numpy.ones(shape, 'f')\n"
    )
    (place / "own.py").chmod(0o600)
    command = "train tiny.cfg --data data --epochs 1 --threads 1"
    assert "needs --allow-code" in run(command, 1)
    assert f"importing {place / 'own.py'}" in run(f"{command} --allow-code")


def test_limits_of_memory(place: Path, run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench_module.benchmark
    monkeypatch.setattr(bench_module, "benchmark", lambda *args, **options: real(*args, **options, seconds=0.05))
    out = run("train tiny.cfg --data data --threads 1 --epochs 1 --memory 1GB --accumulate 2 --out run")
    assert "memory at 16 images a step" in out and "gradients" in out and "memory limit 1000 MB: kept at no cost" in out
    out = run("train --resume run --epochs 2 --memory 2GB --threads 1")
    assert "memory at 16 images a step" in out and "memory limit 2000 MB" in out
    assert "computed again" in run("net default --batch 64 --memory 10MB")
    found = json.loads(run("net default --batch 64 --memory 10MB --json"))["memory"]
    assert found["total"] <= found["limit"] == 10**7 and found["again"] and found["extra"] > 0
    found = json.loads(run("bench tiny.cfg --threads 1 --memory 1GB --json"))
    assert found["memory"] == {"limit": 10**9, "again": [], "plainer": [], "extra": 0}
    assert "memory limit 1000 MB" in run("bench tiny.cfg --threads 1 --memory 1GB")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train tiny.cfg --data data --memory 1kB", "--memory 1 kB: 32 images at a time take at least "),
        ("train tiny.cfg --data data --memory lots", "--memory lots: a size such as 500MB or 2GiB"),
        ("train tiny.cfg --data data --accumulate 3", "--accumulate 3: a minibatch of 32 images does not divide"),
        ("net tiny.cfg --memory 0", "--memory 0: a size such as"),
        ("net tiny.cfg --accumulate 5", "does not divide into 5 equal parts, but into 2 or 4 or 8"),
        ("bench tiny.cfg --memory 1kB", "images at a time take at least"),
        ("bench tiny.cfg --memory 1GB --algorithms", "give no --memory"),
    ],
)
def test_limits_of_memory_that_cannot_be(place: Path, run: Command, line: str, message: str) -> None:
    errors = [said for said in run(line, 2).splitlines() if said.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
