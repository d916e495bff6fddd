"""A training as the command shows it: the plan, live progress, a line per epoch."""

from __future__ import annotations

import time

from convjit.data import Dataset, Images
from convjit.data.decoder import image_memory
from convjit.data.encoded import HeldImages
from convjit.graph import counts
from convjit.show.console import Bar, Screen, count, duration, mean_share, megabytes, outcome, percent
from convjit.show.net import Memory, show_layers, show_memory
from convjit.train.job import Job, Notes
from convjit.train.session import Session
from convjit.train.sums import Sums
from convjit.train.watch import Report, Result, Watcher

__all__ = ["TrainingView", "bound", "notes_on", "show_result"]

_BOUND = 0.05
"""Share of the time spent waiting for data from which it is worth a word."""


def notes_on(screen: Screen, bar: Bar) -> Notes:
    """What is heard while data are opened, on a screen."""
    return Notes(
        screen.warn,
        lambda done, total: bar.update("reading images", done, total),
        lambda done, total: bar.update(f"downloading {megabytes(total)}", done, total),
    )


class TrainingView(Watcher):
    """A watcher that prints."""

    def __init__(self, screen: Screen, bar: Bar) -> None:
        self._screen, self._bar = screen, bar
        self._job: Job | None = None
        self._first = self._total = self._epochs = self._steps_per_epoch = self._images = 0
        self._recent, self._seen = Sums(), 0
        self._began = self._epoch_began = self._trained = self._shown = 0.0

    def planned(self, job: Job) -> None:
        self._job = job
        self._bar.close()
        data, where = job.dataset, f"{job.dataset.name}: " if job.dataset.name else ""
        shape = "x".join(map(str, job.preprocessing.image))
        self._screen.line(f"net {job.name}, {count(job.net.parameters)} parameters")
        show_layers(self._screen, job.net, counts(job.net))
        of = "images of" if data.shape else "images decoded when they are needed, to"
        if data.numbers:
            of = "rows of features,"
        self._screen.line(
            f"data {where}{len(data.train):,} + {len(data.test):,} {of} {shape}, {len(data.classes)} classes"
        )

    def measuring(self, done: int, total: int, launch: str) -> None:
        self._bar.update("measuring", done, total, launch)

    def compiling(self, done: int, total: int) -> None:
        self._bar.compiling(done, total)

    def starting(self, session: Session, step: int) -> None:
        self._bar.close()
        job = self._job
        assert job is not None
        train, test = session.executor("train"), session.executor("test")
        others = f"; testing {megabytes(test.own_bytes)}, images {_image_memory(job.dataset)}"
        show_memory(self._screen, Memory.of(train.plan, train.kernel_bytes), job.part, others=others)
        if session.fitted:
            self._screen.line(session.fitted.text())
        threads = f"{train.threads} thread{'s' if train.threads > 1 else ''}"
        stored = "" if job.dtype == "fp32" else f", activations and gradients in {job.dtype}"
        self._screen.line(f"{job.epochs} epochs of {job.steps_per_epoch} steps, {threads}, {train.target.name}{stored}")
        self._first, self._total, self._seen = step, job.steps, step
        self._epochs, self._steps_per_epoch, self._images = job.epochs, job.steps_per_epoch, len(job.dataset.train)
        if self._first:
            self._screen.line(f"going on after step {self._first} of {self._total}")
        self._began = self._epoch_began = self._shown = time.monotonic()

    def step(self, step: int, sums: Sums) -> None:
        self._recent += sums
        if not self._screen.live or not self._bar.due():
            return
        now = time.monotonic()
        rate = (step - self._seen) * self._images / self._steps_per_epoch / max(now - self._shown, 1e-9)
        left = (now - self._began) / (step - self._first) * (self._total - step)
        note = f"{self._outcome(self._recent)}  {rate:,.0f} images/s  {duration(left)} left"
        epoch = min((step - 1) // self._steps_per_epoch + 1, self._epochs)
        self._bar.update(f"epoch {epoch}/{self._epochs}", step, self._total, note)
        self._recent, self._seen, self._shown = Sums(), step, now

    def broken(self, line: str) -> None:
        self._screen.warn(f"{line}; another image takes its place")

    def left_out(self, line: str) -> None:
        self._screen.warn(f"{line}; it is left out of the tests")

    def testing(self) -> None:
        self._trained = time.monotonic()

    def report(self, report: Report, epoch: Sums) -> None:
        if report.step % self._steps_per_epoch:
            return
        done, now = report.step // self._steps_per_epoch, time.monotonic()
        training = (self._trained if report.test_error is not None else now) - self._epoch_began
        # Of an epoch that was resumed in its middle, only the images of this process count.
        images = min(self._images, (report.step - self._first) * self._images // self._steps_per_epoch)
        width = len(str(self._epochs))
        text = f"epoch {done:{width}d}/{self._epochs}  {self._outcome(epoch)}"
        if report.test_error is not None and report.test_loss is not None:
            counted = self._job is None or self._job.net.counts_errors
            text += f"  test {percent(report.test_error):>7}" if counted else f"  test {report.test_loss:.4f}"
        for name, shares in report.test_rates.items():
            text += f"  {name} {percent(mean_share(shares)):>7}"
        left = (now - self._began) / max(report.step - self._first, 1) * (self._total - report.step)
        text += f"  {images / max(training, 1e-9):,.0f} images/s  {now - self._epoch_began:.1f} s"
        if report.waiting >= _BOUND:
            text += f"  {percent(report.waiting)} of it waiting for data"
        self._screen.line(text + (f"  {duration(left)} left" if report.step < self._total else ""))
        self._epoch_began = now

    def _outcome(self, sums: Sums) -> str:
        """Loss and, where they are counted, errors; in columns."""
        counted = self._job is None or self._job.net.counts_errors
        return f"loss {sums.mean_loss:.4f}" + (f"  error {percent(sums.mean_error):>7}" if counted else "")

    def ended(self) -> None:
        self._bar.close()


def _image_memory(dataset: Dataset) -> str:
    """What a set takes of memory: its pixels; of encoded images, those kept decoded, and files held in memory."""
    parts = (dataset.train, dataset.test)
    size = sum(part.pixels.nbytes for part in parts if isinstance(part, Images))
    size += sum(part.nbytes for part in parts if isinstance(part, HeldImages))
    whole = all(isinstance(part, Images) for part in parts)
    return megabytes(size) if whole else f"up to {megabytes(size + image_memory())}"


def bound(waiting: float, *, decoded: bool = False, kept: bool = False) -> str:
    """What a run's speed was bound by, and what to do, from the share of its time in which no data were ready."""
    if waiting < _BOUND:
        return f"bound by computing: data were ready {percent(1 - waiting)} of the time"
    found = f"bound by data: {percent(waiting)} of the time none were ready. "
    if decoded:
        return found + "The net takes less time than its images to be handed out; larger minibatches (--batch) help"
    if kept:
        return found + "Each image is decoded once and kept; smaller files make that shorter (convjit data pack)"
    return found + (
        "Smaller files are decoded faster (convjit data pack); more memory keeps more images decoded "
        "(CONVJIT_IMAGE_MEMORY)"
    )


def show_result(screen: Screen, result: Result) -> None:
    """The last lines of a training."""
    if result.interrupted:
        screen.line(f"stopped after step {result.step}; go on with: convjit train --resume {result.run}")
        return
    if result.test_loss is not None:
        tested = outcome(result.test_loss, result.test_error if result.counts_errors else None)
        screen.line(f"test {tested}, {duration(result.seconds)}")
    screen.line(bound(result.waiting, decoded=result.decoded, kept=result.kept))
    screen.line(f"run {result.run}")
    if result.counts_errors and result.from_files:
        screen.line(f"try it: convjit predict {result.run} IMAGE")
