"""Several maps made into one: added, the largest taken, or put one behind the other; and parts of maps.

    WeightedSum      y[n,i] = sum over j of coefficients[j] * xj[n,i]
    Maximum          y[n,i] = largest xj[n,i]                      dx[n,i] = dy[n,i] where x[n,i] = y[n,i], else 0
    Concat           y[n] = the channels of x0[n], then those of x1[n], and so on
    Cut              y[n,c,i,j] = x[n, channel + c, top + i, left + j]

So of several inputs that are the largest each gets the whole gradient. An op of n inputs reads x0 ... x(n-1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit.ops.base import Arrays, Maps, NdArray, Op, Operand

__all__ = ["Concat", "Cut", "Maximum", "MaximumBackward", "WeightedSum", "input_names"]


def input_names(count: int) -> tuple[str, ...]:
    """x0, x1, ..."""
    return tuple(f"x{i}" for i in range(count))


@dataclass(frozen=True)
class WeightedSum(Op):
    """y, a sum of inputs with factors."""

    writes: ClassVar = ("y",)

    maps: Maps
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        names = input_names(len(self.coefficients))
        object.__setattr__(self, "reads", names)
        object.__setattr__(self, "in_place", tuple((name, "y") for name in names))

    def operands(self) -> dict[str, Operand]:
        return dict.fromkeys(self.names, self.maps)

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        terms = [c * arrays[name] for name, c in zip(self.reads, self.coefficients, strict=True)]
        return {"y": np.sum(terms, axis=0)}


@dataclass(frozen=True)
class Maximum(Op):
    """y, element by element the largest of some inputs."""

    writes: ClassVar = ("y",)

    maps: Maps
    count: int

    def __post_init__(self) -> None:
        names = input_names(self.count)
        object.__setattr__(self, "reads", names)
        object.__setattr__(self, "in_place", tuple((name, "y") for name in names))

    def operands(self) -> dict[str, Operand]:
        return dict.fromkeys(self.names, self.maps)

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"y": np.max([arrays[name] for name in self.reads], axis=0)}


@dataclass(frozen=True)
class MaximumBackward(Op):
    """dx of one input x."""

    reads: ClassVar = ("x", "y", "dy")
    writes: ClassVar = ("dx",)
    in_place: ClassVar = (("dy", "dx"),)
    compared: ClassVar = (("x", "y"),)

    maps: Maps
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return dict.fromkeys(self.names, self.maps)

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"dx": np.where(arrays["x"] == arrays["y"], arrays["dy"], 0.0)}


@dataclass(frozen=True)
class Concat(Op):
    """y from inputs of the given shapes, all of the same height and width."""

    writes: ClassVar = ("y",)

    parts: tuple[Maps, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", input_names(len(self.parts)))

    @property
    def maps(self) -> Maps:
        """Shape of y."""
        return Maps(sum(part.channels for part in self.parts), self.parts[0].height, self.parts[0].width)

    def operands(self) -> dict[str, Operand]:
        return {**dict(zip(self.reads, self.parts, strict=True)), "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"y": np.concatenate([arrays[name] for name in self.reads], axis=1)}

    def text(self) -> str:
        return f"{self.kind()} {' + '.join(map(str, self.parts))}"


@dataclass(frozen=True)
class Cut(Op):
    """y, a box out of x."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)

    source: Maps
    maps: Maps
    channel: int = 0
    top: int = 0
    left: int = 0
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.source, "y": self.maps}

    def touched(self, operand: str) -> Operand:
        return self.maps

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        maps = self.maps
        starts = ((self.channel, maps.channels), (self.top, maps.height), (self.left, maps.width))
        return {"y": arrays["x"][:, *(slice(start, start + count) for start, count in starts)].copy()}
