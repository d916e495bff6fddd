"""Dropout: numbers are left out at random.

    y[n,i] = x[n,i] * mask[n,i]           mask[n,i] = 1 if u < keep, else 0; divided by `keep` if `inverted`
    dx[n,i] = dy[n,i] * mask[n,i]         u = number (first+n)*C*H*W + i of random.uniform(key)

i counts over (C, H, W). The mask is drawn anew by the backward pass, from the same key, and never stored. `first` is
the place of the first image in its minibatch, so that one that is computed in parts has the masks of the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from convjit import random
from convjit.ops.base import Array, Arrays, Maps, NdArray, Op, Operand

__all__ = ["DROPOUT_KEY", "DropoutBackward", "DropoutForward", "Scale"]

DROPOUT_KEY = Array((3,), "int32")
"""The two words of the step's key, and `first`."""


def _mask(key: NdArray, like: NdArray, keep: float, inverted: bool) -> NdArray:
    """The mask in the shape of `like`."""
    low, high, first = (int(word) for word in key.astype(np.int32).view(np.uint32))
    kept = random.uniform((low, high), like.size, first * math.prod(like.shape[1:])).reshape(like.shape) < keep
    return np.where(kept, 1 / keep if inverted else 1.0, 0.0)


@dataclass(frozen=True)
class DropoutForward(Op):
    """y from x; `key` is a DROPOUT_KEY."""

    reads: ClassVar = ("x", "key")
    writes: ClassVar = ("y",)
    in_place: ClassVar = (("x", "y"),)

    maps: Maps
    keep: float
    inverted: bool

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "key": DROPOUT_KEY, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        x = arrays["x"]
        return {"y": x * _mask(arrays["key"], x, self.keep, self.inverted)}


@dataclass(frozen=True)
class DropoutBackward(Op):
    """dx from dy, with the mask of the forward pass."""

    reads: ClassVar = ("dy", "key")
    writes: ClassVar = ("dx",)
    in_place: ClassVar = (("dy", "dx"),)

    maps: Maps
    keep: float
    inverted: bool
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"dy": self.maps, "key": DROPOUT_KEY, "dx": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        dy = arrays["dy"]
        return {"dx": dy * _mask(arrays["key"], dy, self.keep, self.inverted)}


@dataclass(frozen=True)
class Scale(Op):
    """y = factor * x: dropout that is not inverted, when testing."""

    reads: ClassVar = ("x",)
    writes: ClassVar = ("y",)
    in_place: ClassVar = (("x", "y"),)

    maps: Maps
    factor: float
    accumulate: bool = False

    def operands(self) -> dict[str, Operand]:
        return {"x": self.maps, "y": self.maps}

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        return {"y": self.factor * arrays["x"]}
