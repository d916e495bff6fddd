"""Convolution of maps stored as bfloat16 in pairs of channels. No processor at hand may have the instruction: it is run
with the two products and sums in its place, and looked at as LLVM writes it for one that has it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from assembly import calls, hottest, vector_name
from harness import NdArray, as_stored, compile_text_for, on_every_target, problem, run_kernel
from problems import Case, parse

from convjit.codegen.target import TARGETS, Target, with_bf16
from convjit.kernels import Problem, candidates, choose
from convjit.kernels.conv_pairs import PAIRS
from convjit.ops import ConvBackwardData, ConvForward, Op
from convjit.runtime.bf16 import from_bf16, to_bf16

NATIVE = with_bf16(TARGETS["avx512"])
MAPS = ("x", "y", "dy", "dx")
LINES = [
    "conv n9 c2 h6 f2 k1",
    "conv n9 c6 h7 w4 f8 k3 p1 relu",
    "conv n17 c4 h9 f6 k5 p2 s2 halo",
    "conv n7 c12 h8 w5 f8 k3 s3 g2 unshared",
    "conv n3 c8 h4 w6 f14 k2 p1 accumulate nobias",
    "conv n8 c32 h6 f10 k3 p1 relu",
]


def asked(case: Case, op: Op, target: Target, seed: int = 0) -> Problem:
    narrow = MAPS if seed == 0 else ("x", "dy")
    return replace(problem(op, case.batch, target, narrow, **dict(case.halos(op, seed))), algorithm=PAIRS)


@on_every_target
@pytest.mark.parametrize("line", LINES)
def test_equals_the_reference(line: str, target: Target) -> None:
    """Bit for bit: whole numbers as small as these are exact in bfloat16, and so are their sums in float32."""
    case = parse(line)
    for op in case.ops()[:2]:
        for seed in range(2):
            one = asked(case, op, target, seed)
            arrays, expected = case._draw(op, seed)
            for name, found in run_kernel(one, arrays, seed=seed).items():
                np.testing.assert_array_equal(found, as_stored(one, name, expected[name]), one.text())


@on_every_target
def test_weights_are_rounded_and_nothing_else(target: Target) -> None:
    rng = np.random.default_rng(0)
    case = parse("conv n5 c8 h6 f4 k3 p1 nobias")
    for op in case.ops()[:2]:
        shapes = {name: op.operands()[name].logical(case.batch) for name in op.reads if name in op.names}
        arrays: dict[str, NdArray] = {n: rng.standard_normal(shape).astype(np.float32) for n, shape in shapes.items()}
        found = run_kernel(asked(case, op, target, seed=1), arrays)
        exact = op.run({name: from_bf16(to_bf16(array)) for name, array in arrays.items()})
        for name, want in exact.items():
            np.testing.assert_allclose(found[name], want, rtol=0, atol=1e-5)


def test_it_is_chosen_where_the_processor_has_it() -> None:
    case = parse("conv n128 c256 h13 f384 k1")
    for op in case.ops()[:2]:
        for target, narrow, way in (
            (NATIVE, MAPS, True),
            (NATIVE, ("y", "dx"), False),
            (TARGETS["avx512"], MAPS, False),
        ):
            assert (PAIRS in candidates(problem(op, 128, target, narrow))) is way
    forward, _ = parse("conv n128 c3 h13 f384 k1").ops()[:2]
    assert PAIRS not in candidates(problem(forward, 128, NATIVE, MAPS))
    assert choose(problem(case.ops()[0], 128, NATIVE, MAPS)).algorithm == PAIRS


@pytest.mark.parametrize(
    "line", ["conv n128 c32 h16 f32 k5 p2", "conv n128 c192 h13 f384 k3 p1", "conv n128 c64 h13 f64 k1"]
)
def test_the_innermost_loop_adds_pairs(line: str) -> None:
    case = parse(line)
    for op in case.ops()[:2]:
        assert isinstance(op, ConvForward | ConvBackwardData)
        text = compile_text_for(replace(asked(case, op, NATIVE), stage=1))
        block = hottest(text, NATIVE, "vdpbf16ps")
        sums = block.matching("vdpbf16ps")
        assert block.loops and calls(text) == []
        assert len(sums) >= 16 and len(block.matching(vector_name(NATIVE))) >= len(sums)
        assert block.multiplies == block.on_stack == []
        # A pair of pixels is put together once for all filters of the tile: four instructions.
        assert len(block.matching("vpmovzxwd|vpslld|vpor")) <= len(sums)
        assert "vcvtneps2bf16" in text
