"""Programs of small nets: what is launched, in which order, over which buffers."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pinned
import pytest
from layer_samples import NETS, net_of

from convjit.errors import UsageError
from convjit.graph import Net, lower
from convjit.graph.lower import Mode
from convjit.layers import Conv, Data, Dropout, Dropout2, Fc, Logreg, NeuronLayer, Pool, Softmax
from convjit.ops.base import Array, Maps, PerImage
from convjit.program import Program, Role, check
from convjit.runtime.reference import ReferenceExecutor

MODES: tuple[Mode, ...] = get_args(Mode)


def tiny() -> Net:
    """A net that crosses most of the language in a few lines."""
    return net_of(
        Conv("conv1", "data", filters=4, filter_size=3, padding=1, neuron="relu"),
        Pool("pool1", "conv1", pool="max", size_x=3, stride=2),
        Conv("conv2", "pool1", filters=2, filter_size=3, padding=1, groups=2),
        Pool("pool2", "conv2", pool="avg", size_x=2, stride=2, neuron="tanh[1,1]"),
        Fc("fc", "pool2, pool1", outputs=5, neuron="relu"),
        Dropout2("drop", "fc"),
    )


def launched(program: Program) -> list[str]:
    return [launch.name for launch in program.launches]


@pytest.mark.parametrize("mode", MODES)
def test_golden(mode: Mode) -> None:
    pinned.compare(f"tiny.{mode}.txt", lower(tiny(), 5, mode).text())


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("mode", MODES)
def test_every_program_keeps_the_rules(name: str, mode: Mode) -> None:
    for rewrite in (True, False):
        program = lower(NETS[name], 3, mode, rewrite=rewrite)
        check(program) if rewrite else None
        names = launched(program)
        assert len(set(names)) == len(names)
        layers = set(NETS[name].nodes)
        assert {n.partition(".")[0] for n in names} <= layers


def test_names_of_buffers() -> None:
    program = lower(tiny(), 5)
    assert program.of_role(Role.INPUT).keys() >= {"pixels", "crops", "mean", "labels", "drop.key", "conv1.biases.rates"}
    assert list(program.of_role(Role.OUTPUT)) == ["cost.totals"]
    assert set(program.of_role(Role.WEIGHTS)) == set(tiny().learned())
    assert set(program.of_role(Role.INCREMENTS)) == {f"{name}.inc" for name in tiny().learned()}
    buffers = program.buffers()
    assert buffers["pixels"].operand == PerImage((2, 7, 6), "uint8")
    assert buffers["cost.totals"].operand == Array((3,), "float64")
    assert buffers["conv2.weights.rates"].operand == Array((4,))
    assert buffers["fc.weights1"].operand == Array((5, 36))


def test_outputs_of_the_modes() -> None:
    outputs = {mode: set(lower(tiny(), 2, mode).of_role(Role.OUTPUT)) for mode in MODES}
    assert outputs["test"] == outputs["train"] == {"cost.totals"}
    assert outputs["predict"] == {"probs.rows"}
    assert outputs["gradients"] == {"cost.totals", "data.grad", *(f"{name}.grad" for name in tiny().learned())}
    program = lower(tiny(), 2, "predict", exports=["conv1", "fc_neuron"])
    assert set(program.of_role(Role.OUTPUT)) == {"probs.rows", "conv1.rows", "fc_neuron.rows"}
    assert program.buffers()["conv1.rows"].operand == PerImage((4 * 7 * 6,))
    assert "labels" not in program.buffers() and not program.of_role(Role.INCREMENTS)


def test_gradients_add_up_where_two_layers_read_one() -> None:
    program = lower(tiny(), 2, rewrite=False)
    writers = [launch for launch in program.launches if "pool1.grad" in launch.written]
    assert [launch.name for launch in writers] == ["fc.backward_data1", "conv2.backward_data"]
    assert [getattr(launch.op, "accumulate", None) for launch in writers] == [False, True]


def test_nothing_is_launched_that_nobody_needs() -> None:
    conv = Conv("conv", "data", filters=2, filter_size=3)
    names = launched(lower(net_of(conv), 2))
    assert "conv.backward_weights" in names and "conv.backward_data" not in names
    frozen = net_of(
        Conv("a", "data", filters=2, filter_size=3, eps_w=0, eps_b=0),
        Pool("p", "a", pool="max", size_x=2, stride=2),
        Conv("b", "p", filters=2, filter_size=2, eps_w=0),
    )
    names = launched(lower(frozen, 2))
    back = [n for n in names if "backward" in n or "update" in n]
    assert not [n for n in back if n.startswith(("a.", "p."))]
    assert [n for n in back if n.startswith("b.")] == ["b.backward_biases", "b.update_biases"]


def test_a_cost_without_weight_has_no_gradient() -> None:
    layers = [Data("data"), Data("labels", data_idx=1), Fc("fc", "data", outputs=3), Softmax("probs", "fc")]
    program = lower(Net([*layers, Logreg("cost", "labels, probs", coeff=0)], image=(1, 2, 2)), 2)
    assert [n for n in launched(program) if "backward" in n or "update" in n] == []
    assert "cost.totals" in program.of_role(Role.OUTPUT)


def test_dropout_costs_nothing_when_testing() -> None:
    net = net_of(Fc("fc", "data", outputs=4), Dropout("drop", "fc"))
    names = launched(lower(net, 2, "test"))
    assert not [n for n in names if n.startswith("drop.")]
    assert "drop.key" not in lower(net, 2, "test").buffers()
    assert "drop.forward" in launched(lower(net, 2))


def test_dropout2_is_scaled_always_but_with_a_mask() -> None:
    """The quirk of cuda-convnet2: enable=false takes away the mask, not the factor."""
    on, off = (net_of(Fc("fc", "data", outputs=4), Dropout2("drop", "fc", enable=e, keep=0.25)) for e in (True, False))
    ops = {
        (name, mode): [launch.op.kind() for launch in lower(net, 2, mode).launches if launch.name.startswith("drop.")]
        for name, net in (("on", on), ("off", off))
        for mode in ("train", "test")
    }
    assert ops["on", "train"] == ["dropout_forward", "dropout_backward"]
    assert ops["on", "test"] == ops["off", "test"] == ["scale"]
    assert ops["off", "train"] == ["scale", "scale", "copy"]


def test_layers_with_the_names_of_host_arrays() -> None:
    net = net_of(NeuronLayer("mean", "data", neuron="relu"), NeuronLayer("crops", "mean", neuron="abs"))
    for mode in MODES:
        assert check(lower(net, 2, mode))


def test_wrong_requests() -> None:
    with pytest.raises(UsageError, match="a step of 0 images; at least 1 is needed"):
        lower(tiny(), 0)
    with pytest.raises(UsageError, match=r"layer 'con1' has no output to export \(did you mean 'conv1'\?\)"):
        lower(tiny(), 1, "test", exports=["con1"])
    for name in ("labels", "cost"):
        with pytest.raises(UsageError, match=f"layer '{name}' has no output to export"):
            lower(tiny(), 1, "test", exports=[name])


def _filled(program: Program) -> ReferenceExecutor:
    generator = np.random.default_rng(3)
    executor = ReferenceExecutor(program)
    arrays: dict[str, Any] = executor.arrays
    arrays["pixels"][:] = generator.integers(0, 256, arrays["pixels"].shape)
    if "labels" in arrays:
        arrays["labels"][:] = generator.integers(0, 3, arrays["labels"].shape)
    for name, buffer in program.of_role(Role.WEIGHTS).items():
        arrays[name][:] = generator.normal(0, 0.1, buffer.operand.logical(program.batch))
    return executor


def test_rewrites_do_not_change_what_is_computed() -> None:
    results = []
    for rewrite in (True, False):
        executor = _filled(lower(tiny(), 4, "gradients", rewrite=rewrite))
        executor.run()
        results.append({name: executor.arrays[name] for name in executor.program.of_role(Role.OUTPUT)})
    assert results[0].keys() == results[1].keys()
    for name, array in results[0].items():
        np.testing.assert_allclose(array, results[1][name], rtol=1e-12, atol=1e-12)


def test_a_step_follows_the_update_rule() -> None:
    """Ten steps by hand: inc = mom inc - eps (grad/N + wc w); w += inc; a rate that changes on the way."""
    net, n = net_of(Fc("fc", "data", outputs=4)), 4
    train, gradients = lower(net, n), lower(net, n, "gradients")
    executor, oracle = _filled(train), _filled(gradients)
    name = "fc.weights"
    weights, increments = executor.arrays[name].copy(), np.zeros(executor.arrays[name].shape)
    for step in range(10):
        rates = np.array([1e-6 if step < 6 else 1e-7, 0.9, 0.004, 1 / n])
        for other in net.learned():
            executor.arrays[f"{other}.rates"] = rates
            oracle.arrays[other] = executor.arrays[other].copy()
        oracle.run()
        increments = 0.9 * increments - rates[0] * (oracle.arrays[f"{name}.grad"] / n + 0.004 * weights)
        weights = weights + increments
        executor.run()
        np.testing.assert_allclose(executor.arrays[name], weights, rtol=1e-12)
        np.testing.assert_allclose(executor.arrays[f"{name}.inc"], increments, rtol=1e-9, atol=1e-15)


def test_rows_are_probabilities() -> None:
    executor = _filled(lower(tiny(), 4, "predict"))
    executor.run()
    rows = executor.arrays["probs.rows"]
    assert rows.shape == (4, 3)
    np.testing.assert_allclose(rows.sum(1), 1)


def test_types_of_the_reference() -> None:
    executor = ReferenceExecutor(lower(tiny(), 2), dtype=np.float32)
    executor.run()
    assert executor.arrays["conv1.weights"].dtype == np.float32
    assert executor.arrays["cost.totals"].dtype == np.float64
    assert executor.arrays["labels"].dtype == np.int32
    assert executor.program.buffers()["data"].operand == Maps(2, 7, 6)
