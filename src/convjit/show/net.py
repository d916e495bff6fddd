"""A net on paper: its layers, what they cost, and the memory of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convjit.graph import LayerCounts, Net, counts, lower
from convjit.graph.lower import Dtype
from convjit.layers import Inner
from convjit.program import Plan, Program
from convjit.runtime import Ways, thread_count
from convjit.runtime.fit import Fitted, fit
from convjit.runtime.planned import planned
from convjit.show.console import Screen, count, megabytes

__all__ = ["PROCESS", "Memory", "NetView", "show_layers", "show_memory"]

PROCESS = 175_000_000
"""Bytes of Python, NumPy and LLVM at work: what a process takes besides, measured."""


@dataclass(frozen=True)
class Memory:
    """Bytes of a training step, or of a part of one; `unshared` is the arena if no two buffers shared a place."""

    weights: int
    increments: int
    gradients: int
    arena: int
    unshared: int
    transfer: int
    scratch: int

    @classmethod
    def of(cls, plan: Plan, scratch: int) -> Memory:
        """From a plan, and what kernels need beside it: the scratch of all threads, and the workspace."""
        return cls(plan.weights, plan.increments, plan.gradients, plan.arena, plan.unshared, plan.transfer, scratch)

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.increments + self.gradients + self.arena + self.transfer + self.scratch


@dataclass(frozen=True)
class NetView:
    """A net with its counts and the plan of a training step over `batch` images."""

    net: Net
    batch: int
    counts: dict[str, LayerCounts]
    program: Program
    memory: Memory
    fitted: Fitted | None = None

    @classmethod
    def of(
        cls,
        net: Net,
        batch: int,
        *,
        dtype: Dtype = "fp32",
        accumulate: bool = False,
        limit: int | None = None,
    ) -> NetView:
        """Plan a net, in at most `limit` bytes; nothing is compiled."""
        program, ways, threads = lower(net, batch, dtype=dtype, accumulate=accumulate), Ways(), thread_count()
        fitted = None if limit is None else fit(program, limit, ways, threads=threads)
        if fitted:
            program, ways = fitted.program, fitted.ways
        plan, scratch, workspace = planned(program, ways=ways)
        memory = Memory.of(plan, scratch * threads + workspace)
        return cls(net, batch, counts(net), program, memory, fitted)

    def record(self) -> dict[str, Any]:
        """For machines; operations are those of one image."""
        memory: dict[str, Any] = {**vars(self.memory), "total": self.memory.total, "process": PROCESS}
        if self.fitted:
            memory |= self.fitted.record()
        layers = [
            {
                "name": name,
                "type": node.layer.kind,
                "inputs": list(node.layer.inputs),
                "shape": list(_shape(self.net, name)),
                "parameters": self.counts[name].parameters,
                "forward_flops": self.counts[name].forward,
                "step_flops": self.counts[name].step,
            }
            for name, node in self.net.nodes.items()
        ]
        step = sum(one.step for one in self.counts.values())
        found = {"image": list(_maps(self.net)), "batch": self.batch, "parameters": self.net.parameters}
        return {**found, "step_flops": step, "layers": layers, "memory": memory}


def _maps(net: Net) -> tuple[int, int, int]:
    return net.input.channels, net.input.height, net.input.width


def _shape(net: Net, name: str) -> tuple[int, int, int]:
    output = net.nodes[name].output
    return output.channels, output.height, output.width


def show_layers(screen: Screen, net: Net, found: dict[str, LayerCounts]) -> None:
    """A row per layer as written; a neuron is counted with the layer that it belongs to."""
    table = screen.table("layer", "type", "inputs", ">output C x H x W", ">parameters", ">forward", ">step")
    written = {layer.name: layer for layer in net.written}
    owner = ""
    rows: dict[str, list[int]] = {}
    for name in net.nodes:
        owner = name if name in written else owner
        one, row = found[name], rows.setdefault(owner, [0, 0, 0])
        rows[owner] = [a + b for a, b in zip(row, (one.parameters, one.forward, one.step), strict=True)]
    for name, layer in written.items():
        neuron = f" {layer.neuron}" if isinstance(layer, Inner) and layer.neuron else ""
        shape = " x ".join(map(str, _shape(net, name))) if not layer.is_cost else ""
        numbers = [count(number) if number else "" for number in rows[name]]
        table.add_row(name, layer.kind + neuron, ", ".join(layer.inputs), shape, *numbers)
    table.add_row("", "", "", "in all", *[count(sum(row[i] for row in rows.values())) for i in range(3)])
    screen.show(table)
    screen.line("forward and step: floating-point operations of one image, tested and trained on")


def show_memory(screen: Screen, memory: Memory, batch: int, *, others: str = "") -> None:
    """Where the bytes of a step go."""
    kept = ("weights", "increments", *(("gradients",) if memory.gradients else ()))
    parts = (*kept, "arena", "transfer", "scratch")
    listed = ", ".join(f"{part} {megabytes(getattr(memory, part))}" for part in parts)
    shared = f"; the arena would be {megabytes(memory.unshared)} if nothing shared a place"
    others += f"; Python and LLVM {megabytes(PROCESS)}"
    screen.line(f"memory at {batch} images a step: {megabytes(memory.total)} ({listed}{shared}){others}")
