"""Lowering: a net becomes the program of one step, for one number of images.

Gradients are launched in reverse order of the layers. The first launch that writes a gradient replaces what was in its
buffer, later ones add to it; nothing is launched that no learned array needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from convjit.errors import UsageError, near
from convjit.graph.net import Net, Node
from convjit.layers import Changes, Data, Learned, Target
from convjit.layers.data import LABELS
from convjit.ops.base import Maps, Op, Operand, PerImage
from convjit.ops.constraint import Constrain
from convjit.ops.export import Export
from convjit.ops.reshape import Reshape
from convjit.ops.update import PERIODIC_RATES, RATES, PeriodicUpdate, Update
from convjit.program import Buffer, Launch, Program, Role, finish, narrow

__all__ = ["DTYPES", "HOST_ARRAYS", "Dtype", "Mode", "dtype_of", "lower", "output_name"]

Mode = Literal["train", "test", "predict", "gradients"]
Dtype = Literal["fp32", "bf16"]
"""What activations and gradients are stored as."""
DTYPES: tuple[Dtype, ...] = get_args(Dtype)

HOST_ARRAYS = ("pixels", "crops", "labels", "mean", "tints", "places", "colours", "cuts", "targets")
"""Arrays that belong to the data; a layer with such a name calls its output "<layer>.output"."""


def lower(
    net: Net,
    batch: int,
    mode: Mode = "train",
    *,
    exports: Sequence[str] = (),
    dtype: Dtype = "fp32",
    accumulate: bool = False,
    few: int = 0,
    rewrite: bool = True,
) -> Program:
    """The program of one step over `batch` images.

    train       forward, backward, update
    test        forward, with the costs' totals
    predict     forward as far as the net's outputs, as rows "<layer>.rows"
    gradients   forward and backward as when training; the gradients of all learned arrays and of the images are outputs

    `exports` names further layers whose output is wanted as rows (test and predict). With the `dtype` "bf16"
    activations and their gradients are stored as bfloat16. With `accumulate`, gradients of learned arrays are added to
    what parts of the same minibatch before this one have left there (train). `few` is V where fewer images than
    that shall not leave lanes idle (test and predict, fp32): the numbers are the same. `rewrite` is for tests: False
    leaves the program as the layers have launched it, each buffer with one meaning.
    """
    if batch < 1:
        raise UsageError(f"a step of {batch} images; at least 1 is needed")
    for name in exports:
        if name not in net.nodes or net.nodes[name].layer.is_cost or _labels(net.nodes[name]):
            raise UsageError(f"layer '{name}' has no output to export{near(name, net.nodes)}")
    rows = tuple(dict.fromkeys((*(net.outputs if mode == "predict" else ()), *exports)))
    lowering = _Lowering(net, mode, accumulate)
    lowering.forward(_ancestors(net, rows) if mode == "predict" else set(net.nodes))
    for name in rows:
        lowering.export(name)
    if mode in ("train", "gradients"):
        lowering.backward()
    if mode == "train":
        lowering.update()
    program = Program(batch, tuple(lowering.launches))
    few = few if mode in ("test", "predict") else 0
    program = finish(program, few) if rewrite else program
    return narrow(program) if dtype == "bf16" else program


def dtype_of(text: str) -> Dtype:
    """The type of this name; UsageError if there is none."""
    for dtype in DTYPES:
        if dtype == text:
            return dtype
    raise UsageError(f"dtype '{text}' is not known{near(text, DTYPES)}; there are {', '.join(DTYPES)}")


def _labels(node: Node) -> bool:
    return isinstance(node.layer, Data) and node.layer.data_idx == LABELS


def _output(node: Node) -> Buffer:
    """Where a layer's output goes, or where the host puts the labels."""
    if _labels(node):
        return Buffer("labels", PerImage((), "int32"), Role.INPUT)
    return Buffer(output_name(node.layer.name), node.output)


def output_name(layer: str) -> str:
    """The buffer that holds a layer's output."""
    return f"{layer}.output" if layer in HOST_ARRAYS else layer


def _ancestors(net: Net, names: Sequence[str]) -> set[str]:
    """These layers and all that they are fed from."""
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += net.nodes[name].layer.inputs
    return found


