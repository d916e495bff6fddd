"""initWFunc and initBFunc: how weights and biases start, by name.

he                            N(0, 2/I) for filters of I weights                                      He et al.
xavier                        uniform, +- sqrt(6/(I+O)) for I inputs and O outputs of a weight        Glorot and Bengio
orthogonal                    orthogonal filters of length 1, or columns if filters are more than I   Saxe et al.
const[value]                  all the same
vec[v1,v2,...]                these numbers, as many as the array has
load(checkpoint, layer, ...)  from a layer of a checkpoint, same array; of several layers one behind the other
module.function(...)          the original's: code from the working directory, which a run must allow
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convjit.errors import near
from convjit.layers.values import number_text, parse_number, shown, split_list

__all__ = ["BUILT_IN", "CODE", "Initialiser"]

CODE = "code"
_FORM = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)\s*(?:\[([^\[\]()]*)\]|\(([^()]*)\))?")
_FILLS = ("he", "xavier", "orthogonal")
BUILT_IN = (*_FILLS, "const", "vec", "load")


@dataclass(frozen=True)
class Initialiser:
    """`numbers` are those of const and vec; `words` those of load, or the function of `code` and its parameters."""

    name: str
    numbers: tuple[float, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def for_biases(self) -> bool:
        """Whether it makes sense of an array that has no filters."""
        return self.name not in _FILLS

    @classmethod
    def parse(cls, text: str) -> Initialiser | None:
        """From the text of a .cfg file; None if there is none. ValueError says what is allowed."""
        if not text:
            return None
        match = _FORM.fullmatch(text)
        known = ", ".join((*_FILLS, "const[...]", "vec[...]", "load(checkpoint, layer)"))
        if not match:
            raise ValueError(f"must be one of {known}")
        name, inner = match[1], match[2] if match[2] is not None else match[3]
        items = [item for item in split_list(inner or "") if item]
        if "." in name:
            return cls(CODE, words=(name, *items))
        if name.lower() not in BUILT_IN:
            found = f"'{shown(name)}' is not built in{near(name.lower(), BUILT_IN)}; there are {known}"
            raise ValueError(f"{found}; code of your own is written module.function(...) and needs --allow-code")
        return cls._built_in(name.lower(), items)

    @classmethod
    def _built_in(cls, name: str, items: Sequence[str]) -> Initialiser:
        if name == "load":
            if len(items) < 2:
                raise ValueError("must be written load(checkpoint, layer)")
            return cls(name, words=tuple(items))
        numbers = tuple(parse_number(item) for item in items)
        if name in _FILLS and numbers:
            raise ValueError(f"{name} has no parameters")
        if name == "const" and len(numbers) != 1:
            raise ValueError("must be written const[value]")
        if name == "vec" and not numbers:
            raise ValueError("must be written vec[v1,v2,...]")
        return cls(name, numbers)

    @classmethod
    def accept(cls, value: Any) -> Initialiser | None:
        """From Python."""
        if value is None or isinstance(value, Initialiser):
            return None if value is None else cls.parse(value.text())
        raise ValueError("must be text, such as he")

    def text(self) -> str:
        """The text that `parse` reads as the same."""
        if self.name == CODE:
            return f"{self.words[0]}({','.join(self.words[1:])})"
        if self.words:
            return f"{self.name}({', '.join(self.words)})"
        return f"{self.name}[{','.join(map(number_text, self.numbers))}]" if self.numbers else self.name

    def __str__(self) -> str:
        return self.text()
