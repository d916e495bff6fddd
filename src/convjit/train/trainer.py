"""The training loop: minibatches, reports, tests, checkpoints.

What a step does depends on texts, data, seed and step alone, and reports come at fixed steps, so that a run that goes
on from a checkpoint writes the numbers, speeds apart, that it would have written without the stop.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from convjit import __version__
from convjit.data import Encoded, Feeder, Images, Kept
from convjit.data.decoder import image_memory
from convjit.data.statistics import colour_axes
from convjit.errors import RunError
from convjit.runtime import Ways
from convjit.train.checkpoint import State, save
from convjit.train.disk import need_space
from convjit.train.initial import initial_weights
from convjit.train.job import Job
from convjit.train.position import Clock, Position
from convjit.train.prepare import augmentation_of, mean_of
from convjit.train.record import run_record
from convjit.train.run_folder import RunFolder
from convjit.train.session import Session
from convjit.train.signals import Stop
from convjit.train.sums import CostSums, Sums
from convjit.train.watch import Report, Result, Watcher

__all__ = ["Trainer"]

REPORTS_PER_EPOCH = 10
SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Trainer:
    """Carries out one job. Compiling happens when it is made; use it as a context manager, or close it.

    `adopted` are learned arrays of another program to go on with, in the place of initial ones, and after how many
    minibatches. Tests from several views work out the cost.logreg called `cost`, by default the net's main cost.
    """

    def __init__(
        self,
        job: Job,
        *,
        threads: int | None = None,
        watcher: Watcher | None = None,
        cost: str = "",
        adopted: tuple[Mapping[str, NDArray[np.float32]], int] | None = None,
        seconds_between_checkpoints: float = SECONDS_BETWEEN_CHECKPOINTS,
    ) -> None:
        self.job, self._watcher, self._between = job, watcher or Watcher(), seconds_between_checkpoints
        self._cost, self._adopted = cost, adopted
        if job.recipe.views > 1:
            job.net.logreg(cost)
        self._clock, self._position = Clock(), Position()
        self._tested: CostSums | None = None
        self._watcher.planned(job)
        # Before anything is compiled: initialisers may be wrong, or not allowed.
        fresh = job.start is None and adopted is None
        initial = initial_weights(job.net, job.seed, job.run_code) if fresh else {}
        mean, axes = self._mean_and_axes()
        self._augmentation = augmentation_of(job.net, job.recipe, mean)
        self._kept = Kept(image_memory())
        self._left_out: set[str] = set()
        self.session = Session(
            job.net,
            job.part,
            mean,
            accumulate=job.accumulate > 1,
            memory=job.memory or None,
            # A run that goes on keeps to the algorithms, and so to the bits, that it began with.
            fixed=job.start is not None,
            axes=axes,
            preprocessing=job.preprocessing,
            dtype=job.dtype,
            kept=self._kept,
            ways=Ways(job.ways),
            threads=threads,
            progress=self._watcher.compiling,
        )
        try:
            self.executor = self.session.executor("train")
            self.session.executor("test")
            self._fill(initial)
        except BaseException:
            self.session.close()
            raise

    def _mean_and_axes(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Mean and axes of colour: of the training images, or as they were when the run began."""
        job = self.job
        kept = {} if job.start is None else {n: a for n, a in job.start.arrays() if n in ("mean", "axes")}
        mean = kept["mean"] if "mean" in kept else mean_of(job.dataset, job.net, job.recipe)
        if not job.net.changes.colour_noise:
            return mean, kept.get("axes")
        return mean, kept["axes"] if "axes" in kept else colour_axes(job.dataset, job.preprocessing)

    def _fill(self, initial: Mapping[str, NDArray[np.float32]]) -> None:
        """Weights and position: from the checkpoint, from another program, or the initial ones."""
        if self._adopted is not None:
            arrays, step = self._adopted
            rest = {name: np.zeros_like(array) for name, array in self.session.arrays().items() if name not in arrays}
            self.session.set_arrays({**rest, **arrays}.items())
            self._position = Position(step, step)
            return
        if self.job.start is None:
            self.session.set_arrays(initial.items(), increments=False)
            return
        state = self.job.start.state
        self.session.set_arrays(self.job.start.arrays())
        self._position = Position(
            state.step, state.reported, state.interval, state.epoch, state.train_loss, state.train_error
        )

    def run(self, folder: RunFolder) -> Result:
        """Train to the end, or until a signal comes. The caller holds the folder's lock."""
        if self.job.start is None:
            self.begin(folder)
        else:
            self._go_on(folder)
        job, position = self.job, self._position
        feeder = Feeder(
            job.dataset.train,
            job.batch,
            seed=job.seed,
            start_step=position.step,
            stop_step=job.steps,
            shuffle=job.recipe.order == "shuffled",
            augmentation=self._augmentation,
            preprocessing=job.preprocessing,
            kept=self._kept,
        )
        try:
            with Stop() as stop, feeder:
                self._watcher.starting(self.session, position.step)
                self._loop(folder, feeder, stop)
                if not stop.asked() and self._tested is None:
                    # A finished run that was resumed.
                    self._tested = self._test(job.dataset.test, job.recipe.views, stop)
        finally:
            self._watcher.ended()
        return self._result(folder, stop)

    def begin(self, folder: RunFolder) -> None:
        """Fill a new folder. run.json comes last: what has one can be resumed."""
        job = self.job
        arrays = self.session.arrays()
        need_space(folder.path, sum(array.nbytes for array in arrays.values()))
        folder.write_text("net.cfg", job.definition)
        folder.write_text("params.cfg", job.parameters)
        if job.given is not None:
            folder.write_text("net.given.cfg", job.given[0])
            folder.write_text("params.given.cfg", job.given[1])
        folder.write_text("metrics.jsonl", "")
        self._save(folder)
        folder.write_settings(run_record(job, self.executor))

    def _go_on(self, folder: RunFolder) -> None:
        """Take back what was written after the checkpoint, and note that the run was resumed."""
        job, now = self.job, run_record(self.job, self.executor)
        assert job.start is not None
        target, before = self.executor.target.name, job.start.state.target
        if target != before:
            warnings.warn(
                f"the run was trained for {before} and goes on for {target}: sums round otherwise", stacklevel=2
            )
        folder.cut_metrics(self._position.reported)
        settings = folder.read_settings()
        earlier = settings.get("resumed")
        note = {"step": self._position.step, "settings": now["settings"], "versions": now["versions"]}
        folder.write_settings({**settings, "resumed": [*(earlier if isinstance(earlier, list) else []), note]})

    def _loop(self, folder: RunFolder, feeder: Feeder, stop: Stop) -> None:
        job, position = self.job, self._position
        saved, saved_at = (position.step, position.reported), time.monotonic()
        while True:
            in_epoch = position.step % job.steps_per_epoch
            if position.step > position.reported and in_epoch % self._every() == 0:
                self._report(folder, stop)
            last = position.step == job.steps or stop.asked()
            due = in_epoch == 0 or last or time.monotonic() - saved_at >= self._between
            if due and (position.step, position.reported) != saved:
                self._watcher.saved(self._save(folder))
                saved, saved_at = (position.step, position.reported), time.monotonic()
            if last:
                return
            self._advance(feeder)

    def _every(self) -> int:
        """Minibatches from report to report."""
        return max(1, self.job.steps_per_epoch // REPORTS_PER_EPOCH)

    def _advance(self, feeder: Feeder) -> None:
        """One minibatch."""
        job, position = self.job, self._position
        start = time.perf_counter()
        batch = next(feeder)
        waited = time.perf_counter() - start
        for line in batch.broken:
            self._watcher.broken(line)
        progress, epoch = job.progress(position.step)
        divisor = job.batch if job.recipe.average == "configured" else batch.count
        sums = self.session.step(batch, seed=job.seed, progress=progress, epoch=epoch, divisor=divisor)
        self._clock.add(time.perf_counter() - start, batch.count, waited)
        position.step += 1
        position.interval += sums
        position.epoch += sums
        self._watcher.step(position.step, sums)
        if not math.isfinite(sums.loss):
            raise self._diverged("the loss")

    def _diverged(self, what: str) -> RunError:
        step, epoch = self._position.step, self._position.step / self.job.steps_per_epoch
        way_out = "lower the learning rates (epsW, epsB) or the initial weights (initW)"
        return RunError(f"{what} is no finite number after step {step} (epoch {epoch:.2f}): {way_out}")

    def _report(self, folder: RunFolder, stop: Stop) -> None:
        """One line of metrics; none if a signal ends the test, so that a resumed run tests again."""
        job, position = self.job, self._position
        epoch, in_epoch = divmod(position.step, job.steps_per_epoch)
        tested = None
        if in_epoch == 0 and (epoch % job.recipe.test_every == 0 or position.step == job.steps):
            self._watcher.testing()
            tested = self._test(job.dataset.test, job.recipe.views, stop)
            if tested is None:
                return
        report = Report.of(position, position.step / job.steps_per_epoch, *self._clock.rate(), tested)
        folder.append_metrics(report.record())
        self._watcher.report(report, position.epoch)
        self._tested = tested
        position.reported, position.interval = position.step, Sums()
        if in_epoch == 0:
            position.train_loss, position.train_error = position.epoch.mean_loss, position.epoch.mean_error
            position.epoch = Sums()

    def _test(self, images: Images | Encoded, views: int, stop: Stop) -> CostSums | None:
        """What the costs come to over some images; None if a signal came in between."""
        found = self.session.test(images, stop.asked, views=views, cost=self._cost)
        for line in self.session.broken:
            if line not in self._left_out:
                self._left_out.add(line)
                self._watcher.left_out(line)
        return found

    def _save(self, folder: RunFolder) -> Path:
        if not self.session.finite():
            raise self._diverged("a weight")
        preprocessing = {"mean": self.session.mean}
        if self.session.axes is not None:
            preprocessing["axes"] = self.session.axes
        return save(folder.checkpoints, self.state(), {**preprocessing, **self.session.arrays()})

    def state(self) -> State:
        """What a checkpoint written now would say."""
        job = self.job
        return State(
            definition=job.definition,
            parameters=job.parameters,
            epochs=job.epochs,
            batch=job.batch,
            seed=job.seed,
            data=job.data,
            fingerprint=job.dataset.fingerprint,
            train_images=len(job.dataset.train),
            classes=job.dataset.classes,
            image=job.preprocessing.image,
            crop=job.net.crop,
            mirror=job.recipe.mirror,
            mean=job.recipe.taken_off,
            target=self.executor.target.name,
            version=__version__,
            parts=job.order.parts if job.recipe.order == "batches" else (),
            preprocessing=job.preprocessing.record(),
            dtype=job.dtype,
            ways=self.session.ways.chosen,
            accumulate=job.accumulate,
            memory=job.memory,
            **vars(self._position),
        )

    def _result(self, folder: RunFolder, stop: Stop) -> Result:
        job, clock, position = self.job, self._clock, self._position
        tested = self._tested.main if self._tested else None
        return Result(
            folder.path,
            position.step,
            round(time.perf_counter() - clock.began, 3),
            round(clock.images / clock.seconds, 1) if clock.seconds else 0.0,
            position.train_loss,
            position.train_error,
            tested.mean_loss if tested else None,
            tested.mean_error if tested else None,
            self.session.weights_sha256(),
            stop.number,
            round(clock.waited / clock.seconds, 3) if clock.seconds else 0.0,
            job.net.counts_errors,
            not job.preprocessing.check(),
            isinstance(job.dataset.train, Images),
            not self._kept.full,
        )

    def close(self) -> None:
        """End the threads."""
        self.session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
