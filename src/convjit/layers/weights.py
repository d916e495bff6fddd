"""What conv, local, fc and sfc share: initialisation, rates, constraints, sharing of weights; launches of their ops."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from convjit.layers.base import Inner, Layer, Learned, Pass, Target
from convjit.layers.given import Each, Given
from convjit.layers.initialisers import Initialiser
from convjit.layers.options import initialiser, integer, number, numbers, schedule, schedules, sources
from convjit.layers.schedule import Schedule
from convjit.ops.base import Array, Maps, Op
from convjit.ops.constraint import Rule
from convjit.ops.conv import BiasBackward
from convjit.program import Buffer

__all__ = ["Product", "WeightLayer"]

_UNUSED = "the original reads it and never uses it"
_KERNEL = "it chose among the original's kernels and does not change results"
_SOURCE = re.compile(r"([^\[\]]+?)\s*(?:\[\s*([0-9]{1,6})\s*\])?")


@dataclass(frozen=True)
class Product:
    """What a weight layer does with one input, as ops; filters are runs of `fan_in` weights, `units` to a matrix.

    `forward` makes the output, biases included; `added` adds to what is there. The gradients' ops take `accumulate`.
    """

    weights: Array
    fan_in: int
    units: int
    fan_out: int
    forward: Op
    added: Op
    backward_weights: Callable[[bool], Op]
    backward_data: Callable[[bool], Op]


@dataclass(frozen=True, kw_only=True)
class WeightLayer(Inner):
    """A layer with one array of weights per input, and biases."""

    needs_parameters: ClassVar = True
    most_inputs: ClassVar = None
    ball: ClassVar[Literal["sphere", "ball"]] = "sphere"
    """What wball means: in the original no ball, but a sphere."""
    ignored: ClassVar = {
        **Layer.ignored,
        "superEps": _UNUSED,
        "superMom": _UNUSED,
        "sumWidth": _KERNEL,
        "partialSum": _KERNEL,
    }

    init_w: Each[float] = numbers("initW", default=0.01, least=0)
    init_b: float = number("initB", default=0.0)
    init_w_func: Given[Initialiser | None, Initialiser | str | None] = initialiser("initWFunc", default=None)
    init_b_func: Given[Initialiser | None, Initialiser | str | None] = initialiser("initBFunc", default=None)
    weight_source: Given[tuple[str, ...], str | Sequence[str]] = sources("weightSource", default="")
    eps_w: Each[Schedule] = schedules("epsW", default=0.001, required=True)
    eps_b: Given[Schedule, Schedule | float | str] = schedule("epsB", default=0.002, required=True)
    mom_w: Each[float] = numbers("momW", default=0.9, least=0, most=1, file="params", required=True)
    mom_b: float = number("momB", default=0.9, least=0, most=1, file="params", required=True)
    wc: Each[float] = numbers("wc", default=0.0, least=0, file="params")
    wball: Each[float] = numbers("wball", default=0.0, least=0, file="params")
    update_period: int = integer("updatePeriod", default=0, least=0, file="params")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.init_b_func and not self.init_b_func.for_biases:
            found = f"initBFunc={self.init_b_func}: biases can start as const[...], vec[...] or load(checkpoint, layer)"
            raise self.error(found, "initBFunc")
        if any(self.weight_source) and self.init_w_func:
            raise self.error(
                "initWFunc and weightSource exclude one another: shared weights have one start", "initWFunc"
            )
        for text in self.weight_source:
            if text and not _SOURCE.fullmatch(text):
                raise self.error(f"weightSource={text}: must be a layer, or layer[index of its input]", "weightSource")

    @staticmethod
    def weights_name(index: int) -> str:
        """Name of the weights of one input."""
        return f"weights{index}" if index else "weights"

    def source_of(self, index: int) -> tuple[str, int] | None:
        """(layer, index of its input) whose weights input `index` uses; None for its own."""
        match = _SOURCE.fullmatch(self.weight_source[index])
        return (match[1], int(match[2] or 0)) if match else None

    def products(self, inputs: Sequence[Maps]) -> list[Product]:
        """What is done with each input; ConfigError if it does not fit the options."""
        raise NotImplementedError

    def biases(self, inputs: Sequence[Maps]) -> Array:
        """Shape of the biases."""
        raise NotImplementedError

    def rules(self, index: int) -> tuple[Rule, ...]:
        """Constraints on the weights of one input."""
        bound = self.wball[index]
        return (Rule(self.ball, bound),) if bound else ()

    def learned(self, inputs: Sequence[Maps]) -> tuple[Learned, ...]:
        period = max(self.update_period, 1)
        weights = [
            Learned(
                self.weights_name(i),
                product.weights,
                self.eps_w[i],
                self.mom_w[i],
                self.wc[i],
                deviation=self.init_w[i],
                initialiser=self.init_w_func,
                fan_in=product.fan_in,
                fan_out=product.fan_out,
                units=product.units,
                rules=self.rules(i),
                period=period,
                source=self.source_of(i),
            )
            for i, product in enumerate(self.products(inputs))
        ]
        biases = Learned(
            "biases",
            self.biases(inputs),
            self.eps_b,
            self.mom_b,
            value=self.init_b,
            initialiser=self.init_b_func,
            period=period,
        )
        return (*weights, biases)

    def source(self, step: Pass, index: int, launch: bool = False) -> Buffer:
        """What the ops read of an input; made now, if `launch` says so."""
        return step.inputs[index]

    def source_gradient(self, step: Pass, index: int, launch: Callable[[Target], None]) -> None:
        """Call `launch` with where the ops are to put the gradient of what they read, if somebody needs it."""
        if target := step.input_gradient(index):
            launch(target)

    def forward(self, step: Pass) -> None:
        for i, product in enumerate(self.products(step.views)):
            x, w, y = self.source(step, i, launch=True), step.weights(self.weights_name(i)), step.output
            if i == 0:
                step.launch("forward", product.forward, x=x, w=w, b=step.weights("biases"), y=y)
            else:
                step.launch(f"forward{i}", product.added, x=x, w=w, y=y)

    def backward(self, step: Pass) -> None:
        dy = step.gradient()
        for i, product in enumerate(self.products(step.views)):
            suffix = str(i) if i else ""
            if dw := step.weights_gradient(self.weights_name(i)):
                op = product.backward_weights(dw.accumulate)
                step.launch(f"backward_weights{suffix}", op, x=self.source(step, i), dy=dy, dw=dw.buffer)

            def data(dx: Target, i: int = i, product: Product = product, suffix: str = suffix) -> None:
                w = step.weights(self.weights_name(i))
                step.launch(f"backward_data{suffix}", product.backward_data(dx.accumulate), dy=dy, w=w, dx=dx.buffer)

            self.source_gradient(step, i, data)
        if db := step.weights_gradient("biases"):
            shared = len(db.buffer.operand.logical(1)) == 1
            step.launch("backward_biases", BiasBackward(step.shape, shared, db.accumulate), dy=dy, db=db.buffer)
