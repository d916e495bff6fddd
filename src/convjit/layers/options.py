"""Options of layers, declared on their dataclasses: the key in .cfg files, the file it belongs to, defaults, bounds.

    filter_size: Each[int] = integers("filterSize", least=1)          one value per input
    filters: int = integer("filters", least=1)

In Python an option takes the value itself or the text that a .cfg file would hold; an option with one value per input
also takes a single value for all of them.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

from convjit.errors import ConfigError
from convjit.layers import values
from convjit.layers.kinds import (
    FLAG,
    FLAG_ITEM,
    INITIALISER,
    INTEGER,
    NAMES,
    NEURON,
    NUMBER,
    SCHEDULE,
    SIDES,
    TEXT,
    Kind,
    no_value,
)

__all__ = [
    "Option",
    "choice",
    "flag",
    "flags",
    "initialiser",
    "integer",
    "integers",
    "names",
    "neuron",
    "normalise",
    "number",
    "numbers",
    "options_of",
    "schedule",
    "schedules",
    "sides",
    "sources",
    "text",
]

File = Literal["net", "params", "either"]
"""Where a key belongs; where both are allowed, it is written into the net file."""


@dataclass(frozen=True)
class Option:
    """One option. `default` is a value of its kind; `required` concerns files, since Python code has the default."""

    key: str
    kind: Kind
    file: File
    required: bool
    default: Any
    each: bool = False
    least: float | None = None
    most: float | None = None
    attribute: str = ""
    spread: bool = True
    """Whether a single value stands for all inputs."""

    def belongs(self, file: str) -> bool:
        """Whether the key may stand in this file."""
        return self.file in (file, "either")

    def accept(self, value: Any, inputs: int) -> Any:
        """The value as the layer keeps it; ValueError if it is not allowed."""
        if not self.each:
            return self._one(value)
        items = values.split_list(value) if isinstance(value, str) else value
        items = list(items) if isinstance(items, Sequence) else [items]
        if len(items) == 1 and (self.spread or not items[0]):
            items *= inputs
        if len(items) != inputs and not self.spread:
            raise ValueError(
                f"{len(items)} items for {inputs} inputs; allowed is one for each input, which may be blank"
            )
        if len(items) != inputs:
            raise ValueError(f"{len(items)} values for {inputs} inputs; allowed is one value, or one for each input")
        return tuple(self._one(item) for item in items)

    def text(self, value: Any) -> str:
        """The text from which `accept` makes the same value."""
        if not self.each:
            return self.kind.show(value)
        shown = [self.kind.show(item) for item in value]
        return shown[0] if self.spread and len(set(shown)) == 1 else ", ".join(shown)

    def _one(self, value: Any) -> Any:
        found = self.kind.parse(value.strip()) if isinstance(value, str) else self.kind.accept(value)
        low = self.least is not None and found < self.least
        if low or (self.most is not None and found > self.most):
            raise ValueError(f"must be {self.bounds()}")
        return found

    def bounds(self) -> str:
        """Bounds in words."""
        if self.least is None:
            return "" if self.most is None else f"at most {values.number_text(self.most)}"
        low = values.number_text(self.least)
        return f"at least {low}" if self.most is None else f"{low} to {values.number_text(self.most)}"


class Details(TypedDict, total=False):
    """What may be said of an option; without a default it is required. Bounds hold for every value of a list."""

    default: Any
    least: float
    most: float
    file: File
    required: bool


def _option(key: str, kind: Kind, each: bool, details: Details) -> Any:
    default = details.get("default", dataclasses.MISSING)
    option = Option(
        key,
        kind,
        details.get("file", "net"),
        details.get("required", default is dataclasses.MISSING),
        default,
        each,
        details.get("least"),
        details.get("most"),
    )
    return dataclasses.field(default=default, metadata={"option": option})


def integer(key: str, **details: Unpack[Details]) -> Any:
    """A whole number."""
    return _option(key, INTEGER, False, details)


def integers(key: str, **details: Unpack[Details]) -> Any:
    """A whole number per input."""
    return _option(key, INTEGER, True, details)


def number(key: str, **details: Unpack[Details]) -> Any:
    """A number."""
    return _option(key, NUMBER, False, details)


def numbers(key: str, **details: Unpack[Details]) -> Any:
    """A number per input."""
    return _option(key, NUMBER, True, details)


def flag(key: str, **details: Unpack[Details]) -> Any:
    """True or false."""
    return _option(key, FLAG, False, details)


def flags(key: str, **details: Unpack[Details]) -> Any:
    """True or false per input."""
    return _option(key, FLAG_ITEM, True, details)


def names(key: str, **details: Unpack[Details]) -> Any:
    """Names of layers, with commas between them."""
    return _option(key, NAMES, False, details)


def schedule(key: str, **details: Unpack[Details]) -> Any:
    """A learning rate, in the parameter file."""
    return _option(key, SCHEDULE, False, {"file": "params", **details})


def schedules(key: str, **details: Unpack[Details]) -> Any:
    """A learning rate per input, in the parameter file."""
    return _option(key, SCHEDULE, True, {"file": "params", **details})


def neuron(key: str, **details: Unpack[Details]) -> Any:
    """A neuron; None for none."""
    return _option(key, NEURON, False, details)


def text(key: str, **details: Unpack[Details]) -> Any:
    """Any text on one line."""
    return _option(key, TEXT, False, details)


def sources(key: str, **details: Unpack[Details]) -> Any:
    """A text per input, blank for none; one text does not stand for all."""
    made = _option(key, TEXT, True, details)
    option = dataclasses.replace(made.metadata["option"], spread=False)
    return dataclasses.field(default=made.default, metadata={"option": option})


def initialiser(key: str, **details: Unpack[Details]) -> Any:
    """How an array starts; None for the usual way."""
    return _option(key, INITIALISER, False, details)


def sides(key: str, **details: Unpack[Details]) -> Any:
    """Whole numbers with x between them, such as 3x32x32."""
    return _option(key, SIDES, False, details)


def choice(key: str, allowed: Sequence[str], **details: Unpack[Details]) -> Any:
    """One word out of several."""

    def parse(word: str) -> str:
        if word.lower() not in allowed:
            raise ValueError(f"must be {' or '.join(filter(None, (', '.join(allowed[:-1]), allowed[-1])))}")
        return word.lower()

    return _option(key, Kind("word", parse, no_value, str), False, details)


def options_of(owner: type) -> dict[str, Option]:
    """Options by attribute: those that a class itself declares before those of its bases."""
    found = {f.name: f.metadata["option"] for f in dataclasses.fields(owner) if "option" in f.metadata}
    declared = [name for base in owner.__mro__ for name in inspect.get_annotations(base)]
    return {name: dataclasses.replace(found[name], attribute=name) for name in declared if name in found}


def normalise(owner: object, name: str, inputs: int) -> None:
    """Bring every option of a layer into the form that it keeps; ConfigError gives the layer's name and the key."""
    for attribute, option in options_of(type(owner)).items():
        value = getattr(owner, attribute)
        try:
            object.__setattr__(owner, attribute, option.accept(value, inputs))
        except ValueError as error:
            raise ConfigError(f"{option.key}={values.shown(value)}: {error}", layer=name, key=option.key) from None
