"""Schedules: how a learning rate falls while training goes on.

const[base=b]                              b; a bare number means this
linear[base=b;tgtFactor=t]                 from b to b/t in a straight line
exp[base=b;tgtFactor=t]                    from b to b/t, at every moment by the same factor
dexp[base=b;tgtFactor=t;numSteps=n]        the same in n steps; the first is b, the last b/t
steps[base=b;factor=f;epochs=e1,e2,...]    b, divided by f after e1 epochs, again after e2, ...     (ours)
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from convjit.errors import near
from convjit.layers.values import named_numbers, number_text, parse_integer, parse_number, split_list

__all__ = ["Schedule"]

_FORM = re.compile(r"([A-Za-z_]+)\s*\[([^\[\]]*)\]")
_KEYS = {
    "const": ("base",),
    "linear": ("base", "tgtFactor"),
    "exp": ("base", "tgtFactor"),
    "dexp": ("base", "tgtFactor", "numSteps"),
    "steps": ("base", "factor", "epochs"),
}


@dataclass(frozen=True)
class Schedule:
    """A rate that depends on the progress of training. `epochs` are those of `steps`, `steps` the numSteps of dexp."""

    kind: str
    base: float
    factor: float = 1.0
    steps: int = 1
    epochs: tuple[float, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.kind not in _KEYS:
            raise ValueError(f"'{self.kind}' is no schedule{near(self.kind, _KEYS)}")
        if not (math.isfinite(self.base) and self.base >= 0):
            raise ValueError(f"base={self.base:g} must be 0 or more")
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise ValueError(f"{'factor' if self.kind == 'steps' else 'tgtFactor'}={self.factor:g} must be above 0")
        if self.steps < 1:
            raise ValueError(f"numSteps={self.steps} must be at least 1")
        rising = all(a < b for a, b in zip((0.0, *self.epochs), self.epochs, strict=False))
        if not rising or (self.kind == "steps" and not self.epochs):
            raise ValueError("epochs must be rising numbers above 0")

    @classmethod
    def const(cls, base: float) -> Schedule:
        """Always the same."""
        return cls("const", float(base))

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """From the text of a .cfg file; ValueError says what is allowed."""
        match = _FORM.fullmatch(text.strip())
        if not match:
            try:
                base = parse_number(text.strip())
            except ValueError:
                allowed = "must be a number, or a schedule such as exp[base=0.01;tgtFactor=10]"
                raise ValueError(allowed) from None
            return cls.const(base)
        kind = match[1].lower()
        if kind not in _KEYS:
            raise ValueError(f"'{match[1]}' is no schedule; there are {', '.join(_KEYS)}{near(kind, _KEYS)}")
        found = named_numbers(match[2])
        if set(found) != {key.lower() for key in _KEYS[kind]}:
            raise ValueError(f"must be written {kind}[{';'.join(f'{key}=...' for key in _KEYS[kind])}]")
        epochs = tuple(parse_number(item) for item in split_list(found.get("epochs", "")) if item)
        return cls(
            kind,
            parse_number(found["base"]),
            parse_number(found.get("tgtfactor", found.get("factor", "1"))),
            parse_integer(found.get("numsteps", "1")),
            epochs,
        )

    def text(self) -> str:
        """The text that `parse` reads as the same schedule."""
        if self.kind == "const":
            return number_text(self.base)
        values = {
            "base": number_text(self.base),
            "tgtFactor": number_text(self.factor),
            "factor": number_text(self.factor),
            "numSteps": str(self.steps),
            "epochs": ",".join(map(number_text, self.epochs)),
        }
        return f"{self.kind}[{';'.join(f'{key}={values[key]}' for key in _KEYS[self.kind])}]"

    def scaled(self, factor: float) -> Schedule:
        """The same course, `factor` times as high."""
        return replace(self, base=self.base * factor)

    def value(self, progress: float, epoch: float = 0.0) -> float:
        """The rate when the share `progress` of the whole training, and `epoch` epochs, are done."""
        return _VALUES[self.kind](self, min(max(progress, 0.0), 1.0), epoch)

    def __str__(self) -> str:
        return self.text()


def _linear(s: Schedule, progress: float, epoch: float) -> float:
    return s.base * (1 - progress) + (s.base / s.factor) * progress


def _staircase(s: Schedule, progress: float, epoch: float) -> float:
    if s.steps == 1:
        return s.base / s.factor
    # The first step i with progress <= (i + 1) / n; the guess is at most one away from it.
    step = max(0, math.ceil(progress * s.steps) - 1)
    if progress > (step + 1) / s.steps:
        step += 1
    elif step and progress <= step / s.steps:
        step -= 1
    return s.base * math.pow(s.factor, -step / (s.steps - 1))


def _steps(s: Schedule, progress: float, epoch: float) -> float:
    return s.base / math.prod(s.factor for boundary in s.epochs if epoch >= boundary)


_VALUES: dict[str, Callable[[Schedule, float, float], float]] = {
    "const": lambda s, progress, epoch: s.base,
    "linear": _linear,
    "exp": lambda s, progress, epoch: s.base * (1 / s.factor) ** progress,
    "dexp": _staircase,
    "steps": _steps,
}
