"""bfloat16 bit for bit: what the kernels do, and what NumPy does for the host, against a rounding by comparison."""

from __future__ import annotations

import re

import numpy as np
import pytest
from native import run
from numpy.typing import NDArray

from convjit.codegen.jit import assembly
from convjit.codegen.kernel import Kernel
from convjit.codegen.target import TARGETS, Target, runnable_targets, with_bf16
from convjit.runtime.bf16 import from_bf16, to_bf16

ALL = np.arange(2**16, dtype=np.uint16)
ENDS = (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)
"""Lower halves around the tie."""
NUMBERS: NDArray[np.uint32] = (
    (ALL[:, None].astype(np.uint32) << 16 | np.array(ENDS, np.uint32)).reshape(-1).astype(np.uint32)
)
"""Bits of float32: every upper half with every end; infinities, NaN and denormals are among them."""
LANES = 16

on_every_target = pytest.mark.parametrize("target", runnable_targets(), ids=lambda target: target.name)


def nearest(bits: NDArray[np.uint32]) -> NDArray[np.uint16]:
    """The upper half whose number is nearest, of two the even one; NaN keeps its upper half, and is quiet."""
    low = bits >> 16
    with np.errstate(invalid="ignore"):
        value, below, above = (
            part.astype(np.uint32).view(np.float32).astype(np.float64) for part in (bits, low << 16, low + 1 << 16)
        )
        # To a rounding, infinity is the number after the largest.
        above = np.where(np.isinf(above), np.copysign(2.0**128, above), above)
        after, before = np.abs(above - value), np.abs(value - below)
    up = (after < before) | ((after == before) & (low & 1 == 1))
    special = np.isnan(value) | np.isinf(value)
    found = np.where(special, low | np.where(np.isnan(value), 0x40, 0), low + up)
    return found.astype(np.uint16)


def vectors(k: Kernel) -> None:
    with k.loop(0, len(NUMBERS) // k.lanes) as i:
        k.narrow_vectors("y").store(k.vectors("x").load(i), i)


def scalars(k: Kernel) -> None:
    with k.loop(0, len(NUMBERS)) as i:
        k.narrow_scalars("y").store(k.scalars("x").load(i), i)


@on_every_target
def test_every_number_is_widened_exactly(target: Target) -> None:
    def write(k: Kernel) -> None:
        with k.loop(0, len(ALL) // k.lanes) as i:
            k.vectors("y").store(k.narrow_vectors("x").load(i), i)
        with k.loop(0, len(ALL)) as i:
            k.scalars("z").store(k.narrow_scalars("x").load(i), i)

    empty = np.zeros(len(ALL), np.float32)
    found = run(target, write, x=ALL, y=empty, z=empty)
    for name in ("y", "z"):
        np.testing.assert_array_equal(found[name].view(np.uint32), ALL.astype(np.uint32) << 16)


@on_every_target
@pytest.mark.parametrize("write", [vectors, scalars])
def test_stores_round_to_the_nearest(target: Target, write: object) -> None:
    assert callable(write)
    found = run(target, write, x=NUMBERS.view(np.float32), y=np.zeros(len(NUMBERS), np.uint16))["y"]
    # To the processor's own instruction denormals are 0.
    denormal = (NUMBERS & 0x7F800000 == 0) & target.bf16
    np.testing.assert_array_equal(found, np.where(denormal, NUMBERS >> 16 & 0x8000, nearest(NUMBERS)))


@on_every_target
def test_one_number_in_every_lane(target: Target) -> None:
    def write(k: Kernel) -> None:
        with k.loop(0, 9) as i:
            k.vectors("y").store(k.spread(k.narrow_scalars("x"), i), i)
            k.vectors("z").store(k.spread(k.scalars("w"), i), i)

    numbers = np.arange(-4, 5, dtype=np.float32)
    empty = np.zeros((9, target.lanes), np.float32)
    found = run(target, write, x=to_bf16(numbers), w=numbers, y=empty, z=empty)
    for name in ("y", "z"):
        np.testing.assert_array_equal(found[name], np.repeat(numbers[:, None], target.lanes, axis=1))


def test_numpy_does_the_same() -> None:
    np.testing.assert_array_equal(to_bf16(NUMBERS.view(np.float32)), nearest(NUMBERS))
    np.testing.assert_array_equal(from_bf16(ALL).view(np.uint32), ALL.astype(np.uint32) << 16)
    assert to_bf16(np.array([[1.0, 1 + 2**-8], [1 + 3 * 2**-8, -3e38]])).tolist() == [
        [0x3F80, 0x3F80],
        [0x3F82, 0xFF62],
    ]


def test_numbers_of_bf16_have_no_other_view() -> None:
    k = Kernel("test", ["x"], TARGETS["avx2"])
    with pytest.raises(TypeError, match="no other view"):
        k.loose_vectors(k.narrow_scalars("x"))


@pytest.mark.parametrize(
    ("target", "most"),
    [(TARGETS["avx2"], 18), (TARGETS["avx512"], 16), (TARGETS["neon"], 16), (with_bf16(TARGETS["avx512"]), 9)],
    ids=["avx2", "avx512", "neon", "avx512 with bf16"],
)
def test_conversions_are_a_few_instructions(target: Target, most: int) -> None:
    """On any machine: in a loop that squares numbers, which is five more than the conversions."""
    k = Kernel("test", ["x", "y"], target)
    with k.loop(0, k.task) as i:
        value = k.narrow_vectors("x").load(i)
        k.narrow_vectors("y").store(value * value, i)
    text = assembly(k.finish(), target)
    assert ("vcvtneps2bf16" in text) == target.bf16
    (loop,) = re.findall(r"\n\.LBB0_2:[^\n]*\n(.*?\.LBB0_2)\n", text, re.DOTALL)
    assert "call" not in text and "\tbl" not in text
    assert 8 <= len(loop.splitlines()) <= most, loop
