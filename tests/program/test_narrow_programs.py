"""Which buffers are stored as bfloat16, what that saves, and what is refused."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from layer_samples import NETS, net_of
from steps import random_net

from convjit.errors import UsageError
from convjit.graph import Net, lower
from convjit.graph.lower import Mode, dtype_of
from convjit.layers import Conv, Fc, Pool
from convjit.ops import Array, Copy, Halo, Maps, MaxPoolBackward, PoolShape
from convjit.program import BF16, Buffer, Launch, Program, Role, buffer_bytes, check, narrow, plan
from convjit.program.traffic import traffic
from convjit.runtime.memory import allocate, from_lanes, to_lanes, view_of

MAPS = Maps(3, 5, 5)


def kept(net: Net, mode: Mode = "train") -> set[str]:
    """Maps of the arena that stay float32."""
    arena = lower(net, 4, mode, dtype="bf16").of_role(Role.ARENA)
    return {name for name, b in arena.items() if isinstance(b.operand, Maps) and not b.narrow}


def test_scores_and_their_gradients_stay() -> None:
    conv = Conv("conv", "data", filters=2, filter_size=3, neuron="relu")
    net = net_of(
        conv, Pool("pool", "conv", pool="max", size_x=2, stride=2), Fc("fc", "pool", outputs=9, neuron="tanh[1,1]")
    )
    assert kept(net) == {"out", "out.grad"}
    assert kept(net, "test") == kept(net, "predict") == {"out"}


def test_sums_that_grow_stay() -> None:
    a, b = (Conv(name, "data", filters=2, filter_size=3, padding=1) for name in "ab")
    both = Conv("both", "a, b", filters=2, filter_size=3, neuron="abs")
    twice = Fc("twice", "both, a", outputs=3)
    # `a` has two readers, and the outputs of layers with two inputs are sums.
    assert kept(net_of(a, b, both, twice)) == {"both", "twice", "a.grad", "out", "out.grad"}


def test_what_is_compared_is_as_exact() -> None:
    """The largest of numbers that are not rounded would be none of them if it were."""
    a = Conv("a", "data", filters=2, filter_size=3, padding=1)
    both = Conv("both", "a, data", filters=2, filter_size=3)
    pool = Pool("pool", "both", pool="max", size_x=2, stride=2)
    assert {"both", "pool"} <= kept(net_of(a, both, pool))
    assert "pool" not in kept(net_of(a, Conv("both", "a", filters=2, filter_size=3), pool))


@pytest.mark.parametrize("name", NETS)
def test_all_other_maps_are_narrow_and_nothing_else(name: str) -> None:
    for mode in get_args(Mode):
        plain, program = lower(NETS[name], 4, mode), lower(NETS[name], 4, mode, dtype="bf16")
        assert check(program) is program
        sums = {
            launch.buffers[o].name
            for launch in program.launches
            for o in (*launch.op.exact, *(launch.op.writes if getattr(launch.op, "accumulate", False) else ()))
        }
        for buffer in program.buffers().values():
            if buffer.narrow:
                assert isinstance(buffer.operand, Maps) and buffer.role is Role.ARENA and buffer.name not in sums
        names = [launch.name for launch in program.launches]
        assert names == [launch.name for launch in plain.launches]


def test_the_text_says_it() -> None:
    text = lower(net_of(), 4, dtype="bf16").text()
    assert "data [2x7x6 bf16]" in text and "out [3x1x1]" in text
    assert "bf16" not in lower(net_of(), 4).text()


@pytest.mark.parametrize("seed", range(10))
def test_a_plan_of_narrow_maps_is_no_larger(seed: int) -> None:
    one, other = (plan(lower(random_net(seed), 33, dtype=dtype), 16) for dtype in ("fp32", "bf16"))
    assert other.arena <= one.arena
    assert (other.weights, other.increments, other.transfer) == (one.weights, one.increments, one.transfer)


def test_narrow_maps_take_half() -> None:
    conv = Conv("conv", "data", filters=16, filter_size=3, padding=1, neuron="relu")
    net = net_of(conv, Pool("pool", "conv", pool="max", size_x=2, stride=2), image=(3, 40, 40))
    one, other = plan(lower(net, 64), 8), plan(lower(net, 64, dtype="bf16"), 8)
    assert 0.5 * one.unshared <= other.unshared < 0.53 * one.unshared
    assert 0.5 * one.arena <= other.arena < 0.53 * one.arena
    buffers = {name: Buffer("x", MAPS, halo=Halo(1, 0, 0, 2), dtype=name) for name in ("float32", BF16)}
    assert buffer_bytes(buffers[BF16], 9, 8) * 2 == buffer_bytes(buffers["float32"], 9, 8) == 2 * 3 * 6 * 7 * 8 * 4


def test_traffic_counts_what_is_stored() -> None:
    x, y = Buffer("x", MAPS, dtype=BF16), Buffer("y", MAPS)
    found = traffic(Launch("copy", Copy(MAPS), {"x": x, "y": y}), 10, 8)
    assert (found.read, found.written) == (2 * 16 * 75, 4 * 16 * 75)


def test_the_way_into_lanes_and_back() -> None:
    buffer = Buffer("x", MAPS, halo=Halo(1, 2, 0, 1), dtype=BF16)
    stored = view_of(allocate(buffer_bytes(buffer, 11, 8)), buffer, 11, 8)
    numbers = np.random.default_rng(0).normal(size=MAPS.logical(11)).astype(np.float32)
    to_lanes(numbers, stored, buffer)
    assert stored.dtype == np.uint16 and stored.shape == (2, 3, 6, 8, 8)
    found = from_lanes(stored, buffer, 11)
    assert found.dtype == np.float32 and found.shape == numbers.shape
    np.testing.assert_allclose(found, numbers, rtol=2.0**-8)
    assert np.count_nonzero(found != numbers) > 0
    stored[...] = 0
    to_lanes(found, stored, buffer)
    np.testing.assert_array_equal(from_lanes(stored, buffer, 11), found)


def test_rules() -> None:
    given = Buffer("given", MAPS, Role.INPUT)
    weights = Buffer("w", Array((3,)), Role.WEIGHTS, dtype=BF16)
    with pytest.raises(ValueError, match="copy: x may not be narrow"):
        check(Program(4, (Launch("copy", Copy(Array((3,))), {"x": weights, "y": replace_role(weights)}),)))  # type: ignore[arg-type]
    op = MaxPoolBackward(PoolShape.parse("c3 h5 k1 s1"))
    buffers = {name: Buffer(name, MAPS, Role.INPUT) for name in ("x", "dy")} | {"dx": Buffer("dx", MAPS)}
    with pytest.raises(ValueError, match="pool: x is compared with y, which is rounded"):
        check(Program(4, (Launch("pool", op, {**buffers, "y": Buffer("y", MAPS, Role.INPUT, dtype=BF16)}),)))
    assert narrow(Program(4, (Launch("copy", Copy(MAPS), {"x": given, "y": Buffer("y", MAPS)}),))).buffers()["y"].narrow


def replace_role(buffer: Buffer) -> Buffer:
    """Another buffer of the kind."""
    return Buffer("other", buffer.operand, Role.WEIGHTS)


def test_types_by_name() -> None:
    assert dtype_of("bf16") == "bf16"
    with pytest.raises(UsageError, match=r"dtype 'bf61' is not known \(did you mean 'bf16'\?\); there are fp32, bf16"):
        dtype_of("bf61")
