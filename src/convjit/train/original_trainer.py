"""Training as cuda-convnet goes about it: data batch by data batch, with a test and a checkpoint every so many of them.

The arithmetic is the trainer's own; here are the order of work and what is told of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from convjit.data import Encoded, Feeder, Images
from convjit.data.dataset import parts_of, some_of
from convjit.train.job import Job
from convjit.train.run_folder import RunFolder
from convjit.train.session import Session
from convjit.train.signals import Stop
from convjit.train.sums import CostSums
from convjit.train.trainer import Trainer
from convjit.train.watch import Report, Watcher

__all__ = ["Magnitude", "OriginalTrainer", "OriginalWatcher", "Testing", "magnitudes"]


@dataclass(frozen=True)
class Magnitude:
    """Mean size of an array's numbers, and of its increments."""

    layer: str
    array: str
    value: float
    increment: float


@dataclass(frozen=True)
class Testing:
    """How and when to test: every `every` data batches, on one data batch in turn or on all, from so many views."""

    every: int
    one: bool
    views: int = 1
    first: int = 1
    """Number of the first training batch."""
    cost: str = ""
    """Of several views: the cost that is worked out, by default the net's main one."""


class OriginalWatcher(Watcher):
    """Hears of data batches and tests."""

    def batch(self, epoch: int, batch: int, progress: float, costs: CostSums, seconds: float) -> None:
        """A data batch was trained on."""

    def tested(self, costs: CostSums, averages: CostSums, magnitudes: list[Magnitude], seconds: float) -> None:
        """A test is done; `averages` are those of the last tests, as many as there are test batches."""


class OriginalTrainer(Trainer):
    """A trainer whose steps follow the data batches; the recipe says order=batches."""

    def __init__(self, job: Job, testing: Testing, *, threads: int | None, watcher: OriginalWatcher) -> None:
        super().__init__(job, threads=threads, watcher=watcher, cost=testing.cost)
        self._testing, self._told = testing, watcher
        self._costs: CostSums | None = None

    def _loop(self, folder: RunFolder, feeder: Feeder, stop: Stop) -> None:
        job, position = self.job, self._position
        saved, began = position.step, time.monotonic()
        while True:
            place = job.order.place(position.step)
            if position.step > position.reported and place.step == 0:
                done = place.epoch * len(job.order.parts) + place.part
                test = done % self._testing.every == 0 or position.step == job.steps
                self._batch(folder, done, time.monotonic() - began, test, stop)
                if test and not stop.asked():
                    self._watcher.saved(self._save(folder))
                    saved = position.step
                began = time.monotonic()
            if position.step == job.steps or stop.asked():
                if saved != position.step:
                    self._watcher.saved(self._save(folder))
                return
            self._advance(feeder)
            # After a stop within a data batch they are those of its rest.
            assert self.session.costs is not None
            self._costs = self._costs + self.session.costs if self._costs else self.session.costs

    def _batch(self, folder: RunFolder, done: int, seconds: float, test: bool, stop: Stop) -> None:
        """Report a data batch; with a test, unless a signal ends that."""
        job = self.job
        count = len(job.order.parts)
        epoch, part = divmod(done - 1, count)
        assert self._costs is not None
        self._told.batch(epoch + 1, self._testing.first + part, (done - 1) / (job.epochs * count), self._costs, seconds)
        found: CostSums | None = None
        if test:
            began = time.monotonic()
            found = self._test(self._test_images(done), self._testing.views, stop)
            if found is None:
                return
        self._note(folder, epoch + 1, part, found)
        if found:
            averages = self._averages(folder, found)
            self._told.tested(found, averages, magnitudes(self.session), time.monotonic() - began)
        self._costs = None

    def _note(self, folder: RunFolder, epoch: int, part: int, tested: CostSums | None) -> None:
        """A line of metrics, and the position that goes with it."""
        job, position = self.job, self._position
        report = Report.of(position, position.step / job.steps_per_epoch, *self._clock.rate(), tested)
        more: dict[str, Any] = {"batch": f"{epoch}.{self._testing.first + part}"}
        if tested:
            more["test_images"], more["test_labelled"] = tested.images, tested.labelled
            more["test_sums"] = {cost.name: values for cost, values in zip(tested.costs, tested.values, strict=True)}
        folder.append_metrics({**report.record(), **more})
        self._watcher.report(report, position.epoch)
        position.reported, position.interval = position.step, type(position.interval)()
        if position.step % job.steps_per_epoch == 0:
            position.train_loss, position.train_error = position.epoch.mean_loss, position.epoch.mean_error
            position.epoch = type(position.epoch)()

    def _test_images(self, done: int) -> Images | Encoded:
        """The test batch whose turn it is, a function of the data batches done; or all."""
        if not self._testing.one or len(self._test_batches) == 1:
            return self.job.dataset.test
        return self._test_batches[(-(-done // self._testing.every) - 1) % len(self._test_batches)]

    @cached_property
    def _test_batches(self) -> list[Images | Encoded]:
        """The data batches to test on: the same ones every time, so that what is decoded of them can be kept."""
        images = self.job.dataset.test
        ends = list(accumulate(parts_of(images) or (len(images),), initial=0))
        return [some_of(images, start, end) for start, end in pairwise(ends)]

    def _averages(self, folder: RunFolder, now: CostSums) -> CostSums:
        """Over the last tests, of which as many count as there are test batches; `now` is the very last."""
        count = len(self._test_batches) if self._testing.one else 1
        sizes = {cost.name: len(values) for cost, values in zip(now.costs, now.values, strict=True)}
        for record in [record for record in folder.read_metrics() if "test_sums" in record][-count:-1]:
            sums = record["test_sums"]
            # Parameters edited since may have changed what is reported.
            if {name: len(values) for name, values in sums.items()} == sizes:
                values, images = tuple(tuple(sums[name]) for name in sizes), int(record["test_images"])
                now += CostSums(now.costs, values, images, int(record.get("test_labelled", images)))
        return now


def magnitudes(session: Session) -> list[Magnitude]:
    """Every learned array: how large its numbers are, and how much they change."""
    found = []
    arrays = session.arrays()
    for name in session.net.learned():
        layer, _, array = name.rpartition(".")
        increments = arrays.get(f"{name}.inc")
        change = float(np.abs(increments).mean(dtype=np.float64)) if increments is not None else 0.0
        if name in arrays:
            found.append(Magnitude(layer, array, float(np.abs(arrays[name]).mean(dtype=np.float64)), change))
    return found
