"""Runs one kernel on logical arrays: packs them for the lanes, guards all buffers, runs tasks in any order, unpacks.

Around every buffer lies a page of poison that must be intact afterwards. Halos that the kernel reads are zero and must
stay so; outputs, the halos of buffers that are only written, and scratch start as poison. Maps that a problem calls
narrow lie there as bfloat16; what is compared is float32.
"""

from __future__ import annotations

import ctypes
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convjit.codegen.jit import Loader, assembly, compile_object
from convjit.codegen.kernel import Kernel
from convjit.codegen.target import TARGETS, Target, runnable_targets
from convjit.codegen.values import Value
from convjit.kernels import Generated, Problem, generate, rounds, workspace_bytes
from convjit.ops.base import ChannelMaps, Halo, Maps, Op, Operand, PerImage
from convjit.program import BF16, Buffer, stored_dtype, stored_shape
from convjit.runtime.bf16 import from_bf16, to_bf16

__all__ = [
    "CompiledKernel",
    "as_stored",
    "assert_matches",
    "batches",
    "compile_kernel",
    "compile_text_for",
    "evaluate",
    "integers",
    "on_every_target",
    "pack",
    "problem",
    "run_kernel",
    "run_stored",
    "unpack",
]

NdArray = NDArray[Any]
PAGE = 4096
POISON = 0xA5
BF16_NAN = 0x7FC1
EPSILON = 2.0**-24
"""Half a unit in the last place of 1: the error of one rounding."""
LANES_WITHOUT_IMAGE = {"dy": 0, "labels": -1}
"""What padding lanes of an operand hold; others hold copies of the last image."""


on_every_target = pytest.mark.parametrize("target", runnable_targets(), ids=lambda target: target.name)
"""Runs a test for each instruction set of this processor."""


def problem(op: Op, batch: int, target: Target | str, narrow: Sequence[str] = (), /, **halos: Halo) -> Problem:
    """A problem, with halos by operand: `problem(op, 128, "avx2", x=Halo(1, 1, 1, 1))`."""
    target = TARGETS[target] if isinstance(target, str) else target
    given = tuple((name, halos[name]) for name in op.names if name in halos)
    return Problem(op, batch, given, target, narrow=tuple(name for name in op.names if name in narrow))


def integers(shape: Sequence[int], seed: int = 0, low: int = -4, high: int = 4) -> NdArray:
    """Whole numbers as float32, whose sums are exact."""
    return np.random.default_rng(seed).integers(low, high + 1, shape).astype(np.float32)


def dtype_of(operand: Operand) -> np.dtype[Any]:
    """Type of the elements of an operand as NumPy sees it."""
    return np.dtype("float32" if isinstance(operand, Maps) else operand.dtype)


def buffer_of(problem: Problem, name: str) -> Buffer:
    """An operand's buffer."""
    dtype = BF16 if name in problem.narrow else "float32"
    return Buffer(name, problem.op.operands()[name], halo=problem.halo(name), dtype=dtype)


def as_stored(problem: Problem, name: str, array: NdArray) -> NdArray:
    """The numbers of an operand as float32, rounded if it is narrow."""
    return from_bf16(to_bf16(array)) if name in problem.narrow else array.astype(dtype_of(problem.op.operands()[name]))


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
    if isinstance(operand, ChannelMaps):
        rows, columns = _inside(problem, name)
        # No op may look at the lanes beyond the last channel.
        spare = np.full((len(array), -operand.channels % lanes, *array.shape[2:]), np.nan, array.dtype)
        blocks = np.concatenate([array, spare], axis=1).reshape(len(array), -1, lanes, *array.shape[2:])
        stored[:, :, rows, columns] = np.moveaxis(blocks, 2, -1)
    elif isinstance(operand, Maps):
        array = to_bf16(array) if name in problem.narrow else array
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
    if isinstance(operand, ChannelMaps):
        rows, columns = _inside(problem, name)
        channels = np.moveaxis(stored[:, :, rows, columns], -1, 2)
        return channels.reshape(problem.batch, -1, *channels.shape[3:])[:, : operand.channels].copy()
    if isinstance(operand, Maps):
        rows, columns = _inside(problem, name)
        images = np.moveaxis(stored[:, :, rows, columns], -1, 1)
        images = images.reshape(-1, *images.shape[2:])[: problem.batch]
        return from_bf16(images) if name in problem.narrow else images.copy()
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
        elif dtype == np.uint16:
            self.array.fill(BF16_NAN)

    @property
    def address(self) -> int:
        """Address of the buffer."""
        return self._bytes.ctypes.data + self._start

    def check(self, what: str) -> None:
        """Fail if the poison around the buffer was touched."""
        around = np.concatenate([self._bytes[: self._start], self._bytes[self._end :]])
        assert (around == POISON).all(), f"{what}: written outside its buffer"


