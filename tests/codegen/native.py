"""Small kernels, written in a test and run at once."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.codegen.jit import Loader, compile_object
from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target

__all__ = ["VECTORS", "aligned", "run"]

NdArray = NDArray[Any]
VECTORS = 64
"""Bytes to which vectors of every target are aligned."""


def aligned(array: NdArray) -> NdArray:
    """A copy that starts on such a boundary."""
    memory = np.zeros(array.nbytes + VECTORS, np.uint8)
    start = -memory.ctypes.data % VECTORS
    copy: NdArray = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def run(target: Target, write: Callable[[Kernel], None], task: int = 0, **arrays: NdArray) -> dict[str, NdArray]:
    """The arrays as the kernel that `write` writes leaves them; in it they are buffers of the same names."""
    k = Kernel("test", tuple(arrays), target)
    write(k)
    loader = Loader()
    loader.add(compile_object(k.finish(), target))
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(loader.address("test"))
    buffers = {name: aligned(array) for name, array in arrays.items()}
    scratch = aligned(np.zeros(max(k.scratch_bytes, 1), np.uint8))
    table = (ctypes.c_void_p * max(len(buffers), 1))(*(b.ctypes.data for b in buffers.values()))
    function(task, table, scratch.ctypes.data)
    return buffers
