"""What a training tells while it runs. A console, a notebook or a test overrides what it wants to hear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convjit.train.job import Job
from convjit.train.position import Position
from convjit.train.session import Session
from convjit.train.sums import CostSums, Sums, listed

__all__ = ["Report", "Result", "Watcher"]


@dataclass(frozen=True)
class Report:
    """Means over the minibatches since the report before, and of the test if there was one; errors are 0 to 1.

    `epoch` counts epochs done, with their fraction. `waiting` is the share of the time in which no data were ready.
    """

    step: int
    epoch: float
    train_loss: float
    train_error: float
    images_per_s: float
    waiting: float
    test_loss: float | None = None
    test_error: float | None = None
    test_rates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Shares for every class, by name: precision and recall of a net with a cost.dce."""

    @classmethod
    def of(
        cls, position: Position, epoch: float, images_per_s: float, waiting: float, tested: CostSums | None
    ) -> Report:
        """Of what has been summed at a position, and a test."""
        interval, test = position.interval, tested.main if tested else None
        return cls(
            position.step,
            round(epoch, 4),
            interval.mean_loss,
            interval.mean_error,
            round(images_per_s, 1),
            round(waiting, 3),
            test.mean_loss if test else None,
            test.mean_error if test else None,
            tested.class_rates if tested else {},
        )

    def record(self) -> dict[str, Any]:
        """As a line of metrics.jsonl; null is the share of a class of which there is none."""
        own = {name: value for name, value in vars(self).items() if value is not None and name != "test_rates"}
        return own | {f"test_{name}": listed(shares) for name, shares in self.test_rates.items()}


@dataclass(frozen=True)
class Result:
    """How a training ended. Loss and error of training are those of the last whole epoch; errors are 0 to 1.

    `interrupted` is the signal that ended it early, 0 if it came to its end. `seconds` and `images_per_s` are those of
    this process, the latter without compiling, testing and saving.
    """

    run: Path
    step: int
    seconds: float
    images_per_s: float
    train_loss: float
    train_error: float
    test_loss: float | None
    test_error: float | None
    weights_sha256: str
    interrupted: int = 0
    waiting: float = 0.0
    """Share of the training time in which no data were ready."""
    counts_errors: bool = True
    """Whether the main cost counts errors; its loss stands for the error if not."""
    from_files: bool = True
    """Whether the net takes image files, for which `convjit predict` is."""
    decoded: bool = True
    """Whether all images were decoded before the first step."""
    kept: bool = False
    """Whether each was decoded once, since there was memory to keep them all."""

    def record(self) -> dict[str, Any]:
        """What `train --json` prints."""
        names = ("seconds", "images_per_s", "train_error", "test_error", "test_loss", "weights_sha256", "waiting")
        found = {"run": str(self.run), **{name: getattr(self, name) for name in names}}
        return found if self.counts_errors else found | {"train_error": None, "test_error": None}


class Watcher:
    """Hears of a training; does nothing by itself."""

    def planned(self, job: Job) -> None:
        """It is known what will be trained; compiling comes next."""

    def measuring(self, done: int, total: int, launch: str) -> None:
        """The ways to compute a launch are about to be measured, the one after `done` of `total`."""

    def compiling(self, done: int, total: int) -> None:
        """So many of so many kernels are compiled."""

    def starting(self, session: Session, step: int) -> None:
        """Everything is compiled and in place; training goes on after `step` steps."""

    def step(self, step: int, sums: Sums) -> None:
        """A minibatch is done; called after every one, so it must be quick."""

    def broken(self, line: str) -> None:
        """A training image cannot be decoded, and another takes its place; told once of each."""

    def left_out(self, line: str) -> None:
        """A test image cannot be decoded, and is left out; told once of each."""

    def testing(self) -> None:
        """A test begins."""

    def report(self, report: Report, epoch: Sums) -> None:
        """A line was written to metrics.jsonl; `epoch` are the sums since the epoch began."""

    def saved(self, path: Path) -> None:
        """A checkpoint was written."""

    def ended(self) -> None:
        """Training is over, whichever way."""
