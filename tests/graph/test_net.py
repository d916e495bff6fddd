"""Nets: order, names, the neuron= sugar, counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from layer_samples import net_of

from convjit.errors import ConfigError
from convjit.graph import Net, counts
from convjit.layers import Conv, Data, Dropout, Fc, Layer, Logreg, NeuronLayer, Pool, Softmax
from convjit.ops.base import Maps

DATA = [Data("data"), Data("labels", data_idx=1)]
COST = [Softmax("probs", "fc"), Logreg("cost", "labels, probs")]


def net(layers: Sequence[Layer], **options: Any) -> Net:
    return Net([*DATA, *layers], **{"image": (1, 6, 6), "classes": 3, **options})


def test_a_neuron_becomes_a_layer() -> None:
    made = net_of(
        Conv("conv", "data", filters=2, filter_size=3, neuron="relu"),
        Pool("pool", "conv", pool="max", size_x=2, stride=2, neuron="tanh[1,2]"),
        Fc("both", "conv, pool", outputs=2),
    )
    names = ["data", "labels", "conv", "conv_neuron", "pool", "pool_neuron", "both", "out", "probs", "cost"]
    assert list(made.nodes) == names
    assert made.nodes["pool"].layer.inputs == ("conv_neuron",)
    assert made.nodes["both"].layer.inputs == ("conv_neuron", "pool_neuron")
    assert isinstance(made.nodes["conv_neuron"].layer, NeuronLayer)
    assert [layer.name for layer in made.written] == [n for n in names if not n.endswith("_neuron")]
    assert made.written[4].inputs == ("conv", "pool")


def test_the_name_of_a_neuron_may_be_taken() -> None:
    made = net_of(
        Dropout("fc_neuron", "data"),
        Dropout("fc_neuron1", "fc_neuron"),
        Fc("fc", "fc_neuron1", outputs=2, neuron="relu"),
    )
    assert made.nodes["out"].layer.inputs == ("fc_neuron2",)


def test_ident_is_a_layer_and_none_is_none() -> None:
    assert "fc_neuron" in net_of(Fc("fc", "data", outputs=2, neuron="ident")).nodes
    assert "fc_neuron" not in net_of(Fc("fc", "data", outputs=2)).nodes


def test_learned_arrays_have_names_of_their_own() -> None:
    made = net_of(Conv("conv", "data", filters=4, filter_size=3), Fc("fc", "conv, data", outputs=5))
    shapes = {name: learned.array.shape for name, learned in made.learned().items()}
    assert shapes == {
        "conv.weights": (4, 2, 3, 3),
        "conv.biases": (4,),
        "fc.weights": (5, 80),
        "fc.weights1": (5, 84),
        "fc.biases": (5,),
        "out.weights": (3, 5),
        "out.biases": (3,),
    }
    assert made.parameters == 76 + 5 * 165 + 18


def test_counts() -> None:
    made = net([Conv("conv", "data", filters=2, filter_size=3), Fc("fc", "conv", outputs=3), *COST])
    found = counts(made)
    conv, fc = 2 * 2 * 9 * 16, 2 * 3 * 32
    assert (found["conv"].parameters, found["conv"].forward, found["conv"].step) == (20, conv, 2 * conv)
    assert (found["fc"].parameters, found["fc"].forward, found["fc"].step) == (99, fc, 3 * fc)
    assert list(found) == list(made.nodes) and found["probs"].forward == 0


def test_images_and_crops() -> None:
    made = net([Fc("fc", "data", outputs=3), *COST], crop=(4, 5))
    assert (made.image, made.input, made.crop) == (Maps(1, 6, 6), Maps(1, 4, 5), (4, 5))
    assert net([Fc("fc", "data", outputs=3), *COST], crop=(6, 6)).crop == (0, 0)
    assert repr(made) == "<Net of 5 layers, 63 parameters, for 1x4x5 images>"


def test_what_a_net_thinks() -> None:
    assert net([Fc("fc", "data", outputs=3), *COST]).outputs == ("probs",)
    assert [cost.name for cost in net([Fc("fc", "data", outputs=3), *COST]).costs] == ["cost"]


FC = Fc("fc", "data", outputs=3)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([FC, FC, *COST], "layer 'fc': another layer has this name"),
        ([Fc("fc", "dta", outputs=3), *COST], "layer 'fc': input 'dta' is not defined (did you mean 'data'?)"),
        ([Fc("fc", "xyz", outputs=3), *COST], "layer 'fc': input 'xyz' is not defined"),
        (
            [Fc("fc", "fc", outputs=3), *COST],
            "layer 'fc': input 'fc' is the layer itself; a layer is fed by layers above it",
        ),
        (
            [Fc("fc", "d", outputs=3), Dropout("d", "fc"), *COST],
            "layer 'fc': input 'd' is defined further down; a layer is fed by layers above it",
        ),
        (
            [FC, Dropout("d", "fc"), *COST],
            "layer 'd': nothing uses its output; every layer but a cost must feed another",
        ),
        ([FC, *COST, Dropout("d", "cost")], "layer 'd': input 'cost' is a cost, which feeds no layer"),
        ([Fc("fc", "labels", outputs=3), *COST], "layer 'fc': input 'labels' holds labels, which feed costs only"),
        (
            [Fc("fc", "data", outputs=4), *COST],
            "layer 'cost': 'probs' has 4 outputs, but the data have 3 classes; change fc (as by --set fc.outputs=3)",
        ),
        (
            [FC, COST[0], Logreg("cost", "probs, labels")],
            "layer 'cost': the first input must be labels (type=data, dataIdx=1), not 'probs'",
        ),
        (
            [FC, COST[0], Logreg("cost", "data, probs")],
            "layer 'cost': the first input must be labels (type=data, dataIdx=1), not 'data'",
        ),
        (
            [FC, Logreg("cost", "labels, fc")],
            "layer 'cost': the second input must be a softmax layer, not 'fc' of type fc",
        ),
        (
            [FC, COST[0], Logreg("cost", "labels, probs", topk=4)],
            "layer 'cost': topk=4: must be 1 to 3, the number of classes",
        ),
    ],
)
def test_errors(layers: list[Layer], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        net(layers)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": (3, 0, 5)}, "image=3x0x5: must be CxHxW, such as 3x32x32"),
        ({"image": (3, 5)}, "image=3x5: must be CxHxW, such as 3x32x32"),
        ({"image": (3, 70000, 1)}, "image=3x70000x1: must be CxHxW, such as 3x32x32"),
        ({"crop": (7, 3)}, "crop=7x3: must fit into the image of 1x6x6"),
        ({"crop": (0, 3)}, "crop=0x3: must fit into the image of 1x6x6"),
    ],
)
def test_wrong_images(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        net([FC, *COST], **options)
    assert str(error.value) == message


def test_no_layers() -> None:
    with pytest.raises(ConfigError, match="a net needs layers, and this one has none"):
        Net([], image=(1, 1, 1))
