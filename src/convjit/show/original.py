"""A training as cuda-convnet printed it: a line per data batch, tests with the sizes of weights and increments."""

from __future__ import annotations

import time
from pathlib import Path

from convjit.data.stream import shown
from convjit.show.console import Bar, Screen
from convjit.train.job import Job
from convjit.train.original_trainer import Costs, Magnitude, OriginalWatcher
from convjit.train.session import Session

__all__ = ["OriginalView", "cost_line"]

_WIDTH = 55


def cost_line(costs: Costs, program: str) -> str:
    """The values of every cost; the top-k error is cuda-convnet2's."""
    kept = {name: values[:2] if program == "cc1" and len(values) == 3 else values for name, values in costs.items()}
    return ",  ".join(f"{name}:  {', '.join(f'{value:.6f}' for value in values)}" for name, values in kept.items())


class OriginalView(OriginalWatcher):
    """Prints what the originals printed."""

    def __init__(self, screen: Screen, bar: Bar, program: str) -> None:
        self._screen, self._bar, self._program = screen, bar, program

    def planned(self, job: Job) -> None:
        self._bar.close()
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

    def batch(self, epoch: int, batch: int, progress: float, costs: Costs, seconds: float) -> None:
        share = "" if self._program == "cc1" else f" ({100 * progress:.2f}%)"
        self._screen.line(f"{epoch}.{batch}{share}... {cost_line(costs, self._program)} ({seconds:.3f} sec)")

    def tested(self, costs: Costs, averages: Costs, magnitudes: list[Magnitude], seconds: float) -> None:
        self._rule("=", "Test output")
        self._screen.line(cost_line(costs, self._program))
        self._rule("-", "Averages")
        self._screen.line(cost_line(averages, self._program))
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

    def _rule(self, mark: str, text: str = "") -> None:
        self._screen.line(text.center(_WIDTH, mark))
