"""Initial weights: their distribution, and that they depend on seed and name alone."""

from __future__ import annotations

import numpy as np
from layer_samples import net_of

from convjit.cfg import load_net
from convjit.layers import Conv, Fc
from convjit.train.initial import initial_weights


def test_distribution() -> None:
    net = load_net("cifar10-80sec").net
    weights = initial_weights(net, 1)
    assert list(weights) == list(net.learned())
    for name, learned in net.learned().items():
        array = weights[name]
        assert array.dtype == np.float32 and array.shape == learned.array.shape
        if learned.deviation:
            assert abs(array.std() / learned.deviation - 1) < 0.1
            assert abs(array.mean()) < 4 * learned.deviation / np.sqrt(array.size)
        else:
            assert (array == np.float32(learned.value)).all()


def test_dependence() -> None:
    first = net_of(Conv("conv", "data", filters=3, filter_size=3), Fc("fc", "conv", outputs=4))
    other = net_of(
        Fc("fc", "data", outputs=2), Conv("conv", "data", filters=3, filter_size=3), Fc("end", "conv, fc", outputs=1)
    )
    a, b, c = initial_weights(first, 1), initial_weights(other, 1), initial_weights(first, 2)
    np.testing.assert_array_equal(a["conv.weights"], b["conv.weights"])
    assert not (a["conv.weights"] == c["conv.weights"]).any()
    assert not np.isin(a["conv.weights"], a["fc.weights"]).any()
