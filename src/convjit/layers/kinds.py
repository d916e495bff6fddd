"""Kinds of values that options take: from text, from Python, and to text again."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from convjit.layers import values
from convjit.layers.initialisers import Initialiser
from convjit.layers.schedule import Schedule
from convjit.ops.neuron import Neuron

__all__ = [
    "FLAG",
    "FLAG_ITEM",
    "INITIALISER",
    "INTEGER",
    "NAMES",
    "NEURON",
    "NUMBER",
    "SCHEDULE",
    "SIDES",
    "TEXT",
    "Kind",
    "no_value",
]


@dataclass(frozen=True)
class Kind:
    """A kind of value: from text, from Python, to text. The first two raise ValueError saying what is allowed."""

    name: str
    parse: Callable[[str], Any]
    accept: Callable[[Any], Any]
    show: Callable[[Any], str]


def _accept_integer(value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return values.parse_integer(str(operator.index(value)))
    except TypeError:
        raise ValueError("must be a whole number") from None


def _accept_number(value: Any) -> float:
    try:
        if isinstance(value, bool) or not math.isfinite(value):
            raise TypeError
        return float(value)
    except TypeError:
        raise ValueError("must be a finite number") from None


def _accept_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be True or False")
    return value


def _accept_schedule(value: Any) -> Schedule:
    return value if isinstance(value, Schedule) else Schedule.const(_accept_number(value))


def _accept_neuron(value: Any) -> Neuron | None:
    if value is None:
        return None
    if not isinstance(value, Neuron):
        raise ValueError("must be a neuron, such as relu")
    return values.parse_neuron(values.neuron_text(value))


def no_value(value: Any) -> Any:
    raise ValueError("must be text")


def _line(text: str) -> str:
    if not text.isprintable() or len(text) > 1000:
        raise ValueError("must be one line of text, at most 1000 characters")
    return text


def _sides(text: str) -> tuple[int, ...]:
    return tuple(values.parse_integer(side.strip()) for side in text.lower().split("x"))


def _accept_sides(value: Any) -> tuple[int, ...]:
    return tuple(_accept_integer(side) for side in (value if isinstance(value, Sequence) else [value]))


def _accept_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or not all(isinstance(name, str) for name in value):
        raise ValueError("must be names")
    return tuple(value)


NAMES = Kind(
    "names",
    lambda text: tuple(filter(None, values.split_list(_line(text)))),
    _accept_names,
    lambda value: ", ".join(value),
)
INTEGER = Kind("whole number", values.parse_integer, _accept_integer, str)
NUMBER = Kind("number", values.parse_number, _accept_number, values.number_text)
FLAG = Kind("flag", values.parse_flag, _accept_flag, lambda value: str(value).lower())
FLAG_ITEM = Kind("flag", values.parse_flag_item, _accept_flag, lambda value: str(value).lower())
SCHEDULE = Kind("rate", Schedule.parse, _accept_schedule, Schedule.text)
NEURON = Kind("neuron", values.parse_neuron, _accept_neuron, values.neuron_text)
INITIALISER = Kind("initialiser", Initialiser.parse, Initialiser.accept, Initialiser.text)
TEXT = Kind("text", _line, no_value, str)
SIDES = Kind("CxHxW", _sides, _accept_sides, lambda value: "x".join(map(str, value)))