@dataclass
class _Lowering:
    """The program under construction."""

    net: Net
    mode: Mode
    accumulate: bool = False
    launches: list[Launch] = field(default_factory=list)
    outputs: dict[str, Buffer] = field(default_factory=dict)
    """Output of every layer."""
    steps: dict[str, _Step] = field(default_factory=dict)
    gradients: dict[str, Buffer] = field(default_factory=dict)
    """Gradients that have been written, by the buffer's name without ".grad"."""
    wanted: set[str] = field(default_factory=set)
    """Layers the gradient of whose output somebody needs."""

    def forward(self, names: set[str]) -> None:
        for name, node in self.net.nodes.items():
            if name in names:
                self.outputs[name] = _output(node)
                self.steps[name] = _Step(self, node)
                node.layer.forward(self.steps[name])

    def export(self, name: str) -> None:
        buffer, op = self.outputs[name], Export(self.net.nodes[name].output)
        rows = Buffer(f"{name}.rows", op.operands()["y"], Role.OUTPUT)
        self.launches.append(Launch(f"{name}.export", op, {"x": buffer, "y": rows}))

    def backward(self) -> None:
        for name, node in self.net.nodes.items():
            if not node.layer.passes_gradient:
                continue
            image = isinstance(node.layer, Data) and not _labels(node) and self.mode == "gradients"
            learns = any(not learned.frozen for learned in node.learned)
            if image or learns or any(source in self.wanted for source in node.layer.inputs):
                self.wanted.add(name)
        for name, node in reversed(self.net.nodes.items()):
            if name in self.wanted and (node.layer.is_cost or name in self.gradients):
                node.layer.backward(self.steps[name])
                self.steps[name].finish()

    def update(self) -> None:
        for name, learned in self.net.learned().items():
            if name not in self.gradients:
                continue
            layer, _, array = name.rpartition(".")
            buffers = {
                "weights": Buffer(name, learned.array, Role.WEIGHTS),
                "increments": Buffer(f"{name}.inc", learned.array, Role.INCREMENTS),
                "gradient": self.gradients[name],
                "rates": Buffer(f"{name}.rates", RATES if learned.period == 1 else PERIODIC_RATES, Role.INPUT),
            }
            op: Op = Update(learned.array)
            if learned.period > 1:
                # It outlives a step, and is saved, as increments do and are.
                buffers["total"] = Buffer(f"{name}.sum", learned.array, Role.INCREMENTS)
                op = PeriodicUpdate(learned.array, learned.period)
            self.launches.append(Launch(f"{layer}.update_{array}", op, buffers))
            for rule in learned.rules:
                held = Constrain(learned.array, learned.fan_in, rule, learned.period > 1)
                used = {operand: buffers[operand] for operand in held.names}
                self.launches.append(Launch(f"{layer}.constrain_{array}", held, used))

    def gradient(self, name: str, operand: Operand, role: Role) -> Target:
        """The gradient of a buffer, new or to be added to."""
        if name in self.gradients:
            return Target(self.gradients[name], accumulate=True)
        self.gradients[name] = Buffer(f"{name}.grad", operand, role)
        return Target(self.gradients[name], accumulate=False)


class _Step:
    """One layer's view of the program: the `Pass` that its hooks get."""

    def __init__(self, lowering: _Lowering, node: Node) -> None:
        self.training = lowering.mode in ("train", "gradients")
        self.source, self.numbers = lowering.net.image, lowering.net.numbers
        self.seen, self.classes = lowering.net.input, lowering.net.classes
        self.changes = lowering.net.changes if self.training else Changes()
        self.shape = node.output
        self.views: Sequence[Maps] = node.views
        self._lowering, self._node, self._name = lowering, node, node.layer.name
        self.inputs: Sequence[Buffer] = [self._input(index) for index in range(len(node.inputs))]
        # Gradients of inputs that the layer takes as other maps: (as it takes them, where they go).
        self._reshaped: list[tuple[int, Buffer, Target]] = []

    @property
    def output(self) -> Buffer:
        return self._lowering.outputs[self._name]

    def reuse(self, index: int) -> None:
        self._lowering.outputs[self._name] = self.inputs[index]

    def _learned(self, name: str) -> tuple[str, Learned]:
        """A learned array, and its name in the program: that of its owner."""
        learned = next(learned for learned in self._node.learned if learned.name == name)
        return learned.owner or f"{self._name}.{name}", learned

    def weights(self, name: str) -> Buffer:
        full, learned = self._learned(name)
        return Buffer(full, learned.array, Role.WEIGHTS)

    def host(self, name: str, operand: Operand) -> Buffer:
        return Buffer(name, operand, Role.INPUT)

    def own(self, name: str, operand: Operand) -> Buffer:
        return Buffer(f"{self._name}.{name}", operand)

    def result(self, name: str, operand: Operand) -> Buffer:
        return Buffer(f"{self._name}.{name}", operand, Role.OUTPUT)

    def launch(self, name: str, op: Op, **buffers: Buffer) -> None:
        self._lowering.launches.append(Launch(f"{self._name}.{name}", op, buffers))

    def gradient(self) -> Buffer:
        return self._lowering.gradients[self._name]

    def input_gradient(self, index: int) -> Target | None:
        source = self._node.layer.inputs[index]
        if source not in self._lowering.wanted:
            return None
        target = self._lowering.gradient(source, self._node.inputs[index], self._role(self._lowering.net.nodes[source]))
        if self._node.inputs[index] == self._node.views[index]:
            return target
        view = self.own(f"input{index or ''}.grad", self._node.views[index])
        self._reshaped.append((index, view, target))
        return Target(view, accumulate=False)

    def weights_gradient(self, name: str) -> Target | None:
        full, learned = self._learned(name)
        if learned.frozen:
            return None
        if self._lowering.accumulate:
            return replace(self._lowering.gradient(full, learned.array, Role.GRADIENTS), accumulate=True)
        role = Role.OUTPUT if self._lowering.mode == "gradients" else Role.ARENA
        return self._lowering.gradient(full, learned.array, role)

    def finish(self) -> None:
        """After the layer's own backward launches: bring gradients into the maps of the inputs."""
        for index, view, target in self._reshaped:
            op = Reshape(self._node.views[index], self._node.inputs[index], target.accumulate)
            self.launch(f"backward_reshape{index or ''}", op, x=view, y=target.buffer)

    def _role(self, source: Node) -> Role:
        """Of a gradient: that of the images is what the mode "gradients" is asked for."""
        return Role.OUTPUT if isinstance(source.layer, Data) else Role.ARENA

    def _input(self, index: int) -> Buffer:
        """Input `index`, brought into other maps if the layer takes it as such."""
        buffer = self._lowering.outputs[self._node.layer.inputs[index]]
        given, taken = self._node.inputs[index], self._node.views[index]
        if given == taken:
            return buffer
        view = self.own(f"input{index or ''}", taken)
        self.launch(f"reshape{index or ''}", Reshape(given, taken), x=buffer, y=view)
        return view
