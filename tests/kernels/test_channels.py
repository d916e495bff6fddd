"""Channels in another order, bit for bit."""

from __future__ import annotations

import pytest
from harness import assert_matches, batches, integers, on_every_target, problem

from convjit.codegen.target import Target
from convjit.ops import Halo, Maps, SelectChannels, SelectChannelsBackward

ORDERS = ((0,), (2, 0, 1), (1, 0, 2, 2, 1, 0, 0, 2, 1))


@on_every_target
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_orders(target: Target, order: tuple[int, ...]) -> None:
    maps = Maps(max(order) + 1, 3, 5)
    for batch in batches(target):
        x, dy = integers(maps.logical(batch)), integers((batch, len(order), 3, 5), 1)
        halos = {"x": Halo(1, 0, 2, 1), "y": Halo(0, 1, 0, 0), "dy": Halo(2, 2, 2, 2), "dx": Halo(1, 1, 1, 1)}
        assert_matches(problem(SelectChannels(maps, order), batch, target, **halos), {"x": x})
        for accumulate in (False, True):
            op = SelectChannelsBackward(maps, order, accumulate)
            assert_matches(problem(op, batch, target, **halos), {"dy": dy} | ({"dx": x} if accumulate else {}))
