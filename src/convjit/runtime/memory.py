"""Memory of a run: pages for arenas and arrays, and the way between logical arrays and the lane-per-image layout."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.ops.base import ChannelMaps, Maps, PerImage
from convjit.program import Buffer, buffer_bytes, stored_dtype, stored_shape
from convjit.runtime.bf16 import from_bf16, to_bf16

__all__ = ["Store", "allocate", "from_lanes", "to_lanes", "view_of"]

NdArray = NDArray[Any]

LARGE = 2 << 20
"""Bytes of a large page."""


def allocate(size: int) -> NDArray[np.uint8]:
    """`size` zeroed bytes from the start of a page, on large pages where the system gives them."""
    if size < LARGE // 8 or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.frombuffer(mmap.mmap(-1, max(size, 1)), np.uint8, size)
    # Private pages: shared ones, which are the default, are never large. Whole ones, or the system gives small ones.
    room = -(-size // LARGE) * LARGE
    pages = mmap.mmap(-1, room + LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_HUGEPAGE)
    memory = np.frombuffer(pages, np.uint8)
    return memory[-memory.ctypes.data % LARGE :][:size]


def view_of(memory: NDArray[np.uint8], buffer: Buffer, batch: int, lanes: int) -> NdArray:
    """A buffer's bytes as an array of its stored shape."""
    shape = stored_shape(buffer, batch, lanes)
    return memory[: buffer_bytes(buffer, batch, lanes)].view(stored_dtype(buffer)).reshape(shape)


def _inside(stored: NdArray, buffer: Buffer) -> NdArray:
    assert isinstance(buffer.operand, Maps)
    h, m = buffer.halo, buffer.operand
    return stored[:, :, h.top : h.top + m.height, h.left : h.left + m.width]


def from_lanes(stored: NdArray, buffer: Buffer, batch: int) -> NdArray:
    """A copy as the logical array: float32 (N, C, H, W) for maps, N rows for arrays per image."""
    if isinstance(buffer.operand, ChannelMaps):
        channels = np.moveaxis(_inside(stored, buffer), 4, 2)
        return channels.reshape(batch, -1, *channels.shape[3:])[:, : buffer.operand.channels].copy()
    if isinstance(buffer.operand, Maps):
        rows = np.moveaxis(_inside(stored, buffer), 4, 1).reshape(-1, *buffer.operand.logical(1)[1:])[:batch]
        return from_bf16(rows) if buffer.narrow else rows.copy()
    return stored[:batch].copy() if isinstance(buffer.operand, PerImage) else stored.copy()


def to_lanes(logical: NdArray, stored: NdArray, buffer: Buffer) -> None:
    """Write a logical array into its stored form; images that only fill the last block repeat the first image."""
    if isinstance(buffer.operand, ChannelMaps):
        inside = _inside(stored, buffer)
        blocks, lanes = stored.shape[1], stored.shape[-1]
        channels = np.zeros((len(logical), blocks * lanes, *logical.shape[2:]), np.float32)
        channels[:, : logical.shape[1]] = logical
        inside[: len(logical)] = np.moveaxis(channels.reshape(-1, blocks, lanes, *logical.shape[2:]), 2, 4)
    elif isinstance(buffer.operand, Maps):
        inside = _inside(stored, buffer)
        blocks, lanes = stored.shape[0], stored.shape[-1]
        index = np.arange(blocks * lanes)
        index[len(logical) :] = 0
        images = to_bf16(logical) if buffer.narrow else logical
        inside[...] = np.moveaxis(images[index].reshape(blocks, lanes, *logical.shape[1:]), 1, 4)
    else:
        stored[: len(logical)] = logical


class Store:
    """Learned arrays, their increments and sums of gradients by name, shared by all programs of one net."""

    def __init__(self) -> None:
        self._arrays: dict[str, NdArray] = {}

    def ensure(self, buffer: Buffer) -> NdArray:
        """The array of a buffer, zeroed when it is new."""
        if buffer.name not in self._arrays:
            self._arrays[buffer.name] = view_of(allocate(buffer_bytes(buffer, 0, 1)), buffer, 0, 1)
        array = self._arrays[buffer.name]
        if array.shape != stored_shape(buffer, 0, 1):
            raise ValueError(f"{buffer} is stored with the shape {array.shape}")
        return array

    def __getitem__(self, name: str) -> NdArray:
        return self._arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def names(self) -> list[str]:
        """Every name, in order of creation."""
        return list(self._arrays)
