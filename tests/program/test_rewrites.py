"""Rewrites keep the meaning of programs, and give halos as wide as somebody asks."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from layer_samples import net_of
from steps import contents, random_net, run_reference

from convjit.graph import Net, lower
from convjit.graph.lower import Mode
from convjit.layers import Cmrnorm, Conv, Fc, Pool, Rnorm
from convjit.ops import (
    NO_HALO,
    ClearHalo,
    ConvForward,
    FcForward,
    Maps,
    MaxPoolBackward,
    MaxPoolForward,
    NeuronBackward,
    NeuronForward,
    SoftmaxLogregBackward,
)
from convjit.ops.neuron import ThroughNeuron
from convjit.program import Program, Role, check

MODES: tuple[Mode, ...] = get_args(Mode)
SEEDS = range(40)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_nets_mean_the_same(seed: int) -> None:
    net = random_net(seed)
    for mode in MODES:
        plain, rewritten = (lower(net, 5, mode, rewrite=rewrite) for rewrite in (False, True))
        given = contents(plain, seed)
        assert set(given) == set(contents(rewritten, seed))
        expected, found = run_reference(plain, given, steps=2), run_reference(rewritten, given, steps=2)
        assert set(found) == set(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-12, err_msg=f"{mode}: {name}")


@pytest.mark.parametrize("seed", SEEDS)
def test_halos_are_as_wide_as_somebody_asks(seed: int) -> None:
    for mode in MODES:
        program = lower(random_net(seed), 3, mode)
        asked = dict.fromkeys(program.buffers(), NO_HALO)
        for launch in program.launches:
            for operand, buffer in launch.buffers.items():
                asked[buffer.name] = asked[buffer.name].union(launch.op.reach(operand))
        assert {name: buffer.halo for name, buffer in program.buffers().items()} == asked
        assert check(program) is program


@pytest.mark.parametrize("seed", SEEDS)
def test_halos_are_cleared_before_the_first_use(seed: int) -> None:
    program = lower(random_net(seed), 3)
    used: set[str] = set()
    cleared: set[str] = set()
    for launch in program.launches:
        for buffer in launch.buffers.values():
            if isinstance(launch.op, ClearHalo):
                assert buffer.name not in used
                cleared.add(buffer.name)
            assert buffer.halo == NO_HALO or buffer.name in cleared, f"{launch.name} uses {buffer.name} too soon"
            used.add(buffer.name)


def launches_of(program: Program, kind: type) -> list[str]:
    return [launch.name for launch in program.launches if isinstance(launch.op, kind)]


def test_neurons_go_into_the_layer_that_feeds_them() -> None:
    conv = Conv("conv", "data", filters=2, filter_size=3, neuron="relu")
    net = net_of(conv, Fc("fc", "conv", outputs=3, neuron="abs"))
    forward = lower(net, 4, "test")
    assert launches_of(forward, NeuronForward) == []
    # The slope of abs is that of its input, which therefore has to stay.
    training = lower(net, 4, "train")
    assert launches_of(training, NeuronForward) == ["fc_neuron.forward"]
    fused = {launch.name: launch.op for launch in training.launches}
    first, second = fused["conv.forward"], fused["fc.forward"]
    assert isinstance(first, ConvForward) and str(first.neuron) == "relu"
    assert isinstance(second, FcForward) and second.neuron is None


def test_gradients_go_through_a_relu_at_once() -> None:
    for layer in (
        Pool("above", "conv", pool="max", size_x=2, stride=2),
        Pool("above", "conv", pool="avg", size_x=2, stride=2),
        Rnorm("above", "conv", size=3, scale=0.1, pow=0.75),
        Cmrnorm("above", "conv", size=2, scale=0.1, pow=0.75),
    ):
        for neuron, fused in (("relu", True), ("tanh[1,1]", False)):
            conv = Conv("conv", "data", filters=2, filter_size=3, neuron=neuron)
            program = lower(net_of(conv, layer), 4, "train")
            assert launches_of(program, NeuronBackward) == ([] if fused else ["conv_neuron.backward"])
            (above,) = (launch.op for launch in program.launches if launch.name == "above.backward")
            assert isinstance(above, ThroughNeuron) and bool(above.neuron) is fused


def pooled(kind: str = "max", neuron: str = "relu") -> Net:
    """A convolution, and a pooling with a neuron."""
    conv = Conv("conv", "data", filters=3, filter_size=3)
    return net_of(conv, Pool("pool", "conv", pool=kind, size_x=3, stride=2, neuron=neuron), Fc("fc", "pool", outputs=3))


@pytest.mark.parametrize("mode", MODES)
def test_pooling_rectifies(mode: Mode) -> None:
    net = pooled()
    program = lower(net, 4, mode)
    assert launches_of(program, NeuronForward) == launches_of(program, NeuronBackward) == []
    ops = [launch.op for launch in program.launches if isinstance(launch.op, MaxPoolForward | MaxPoolBackward)]
    assert len(ops) == (2 if mode in ("train", "gradients") else 1)
    assert all(op.rectified for op in ops)
    plain = lower(net, 4, mode, rewrite=False)
    for seed in range(5):
        given = contents(plain, seed)
        expected, found = run_reference(plain, given), run_reference(program, given)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-9, atol=1e-12, err_msg=name)


def test_pooling_rectifies_nothing_else() -> None:
    """Other neurons, means, and what is pooled is asked for besides."""
    for net, exports in ((pooled("avg"), ()), (pooled(neuron="abs"), ()), (pooled(), ("pool",))):
        program = lower(net, 4, "predict", exports=exports)
        assert launches_of(program, NeuronForward) == ["pool_neuron.forward"]


def test_a_gradient_of_two_readers_goes_through_the_neuron_by_itself() -> None:
    conv = Conv("conv", "data", filters=2, filter_size=3, neuron="relu")
    pool, whole = Pool("pool", "conv", pool="max", size_x=2, stride=2), Fc("fc", "conv", outputs=3)
    program = lower(net_of(conv, pool, whole, Fc("both", "pool, fc", outputs=4)), 4, "train")
    assert launches_of(program, NeuronBackward) == ["conv_neuron.backward"]


def test_a_sum_of_inputs_is_not_cut_by_a_neuron() -> None:
    net = net_of(Fc("a", "data", outputs=3), Fc("both", "data, a", outputs=4, neuron="relu"))
    assert launches_of(lower(net, 4), NeuronForward) == ["both_neuron.forward"]


def test_softmax_and_cost_become_a_difference() -> None:
    assert launches_of(lower(net_of(), 4), SoftmaxLogregBackward) == ["probs.backward"]


def test_working_in_place_saves_memory() -> None:
    conv = Conv("conv", "data", filters=2, filter_size=3, neuron="abs")
    net = net_of(conv, Fc("fc", "conv", outputs=3, neuron="square"))
    plain, rewritten = (lower(net, 4, "test", rewrite=rewrite) for rewrite in (False, True))
    maps = [
        sum(isinstance(buffer.operand, Maps) and buffer.role is Role.ARENA for buffer in program.buffers().values())
        for program in (plain, rewritten)
    ]
    assert maps[1] < maps[0]