_loader = cache(Loader)
_numbers = itertools.count()


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
    symbol = f"kernel{next(_numbers)}"
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
    written), that are to be one buffer. `seed` gives the order of the tasks.
    """
    return {name: unpack(problem, name, stored) for name, stored in run_stored(problem, arrays, in_place, seed).items()}


def run_stored(
    problem: Problem, arrays: Mapping[str, NdArray], in_place: tuple[str, str] | None = None, seed: int = 0
) -> dict[str, NdArray]:
    """The same, as they lie in memory, halos and lanes without an image included."""
    op = problem.op
    buffers: dict[str, Guarded] = {}
    for name in op.operands():
        of = buffer_of(problem, name)
        buffers[name] = Guarded(stored_shape(of, problem.batch, problem.target.lanes), stored_dtype(of))
        if name in arrays:
            if name in op.reads:
                buffers[name].array.fill(0)
            pack(problem, name, arrays[name], buffers[name].array)
    if in_place:
        source, target = in_place
        assert in_place in op.in_place and problem.halo(source) == problem.halo(target)
        assert (source in problem.narrow) == (target in problem.narrow)
        buffers[target] = buffers[source]
    before = {name: buffer.array.copy() for name, buffer in buffers.items()}
    workspace = Guarded((max(workspace_bytes(problem), 1),), np.dtype(np.uint8))
    for stage, turn in rounds(problem):
        kernel = compile_kernel(stage)
        scratch = Guarded((max(kernel.generated.scratch_bytes, 1),), np.dtype(np.uint8))
        first, count = turn.tasks(kernel.generated.tasks)
        tasks = list(range(first, first + count))
        random.Random(seed).shuffle(tasks)
        addresses = [*(buffers[name].address for name in op.names), workspace.address]
        kernel.call(addresses, scratch.address, tasks)
        scratch.check(f"{stage.text()}: scratch")
    workspace.check(f"{problem.text()}: workspace")
    for name, buffer in buffers.items():
        buffer.check(f"{problem.text()}: {name}")
        _check_untouched(problem, name, before[name], buffer.array, in_place)
    return {name: buffers[name].array for name in op.writes}


def assert_matches(
    problem: Problem,
    arrays: Mapping[str, NdArray],
    *,
    terms: float = 0,
    scale: float = 0,
    in_place: tuple[str, str] | None = None,
) -> None:
    """The kernel gives what the reference gives: the same numbers, or up to `terms` roundings of float32.

    A rounding is that of the result, or of a number of size `scale` if that is larger. The reference is given what is
    stored; where the result is narrow, both ends of what is allowed are rounded as it is.
    """
    arrays = {name: as_stored(problem, name, array) for name, array in arrays.items()}
    found, wanted = run_kernel(problem, arrays, in_place), problem.op.run(arrays)
    assert set(found) == set(wanted)
    for name, want in wanted.items():
        allowed = terms * EPSILON * np.maximum(np.abs(want), scale)
        if name in problem.narrow:
            low, high = (as_stored(problem, name, want + sign * allowed) for sign in (-1, 1))
            wrong = ~((low <= found[name]) & (found[name] <= high))
        else:
            wrong = ~(np.abs(found[name] - want) <= allowed)
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            pytest.fail(f"{problem.text()}: {name}{list(place)} is {found[name][place]}, not {want[place]}")


def batches(target: Target) -> tuple[int, ...]:
    """One image; one lane idle; a full block; one image more."""
    return tuple(sorted({1, target.lanes - 1, target.lanes, target.lanes + 1}))


def evaluate(target: Target, body: Callable[[Kernel, list[Value]], Value], *arrays: NdArray) -> NdArray:
    """A function of vectors, on flat arrays of float32 or int32 whose length is a multiple of V; gives float32."""
    names = [f"x{i}" for i in range(len(arrays))]
    k = Kernel(f"evaluate{next(_numbers)}", [*names, "y"], target)
    loads = [
        k.vectors(n) if a.dtype == np.float32 else k.word_vectors(k.integers(n))
        for n, a in zip(names, arrays, strict=True)
    ]
    k.vectors("y").store(body(k, [place.load(k.task) for place in loads]), k.task)
    _loader().add(compile_object(k.finish(), target))
    buffers = [Guarded(a.shape, a.dtype) for a in (*arrays, arrays[0].astype(np.float32))]
    for buffer, array in zip(buffers, arrays, strict=False):
        buffer.array[...] = array
    kernel = CompiledKernel(Generated(k.name, "", 0, 0), _loader().address(k.name))
    kernel.call([b.address for b in buffers], 0, range(arrays[0].size // target.lanes))
    return buffers[-1].array


def _check_untouched(
    problem: Problem, name: str, before: NdArray, after: NdArray, in_place: tuple[str, str] | None
) -> None:
    """Fail if an operand that is only read, or the halo of one that is written, has changed."""
    same = before.view(np.uint8).reshape(*before.shape, -1) == after.view(np.uint8).reshape(*after.shape, -1)
    written = name in problem.op.writes or (in_place is not None and name in in_place)
    if written:
        if not isinstance(problem.op.operands()[name], Maps) or "clear_halo" in problem.op.text():
            return
        rows, columns = _inside(problem, name)
        same[:, :, rows, columns] = True
    assert same.all(), f"{problem.text()}: {'the halo of ' if written else ''}{name} has changed"
