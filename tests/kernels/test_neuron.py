"""Neurons against the reference.

Those made of comparisons, products and square roots are exact up to a rounding or two; those of exp, log and tanh have
up to 4 units in the last place (8 roundings) from these functions, and some more from the arithmetic around them.
"""

from __future__ import annotations

import numpy as np
import pytest
from harness import NdArray, assert_matches, batches, on_every_target, problem, run_kernel

from convjit.codegen.target import Target
from convjit.ops import NEURONS, Halo, Maps, Neuron, NeuronBackward, NeuronForward

MAPS = Maps(3, 4, 5)
HALOS = {
    "x": Halo(1, 2, 3, 0),
    "y": Halo(0, 1, 0, 2),
    "dy": Halo(1, 0, 0, 1),
    "z": Halo(1, 0, 0, 0),
    "dx": Halo(2, 1, 0, 0),
}
EXACT = ("ident", "abs", "relu", "brelu")
CASES = [
    *(Neuron(name) for name, kind in NEURONS.items() if kind.parameters == 0),
    Neuron("tanh", 1.7159, 0.6667),
    Neuron("brelu", 2.5),
    Neuron("linear", -3, 0.5),
    Neuron("log", 0.25),
    Neuron("drelu", 1.5),
]


def inputs(neuron: Neuron, images: int) -> NdArray:
    """Numbers from -10 to 10, 0 among them; positive ones where the function asks for it."""
    rng = np.random.default_rng(1)
    x = rng.uniform(-10, 10, MAPS.logical(images)).astype(np.float32)
    x[:, 0, 0] = 0, -10, 10, 4, 0.5
    return np.abs(x) + np.float32(0.125) if neuron.name in ("log", "sqrt") else x


def terms(neuron: Neuron) -> float:
    """Roundings of size 1 or of the result."""
    return 0 if neuron.name in EXACT else 2 if neuron.name in ("square", "sqrt", "linear") else 24


@on_every_target
@pytest.mark.parametrize("neuron", CASES, ids=str)
def test_forward(target: Target, neuron: Neuron) -> None:
    images = target.lanes + 1
    op, arrays = NeuronForward(MAPS, neuron), {"x": inputs(neuron, images)}
    # linear and log add numbers of up to 30, which may cancel.
    scale = 30 if neuron.name in ("linear", "log", "drelu") else 1e-3
    halos = {"x": HALOS["x"], "y": HALOS["y"]}
    assert_matches(problem(op, images, target, **halos), arrays, terms=terms(neuron), scale=scale)
    assert_matches(problem(op, images, target), arrays, terms=terms(neuron), scale=scale, in_place=("x", "y"))


@on_every_target
@pytest.mark.parametrize("neuron", CASES, ids=str)
def test_backward(target: Target, neuron: Neuron) -> None:
    images = target.lanes + 1
    x = inputs(neuron, images)
    z = x if neuron.kind.from_input else neuron.forward(x.astype(np.float64)).astype(np.float32)
    arrays = {"dy": np.random.default_rng(2).uniform(-1, 1, x.shape).astype(np.float32), "z": z}
    # The output z is rounded before 1 - z, 1 - z**2 or 4 * tanh**2 are formed, to which this is the scale.
    op, roundings, scale = NeuronBackward(MAPS, neuron), terms(neuron), 0.0 if neuron.name in EXACT else 2.0
    assert_matches(problem(op, images, target), arrays, terms=roundings, scale=scale)
    assert_matches(problem(op, images, target), arrays, terms=roundings, scale=scale, in_place=("dy", "dx"))
    added = NeuronBackward(MAPS, neuron, accumulate=True)
    arrays["dx"] = 8 * arrays["dy"][::-1]
    halos = {name: HALOS[name] for name in ("dy", "z", "dx")}
    assert_matches(problem(added, images, target, **halos), arrays, terms=roundings + 2, scale=10)


@on_every_target
def test_batches_and_flat_maps(target: Target) -> None:
    neuron = Neuron("relu")
    for maps in (Maps(1), Maps(1031), Maps(2, 1, 1037)):
        for images in batches(target):
            x = np.random.default_rng(images).normal(size=maps.logical(images)).astype(np.float32)
            assert_matches(problem(NeuronForward(maps, neuron), images, target), {"x": x})


@on_every_target
def test_not_a_number_is_not_hidden(target: Target) -> None:
    for name in ("relu", "logistic", "tanh", "softrelu", "square"):
        op = NeuronForward(Maps(1), Neuron(name, 1, 1))
        found = run_kernel(problem(op, 1, target), {"x": np.full((1, 1, 1, 1), np.nan, np.float32)})
        assert np.isnan(found["y"])
