"""Ways to compute a launch: the choice, its limits, and what is measured of them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from convjit.codegen.target import host_target
from convjit.data import from_arrays
from convjit.errors import UsageError
from convjit.graph import Net
from convjit.graph.lower import lower
from convjit.kernels.base import DIRECT
from convjit.layers import Conv, Data, Fc, Logreg, Softmax
from convjit.runtime.candidates import fastest
from convjit.runtime.ways import Ways
from convjit.train.api import carry_out, load
from convjit.train.job import new_job
from convjit.train.run_folder import RunFolder
from convjit.train.trainer import Trainer
from convjit.train.tuning import measure

BATCH = 9
TUNING = sys.modules["convjit.train.tuning"]
"""By this way, since convjit.train is a function."""


def _net() -> Net:
    layers = [
        Data("data"),
        Data("labels", data_idx=1),
        Conv("conv1", "data", filters=24, filter_size=3, padding=1, eps_w=0.01, eps_b=0.01),
        Conv("conv2", "conv1", filters=24, filter_size=5, padding=2, eps_w=0.01, eps_b=0.01),
        Fc("fc", "conv2", outputs=3, eps_w=0.01, eps_b=0.01),
        Softmax("probs", "fc"),
        Logreg("cost", "labels, probs"),
    ]
    return Net(layers, image=(4, 12, 11), classes=3)


def test_every_way_is_measured_and_exact() -> None:
    heard: list[str] = []
    found = measure(_net(), BATCH, 1, errors=True, progress=lambda done, of, name: heard.append(name))
    launches = {one.launch for one in found}
    assert {"conv2.forward", "conv2.backward_data", "conv2.backward_weights"} <= launches == set(heard)
    for one in found:
        assert one.ms > 0
        assert (one.workspace == 0) == (one.algorithm == DIRECT)
        # Within 1e-4 of float64, and as exact as sums of float32 are where nothing is transformed.
        assert one.error is not None
        assert one.error < (1e-6 if one.algorithm == DIRECT else 1e-4)
    for launch in launches:
        ways = [one for one in found if one.launch == launch]
        assert len(ways) > 1
        assert sum(one.chosen for one in ways) == 1
        assert fastest(found)[launch] == min(ways, key=lambda one: one.ms).algorithm


def test_workspace_is_limited() -> None:
    target = host_target()
    launch = next(one for one in lower(_net(), BATCH, "train").launches if one.name == "conv2.forward")
    free, limited = (Ways(workspace=limit).problem(launch, BATCH, target) for limit in (None, 4))
    assert free
    assert limited
    assert free.algorithm != DIRECT == limited.algorithm
    assert {one.algorithm for one in measure(_net(), BATCH, 1, workspace=4)} == set()


def test_a_way_that_was_chosen_stays() -> None:
    target = host_target()
    launch = next(one for one in lower(_net(), BATCH, "train").launches if one.name == "conv2.forward")
    found = Ways({"conv2.forward": "winograd2"}).problem(launch, BATCH, target)
    assert found
    assert found.algorithm == "winograd2"
    with pytest.raises(UsageError, match=r"conv2.forward: there is no algorithm 'fast' for it; there are direct, "):
        Ways({"conv2.forward": "fast"}).problem(launch, BATCH, target)


def test_a_tuned_run_keeps_to_its_algorithms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured once is what a resume and a test compute with, whatever is faster by then."""
    monkeypatch.setattr(TUNING, "fastest", lambda measured: {"conv1.forward": DIRECT})
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (40, 4, 12, 11), np.uint8), random.integers(0, 3, 40)
    data = from_arrays(pixels, labels, pixels[:9], labels[:9])
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    first = carry_out(_net(), data, epochs=2, batch=BATCH, out=whole, tune=True)
    carry_out(_net(), data, epochs=1, batch=BATCH, out=halves, tune=True)
    monkeypatch.setattr(TUNING, "fastest", lambda measured: pytest.fail("measured again"))
    second = carry_out(resume=halves, data=data, epochs=2)
    assert first.weights_sha256 == second.weights_sha256
    settings = json.loads((whole / "run.json").read_text())["settings"]
    assert settings["algorithms"] == {"conv1.forward": DIRECT}
    with load(halves) as run:
        assert run.state.ways == {"conv1.forward": DIRECT}
        assert run.test(data).error == second.test_error
    with pytest.raises(UsageError, match="--tune cannot be given with --resume"):
        carry_out(resume=halves, data=data, tune=True)


def test_the_same_bits_on_any_number_of_threads(tmp_path: Path) -> None:
    """With algorithms of several stages and rounds, which share a workspace."""
    ways = Ways()
    launches = lower(_net(), BATCH, "train").launches
    chosen = {one.name: asked.algorithm for one in launches if (asked := ways.problem(one, BATCH, host_target()))}
    assert {chosen[f"conv2.{part}"] for part in ("forward", "backward_data")} != {DIRECT}
    random = np.random.default_rng(0)
    pixels, labels = random.integers(0, 256, (40, 4, 12, 11), np.uint8), random.integers(0, 3, 40)
    data = from_arrays(pixels, labels, pixels[:9], labels[:9])
    every = {"conv2.backward_weights": "winograd4", "conv1.forward": "winograd6", "conv2.forward": "winograd3"}
    job = replace(new_job(_net(), data, epochs=2, batch=BATCH), ways=every)
    weights = set()
    for threads in (1, 2, 3, 8):
        with Trainer(job, threads=threads) as trainer:
            weights.add(trainer.run(RunFolder.create(tmp_path / str(threads), "net")).weights_sha256)
    assert len(weights) == 1
