"""A training as cuda-convnet printed it: a line per data batch, tests with the sizes of weights and increments."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from convjit.data.stream import shown
from convjit.layers import Logreg
from convjit.show.console import Bar, Screen
from convjit.train.job import Job
from convjit.train.original_trainer import Magnitude, OriginalWatcher
from convjit.train.session import Session
from convjit.train.sums import CostSums

__all__ = ["OriginalView", "cost_line"]

_WIDTH = 55


def cost_line(costs: CostSums, program: str, classes: Sequence[str]) -> str:
    """The values of every cost, then precision and recall of every class; the top-k error is cuda-convnet2's."""
    rates, found = costs.rates(), []
    for cost, (name, values) in zip(costs.costs, costs.means().items(), strict=True):
        kept = values[:2] if program == "cc1" and isinstance(cost, Logreg) else values
        found.append(f"{name}:  {_numbers(kept)}")
        if name in rates:
            shares = zip(classes, *rates[name].values(), strict=False)
            found += [f"({shown(label)}) {_numbers(numbers)}" for label, *numbers in shares]
    return ",  ".join(found)


def _numbers(values: Sequence[float]) -> str:
    return ", ".join("-" if math.isnan(value) else f"{value:.6f}" for value in values)


class OriginalView(OriginalWatcher):
    """Prints what the originals printed."""

    def __init__(self, screen: Screen, bar: Bar, program: str) -> None:
        self._screen, self._bar, self._program = screen, bar, program
        self._classes: Sequence[str] = ()

    def broken(self, line: str) -> None:
        self._screen.warn(f"{line}; another image takes its place")

    def left_out(self, line: str) -> None:
        self._screen.warn(f"{line}; it is left out of the tests")

    def planned(self, job: Job) -> None:
        self._bar.close()
        self._classes = job.dataset.classes
        for node in job.net.nodes.values():
            layer = node.layer
            self._screen.line(f"Layer '{layer.name}' of type {layer.kind}, producing {node.output.features} outputs")
        self._rule("=")
        self._screen.line("Training ConvNet")
        self._screen.line(f"Current time: {time.strftime('%c')}")

    def compiling(self, done: int, total: int) -> None:
        self._bar.compiling(done, total)

    def starting(self, session: Session, step: int) -> None:
        self._bar.close()
        self._rule("=")

    def batch(self, epoch: int, batch: int, progress: float, costs: CostSums, seconds: float) -> None:
        share = "" if self._program == "cc1" else f" ({100 * progress:.2f}%)"
        self._screen.line(f"{epoch}.{batch}{share}... {self._line(costs)} ({seconds:.3f} sec)")

    def tested(self, costs: CostSums, averages: CostSums, magnitudes: list[Magnitude], seconds: float) -> None:
        self._rule("=", "Test output")
        self._screen.line(self._line(costs))
        self._rule("-", "Averages")
        self._screen.line(self._line(averages))
        self._rule("-")
        for one in magnitudes:
            if one.array == "biases":
                self._screen.line(f"Layer '{one.layer}' biases: {one.value:e} [{one.increment:e}]")
                continue
            index = one.array.removeprefix("weights") or "0"
            ratio = one.increment / one.value if one.value else 0.0
            self._screen.line(f"Layer '{one.layer}' weights[{index}]: {one.value:e} [{one.increment:e}] [{ratio:e}]")
        self._rule("-", f"({seconds:.3f} sec)")

    def saved(self, path: Path) -> None:
        self._screen.line(f"Saved checkpoint to {shown(path)}")

    def ended(self) -> None:
        self._bar.close()

    def _line(self, costs: CostSums) -> str:
        return cost_line(costs, self._program, self._classes)

    def _rule(self, mark: str, text: str = "") -> None:
        self._screen.line(text.center(_WIDTH, mark))
