"""Runs one kernel on logical arrays: packs them for the lanes, guards every buffer, runs the tasks in any order, unpacks.

Around every buffer lies a page of poison that must be intact afterwards. Halos that the kernel reads are zero and must
stay so; outputs, the halos of buffers that are only written, and scratch start as poison.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.codegen.jit import Loader, assembly, compile_object
from convjit.codegen.target import TARGETS, Target
from convjit.kernels.base import Generated, Problem, generate
from convjit.ops.base import Halo, Maps, Op, Operand, PerImage
from convjit.program import Buffer, stored_shape

__all__ = [
    "CompiledKernel",
    "compile_kernel",
    "compile_text_for",
    "integers",
    "pack",
    "problem",
    "run_kernel",
    "unpack",
]

NdArray = NDArray[Any]
PAGE = 4096
POISON = 0xA5
LANES_WITHOUT_IMAGE = {"dy": 0, "gradient": 0, "labels": -1}
"""What padding lanes of an operand hold; others hold copies of the last image."""


def problem(op: Op, batch: int, target: Target | str, **halos: Halo) -> Problem:
    """A problem, with halos by operand: `problem(op, 128, "avx2", x=Halo(1, 1, 1, 1))`."""
    target = TARGETS[target] if isinstance(target, str) else target
    return Problem(op, batch, tuple((name, halos[name]) for name in op.names if name in halos), target)


def integers(shape: Sequence[int], seed: int = 0, low: int = -4, high: int = 4) -> NdArray:
    """Whole numbers as float32, whose sums are exact."""
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(np.float32)


def dtype_of(operand: Operand) -> np.dtype[Any]:
    """Type of the elements of an operand."""
    return np.dtype("float32" if isinstance(operand, Maps) else operand.dtype)


def _inside(problem: Problem, name: str) -> tuple[slice, slice]:
    maps, halo = problem.op.operands()[name], problem.halo(name)
    assert isinstance(maps, Maps)
    return slice(halo.top, halo.top + maps.height), slice(halo.left, halo.left + maps.width)


def _padded(name: str, array: NdArray, images: int) -> NdArray:
    """The array with rows for the lanes that have no image."""
    missing = images - len(array)
    if name in LANES_WITHOUT_IMAGE:
        return np.concatenate([array, np.full((missing, *array.shape[1:]), LANES_WITHOUT_IMAGE[name], array.dtype)])
    return np.concatenate([array, np.repeat(array[-1:], missing, axis=0)])


def pack(problem: Problem, name: str, array: NdArray, stored: NdArray) -> None:
    """Write a logical array into its stored form; of maps, the inside of the halo."""
    operand, lanes = problem.op.operands()[name], problem.target.lanes
    assert array.shape == operand.logical(problem.batch), (name, array.shape, operand)
    array = array.astype(dtype_of(operand))
    if isinstance(operand, Maps):
        blocks = _padded(name, array, problem.blocks * lanes).reshape(problem.blocks, lanes, *array.shape[1:])
        rows, columns = _inside(problem, name)
        stored[:, :, rows, columns] = np.moveaxis(blocks, 1, -1)
    elif isinstance(operand, PerImage):
        stored[...] = _padded(name, array, problem.blocks * lanes)
    else:
        stored[...] = array


def unpack(problem: Problem, name: str, stored: NdArray) -> NdArray:
    """The logical array in a stored form."""
    operand = problem.op.operands()[name]
    if isinstance(operand, Maps):
        rows, columns = _inside(problem, name)
        images = np.moveaxis(stored[:, :, rows, columns], -1, 1)
        return images.reshape(-1, *images.shape[2:])[: problem.batch].copy()
    return stored[: problem.batch].copy() if isinstance(operand, PerImage) else stored.copy()


class Guarded:
    """A poisoned buffer on a page boundary, between two pages of poison."""

    def __init__(self, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        size = int(np.prod(shape)) * dtype.itemsize
        self._bytes = np.full(size + 3 * PAGE, POISON, np.uint8)
        self._start = PAGE + -self._bytes.ctypes.data % PAGE
        self._end = self._start + size
        self.array: NdArray = self._bytes[self._start : self._end].view(dtype).reshape(shape)
        if dtype.kind == "f":
            self.array.fill(np.nan)

    @property
    def address(self) -> int:
        """Address of the buffer."""
        return self._bytes.ctypes.data + self._start

    def check(self, what: str) -> None:
        """Fail if the poison around the buffer was touched."""
        around = np.concatenate([self._bytes[: self._start], self._bytes[self._end :]])
        assert (around == POISON).all(), f"{what}: written outside its buffer"


_loader = cache(Loader)


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel in memory."""

    generated: Generated
    address: int

    def call(self, addresses: Sequence[int], scratch: int, tasks: Sequence[int]) -> None:
        """Run some tasks."""
        function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(self.address)
        table = (ctypes.c_void_p * max(len(addresses), 1))(*addresses)
        for task in tasks:
            function(task, table, scratch)


