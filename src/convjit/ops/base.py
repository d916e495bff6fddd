"""What every op is: a frozen spec that names its operands, says their shapes and computes them slowly and obviously."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_HALO", "Array", "Arrays", "ChannelMaps", "Halo", "Maps", "Op", "Operand", "PerImage"]

NdArray: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, NdArray]


@dataclass(frozen=True, order=True)
class Halo:
    """Rows and columns of zeros around every map, in pixels."""

    top: int = 0
    left: int = 0
    bottom: int = 0
    right: int = 0

    def union(self, other: Halo) -> Halo:
        """The smallest halo that holds both."""
        return Halo(
            max(self.top, other.top),
            max(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )


NO_HALO = Halo()


@dataclass(frozen=True)
class Maps:
    """Activations or their gradients: float32 (N, C, H, W), stored [N/V][C][H][W][V] with a halo."""

    channels: int
    height: int = 1
    width: int = 1

    @property
    def features(self) -> int:
        """Numbers per image."""
        return self.channels * self.height * self.width

    def logical(self, images: int) -> tuple[int, ...]:
        """Shape as NumPy sees it."""
        return (images, self.channels, self.height, self.width)

    def __str__(self) -> str:
        return f"{self.channels}x{self.height}x{self.width}"


@dataclass(frozen=True)
class ChannelMaps(Maps):
    """The same numbers as of `Maps` with a channel per lane, for few images: stored [N][C/V][H][W][V] with a halo.

    The lanes beyond the last channel hold any numbers.
    """

    def __str__(self) -> str:
        return f"{super().__str__()} by channel"


@dataclass(frozen=True)
class Array:
    """A plain array that does not depend on the number of images: weights, increments, rates."""

    shape: tuple[int, ...]
    dtype: str = "float32"

    def logical(self, images: int) -> tuple[int, ...]:
        """Shape as NumPy sees it."""
        return self.shape

    def __str__(self) -> str:
        return "x".join(map(str, self.shape)) + ("" if self.dtype == "float32" else f" {self.dtype}")


@dataclass(frozen=True)
class PerImage:
    """A plain array with one row for each image: (N, *shape); labels, costs, source pixels."""

    shape: tuple[int, ...] = ()
    dtype: str = "float32"

    def logical(self, images: int) -> tuple[int, ...]:
        """Shape as NumPy sees it."""
        return (images, *self.shape)

    def __str__(self) -> str:
        return "x".join(["N", *map(str, self.shape)]) + ("" if self.dtype == "float32" else f" {self.dtype}")


Operand: TypeAlias = Maps | Array | PerImage


@dataclass(frozen=True)
class Op:
    """One op: its fields are everything that its meaning depends on, but for the number of images.

    reads       operands that are inputs
    writes      operands that are outputs; one that is also in `reads` is updated in place
    accumulate  a field of ops that write gradients: True adds to the old contents instead of replacing them
    """

    reads: ClassVar[tuple[str, ...]] = ()
    writes: ClassVar[tuple[str, ...]] = ()
    in_place: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(read, written) pairs that may be the same buffer: each element is read before it is written, by the same
    task.
    """
    exact: ClassVar[tuple[str, ...]] = ()
    """Maps that have to be stored as float32: probabilities, what they come from, and the gradients of both."""
    compared: ClassVar[tuple[tuple[str, str], ...]] = ()
    """(a, b) pairs of maps whose numbers are compared for being equal: b must be stored as exactly as a."""

    @classmethod
    def kind(cls) -> str:
        """Name in the registry and in texts: ConvForward is conv_forward."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @property
    def names(self) -> tuple[str, ...]:
        """All operands, in the order of a launch's arguments: read ones first."""
        return tuple(dict.fromkeys((*self.reads, *self.writes)))

    def operands(self) -> dict[str, Operand]:
        """Shape of every operand in `names`."""
        raise NotImplementedError

    def reach(self, operand: str) -> Halo:
        """How far beyond the maps of `operand` the op reads, where it has to find zeros."""
        return NO_HALO

    def touched(self, operand: str) -> Operand:
        """As much of `operand` as the op really reads or writes, as a shape."""
        return self.operands()[operand]

    def reference(self, arrays: Arrays) -> dict[str, NdArray]:
        """The written operands from the read ones, in float64, obviously right; `accumulate` is left to the caller."""
        raise NotImplementedError

    def flops(self) -> int:
        """Floating-point operations for one image, 2 for a multiply-add; 0 where memory traffic is what counts."""
        return 0

    def run(self, arrays: Arrays) -> dict[str, NdArray]:
        """The reference, with `accumulate` honoured."""
        wide = {n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in arrays.items()}
        written = self.reference(wide)
        if getattr(self, "accumulate", False):
            written = {n: wide[n] + a for n, a in written.items()}
        return written

    def text(self) -> str:
        """The spec on one line."""
        parts = [self.kind()]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                parts.append(str(value) if dataclasses.is_dataclass(value) else f"{field.name}={value}")
        return " ".join(parts)
