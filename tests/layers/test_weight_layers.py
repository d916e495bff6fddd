"""Keys of weight layers: lists by input, sparse connections, split layers, constraints."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from layer_samples import net_of

from convjit.errors import ConfigError
from convjit.layers import Conv, Fc, Local, Sfc
from convjit.ops.base import Array, Maps
from convjit.ops.constraint import Rule


def conv(inputs: str = "data", **options: Any) -> Conv:
    return Conv("c", inputs, **{"filters": 4, "filter_size": 3, **options})


def test_lists_by_input() -> None:
    layer = Fc("fc", "a, b", outputs=3, eps_w="0.1, exp[base=1;tgtFactor=2]", mom_w=(0.5, 0.6), wc="0.1", wball="0, 2")
    first, second, biases = layer.learned([Maps(2), Maps(3)])
    assert (first.epsilon.base, second.epsilon.text()) == (0.1, "exp[base=1;tgtFactor=2]")
    assert (first.momentum, second.momentum, first.decay, second.decay) == (0.5, 0.6, 0.1, 0.1)
    assert (first.rules, second.rules, biases.rules) == ((), (Rule("sphere", 2),), ())
    with pytest.raises(ConfigError, match="3 values for 2 inputs"):
        Fc("fc", "a, b", outputs=3, wc="1, 2, 3")


def test_rules() -> None:
    weights = conv(wball=2, wc_norm_min=0.5, wc_norm_max=1).learned([Maps(2, 5, 5)])[0]
    assert weights.rules == (Rule("sphere", 2), Rule("deviation", 1, 0.5)) and weights.fan_in == 18
    local = Local("l", "data", filters=4, filter_size=3, wball=2).learned([Maps(2, 5, 5)])[0]
    assert local.rules == (Rule("ball", 2),)
    with pytest.raises(ConfigError, match="wcNormMin=2 is above wcNormMax=1"):
        conv(wc_norm_min=2, wc_norm_max=1)


def test_periods_and_rates() -> None:
    plain, periodic = (conv(update_period=p, eps_w=0.5).learned([Maps(2, 5, 5)])[0] for p in (1, 3))
    assert plain.rates(0, 0, 0.25, 2) == (0.5, 0.9, 0, 0.25)
    assert [periodic.rates(0, 0, 0.25, step)[4] for step in range(6)] == [0, 0, 1, 0, 0, 1]


def test_sfc() -> None:
    layer = Sfc("s", "a, b", parts=2, outputs=3)
    assert layer.shape(layer.views([Maps(2, 2, 2), Maps(6)])) == Maps(6)
    arrays = [one.array for one in layer.learned([Maps(8), Maps(6)])]
    assert arrays == [Array((1, 6, 1, 1, 4)), Array((1, 6, 1, 1, 3)), Array((6, 1, 1))]
    with pytest.raises(ConfigError, match="the 7 outputs of input 'b' are not divisible by parts=2"):
        layer.shape([Maps(8), Maps(7)])


def test_sparse_connections() -> None:
    layer = conv(groups=4, rand_sparse=True, filter_channels=3, channels=6)
    maps = Maps(6, 5, 5)
    order = layer.connections(0, maps)
    assert sorted(order[:6]) == sorted(order[6:]) == list(range(6)) and order[:6] != order[6:]
    other = dataclasses.replace(layer, name="d")
    assert order == layer.connections(0, maps) != other.connections(0, maps)
    assert layer.learned([maps])[0].array == Array((16, 3, 3, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rand_sparse": True}, "randSparse=true: needs groups above 1"),
        ({"rand_sparse": True, "groups": 2, "filter_channels": 4}, "filterChannels=4 does not divide channels=6"),
        (
            {"rand_sparse": True, "groups": 3, "filter_channels": 3},
            r"groups\*filterChannels=9 is not divisible by channels=6",
        ),
        ({"groups": 2, "filter_channels": 2}, "filterChannels=2: without randSparse it is channels/groups, 6/2"),
        ({"rand_sparse": True, "groups": 2, "init_c_func": "m.f(1)"}, "needs --allow-code"),
        ({"rand_sparse": True, "groups": 2, "init_c_func": "vec[0,1,2,3,4,4]"}, "must be 6 numbers, every 6 of them"),
        (
            {"rand_sparse": True, "groups": 3, "filter_channels": 4, "init_c_func": "vec[0,1,2,3,4,5,4,5,0,1,2,3]"},
            "a group sees a channel twice",
        ),
        ({"init_c_func": "he"}, "initCFunc=he: connections are written"),
    ],
)
def test_what_cannot_be_sparse(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        net_of(conv(**options), image=(6, 5, 5))
    assert caught.value.layer == "c"
