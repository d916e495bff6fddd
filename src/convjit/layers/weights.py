"""What conv, fc and their like share: the initialisation, rates and decay of weights and biases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from convjit.layers.base import Inner, Layer, Learned
from convjit.layers.given import Each, Given
from convjit.layers.options import number, numbers, schedule, schedules
from convjit.layers.schedule import Schedule
from convjit.ops.base import Array

__all__ = ["WeightLayer"]

_UNUSED = "the original reads it and never uses it"
_KERNEL = "it chose among the original's kernels and does not change results"


@dataclass(frozen=True, kw_only=True)
class WeightLayer(Inner):
    """A layer with one array of weights per input, and biases."""

    needs_parameters: ClassVar = True
    most_inputs: ClassVar = None
    ignored: ClassVar = {
        **Layer.ignored,
        "superEps": _UNUSED,
        "superMom": _UNUSED,
        "sumWidth": _KERNEL,
        "partialSum": _KERNEL,
    }

    init_w: Each[float] = numbers("initW", default=0.01, least=0)
    init_b: float = number("initB", default=0.0)
    eps_w: Each[Schedule] = schedules("epsW", default=0.001, required=True)
    eps_b: Given[Schedule, Schedule | float | str] = schedule("epsB", default=0.002, required=True)
    mom_w: Each[float] = numbers("momW", default=0.9, least=0, most=1, file="params", required=True)
    mom_b: float = number("momB", default=0.9, least=0, most=1, file="params", required=True)
    wc: Each[float] = numbers("wc", default=0.0, least=0, file="params")

    @staticmethod
    def weights_name(index: int) -> str:
        """Name of the weights of one input."""
        return f"weights{index}" if index else "weights"

    def learned_arrays(self, weights: Sequence[Array], biases: Array) -> tuple[Learned, ...]:
        """The weights of all inputs, then the biases."""
        arrays = [
            Learned(self.weights_name(i), array, self.eps_w[i], self.mom_w[i], self.wc[i], deviation=self.init_w[i])
            for i, array in enumerate(weights)
        ]
        return (*arrays, Learned("biases", biases, self.eps_b, self.mom_b, value=self.init_b))
