"""Training: pinned losses, the same bits whatever happens on the way, and clean ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import NET, PARAMS, Recorder, kernels, strip_speed, tiny_data, train_tiny, write_net

from convjit import random
from convjit.codegen.target import host_target, runnable_targets
from convjit.data import Feeder
from convjit.data.statistics import mean_image
from convjit.errors import ConvjitError, RunError, UsageError
from convjit.layers import Schedule
from convjit.train.api import train
from convjit.train.checkpoint import newest
from convjit.train.job import Notes, new_job
from convjit.train.prepare import augmentation_of, mean_of
from convjit.train.run_folder import RunFolder
from convjit.train.session import Session
from convjit.train.watch import Result

__all__ = ["kernels"]

ROOT = Path(__file__).parents[2]
LOSSES = ROOT / "tests" / "golden" / "losses.json"
STEPS = 21
"""Of the tiny net: 3 epochs of 7 minibatches, the last of them short."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """The run that nothing disturbs."""
    return train_tiny(tmp_path_factory.mktemp("whole"))


def metrics(run: Path) -> list[dict[str, Any]]:
    return RunFolder(run).read_metrics()


def interrupt_at(number: int, signal_number: int = signal.SIGINT) -> Recorder:
    """A watcher that sends this process a signal after a step."""
    return Recorder(lambda step: os.kill(os.getpid(), signal_number) if step == number else None)


def same(one: Result, other: Result) -> None:
    """The same weights, test and metrics."""
    assert one.weights_sha256 == other.weights_sha256
    assert (one.test_loss, one.test_error, one.train_error) == (other.test_loss, other.test_error, other.train_error)
    assert strip_speed(metrics(one.run)) == strip_speed(metrics(other.run))


@pytest.mark.parametrize("target", [target.name for target in runnable_targets()])
def test_ten_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """Pinned, to the digits that do not depend on the width of vectors; a second run has all digits of the first."""
    monkeypatch.setenv("CONVJIT_TARGET", target)
    runs = [interrupt_at(10), interrupt_at(10)]
    for number, recorder in enumerate(runs):
        train_tiny(tmp_path / str(number), watcher=recorder)
    assert host_target().name == target
    losses = runs[0].losses
    assert runs[1].losses == losses and len(losses) == 10
    if os.environ.get("REFRESH_GOLDEN") and target == runnable_targets()[0].name:
        LOSSES.write_text(json.dumps(losses, indent=1) + "\n")
    np.testing.assert_allclose(losses, json.loads(LOSSES.read_text()), rtol=1e-6)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_same_bits_on_any_number_of_threads(tmp_path: Path, whole: Result, threads: int) -> None:
    same(train_tiny(tmp_path, threads=threads), whole)


def test_the_seed_decides(tmp_path: Path, whole: Result) -> None:
    other = train_tiny(tmp_path, seed=2)
    assert other.weights_sha256 != whole.weights_sha256


def test_the_folder_of_a_run(whole: Result) -> None:
    names = {"net.cfg", "params.cfg", "run.json", "run.lock", "metrics.jsonl", "checkpoints"}
    assert {path.name for path in whole.run.iterdir()} == names
    assert ((whole.run / "net.cfg").read_text(), (whole.run / "params.cfg").read_text()) == (NET, PARAMS)
    found = RunFolder(whole.run).read_settings()
    assert found["settings"]["seed"] == 1 and found["settings"]["crop"] == [7, 7]
    records = metrics(whole.run)
    assert [record["step"] for record in records] == list(range(1, STEPS + 1))
    assert records[6].keys() == {
        "step", "epoch", "train_loss", "train_error", "images_per_s", "waiting", "test_loss", "test_error",
    }  # fmt: skip
    assert records[5].keys() == {"step", "epoch", "train_loss", "train_error", "images_per_s", "waiting"}
    assert [record["epoch"] for record in records][6::7] == [1, 2, 3]
    assert (records[-1]["test_loss"], records[-1]["test_error"]) == (whole.test_loss, whole.test_error)
    assert whole.record().keys() == {
        "run", "seconds", "images_per_s", "train_error", "test_error", "test_loss", "weights_sha256", "waiting",
    }  # fmt: skip


def test_training_learns(whole: Result) -> None:
    losses = [record["test_loss"] for record in metrics(whole.run) if "test_loss" in record]
    assert losses[-1] < losses[0] and whole.test_error is not None and whole.test_error < 0.5


@pytest.mark.parametrize("step", [1, 3, 7, 10, 14, 20, 21])
def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, whole: Result, step: int) -> None:
    stopped = train_tiny(tmp_path, watcher=interrupt_at(step))
    assert (stopped.interrupted, stopped.step) == (signal.SIGINT, step)
    assert newest(stopped.run / "checkpoints", pytest.fail).state.step == step
    same(train_tiny(tmp_path, resume=stopped.run, threads=2), whole)


def test_a_stop_within_a_test_repeats_the_test(tmp_path: Path, whole: Result) -> None:
    class StopInTest(Recorder):
        def testing(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = train_tiny(tmp_path, watcher=StopInTest())
    assert (stopped.interrupted, stopped.step) == (signal.SIGTERM, 7)
    assert len(metrics(stopped.run)) == 6
    same(train_tiny(tmp_path, resume=stopped.run), whole)


def test_a_crash_loses_only_what_followed_the_checkpoint(tmp_path: Path, whole: Result) -> None:
    """Everything after the last checkpoint, lines of metrics too, is done again."""

    class CrashError(Exception):
        pass

    def crash(step: int) -> None:
        if step == 12:
            raise CrashError

    with pytest.raises(CrashError):
        train_tiny(tmp_path, watcher=Recorder(crash))
    run = tmp_path / "run"
    assert len(metrics(run)) == 11
    assert newest(run / "checkpoints", pytest.fail).state.step == 7
    same(train_tiny(tmp_path, resume=run), whole)


def test_a_damaged_checkpoint_costs_an_epoch(tmp_path: Path, whole: Result) -> None:
    stopped = train_tiny(tmp_path, watcher=interrupt_at(16))
    path = stopped.run / "checkpoints" / "step-00000016.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    same(train_tiny(tmp_path, resume=stopped.run), whole)


def test_a_finished_run_may_go_on(tmp_path: Path, whole: Result) -> None:
    shutil.copytree(whole.run, tmp_path / "run")
    again = train_tiny(tmp_path, resume=tmp_path / "run")
    same(again, whole)
    longer = train_tiny(tmp_path, resume=tmp_path / "run", epochs=4)
    assert longer.step == 28 and len(metrics(longer.run)) == 28
    with pytest.raises(UsageError, match="has been trained for 4 epochs"):
        train_tiny(tmp_path, resume=tmp_path / "run", epochs=2)
    assert len(RunFolder(longer.run).read_settings()["resumed"]) == 2


def test_rates_may_be_edited_between(tmp_path: Path, whole: Result) -> None:
    stopped = train_tiny(tmp_path, watcher=interrupt_at(10))
    (stopped.run / "params.cfg").write_text(PARAMS.replace("epsB=0.004", "epsB=0.001"))
    other = train_tiny(tmp_path, resume=stopped.run)
    assert other.weights_sha256 != whole.weights_sha256
    assert strip_speed(metrics(other.run))[:10] == strip_speed(metrics(whole.run))[:10]
    # The same edit at the same step gives the same bits, and stays.
    again = train_tiny(tmp_path / "again", watcher=interrupt_at(10))
    (again.run / "params.cfg").write_text(PARAMS.replace("epsB=0.004", "epsB=0.001"))
    stopped = train_tiny(tmp_path, resume=again.run, watcher=interrupt_at(12))
    same(train_tiny(tmp_path, resume=stopped.run), other)


def test_an_edited_net_is_not_picked_up(tmp_path: Path, whole: Result) -> None:
    said: list[str] = []
    stopped = train_tiny(tmp_path, watcher=interrupt_at(10))
    (stopped.run / "net.cfg").write_text(NET.replace("filters=4", "filters=5"))
    same(train_tiny(tmp_path, resume=stopped.run, notes=Notes(said.append)), whole)
    assert len(said) == 1 and "net.cfg" in said[0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda run: (run / "params.cfg").write_text(PARAMS.replace("crop=7", "crop=6")), "crop"),
        (lambda run: (run / "params.cfg").write_text(PARAMS.replace("epsW=0.0002", "epsW=x")), r"params\.cfg:10.*epsW"),
        (lambda run: shutil.rmtree(run / "checkpoints"), "checkpoints"),
        (lambda run: (run / "run.json").unlink(), r"run\.json is missing"),
    ],
)
def test_what_cannot_go_on_is_one_line(tmp_path: Path, change: Callable[[Path], Any], match: str) -> None:
    stopped = train_tiny(tmp_path, watcher=interrupt_at(3))
    change(stopped.run)
    with pytest.raises(ConvjitError, match=match) as caught:
        train_tiny(tmp_path, resume=stopped.run)
    assert "\n" not in str(caught.value)


def test_other_data_are_refused(tmp_path: Path) -> None:
    stopped = train_tiny(tmp_path, watcher=interrupt_at(3))
    with pytest.raises(RunError, match="other images"):
        train_tiny(tmp_path, resume=stopped.run, data=tiny_data(1))
    with pytest.raises(RunError, match="the data have 'dog', they lack 'b'"):
        train_tiny(tmp_path, resume=stopped.run, data=tiny_data(classes=("a", "dog", "c")))
    with pytest.raises(RunError, match="give the data again"):
        train(resume=stopped.run)
    with pytest.raises(UsageError, match="--seed cannot be given with --resume"):
        train_tiny(tmp_path, resume=stopped.run, seed=2)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    net = write_net(tmp_path, params=PARAMS.replace("epsW=0.0002", "epsW=steps[base=1e-9;factor=1e-40;epochs=1]"))
    with pytest.raises(RunError, match=r"no finite number after step \d+ .*lower the learning rates"):
        train_tiny(tmp_path, net=net)
    assert newest(tmp_path / "run" / "checkpoints", pytest.fail).state.step == 7


def test_one_run_at_a_time(tmp_path: Path) -> None:
    stopped = train_tiny(tmp_path, watcher=interrupt_at(3))
    with RunFolder(stopped.run).lock(), pytest.raises(RunError, match="in use by process"):
        train_tiny(tmp_path, resume=stopped.run)


def test_the_rates_of_a_step(tmp_path: Path) -> None:
    """What the update is given: schedules by progress and epoch, momentum, decay, 1 / images of the minibatch."""
    params = PARAMS.replace("epsW=0.0002", "epsW=steps[base=0.1;factor=10;epochs=2]")
    data = tiny_data()
    job = new_job(write_net(tmp_path, params=params), data)
    mean = mean_of(data, job.net, job.recipe)
    assert mean.shape == (1, 7, 7)
    np.testing.assert_array_equal(mean, mean_image(data)[:, 0:7, 0:7])
    drawn = augmentation_of(job.net, job.recipe, mean)
    with (
        Session(job.net, 32, mean, threads=1) as session,
        Feeder(data.train, 32, seed=1, stop_step=7, shuffle=True, augmentation=drawn) as feeder,
    ):
        batches = list(feeder)
        host = session.executor("train").host
        session.step(batches[6], seed=1, progress=0.5, epoch=2.0)
        expected = [0.01, 0.9, 0.004, 1 / 8]
        np.testing.assert_allclose(host["conv1.weights.rates"], expected, rtol=1e-6)
        expected = [Schedule.parse("linear[base=0.002;tgtFactor=10]").value(0.5), 0.9, 0, 1 / 8]
        np.testing.assert_allclose(host["fc3.weights.rates"], expected, rtol=1e-6)
        key = random.derive_key(1, "dropout:drop1", 6)
        assert tuple(host["drop1.key"].view(np.uint32)) == (*key, 0)
        assert list(host["labels"][8:32]) == [-1] * 24


def test_killed_runs_end_as_if_nothing_had_happened(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "kill_test.py"), "--times", "8", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
