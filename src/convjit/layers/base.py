"""What a layer is: options, a shape rule, weights, and two hooks that say forward and backward in terms of ops.

A layer family is one file with one frozen dataclass (or a few that belong together). The hooks receive a `Pass`, which
holds the buffers of one layer in the program under construction; they add launches to it and know no other layers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from convjit.errors import ConfigError
from convjit.layers.given import Given
from convjit.layers.initialisers import Initialiser
from convjit.layers.options import Option, neuron, normalise, options_of
from convjit.layers.schedule import Schedule
from convjit.layers.values import shown, split_list
from convjit.ops.base import Array, Maps, Op, Operand
from convjit.ops.constraint import Rule
from convjit.ops.neuron import Neuron
from convjit.program import Buffer

__all__ = ["Changes", "Inner", "Layer", "Learned", "Pass", "Target"]

# Names become parts of the names of buffers and files: no dots, no separators of lists or folders.
_NAME = re.compile(r"[\w+-](?:[\w +-]{0,78}[\w+-])?")
_RESERVED = ("recipe", "default")
_NO_INPUTS: Any = ()


@dataclass(frozen=True)
class Learned:
    """One learned array of a layer.

    `initialiser` says how it starts; without one, `deviation` > 0 draws from N(0, deviation**2), else every element is
    `value`. `epsilon`, `momentum` and `decay` are those of the update rule; an epsilon of base 0 freezes the array. It
    is updated every `period` steps, and held to `rules` then. Weights are filters of `fan_in` numbers, `units` of
    which are a matrix of their own; `fan_out` outputs see an input.

    An array with a `source`, (layer, index of its input), is that layer's; a `Net` gives its name as `owner`, and the
    array's gradient is added to the owner's.
    """

    name: str
    array: Array
    epsilon: Schedule
    momentum: float
    decay: float = 0.0
    deviation: float = 0.0
    value: float = 0.0
    initialiser: Initialiser | None = None
    fan_in: int = 0
    fan_out: int = 0
    units: int = 0
    rules: tuple[Rule, ...] = ()
    period: int = 1
    source: tuple[str, int] | None = None
    owner: str = ""

    @property
    def frozen(self) -> bool:
        """Whether it is never changed, and its gradient never computed."""
        return self.epsilon.base == 0

    def rates(self, progress: float, epoch: float, share: float, step: int) -> tuple[float, ...]:
        """What the update of step `step`, counted from 0, needs; `share` is 1/N, that of one image in the gradient."""
        rates = (self.epsilon.value(progress, epoch), self.momentum, self.decay, share)
        return rates if self.period == 1 else (*rates, float((step + 1) % self.period == 0))


@dataclass(frozen=True)
class Target:
    """Where a gradient goes: into `buffer`, replacing its contents or added to them."""

    buffer: Buffer
    accumulate: bool


@dataclass(frozen=True)
class Changes:
    """What is done to training images at random, as far as a program has to know; see `convjit.ops.input`.

    `colour_noise` is the share of noise along the axes of colour, 0 for none.
    """

    colour_noise: float = 0.0
    warp: bool = False
    recolour: bool = False
    cutout: bool = False


class Pass(Protocol):
    """One layer's view of the program under construction; lists are in the order of the layer's inputs."""

    training: bool
    source: Maps
    """Shape of the stored images, from which data layers cut."""
    numbers: bool
    """Whether they are numbers, such as features, and not bytes."""
    seen: Maps
    """Shape of the images as the net sees them."""
    classes: int
    """Of the data, 0 if unknown."""
    changes: Changes
    """What is done to the images at random."""
    shape: Maps
    """What the layer's shape rule gave."""
    views: Sequence[Maps]
    """Shapes of the inputs, as the layer takes them."""
    inputs: Sequence[Buffer]

    @property
    def output(self) -> Buffer:
        """The layer's output maps; a layer that gives none must not ask."""

    def reuse(self, index: int) -> None:
        """The output is input `index`, unchanged: no launch, no memory."""

    def weights(self, name: str) -> Buffer:
        """A learned array, by the name in its `Learned`."""

    def host(self, name: str, operand: Operand) -> Buffer:
        """An array that the host writes before each step, e.g. "labels"; one per net and name."""

    def own(self, name: str, operand: Operand) -> Buffer:
        """An array of this layer that forward and backward of one step share; "<layer>.<name>"."""

    def result(self, name: str, operand: Operand) -> Buffer:
        """An array of this layer that the host reads after the step; "<layer>.<name>"."""

    def launch(self, name: str, op: Op, **buffers: Buffer) -> None:
        """Append a launch called "<layer>.<name>"."""

    def gradient(self) -> Buffer:
        """Backward only: the gradient of the cost with respect to the output."""

    def input_gradient(self, index: int) -> Target | None:
        """Backward only: where the gradient of input `index` goes; None if nobody needs it. Ask once per input."""

    def weights_gradient(self, name: str) -> Target | None:
        """Backward only: where the gradient of a learned array goes; None if it is frozen. Ask once per array."""


