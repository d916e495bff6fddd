"""The grammar of single values in .cfg files: numbers, flags, lists and neurons, as cuda-convnet reads them.

Every function raises ValueError with the second half of a message: what is allowed.
"""

from __future__ import annotations

import math
import re

from convjit.errors import near
from convjit.ops.neuron import NEURONS, Neuron

__all__ = [
    "LARGEST",
    "named_numbers",
    "neuron_text",
    "number_text",
    "parse_flag",
    "parse_flag_item",
    "parse_integer",
    "parse_neuron",
    "parse_number",
    "shown",
    "split_list",
]

LARGEST = 2**31 - 1
"""The largest whole number that any option takes."""

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,3})?")
_NEURON = re.compile(r"([A-Za-z0-9_]+)\s*(?:\[([^\[\]]*)\])?")
_LARGEST_FLOAT = 3.4e38
_TRUE, _FALSE = ("1", "yes", "true", "on"), ("0", "no", "false", "off")
_DROPPED = {
    "nrelu": "the noisy rectifier never had a kernel in cuda-convnet; use relu",
    "abstanh": "it never had a kernel in cuda-convnet; use tanh or abs",
}


def parse_integer(text: str) -> int:
    """A whole number in plain decimal digits."""
    if not _INTEGER.fullmatch(text) or abs(int(text)) > LARGEST:
        raise ValueError(f"must be a whole number, at most {LARGEST}")
    return int(text)


def parse_number(text: str) -> float:
    """A finite decimal number that float32 can hold."""
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)) or abs(float(text)) > _LARGEST_FLOAT:
        raise ValueError("must be a number, such as 0.01 or 1e-4")
    return float(text)


def number_text(value: float) -> str:
    """The shortest text that `parse_number` reads as the same number."""
    return repr(float(value)).removesuffix(".0")


def parse_flag(text: str) -> bool:
    """true or false in any of the original's spellings."""
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(f"must be one of {', '.join(_TRUE + _FALSE)}")
    return text.lower() in _TRUE


def parse_flag_item(text: str) -> bool:
    """An item of a list of flags; the original takes anything but true and 1 for false."""
    return text.lower() in ("true", "1")


def split_list(text: str) -> list[str]:
    """Items between commas, stripped; commas inside [...] do not count."""
    return [item.strip() for item in re.split(r",(?![^\[\]]*\])", text)]


def parse_neuron(text: str) -> Neuron:
    """A neuron from text such as relu or tanh[1.7159,0.6667]."""
    match = _NEURON.fullmatch(text)
    name = match[1].lower() if match else ""
    if name in _DROPPED:
        raise ValueError(f"'{name}' is not supported: {_DROPPED[name]}")
    if not match or name not in NEURONS:
        raise ValueError(f"must be one of {', '.join(NEURONS)}{near(name, NEURONS)}")
    count = NEURONS[name].parameters
    values = [parse_number(item) for item in split_list(match[2])] if match[2] is not None else []
    if len(values) != count:
        form = f"[{','.join('ab'[:count])}]" if count else ""
        raise ValueError(f"has {len(values)} parameters; it is written {name}{form}")
    if name in ("tanh", "drelu") and values[0] == 0:
        raise ValueError(f"{name} divides by its first parameter, which must not be 0")
    if name == "brelu" and values[0] <= 0:
        raise ValueError("the ceiling of brelu must be above 0")
    return Neuron(name, *values)


def neuron_text(neuron: Neuron) -> str:
    """The text that `parse_neuron` reads as the same neuron."""
    values = (neuron.a, neuron.b)[: NEURONS[neuron.name].parameters] if neuron.name in NEURONS else ()
    return f"{neuron.name}[{','.join(map(number_text, values))}]" if values else neuron.name


def named_numbers(text: str) -> dict[str, str]:
    """Pairs "key=value;key=value" with keys in lower case."""
    found: dict[str, str] = {}
    for item in text.split(";"):
        key, equals, value = item.partition("=")
        key = key.strip().lower()
        if not equals or key in found:
            raise ValueError(f"'{shown(item.strip())}' is not one key=value of each key, separated by ;")
        found[key] = value.strip()
    return found


def shown(value: object) -> str:
    """A value from outside, fit for a one-line message."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value)[:81])
    return text if len(text) <= 60 else f"{text[:57]}..."
