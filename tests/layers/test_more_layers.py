"""Shape rules and errors of normalisation, combination, image and cost layers; costs through both executors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_samples import net_of
from numpy.typing import NDArray

from convjit.cfg import parse_net
from convjit.errors import ConfigError
from convjit.graph import Net, lower
from convjit.layers import (
    Bce,
    BlurLayer,
    Cmpool,
    Cmrnorm,
    ConcatLayer,
    Conv,
    Crop,
    Crossent,
    Data,
    Dce,
    Eltmax,
    Eltsum,
    Fc,
    Href,
    Layer,
    Logreg,
    NailbedLayer,
    Pool,
    ResizeLayer,
    RgbToYuvLayer,
    Rnorm,
    Rscale,
    Softmax,
    Sum2,
)
from convjit.ops import Maps
from convjit.runtime import Executor, ReferenceExecutor, Store

CONV = Conv("c", "data", filters=6, filter_size=3)
FC = Fc("f", "data", outputs=3, neuron="logistic")


@pytest.mark.parametrize(
    ("layer", "inputs", "output"),
    [
        (Rnorm("l", "a", size=3, scale=1, pow=0.75), [Maps(2, 7, 6)], Maps(2, 7, 6)),
        (Cmrnorm("l", "a", size=5, scale=1, pow=0.75), [Maps(7, 2, 1)], Maps(7, 2, 1)),
        (Eltsum("l", "a, b"), [Maps(3, 2, 2)] * 2, Maps(3, 2, 2)),
        (ConcatLayer("l", "a, b"), [Maps(3, 2, 2), Maps(4, 2, 2)], Maps(7, 2, 2)),
        (ConcatLayer("l", "a, b"), [Maps(3, 2, 2), Maps(4, 1, 1)], Maps(16)),
        (Cmpool("l", "a", size=3, stride=2, outputs=3), [Maps(7, 5, 4)], Maps(3, 5, 4)),
        (Cmpool("l", "a", size=3, stride=2, outputs=4), [Maps(7, 5, 4)], Maps(4, 5, 4)),
        (NailbedLayer("l", "a", stride=3), [Maps(2, 7, 6)], Maps(2, 3, 2)),
        (BlurLayer("l", "a", filter_size=9, stdev=1), [Maps(2, 3, 4)], Maps(2, 3, 4)),
        (ResizeLayer("l", "a", scale=1.5), [Maps(2, 32, 31)], Maps(2, 21, 20)),
        (ResizeLayer("l", "a", scale=0.5), [Maps(2, 3, 2)], Maps(2, 6, 4)),
        (Rscale("l", "a", max_scale=1.5), [Maps(3, 32, 32)], Maps(3, 21, 21)),
        (Rscale("l", "a", max_scale=1.5, tgt_size=28), [Maps(3, 32, 64)], Maps(3, 28, 56)),
        (Crop("l", "a", start_x=2, start_y=3, size_x=4), [Maps(3, 7, 6)], Maps(3, 4, 4)),
        (Href("l", "a"), [Maps(3, 7, 6)], Maps(3, 7, 6)),
        (RgbToYuvLayer("l", "a"), [Maps(3, 7, 6)], Maps(3, 7, 6)),
        (Data("l", start=4, end=8), [Maps(3, 2, 2), Maps(1), Maps(9)], Maps(1, 2, 2)),
        (Data("l", start=4), [Maps(3, 2, 2), Maps(1), Maps(9)], Maps(2, 2, 2)),
        (Data("l", start=3, end=8), [Maps(3, 2, 2), Maps(1), Maps(9)], Maps(5)),
        (Data("l", data_idx=2, end=8), [Maps(3, 2, 2), Maps(1), Maps(9)], Maps(8)),
    ],
    ids=lambda one: one.kind if isinstance(one, Layer) else str(one),
)
def test_shapes(layer: Layer, inputs: list[Maps], output: Maps) -> None:
    fitted = layer.fitted(inputs)
    assert fitted.shape(fitted.views(inputs)) == output


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Rnorm("l", "data", size=7, scale=1, pow=1)], "layer 'l': size=7: must be 1 to 6, the side of the image"),
        ([Cmrnorm("l", "data", size=3, scale=1, pow=1)], "layer 'l': size=3: must be 2 to 2, the number of channels"),
        (
            [CONV, Eltsum("l", "c, data")],
            "layer 'l': input 'data' gives 2x7x6, but 'c' 6x5x4: all inputs must be of one size",
        ),
        ([CONV, Cmpool("l", "c", size=7, stride=1)], "layer 'l': size=7: must be 1 to 6, the number of channels"),
        ([CONV, Cmpool("l", "c", size=3, stride=4)], "layer 'l': stride=4: must be 1 to size=3"),
        (
            [CONV, Cmpool("l", "c", size=3, stride=2)],
            "layer 'l': outputs=0: must be 3 to 3, to cover 6 channels and no more",
        ),
        ([BlurLayer("l", "data", filter_size=4, stdev=1)], "layer 'l': filterSize=4: must be 3, 5, 7 or 9"),
        (
            [Rscale("l", "data", max_scale=1.5, tgt_size=3)],
            "layer 'l': tgtSize=3: must be 4 to 6, from side / maxScale to the side",
        ),
        (
            [Crop("l", "data", start_x=1, size_x=6)],
            "layer 'l': startX=1, sizeX=6: must be inside the image of 6 pixels",
        ),
        ([RgbToYuvLayer("l", "data")], "layer 'l': input 'data' gives 2x7x6; needed are 3 channels"),
        (
            [CONV, Pool("p", "c", pool="max", size_x=2, stride=2), Crop("l", "p", start_x=0, size_x=1)],
            "layer 'l': crop has no gradient, but layer 'c' below it learns; it belongs next to the data",
        ),
        ([Data("l", start=85)], "layer 'l': start=85, end=84: must be a part of the 84 features"),
        ([Data("l", end=85)], "layer 'l': start=0, end=85: must be a part of the 84 features"),
        (
            [Data("t", data_idx=2), FC, Bce("l", "t, f", children="x")],
            "layer 'l': children: 'x' is not another layer of type cost.bce",
        ),
        (
            [Data("t", data_idx=2), CONV, Crossent("l", "t, c")],
            "layer 'l': 't' gives 3 targets for the 120 outputs of 'c': they must be as many",
        ),
        (
            [Data("t", data_idx=2), FC, Crossent("l", "t, f")],
            "layer 'l': the second input must be a softmax layer, not 'f_neuron' of type neuron",
        ),
        (
            [Data("t", data_idx=2, start=1), Fc("two", "data", outputs=2), Dce("l", "t, two")],
            "layer 'l': 'two' has 2 outputs, but the data have 3 classes",
        ),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_does_not_fit(layers: list[Layer], message: str) -> None:
    given = [layer for layer in layers if not layer.is_cost]
    with pytest.raises(ConfigError) as error:
        if len(given) < len(layers):
            Net([Data("data"), *layers], image=(2, 7, 6), classes=3)
        else:
            net_of(*layers)
    assert str(error.value) == message


def test_a_single_number_of_inputs() -> None:
    with pytest.raises(ConfigError, match="1 inputs; eltmax takes at least 2"):
        Eltmax("l", "a")


def test_targets_need_the_number_of_classes() -> None:
    with pytest.raises(ConfigError, match="dataIdx=2 are targets of the classes, whose number is not known"):
        Net([Data("data"), Data("t", data_idx=2), FC, Bce("l", "t, f")], image=(2, 7, 6))


DEFINITION = """
[data]
type=data
dataIdx=0
[sum]
type=eltsum
inputs=data, data
{}
[cost]
type=cost.sum2
inputs=sum
"""


def _coefficients(net: Net) -> tuple[float, ...]:
    layer = net.nodes["sum"].layer
    assert isinstance(layer, Eltsum)
    return layer.coeffs


def test_coefficients_stand_in_either_file() -> None:
    """cuda-convnet 1 reads coeffs from the definition, cuda-convnet2 from the parameters."""
    cost, image = "[cost]\ncoeff=1\n", (1, 2, 2)
    definition, parameters = DEFINITION.format(""), cost + "[sum]\ncoeffs=2, 3\n"
    old = parse_net(DEFINITION.format("coeffs=2, 3"), cost, image=image).net
    new = parse_net(definition, parameters, image=image).net
    assert old == new and _coefficients(old) == (2, 3)
    assert _coefficients(parse_net(definition, parameters, image=image, overrides=["sum.coeffs=5, 6"]).net) == (5, 6)


def _costs() -> Net:
    return Net(
        [
            *(Data("data"), Data("labels", data_idx=1), Data("targets", data_idx=2)),
            *(Fc("fc", "data", outputs=4, init_w=0.1), Softmax("probs", "fc")),
            Fc("out", "data", outputs=4, init_w=0.1, neuron="logistic"),
            *(Logreg("hard", "labels, probs"), Crossent("soft", "targets, probs")),
            *(Dce("detected", "targets, out", pos_weight=2), Sum2("small", "fc", coeff=0.01)),
        ],
        image=(1, 3, 3),
        classes=4,
    )


def test_costs_through_both_executors() -> None:
    """One-hot targets: cross entropy is what logreg says, counts are exact; lanes without an image add nothing."""
    images = 5
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, images).astype(np.int32)
    program = lower(_costs(), images, "gradients")
    values: dict[str, NDArray[Any]] = {
        "pixels": rng.integers(0, 3, (images, 1, 3, 3)).astype(np.uint8),
        "crops": np.zeros((images, 3), np.int32),
        "mean": np.ones((1, 3, 3), np.float32),
        "labels": labels,
        "targets": np.eye(4, dtype=np.float32)[labels],
        **{f"{name}.weights": rng.normal(size=(4, 9)).astype(np.float32) for name in ("fc", "out")},
        **{f"{name}.biases": rng.normal(size=4).astype(np.float32) for name in ("fc", "out")},
    }
    reference = ReferenceExecutor(program)
    reference.arrays.update({n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in values.items()})
    reference.run()
    with Executor(program, Store(), threads=1) as executor:
        for name, array in values.items():
            if name in executor.host:
                executor.host[name][: len(array)] = array
                if name == "labels":
                    executor.host[name][len(array) :] = -1
            else:
                executor.store[name][...] = array
        executor.run()
        names = ["hard.totals", "soft.totals", "detected.totals", "detected.counts", "small.totals"]
        gradients = [f"{name}.{array}.grad" for name in ("fc", "out") for array in ("weights", "biases")]
        found = {name: executor.read(name) for name in (*names, *gradients)}
    for name, array in found.items():
        np.testing.assert_allclose(array, reference.arrays[name], rtol=2e-5, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(found["soft.totals"], found["hard.totals"][:2], rtol=1e-6)
    x = values["pixels"].reshape(images, 9) - 1.0
    declared = x @ values["out.weights"].T + values["out.biases"] >= 0
    right = declared & (values["targets"] == 1)
    want = [one.sum(0) for one in (declared, right, values["targets"])]
    np.testing.assert_array_equal(found["detected.counts"], want)