@dataclass(frozen=True)
class Layer:
    """Base of all layers. `kind` is the `type=` of .cfg files."""

    kind: ClassVar[str] = ""
    formula: ClassVar[str] = ""
    """One line for the documentation."""
    fewest_inputs: ClassVar[int] = 1
    most_inputs: ClassVar[int | None] = 1
    is_cost: ClassVar[bool] = False
    passes_gradient: ClassVar[bool] = True
    """Whether there may be something to learn below it."""
    needs_parameters: ClassVar[bool] = False
    """Whether the parameter file must have a section for it."""
    ignored: ClassVar[Mapping[str, str]] = {"gpu": "devices are chosen when a run starts, not in a net"}
    """Keys of the original that have no effect here, each with the reason."""

    name: str
    inputs: Given[tuple[str, ...], str | Sequence[str]] = _NO_INPUTS

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name) or self.name.lower() in _RESERVED:
            allowed = "letters, digits, _, - and +, blanks between them, at most 80; not 'recipe' or 'default'"
            raise ConfigError(f"'{shown(self.name)}' cannot name a layer: allowed are {allowed}")
        given: Any = self.inputs
        inputs = tuple(split_list(given)) if isinstance(given, str) else tuple(given)
        object.__setattr__(self, "inputs", inputs)
        few, many = self.fewest_inputs, self.most_inputs
        if len(inputs) < few or (many is not None and len(inputs) > many):
            allowed = f"exactly {few}" if few == many else f"at least {few}" if many is None else f"{few} to {many}"
            raise self.error(f"{len(inputs)} inputs; {self.kind} takes {allowed}", "inputs")
        normalise(self, self.name, len(inputs))

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Options by attribute name, in the order of declaration."""
        return options_of(cls)

    def error(self, message: str, key: str = "") -> ConfigError:
        """A ConfigError that names this layer."""
        return ConfigError(message, layer=self.name, key=key)

    def fitted(self, inputs: Sequence[Maps]) -> Layer:
        """The same layer with the options filled in that were left to its inputs."""
        return self

    def views(self, inputs: Sequence[Maps]) -> tuple[Maps, ...]:
        """As which maps, of as many features, this layer takes its inputs; all other hooks get these."""
        return tuple(inputs)

    def check(self, sources: Sequence[Layer], inputs: Sequence[Maps], classes: int) -> None:
        """ConfigError if layers of these kinds cannot feed this one, for data of so many classes (0: unknown)."""

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        """The shape rule; ConfigError if the inputs do not fit the options."""
        raise NotImplementedError

    def learned(self, inputs: Sequence[Maps]) -> tuple[Learned, ...]:
        """The learned arrays, in the order in which they are saved and updated."""
        return ()

    def forward(self, step: Pass) -> None:
        """Launch what computes the output from the inputs."""
        raise NotImplementedError

    def backward(self, step: Pass) -> None:
        """Launch what computes the gradients of inputs and learned arrays from the gradient of the output."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Inner(Layer):
    """A layer between data and costs: its output may go through a neuron, which becomes a layer of its own."""

    neuron: Given[Neuron | None, Neuron | str | None] = neuron("neuron", default=None)