@cache
def compile_kernel(problem: Problem) -> CompiledKernel:
    """Generate, compile and load, once per problem and process."""
    generated = generate(problem)
    symbol = f"test{compile_kernel.cache_info().misses}"
    text = generated.text.replace(f'@"{generated.name}"', f'@"{symbol}"')
    _loader().add(compile_object(text, problem.target))
    return CompiledKernel(generated, _loader().address(symbol))


def compile_text_for(problem: Problem) -> str:
    """Assembly of a problem's kernel, also for targets that this processor cannot run."""
    return assembly(generate(problem).text, problem.target)


def run_kernel(
    problem: Problem, arrays: Mapping[str, NdArray], in_place: tuple[str, str] | None = None, seed: int = 0
) -> dict[str, NdArray]:
    """The written operands, as logical arrays.

    `arrays` holds every operand that is read, and those that are added to. `in_place` names two operands, (read,
    written), that are to be one buffer.
    """
    op = problem.op
    kernel = compile_kernel(problem)
    buffers: dict[str, Guarded] = {}
    for name, operand in op.operands().items():
        shape = stored_shape(Buffer(name, operand, halo=problem.halo(name)), problem.batch, problem.target.lanes)
        buffers[name] = Guarded(shape, dtype_of(operand))
        if name in arrays:
            if name in op.reads:
                buffers[name].array.fill(0)
            pack(problem, name, arrays[name], buffers[name].array)
    if in_place:
        source, target = in_place
        assert in_place in op.in_place and problem.halo(source) == problem.halo(target)
        buffers[target] = buffers[source]
    before = {name: buffer.array.copy() for name, buffer in buffers.items()}
    scratch = Guarded((max(kernel.generated.scratch_bytes, 1),), np.dtype(np.uint8))
    tasks = list(range(kernel.generated.tasks))
    random.Random(seed).shuffle(tasks)
    kernel.call([buffers[name].address for name in op.names], scratch.address, tasks)
    scratch.check(f"{problem.text()}: scratch")
    for name, buffer in buffers.items():
        buffer.check(f"{problem.text()}: {name}")
        _check_untouched(problem, name, before[name], buffer.array, in_place)
    return {name: unpack(problem, name, buffers[name].array) for name in op.writes}


def _check_untouched(
    problem: Problem, name: str, before: NdArray, after: NdArray, in_place: tuple[str, str] | None
) -> None:
    """Fail if an operand that is only read, or the halo of one that is written, has changed."""
    same = before.view(np.uint8).reshape(*before.shape, -1) == after.view(np.uint8).reshape(*after.shape, -1)
    written = name in problem.op.writes or (in_place is not None and name in in_place)
    if written:
        if not isinstance(problem.op.operands()[name], Maps) or problem.op.kind() == "clear_halo":
            return
        rows, columns = _inside(problem, name)
        same[:, :, rows, columns] = True
    assert same.all(), f"{problem.text()}: {'the halo of ' if written else ''}{name} has changed"
