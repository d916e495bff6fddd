"""When threads that walk the launches wait for one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from convjit.program import Program

__all__ = ["barriers"]

WORKSPACE_RANGE = (0, 1)
"""Stands for the workspace among the addresses of buffers, none of which is 0."""

NdArray = NDArray[Any]


def barriers(program: Program, arrays: Mapping[str, NdArray], workspaces: Sequence[bool]) -> list[int]:
    """1 for a launch that must wait for all before it: where their memory meets, and one of them writes.

    Launches that use the workspace, as `workspaces` says, meet there.
    """
    flags: list[int] = []
    reads: list[tuple[int, int]] = []
    writes: list[tuple[int, int]] = []

    def ranges(names: set[str]) -> list[tuple[int, int]]:
        return [(a.ctypes.data, a.ctypes.data + a.nbytes) for a in (arrays[n] for n in sorted(names))]

    def meet(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> bool:
        return any(a < d and c < b for a, b in some for c, d in others)

    for launch, shares in zip(program.launches, workspaces, strict=True):
        read, written = ranges(launch.read), ranges(launch.written)
        if shares:
            written.append(WORKSPACE_RANGE)
        wait = meet(written, reads + writes) or meet(read, writes)
        if wait:
            reads, writes = [], []
        flags.append(int(wait))
        reads, writes = reads + read, writes + written
    return flags
