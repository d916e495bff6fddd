"""The native executor against the references, and against itself on any number of threads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest
from layer_samples import NETS
from steps import NdArray, contents, give, random_net, results, run_reference

from convjit.codegen.target import Target, runnable_targets
from convjit.graph import Net, lower
from convjit.graph.lower import Mode
from convjit.kernels import GENERATORS
from convjit.layers import LAYERS, Conv, Data, Dropout, Dropout2, Fc, Logreg, NeuronLayer, Pool, Softmax
from convjit.ops import MaxPoolBackward, MaxPoolForward, Update
from convjit.program import Program
from convjit.runtime import Executor, Store

MODES: tuple[Mode, ...] = get_args(Mode)
CROSSING = Net(
    [
        Data("data"),
        Data("labels", data_idx=1),
        Conv("conv1", "data", filters=6, filter_size=3, padding=1, neuron="relu"),
        Pool("pool1", "conv1", pool="max", size_x=3, stride=2),
        Conv("conv2", "pool1", filters=4, filter_size=3, padding=1, groups=2, shared_biases=False),
        Pool("pool2", "conv2", pool="avg", size_x=3, stride=2, neuron="tanh[1.7,0.6]"),
        Conv("conv3", "conv2, pool1", filters=3, filter_size=(2, 4), padding=(0, 1), stride=2, neuron="softrelu"),
        NeuronLayer("slope", "pool2", neuron="logistic"),
        Dropout("drop", "slope", keep=0.7),
        Fc("fc1", "drop, conv3", outputs=9, neuron="abs"),
        Dropout2("drop2", "fc1", keep=0.6),
        Fc("fc2", "drop2", outputs=5),
        Softmax("probs", "fc2"),
        Logreg("cost", "labels, probs", coeff=0.7, topk=2),
    ],
    image=(3, 14, 13),
    crop=(12, 11),
    classes=5,
)
BATCH = 19


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests of this file, so that a kernel is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONVJIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        # Compiling without workers, each of which takes a third of a second to start.
        patch.setenv("CONVJIT_THREADS", "1")
        yield


def run(
    program: Program, given: dict[str, NdArray], *, threads: int = 1, steps: int = 1, target: Target | None = None
) -> dict[str, NdArray]:
    with Executor(program, Store(), threads=threads, target=target) as executor:
        # What a place in the arena held before must not matter: halos and sums are the step's own business.
        executor.arena[:] = 0xFF
        give(executor, given)
        for _ in range(steps):
            executor.run()
        return results(executor)


def test_an_arena_is_shared_if_it_is_large_enough() -> None:
    """By executors that run in turn; a test needs less than training."""
    training, testing = lower(CROSSING, BATCH), lower(CROSSING, BATCH, "test")
    given = contents(testing)
    with Executor(training, Store(), threads=1) as first, Executor(testing, Store(), threads=1) as alone:
        assert not first.shares_arena
        give(alone, given)
        alone.run()
        with Executor(testing, Store(), threads=1, arena=first.arena) as second:
            assert second.shares_arena
            assert second.own_bytes == alone.own_bytes - alone.plan.arena
            assert np.shares_memory(second.arena, first.arena)
            first.arena[:] = 0xFF
            give(second, given)
            second.run()
            for name, array in results(alone).items():
                np.testing.assert_array_equal(results(second)[name], array, err_msg=name)
        with Executor(training, Store(), threads=1, arena=alone.arena) as third:
            assert not third.shares_arena


def compare(program: Program, seed: int, what: str, target: Target | None = None) -> None:
    given = contents(program, seed)
    found, expected = run(program, given, target=target), run_reference(program, given)
    assert set(found) == set(expected)
    for name, array in expected.items():
        error = float(np.linalg.norm(found[name] - array)) / max(float(np.linalg.norm(array)), 1e-6)
        assert error < 1e-4, f"{what}: {name} differs by {error:.2e}"


@pytest.mark.parametrize("mode", MODES)
def test_all_layers_against_the_references(mode: Mode) -> None:
    compare(lower(CROSSING, BATCH, mode), 3, mode)


@pytest.mark.parametrize("target", runnable_targets()[1:], ids=lambda target: target.name)
def test_all_targets(target: Target) -> None:
    compare(lower(CROSSING, BATCH), 3, target.name, target=target)


@pytest.mark.parametrize("batch", [1, 16, 17])
def test_batches(batch: int) -> None:
    compare(lower(CROSSING, batch), batch, f"{batch} images")


def samples() -> list[str]:
    """Of every type of layer the first sample, and those in which several layers share something."""
    kinds = {name.partition(":")[0]: name for name in reversed(NETS) if ":" in name}
    shared = [n for n in NETS if n.endswith(("two inputs", "fc", "readers", "twice", "off"))]
    return sorted({*kinds.values(), *shared})


@pytest.mark.parametrize("name", samples())
def test_samples_against_the_references(name: str) -> None:
    compare(lower(NETS[name], 5), 1, name)


def test_every_layer_is_run() -> None:
    nets = [CROSSING, *(NETS[name] for name in samples())]
    assert {type(layer) for net in nets for layer in net.layers} == set(LAYERS.values())


@pytest.mark.parametrize("seed", range(6))
def test_random_nets_against_the_references(seed: int) -> None:
    compare(lower(random_net(seed), 5), seed, f"random_net({seed})")


def test_the_same_bits_on_any_number_of_threads() -> None:
    program = lower(CROSSING, BATCH)
    given = contents(program)
    expected = run(program, given, steps=3)
    for threads in (1, 2, 3, 8):
        for _ in range(5):
            found = run(program, given, threads=threads, steps=3)
            wrong = [name for name, array in expected.items() if found[name].tobytes() != array.tobytes()]
            assert not wrong, f"{threads} threads: {wrong}"


def test_more_threads_than_cores_are_not_slow() -> None:
    """Threads that wait give the processor to those that have work."""
    program = lower(CROSSING, BATCH)
    with Executor(program, Store(), threads=8) as executor:
        give(executor, contents(program))
        seconds = []
        for _ in range(20):
            start = time.perf_counter()
            executor.run()
            seconds.append(time.perf_counter() - start)
        # The best of them, since other programs may be busy too.
        assert min(seconds) < 0.25


def test_every_dependence_waits() -> None:
    """A barrier is between a launch that writes and a later one that uses the same bytes, and the other way round."""
    for seed in range(10):
        program = lower(random_net(seed), 5)
        with Executor(program, Store(), threads=1) as executor:
            flags, arrays = executor._table[:, 3], executor._arrays
        since: list[tuple[set[str], set[str]]] = []
        for flag, launch in zip(flags, program.launches, strict=True):
            since = [] if flag else since
            for read, written in since:
                for one, other in ((launch.written, read | written), (launch.read, written)):
                    shared = [(a, b) for a in one for b in other if np.may_share_memory(arrays[a], arrays[b])]
                    assert not shared, f"{launch.name} does not wait: {shared}"
            since.append((launch.read, launch.written))
        # Not every launch waits, or the flag would say nothing.
        assert 0 < flags.sum() < len(flags)


def test_steps_share_the_store() -> None:
    """Training and testing programs over one store: the second sees what the first has learned."""
    train, test = lower(CROSSING, BATCH), lower(CROSSING, 5, "test")
    store = Store()
    with Executor(train, store, threads=2) as first, Executor(test, store, threads=2) as second:
        give(first, contents(train))
        give(second, contents(test, seed=2))
        before = store["fc2.weights"].copy()
        losses = []
        for _ in range(2):
            second.run()
            losses.append(second.host["cost.totals"][0])
            first.run()
        assert losses[0] != losses[1] and (store["fc2.weights"] != before).all()
        assert set(store.names()) == set(train.of_role(*(b.role for b in train.buffers().values() if b.name in store)))
    bad = Store()
    bad.ensure(lower(CROSSING, 1).buffers()["fc2.weights"])
    layers = [*CROSSING.written[:2], Fc("fc2", "data", outputs=5), *CROSSING.written[-2:]]
    wrong = Net(layers, image=(3, 14, 13), classes=5)
    with pytest.raises(ValueError, match=r"fc2.weights .* is stored with the shape"):
        Executor(lower(wrong, 1), bad, threads=1)


def test_an_op_without_kernel_is_computed_by_its_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    program = lower(CROSSING, BATCH)
    given = contents(program)
    expected = run(program, given, steps=2)
    for op in (MaxPoolForward, MaxPoolBackward, Update):
        monkeypatch.delitem(GENERATORS, op)
    said = "no kernel yet, computed by the slow reference: max_pool_backward, max_pool_forward, update"
    with pytest.warns(UserWarning, match=said):
        found = run(program, given, threads=2, steps=2)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5 * np.abs(array).max(), err_msg=name)
    with (
        pytest.warns(UserWarning, match="no kernel"),
        Executor(program, Store(), threads=1) as executor,
        pytest.raises(ValueError, match="cannot be profiled"),
    ):
        executor.profile()


def test_profile() -> None:
    program = lower(CROSSING, BATCH)
    with Executor(program, Store(), threads=2) as executor:
        give(executor, contents(program))
        times = executor.profile()
        assert [time.launch for time in times] == list(program.launches)
        assert all(time.seconds >= 0 for time in times) and sum(time.seconds for time in times) > 0
        profiled = results(executor)
    plain = run(program, contents(program))
    assert all(profiled[name].tobytes() == array.tobytes() for name, array in plain.items())


def test_arrays_of_the_host() -> None:
    program = lower(CROSSING, BATCH, "predict")
    with Executor(program, Store(), threads=1) as executor:
        lanes = executor.target.lanes
        rows = -(-BATCH // lanes) * lanes
        assert executor.host["pixels"].shape == (rows, 3, 14, 13)
        assert executor.host["probs.rows"].shape == (rows, 5)
        assert executor.read("probs.rows").shape == (BATCH, 5)
        x = np.random.default_rng(0).standard_normal((BATCH, 3, 12, 11)).astype(np.float32)
        executor.write("data", x)
        np.testing.assert_array_equal(executor.read("data"), x)
        assert executor.memory_bytes() >= executor.plan.total > x.nbytes
