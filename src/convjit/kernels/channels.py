"""Channels in another order: copies, and sums of the copies' gradients. The order is a table in the code."""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.table import table
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import run
from convjit.ops.channels import SelectChannels, SelectChannelsBackward

__all__: list[str] = []


@generator(SelectChannels)
def select_channels(k: Kernel, problem: Problem) -> int:
    """Task: one channel of y of a block."""
    op = problem.op
    assert isinstance(op, SelectChannels)
    x, y = problem.view(k, "x"), problem.view(k, "y")
    block, channel = k.split(k.task, problem.blocks, len(op.order))
    taken = table(k, "order", op.order).load(channel)
    with k.loop(0, op.maps.height, name="row") as row:
        source, target = x.index(block, taken, row), y.index(block, channel, row)
        run(k, 0, op.maps.width, lambda i: y.store(x.load(source + i), target + i))
    return problem.blocks * len(op.order)


@generator(SelectChannelsBackward)
def select_channels_backward(k: Kernel, problem: Problem) -> int:
    """Task: one channel of dx of a block."""
    op = problem.op
    assert isinstance(op, SelectChannelsBackward)
    dy, dx = problem.view(k, "dy"), problem.view(k, "dx")
    block, channel = k.split(k.task, problem.blocks, op.maps.channels)
    places = op.places()
    times = len(places[0])
    flat = table(k, "places", [place for row in places for place in row])
    taken = [flat.load(channel * times + i) for i in range(times)]
    with k.loop(0, op.maps.height, name="row") as row:
        target = dx.index(block, channel, row)
        sources = [dy.index(block, place, row) for place in taken]

        def put(i: Index, target: Index = target, sources: list[Index] = sources) -> None:
            total: Value = dx.load(target + i) if op.accumulate else k.number(0)
            for source in sources:
                total = total + dy.load(source + i)
            dx.store(total, target + i)

        run(k, 0, op.maps.width, put)
    return problem.blocks * op.maps.channels
