"""What a net costs: parameters and floating-point operations of every layer."""

from __future__ import annotations

from dataclasses import dataclass

from convjit.graph.lower import lower
from convjit.graph.net import Net
from convjit.program import Program

__all__ = ["LayerCounts", "counts"]


@dataclass(frozen=True)
class LayerCounts:
    """Of one layer. Flops are those of one image, 2 for a multiply-add; `step` is forward and backward together."""

    parameters: int
    forward: int
    step: int


def counts(net: Net) -> dict[str, LayerCounts]:
    """Counts of every layer of the graph, in order."""
    forward, step = (_flops(lower(net, 1, mode, rewrite=False)) for mode in ("test", "train"))
    return {
        name: LayerCounts(node.parameters, forward.get(name, 0), step.get(name, 0)) for name, node in net.nodes.items()
    }


def _flops(program: Program) -> dict[str, int]:
    """By layer: the part of a launch's name before the first dot."""
    found: dict[str, int] = {}
    for launch in program.launches:
        layer = launch.name.partition(".")[0]
        found[layer] = found.get(layer, 0) + launch.op.flops()
    return found
