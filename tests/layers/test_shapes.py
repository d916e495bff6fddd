"""Shape rules: sizes are rounded up, so that windows may hang over the lower and right edge."""

from __future__ import annotations

from typing import Any

import pytest
from layer_samples import net_of

from convjit.errors import ConfigError
from convjit.layers import Conv, Fc, Pool
from convjit.ops.base import Maps

CONV = {"channels": 1, "filters": 2, "filter_size": 3}


def conv(**options: Any) -> Conv:
    return Conv("c", "data", **{**CONV, **options})


def pool(**options: Any) -> Pool:
    return Pool("p", "data", **{"channels": 1, "pool": "max", "size_x": 3, "stride": 2, **options})


@pytest.mark.parametrize(
    ("side", "size", "stride", "padding", "output"),
    [
        (224, 11, 4, 0, 55),  # 53.25 rounds up
        (32, 5, 1, 2, 32),
        (24, 5, 1, 2, 24),
        (27, 5, 1, 2, 27),
        (13, 3, 1, 1, 13),
        (28, 5, 1, 0, 24),
        (1, 1, 1, 0, 1),
        (5, 2, 3, 0, 2),
        (3, 3, 2, 4, 5),
    ],
)
def test_conv(side: int, size: int, stride: int, padding: int, output: int) -> None:
    layer = conv(filter_size=size, stride=stride, padding=padding)
    assert layer.shape([Maps(1, side, side)]) == Maps(2, output, output)


@pytest.mark.parametrize(
    ("side", "size", "stride", "start", "output"),
    [
        (55, 3, 2, 0, 27),
        (27, 3, 2, 0, 13),
        (13, 3, 2, 0, 6),
        (32, 3, 2, 0, 16),
        (16, 3, 2, 0, 8),
        (8, 3, 2, 0, 4),
        (24, 3, 2, 0, 12),
        (12, 3, 2, 0, 6),
        (6, 3, 2, 0, 3),
        (28, 2, 2, 0, 14),
        (5, 3, 2, -1, 3),
        (4, 4, 4, 0, 1),
    ],
)
def test_pool(side: int, size: int, stride: int, start: int, output: int) -> None:
    assert pool(size_x=size, stride=stride, start=start).shape([Maps(1, side, side)]) == Maps(1, output, output)


def test_rectangles() -> None:
    assert conv(padding=1, stride=2).shape([Maps(1, 9, 4)]) == Maps(2, 5, 3)
    assert pool().shape([Maps(1, 9, 4)]) == Maps(1, 4, 2)


def test_given_sizes() -> None:
    assert conv(modules_x=9, stride=2).shape([Maps(1, 7, 7)]) == Maps(2, 9, 9)
    assert pool(outputs_x=2).shape([Maps(1, 9, 9)]) == Maps(1, 2, 2)
    assert pool(outputs_x=-1).shape([Maps(1, 9, 9)]) == Maps(1, 4, 4)


def test_groups_and_learned_arrays() -> None:
    layer = conv(channels=6, filters=4, groups=3, init_w=0.5, init_b=2, eps_b=0)
    assert layer.shape([Maps(6, 8, 8)]) == Maps(12, 6, 6)
    weights, biases = layer.learned([Maps(6, 8, 8)])
    assert (weights.name, weights.array.shape, weights.deviation) == ("weights", (12, 2, 3, 3), 0.5)
    assert (biases.name, biases.array.shape, biases.value, biases.frozen) == ("biases", (12,), 2, True)


def test_biases_of_every_place() -> None:
    _, biases = conv(shared_biases=False).learned([Maps(1, 5, 4)])
    assert biases.array.shape == (2, 3, 2)


def test_several_inputs() -> None:
    layer = Conv("c", "a, b", channels="1, 4", filters=2, filter_size="3, 5", padding="0, 1")
    maps = [Maps(1, 6, 6), Maps(4, 6, 6)]
    assert layer.shape(maps) == Maps(2, 4, 4)
    assert [(one.name, one.array.shape) for one in layer.learned(maps)] == [
        ("weights", (2, 1, 3, 3)),
        ("weights1", (2, 4, 5, 5)),
        ("biases", (2,)),
    ]


def test_fc_output_as_images() -> None:
    net = net_of(Fc("fc", "data", outputs=75), Conv("c", "fc", channels=3, filters=2, filter_size=5))
    assert net.nodes["c"].inputs == (Maps(75),) and net.nodes["c"].views == (Maps(3, 5, 5),)
    assert net.nodes["c"].output == Maps(2, 1, 1)


def test_channels_left_to_the_input() -> None:
    net = net_of(Conv("c", "data", filters=4, filter_size=3), Pool("p", "c", pool="max", size_x=2, stride=2))
    assert net.written[2] == Conv("c", "data", channels=2, filters=4, filter_size=3)
    assert [layer.channels for layer in net.layers if isinstance(layer, Conv | Pool)] == [(2,), (4,)]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (conv(channels=3), "layer 'c': channels=3, but input 'data' has 2 (2x7x6)"),
        (conv(channels=2, groups=3), "layer 'c': channels=2 is not divisible by groups=3"),
        (
            conv(channels=2, filter_size=9, padding=1),
            "layer 'c': filterSize=9 is larger than the padded image of 8 pixels",
        ),
        (conv(channels=2, modules_x=2), "layer 'c': modulesX=2 does not cover the input of 7 pixels"),
        (
            conv(channels=2, filters=2**31 - 1),
            "layer 'c': its output would be 2147483647x5x4; at most 268435456 numbers per image are possible",
        ),
        (
            conv(channels=2, padding=2**20),
            "layer 'c': its output would be 2x2097157x2097156; at most 268435456 numbers per image are possible",
        ),
        (
            Fc("f", "data", outputs=2**25),
            "layer 'f': its weights would be 2818572288 numbers; at most 2147483648 are possible",
        ),
        (pool(channels=2, size_x=7), "layer 'p': sizeX=7: must be 1 to 6, the side of the image"),
        (pool(channels=2, stride=4), "layer 'p': stride=4: must be 1 to sizeX=3"),
        (pool(channels=2, start=-3), "layer 'p': start=-3: must be -2 to 0, or the first window misses the image"),
        (pool(channels=2, outputs_x=4), "layer 'p': outputsX=4: the last window lies outside the image of 6 pixels"),
        (pool(channels=2, sum=True), "layer 'p': sum=true goes with pool=avg only"),
    ],
)
def test_what_does_not_fit(layer: Conv | Pool | Fc, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        net_of(layer)
    assert str(error.value) == message


def test_inputs_that_do_not_fit_together() -> None:
    with pytest.raises(ConfigError, match="layer 'c': inputs give different outputs: 2x4x4, 2x2x2"):
        Conv("c", "a, b", filters=2, filter_size="3, 5").shape([Maps(1, 6, 6), Maps(1, 6, 6)])
    with pytest.raises(ConfigError, match="the 10 outputs of input 'fc' are no square images of 3 channels"):
        net_of(Fc("fc", "data", outputs=10), Conv("c", "fc", channels=3, filters=2, filter_size=1))
