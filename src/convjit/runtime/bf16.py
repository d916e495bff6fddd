"""bfloat16 in NumPy, which has no such type: uint16 that are the upper halves of float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_bf16", "to_bf16"]


def from_bf16(halves: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widened; exact."""
    return (halves.astype(np.uint32) << 16).view(np.float32)


def to_bf16(numbers: NDArray[Any]) -> NDArray[np.uint16]:
    """Rounded to the nearest, ties to even; NaN stays NaN. Numbers of another type go through float32."""
    values = np.ascontiguousarray(numbers, np.float32)
    bits = values.view(np.uint32)
    # Of NaN, the sum may wrap around and is not used.
    nearest = bits + np.uint32(0x7FFF) + (bits >> 16 & 1)
    halves: NDArray[np.uint16] = (np.where(np.isnan(values), bits | 0x400000, nearest) >> 16).astype(np.uint16)
    return halves
