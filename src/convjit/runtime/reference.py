"""A program run by the references of its ops: slow, in float64, and the oracle of everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from convjit.ops.base import Maps
from convjit.program import Buffer, Launch, Program

__all__ = ["ReferenceExecutor"]


class ReferenceExecutor:
    """Runs a program on logical arrays: maps are (N, C, H, W) and have no halo.

    `arrays` holds every buffer by name; the caller writes the host's and the learned ones there. What is float32 to
    kernels has the type `dtype` here.
    """

    def __init__(self, program: Program, dtype: DTypeLike = np.float64) -> None:
        self.program = program
        self._dtype = np.dtype(dtype)
        self.arrays: dict[str, NDArray[Any]] = {
            name: np.zeros(buffer.operand.logical(program.batch), self._type(buffer))
            for name, buffer in program.buffers().items()
        }

    def run(self, first: int = 0, end: int | None = None) -> None:
        """One step, or the launches from `first` to before `end` of one."""
        for launch in self.program.launches[first:end]:
            self._run(launch)

    def _run(self, launch: Launch) -> None:
        written = launch.op.run({operand: self.arrays[buffer.name] for operand, buffer in launch.buffers.items()})
        for operand, array in written.items():
            buffer = launch.buffers[operand]
            shape = buffer.operand.logical(self.program.batch)
            if array.shape != shape:
                raise ValueError(f"{launch.name}: {operand} came out as {array.shape} instead of {shape}")
            self.arrays[buffer.name] = array.astype(self._type(buffer), copy=False)

    def _type(self, buffer: Buffer) -> np.dtype[Any]:
        dtype = np.dtype("float32" if isinstance(buffer.operand, Maps) else buffer.operand.dtype)
        return self._dtype if dtype == np.float32 else dtype
