"""Every layer and every neuron: gradients against two-sided differences, weights and images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from layer_samples import NETS, net_of
from numpy.typing import NDArray

from convjit.graph import Net
from convjit.layers import Conv, Data, Fc, Pass
from convjit.layers.data import IMAGES
from convjit.ops.conv import ConvBackwardData
from convjit.program import Program
from convjit.train import gradient_check
from convjit.train.gradient_check import check_gradients


def _images(net: Net, name: str) -> bool:
    """Whether a layer gives the images, and neither labels nor targets."""
    layer = net.nodes[name].layer
    return isinstance(layer, Data) and layer.data_idx == IMAGES


@pytest.mark.parametrize("name", NETS)
def test_gradients(name: str) -> None:
    net = NETS[name]
    result = check_gradients(net, batch=4, most=60)
    wrong = [array for array in result.arrays if not array.passed]
    assert not wrong, f"gradients differ from differences:\n{wrong}"
    assert not result.cut_short
    frozen = {name for name, learned in net.learned().items() if learned.frozen}
    read = {name for layer in net.layers if layer.passes_gradient for name in layer.inputs}
    images = {name for name in read if _images(net, name)}
    assert {array.name for array in result.arrays} == {*images, *net.learned()} - frozen
    for array in result.arrays:
        assert array.checked + array.rejected == min(array.elements, 60)
        assert array.rejected <= 3
        assert array.relative_error < 1e-6


@dataclass(frozen=True, kw_only=True)
class Wrong(Conv):
    """A convolution that adds its data gradient twice."""

    kind: ClassVar[str] = "conv"

    def backward(self, step: Pass) -> None:
        super().backward(step)
        if dx := step.input_gradient(0):
            op = ConvBackwardData(self.conv_shape(0, step.views[0]), dx.accumulate)
            step.launch("again", op, dy=step.gradient(), w=step.weights("weights"), dx=dx.buffer)


def test_a_wrong_gradient_is_found() -> None:
    below = Conv("below", "data", filters=2, filter_size=3)
    result = check_gradients(net_of(below, Wrong("wrong", "below", filters=3, filter_size=2)))
    assert not result.passed
    assert {array.layer for array in result.arrays if not array.passed} == {"data", "below"}
    worst = next(array for array in result.arrays if array.name == "below.weights")
    assert len(worst.worst_index) == 4
    assert np.isclose(worst.analytic, 2 * worst.numeric, rtol=1e-4)


def test_time_is_kept_and_said() -> None:
    net = net_of(Conv("conv", "data", filters=8, filter_size=5, padding=2, neuron="relu"))
    result = check_gradients(net, seconds=0)
    assert result.cut_short
    assert result.passed
    assert all(array.checked + array.rejected == 3 for array in result.arrays)


def test_kinks_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cost has a kink no difference is right: elements there are counted, and prove nothing."""
    draw = gradient_check._values

    def at_the_kink(net: Net, program: Program, seed: int) -> dict[str, NDArray[Any]]:
        values = draw(net, program, seed)
        return values | {name: np.zeros_like(values[name]) for name in ("fc.weights", "fc.biases")}

    monkeypatch.setattr(gradient_check, "_values", at_the_kink)
    result = check_gradients(net_of(Fc("fc", "data", outputs=2, neuron="abs")), batch=1)
    checks = {array.name: array for array in result.arrays}
    for name in ("fc.weights", "fc.biases"):
        assert checks[name].checked == 0 and checks[name].rejected == min(checks[name].elements, 200)
        assert not checks[name].passed
    assert checks["out.biases"].passed and checks["out.biases"].rejected == 0
