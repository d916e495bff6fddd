"""The nets that come with convjit: shapes, counts, recipes, and that they survive being written and read."""

from __future__ import annotations

from typing import Any

import pytest

from convjit.cfg import definition_text, find_net, load_net, net_names, parameter_text, parse_net
from convjit.graph import counts, lower
from convjit.layers import Dropout2, Fc

# Filters * (channels * side * side + 1) of each convolution; outputs * (inputs + 1) of each fc.
CONVS = 32 * (3 * 25 + 1) + 32 * (32 * 25 + 1) + 64 * (32 * 25 + 1)
LOCAL_CONVS = 64 * (3 * 25 + 1) + 64 * (64 * 25 + 1)
ALEX_CONVS = 64 * (3 * 121 + 1) + 192 * (64 * 25 + 1) + 384 * (192 * 9 + 1) + 256 * (384 * 9 + 1) + 256 * (256 * 9 + 1)
ALEX_FCS = 4096 * (256 * 36 + 1) + 4096 * 4097 + 1000 * 4097

SHAPES = {
    "alexnet": {
        "data": "3x224x224",
        "conv1": "64x55x55",
        "rnorm1": "64x55x55",
        "pool1": "64x27x27",
        "conv2": "192x27x27",
        "pool2": "192x13x13",
        "conv3": "384x13x13",
        "conv4": "256x13x13",
        "conv5": "256x13x13",
        "pool3": "256x6x6",
        "fc4096a": "4096x1x1",
        "fc4096b": "4096x1x1",
        "probs": "1000x1x1",
    },
    "alexnet-2tower": {
        "rnorm1": "96x55x55",
        "conv2": "256x27x27",
        "conv4": "384x13x13",
        "pool5": "256x6x6",
        "fc8": "1000x1x1",
    },
    "autoencoder": {"hidden": "256x1x1", "code": "32x1x1", "image": "784x1x1", "lost": "1x28x28"},
    "lenet-1989": {"h1": "12x8x8", "h2": "12x4x4", "h3": "30x1x1"},
    "cifar10-80sec": {"conv1": "32x32x32", "pool1": "32x16x16", "pool2": "32x8x8", "pool3": "64x4x4", "fc64": "64x1x1"},
    "cifar10-fast": {"conv1": "32x32x32", "pool3": "64x4x4", "fc64": "64x1x1"},
    "cifar10-19pct": {"conv1": "32x32x32", "pool1": "32x16x16", "pool2": "32x8x8", "pool3": "64x4x4", "fc10": "10x1x1"},
    "cifar10-18pct": {
        "rnorm1": "32x16x16",
        "conv2": "32x16x16",
        "rnorm2": "32x8x8",
        "pool3": "64x4x4",
        "fc10": "10x1x1",
    },
    "cifar10-13pct": {
        "data": "3x24x24",
        "pool1": "64x12x12",
        "pool2": "64x6x6",
        "local3": "32x6x6",
        "local4": "32x6x6",
    },
    "cifar10-11pct": {
        "rnorm1": "64x12x12",
        "rnorm2": "64x12x12",
        "pool2": "64x6x6",
        "local3": "64x6x6",
        "local4": "32x6x6",
    },
    "lenet5": {"conv1": "6x28x28", "pool1": "6x14x14", "conv2": "16x10x10", "pool2": "16x5x5", "fc84": "84x1x1"},
    "default": {"conv1": "16x28x28", "pool1": "16x14x14", "conv2": "32x14x14", "pool2": "32x7x7", "fc10": "10x1x1"},
}
PARAMETERS = {
    "alexnet": ALEX_CONVS + ALEX_FCS,
    "alexnet-2tower": 60_965_224,
    "autoencoder": 2 * (784 * 256 + 256 * 32) + 256 + 32 + 256 + 784,
    "lenet-1989": 9760,
    "cifar10-80sec": CONVS + 64 * (64 * 16 + 1) + 10 * 65,
    "cifar10-fast": CONVS + 64 * (64 * 16 + 1) + 10 * 65,
    "cifar10-19pct": CONVS + 10 * (64 * 16 + 1),
    "cifar10-18pct": CONVS + 10 * (64 * 16 + 1),
    "cifar10-13pct": LOCAL_CONVS + 36 * (32 * (64 * 9 + 1) + 32 * (32 * 9 + 1)) + 10 * (32 * 36 + 1),
    "cifar10-11pct": LOCAL_CONVS + 36 * (64 * (64 * 9 + 1) + 32 * (64 * 9 + 1)) + 10 * (32 * 36 + 1),
    "lenet5": 6 * 26 + 16 * 151 + 120 * 401 + 84 * 121 + 10 * 85,
    "default": 16 * 26 + 32 * 401 + 10 * (32 * 49 + 1),
}
RECIPES: dict[str, dict[str, Any]] = {
    "alexnet": {"image": (3, 256, 256), "crop": (224, 224), "mirror": True, "epochs": 90, "classes": 1000},
    "alexnet-2tower": {"crop": (224, 224), "colour_noise": 0.1, "minibatch": 128},
    "autoencoder": {"dataset": "sample", "epochs": 20, "mirror": False},
    "lenet-1989": {"image": (1, 16, 16), "epochs": 23},
    "cifar10-80sec": {"dataset": "cifar10", "image": (3, 32, 32), "crop": (0, 0), "epochs": 10, "minibatch": 128},
    "cifar10-fast": {"dataset": "cifar10", "epochs": 6, "minibatch": 32},
    "cifar10-19pct": {"dataset": "cifar10", "mirror": False, "epochs": 140, "mean": "image"},
    "cifar10-18pct": {"dataset": "cifar10", "mirror": False, "epochs": 140},
    "cifar10-13pct": {"dataset": "cifar10", "crop": (24, 24), "mirror": True, "mean": "image"},
    "cifar10-11pct": {"dataset": "cifar10", "crop": (24, 24), "mirror": True, "epochs": 530},
    "lenet5": {"image": (1, 28, 28)},
    "default": {"dataset": "sample", "image": (1, 28, 28), "mirror": True},
}


