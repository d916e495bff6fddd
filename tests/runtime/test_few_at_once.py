"""Few images natively: the numbers of a program of many, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from layer_samples import net_of
from numpy.typing import NDArray
from steps import random_net

from convjit.graph import Net, lower
from convjit.layers import Cmrnorm, Conv, Fc, Pool, Rnorm
from convjit.runtime import Executor, Store, Ways, host_target

BATCH = 19


def mixed() -> Net:
    """Convolutions that Winograd's filtering takes and one that it does not, groups, norms."""
    return net_of(
        Conv("conv1", "data", filters=20, filter_size=5, padding=2, neuron="relu"),
        Pool("pool1", "conv1", pool="max", size_x=3, stride=2),
        Cmrnorm("norm1", "pool1", size=3, scale=0.01, pow=0.75),
        Conv("conv2", "norm1", filters=32, filter_size=3, padding=1, groups=2, neuron="tanh[1,1]"),
        Rnorm("norm2", "conv2", size=3, scale=0.01, pow=0.75),
        Conv("conv3", "norm2", filters=17, filter_size=1, groups=1),
        Fc("fc1", "conv3", outputs=30, neuron="relu"),
        image=(3, 18, 18),
    )


def rows(net: Net, batch: int, threads: int = 1, *, twice: bool = False) -> dict[str, NDArray[np.float32]]:
    """What the program of so many images makes of the first `batch` of the same ones."""
    target = host_target()
    program, ways = lower(net, BATCH, "predict"), Ways()
    if batch < BATCH:
        ways = ways.pinned(program, target)
        program = lower(net, batch, "predict", few=target.lanes)
        assert program != lower(net, batch, "predict")
    random = np.random.default_rng(0)
    arrays = {
        name: random.standard_normal(learned.array.shape, np.float32) / 4 for name, learned in net.learned().items()
    }
    store = Store()
    with Executor(program, store, threads=threads, ways=ways, constant=True) as executor:
        for name, array in sorted(executor.host.items()):
            if name == "pixels":
                array[:batch] = random.integers(0, 256, (BATCH, *array.shape[1:]))[:batch]
            elif name == "mean":
                array[...] = 120
        if twice:
            for name in arrays:
                store[name][...] = 1
            executor.run()
            executor.arrays_changed()
        for name, array in arrays.items():
            store[name][...] = array
        executor.run()
        return {name: executor.read(name) for name in executor.host if name.endswith(".rows")}


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_few_images_have_the_bits_of_many(batch: int) -> None:
    net = mixed()
    expected = rows(net, BATCH)
    for threads, twice in ((1, False), (2, False), (3, True)):
        for name, found in rows(net, batch, threads, twice=twice).items():
            np.testing.assert_array_equal(found, expected[name][:batch])


@pytest.mark.parametrize("seed", range(6))
def test_random_nets(seed: int) -> None:
    net = random_net(seed)
    expected = rows(net, BATCH)
    for name, found in rows(net, 1).items():
        np.testing.assert_array_equal(found, expected[name][:1])
