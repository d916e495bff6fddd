"""Programs of few images mean what the plain ones mean, and use the other layout where it fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_samples import net_of
from steps import contents, random_net, run_reference

from convjit.graph import Net, lower
from convjit.graph.lower import Mode
from convjit.layers import Cmrnorm, Conv, Pool
from convjit.ops.by_channel import ByChannel, ChangeLanes, ConvByChannel, CrossMapNormByChannel, FcByChannel, PerChannel
from convjit.program import MOST_IMAGES, Program


def kinds(program: Program, kind: type[ByChannel]) -> list[str]:
    """Names of the launches of a kind of op."""
    return [launch.name for launch in program.launches if isinstance(launch.op, kind)]


def net(**options: Any) -> Net:
    """Two convolutions, with a pooling and a norm between them."""
    return net_of(
        Conv("conv1", "data", filters=8, filter_size=3, padding=1, neuron="relu"),
        Pool("pool1", "conv1", pool="max", size_x=2, stride=2),
        Cmrnorm("norm1", "pool1", size=3, scale=0.01, pow=0.75),
        Conv("conv2", "norm1", filters=12, filter_size=3, padding=1, **options),
        image=(3, 8, 8),
    )


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("mode", ["test", "predict"])
def test_random_nets_mean_the_same(seed: int, mode: Mode) -> None:
    net = random_net(seed)
    plain, few = lower(net, 2, mode, rewrite=False), lower(net, 2, mode, few=8)
    given = contents(plain, seed)
    assert set(given) == set(contents(few, seed))
    expected, found = run_reference(plain, given), run_reference(few, given)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-12, err_msg=f"{mode}: {name}")


def test_what_treats_channels_alike_keeps_the_layout() -> None:
    program = lower(net(), 1, "predict", few=8)
    assert kinds(program, ConvByChannel) == ["conv1.forward", "conv2.forward"]
    assert kinds(program, PerChannel) == ["pool1.forward", "norm1.halo"]
    assert kinds(program, CrossMapNormByChannel) == ["norm1.forward"]
    assert kinds(program, FcByChannel) == ["out.forward"]
    # Softmax wants images.
    assert kinds(program, ChangeLanes) == ["out.images.change"]


@pytest.mark.parametrize(("lanes", "fits"), [(8, False), (4, True)])
def test_no_vector_spans_two_groups(lanes: int, fits: bool) -> None:
    program = lower(net(groups=2), 1, "predict", few=lanes)
    assert ("conv2.forward" in kinds(program, ConvByChannel)) == fits


def test_programs_that_learn_and_those_of_many_images_are_left_alone() -> None:
    for batch, mode in ((1, "train"), (1, "gradients"), (MOST_IMAGES + 1, "predict")):
        assert lower(net(), batch, mode, few=8) == lower(net(), batch, mode)  # type: ignore[arg-type]