def test_all_are_known() -> None:
    assert net_names() == sorted(SHAPES) == sorted(PARAMETERS) == sorted(RECIPES)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_and_counts(name: str) -> None:
    net, recipe, warnings = load_net(name)
    assert warnings == ()
    assert {layer: str(net.nodes[layer].output) for layer in SHAPES[name]} == SHAPES[name]
    assert net.parameters == PARAMETERS[name]
    assert {key: getattr(recipe, key) for key in RECIPES[name]} == RECIPES[name]


@pytest.mark.parametrize("name", SHAPES)
def test_written_and_read_again(name: str) -> None:
    net, recipe, _ = load_net(name)
    again = parse_net(definition_text(net), parameter_text(net, recipe))
    assert (again.net, again.recipe, again.warnings) == (net, recipe, ())


@pytest.mark.parametrize("name", SHAPES)
def test_programs(name: str) -> None:
    net = load_net(name).net
    for mode in ("train", "test", "predict", "gradients"):
        assert lower(net, 128, mode).batch == 128


def test_flops_of_the_specification() -> None:
    """69 M for 80sec and 4.14 G for alexnet, a training step of one image."""
    for name, flops in (("cifar10-80sec", 69e6), ("alexnet", 4.14e9)):
        assert sum(c.step for c in counts(load_net(name).net).values()) == pytest.approx(flops, rel=0.005)


def test_rates_of_80sec() -> None:
    learned = load_net("cifar10-80sec").net.learned()
    assert learned["conv1.weights"].epsilon.text() == "steps[base=0.001;factor=10;epochs=8]"
    assert learned["conv1.biases"].epsilon.text() == "steps[base=0.002;factor=10;epochs=8]"
    assert {name: one.decay for name, one in learned.items() if one.decay} == {
        "conv1.weights": 0.004,
        "conv2.weights": 0.004,
        "conv3.weights": 0.004,
        "fc64.weights": 0.03,
        "fc10.weights": 0.03,
    }
    assert [learned[f"{name}.weights"].deviation for name in ("conv1", "conv2", "fc64")] == [0.0001, 0.01, 0.1]
    assert all(one.momentum == 0.9 for one in learned.values())


def test_parts_of_alexnet() -> None:
    net = load_net("alexnet").net
    learned = net.learned()
    assert learned["conv5.weights"].epsilon.text() == "dexp[base=0.01;tgtFactor=250;numSteps=4]"
    assert learned["fc1000.biases"].value == -7 and learned["conv4.biases"].value == 1
    assert [learned[f"{n}.weights"].deviation for n in ("conv1", "conv3", "fc4096a")] == [0.01, 0.03, 0.01]
    assert sum(isinstance(layer, Dropout2) and layer.keep == 0.5 for layer in net.layers) == 2
    assert isinstance(net.nodes["fc1000"].layer, Fc) and net.nodes["pool1_neuron"].layer.inputs == ("pool1",)
    assert net.nodes["pool1"].layer.inputs == ("rnorm1",) and net.nodes["rnorm2"].layer.inputs == ("conv2_neuron",)


def test_texts_are_as_they_are_stored() -> None:
    texts = find_net("cifar10-80sec")
    assert texts.name == "cifar10-80sec" and texts.origins == ("cifar10-80sec.cfg", "cifar10-80sec.params.cfg")
    assert texts.definition.startswith(b"#") and b"[recipe]" in texts.parameters
