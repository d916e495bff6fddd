"""updatePeriod and constraints in whole steps: against gradients added up by hand, and after a resume."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_samples import net_of
from numpy.typing import NDArray
from steps import contents, give

from convjit.graph import Net, lower
from convjit.layers import Conv, Fc, Local
from convjit.runtime import Executor, Store

STEPS, PERIOD = 7, 3


def net(period: int = 0, **options: float) -> Net:
    return net_of(
        Conv("conv", "data", filters=3, filter_size=3, neuron="relu", update_period=period, wc=0.01, **options),  # type: ignore[arg-type]
        Fc("fc", "conv", outputs=4, update_period=period),
    )


def _rates(net: Net, executor: Executor, step: int) -> None:
    for name, learned in net.learned().items():
        if f"{name}.rates" in executor.host:
            executor.host[f"{name}.rates"][:] = learned.rates(0, 0, 1 / executor.program.batch, step)


def _batches(net: Net) -> list[dict[str, NDArray[Any]]]:
    program = lower(net, 5, "train")
    names = ("pixels", "crops", "labels", "mean")
    return [{n: a for n, a in contents(program, seed).items() if n in names} for seed in range(STEPS)]


def _run(net: Net, store: Store, first: int, last: int) -> None:
    with Executor(lower(net, 5, "train"), store, threads=1) as executor:
        for step in range(first, last):
            give(executor, _batches(net)[step])
            _rates(net, executor, step)
            executor.run()


def _store(net: Net) -> Store:
    program = lower(net, 5, "train")
    store = Store()
    with Executor(program, store, threads=1):
        for name, array in contents(program).items():
            if name in net.learned():
                store[name][...] = array
    return store


def test_it_is_the_sum_of_gradients() -> None:
    periodic = net(PERIOD)
    store = _store(periodic)
    _run(periodic, store, 0, STEPS)

    plain = net()
    by_hand = {n: _store(periodic)[n].astype(np.float64) for n in plain.learned()}
    increments = {n: np.zeros_like(a) for n, a in by_hand.items()}
    totals = {n: np.zeros_like(a) for n, a in by_hand.items()}
    with Executor(lower(plain, 5, "gradients"), Store(), threads=1) as executor:
        for step, batch in enumerate(_batches(periodic)):
            give(executor, batch | {n: a.astype(np.float32) for n, a in by_hand.items()})
            executor.run()
            for name, learned in plain.learned().items():
                own = name.startswith(("conv", "fc"))
                period = PERIOD if own else 1
                totals[name] += executor.read(f"{name}.grad") / 5
                if (step + 1) % period == 0:
                    slope = totals[name] / period + learned.decay * by_hand[name]
                    increments[name] = learned.momentum * increments[name] - learned.epsilon.base * slope
                    by_hand[name] += increments[name]
                    totals[name][...] = 0
    for name, array in by_hand.items():
        np.testing.assert_allclose(store[name], array, rtol=2e-5, atol=1e-6, err_msg=name)


def test_a_period_may_be_cut() -> None:
    """What has been added up is kept with the increments, so that steps 0..4 and 5..7 are the same as 0..7."""
    periodic = net(PERIOD, wball=0.7)
    whole, first, second = _store(periodic), _store(periodic), Store()
    _run(periodic, whole, 0, STEPS)
    _run(periodic, first, 0, 4)
    with Executor(lower(periodic, 5, "train"), second, threads=1) as executor:
        names = [b.name for b in executor.program.buffers().values() if b.role.value in ("weights", "increments")]
        assert "conv.weights.sum" in names
        for name in names:
            second[name][...] = first[name]
    _run(periodic, second, 4, STEPS)
    for name in names:
        assert whole[name].tobytes() == second[name].tobytes(), name


@pytest.mark.parametrize("kind", [Conv, Local])
def test_constraints_hold_after_an_update(kind: type[Conv] | type[Local]) -> None:
    layer = kind("layer", "data", filters=3, filter_size=3, wball=0.5)
    held = net_of(layer, Fc("fc", "layer", outputs=4, wball=2.0, eps_w=0))
    store = _store(held)
    before = store["fc.weights"].copy()
    _run(held, store, 0, 1)
    filters = store["layer.weights"].reshape(-1, 18)
    lengths = np.sqrt((filters.astype(np.float64) ** 2).sum(1))
    assert (lengths <= 0.5 * (1 + 1e-6)).all()
    assert kind is Local or (lengths >= 0.5 * (1 - 1e-6)).all()
    assert (store["fc.weights"] == before).all(), "frozen weights are not held to anything"


def test_wc_norm() -> None:
    held = net_of(Conv("conv", "data", filters=3, filter_size=3, wc_norm_min=0.02, wc_norm_max=0.021))
    store = _store(held)
    _run(held, store, 0, 1)
    filters = store["conv.weights"].reshape(3, -1).astype(np.float64)
    found = np.sqrt(((filters - filters.mean(1, keepdims=True)) ** 2).sum(1)) / 18
    assert (found > 0.02 - 1e-6).all() and (found < 0.021 + 1e-6).all()
