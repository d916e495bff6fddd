"""Products of maps stored as bfloat16 in pairs. Where the processor has no such instruction, kernels are run with the
two products and sums in its place, and looked at as LLVM writes them for one that has it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from assembly import calls, hottest, vector_name
from harness import NdArray, as_stored, compile_text_for, on_every_target, problem, run_kernel
from problems import Case, parse

from convjit.codegen.target import TARGETS, Target, with_bf16
from convjit.kernels import Problem, candidates, choose
from convjit.kernels.conv_pairs import PAIRS
from convjit.ops import ConvBackwardData, ConvForward, FcBackwardData, FcForward, Halo, Op
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
    "conv n18 c3 h11 w14 f7 k11 p3 s4 halo",
    "conv n40 c5 h9 w1 f9 k3 p1",
    "fc n9 c2 h3 w3 f8",
    "fc n33 c64 h5 w2 f70 relu",
    "fc n17 c6 f4 accumulate nobias",
    "fc n3 c1028 f1030 relu",
]


def able(op: Op) -> bool:
    """Whether there are whole pairs: of channels, filters or features. Gradients of weights pair images."""
    s: Any = op.shape  # type: ignore[attr-defined]
    if isinstance(op, FcForward):
        return bool(s.input.features % 2 == 0)
    if isinstance(op, ConvForward | ConvBackwardData):
        return bool((s.group_channels if isinstance(op, ConvForward) else s.group_filters) % 2 == 0)
    return not isinstance(op, FcBackwardData) or bool(s.outputs % 2 == 0)


def ops(case: Case) -> list[Op]:
    """Those that may be computed in pairs."""
    return [op for op in case.ops()[:3] if able(op)]


def asked(case: Case, op: Op, target: Target, seed: int = 0) -> Problem:
    narrow = MAPS if seed == 0 else ("x", "dy")
    return replace(problem(op, case.batch, target, narrow, **dict(case.halos(op, seed))), algorithm=PAIRS)


@on_every_target
@pytest.mark.parametrize("line", LINES)
def test_equals_the_reference(line: str, target: Target) -> None:
    """Bit for bit: whole numbers as small as these are exact in bfloat16, and so are their sums in float32."""
    case = parse(line)
    for op in ops(case):
        for seed in range(2):
            one = asked(case, op, target, seed)
            arrays, expected = case._draw(op, seed)
            for name, found in run_kernel(one, arrays, seed=seed).items():
                np.testing.assert_array_equal(found, as_stored(one, name, expected[name]), one.text())


@on_every_target
def test_weights_are_rounded_and_nothing_else(target: Target) -> None:
    rng = np.random.default_rng(0)
    conv, fc = parse("conv n5 c8 h6 f4 k3 p1 nobias"), parse("fc n5 c8 h3 f66 nobias")
    for case, op in [(one, op) for one in (conv, fc) for op in ops(one)]:
        shapes = {name: op.operands()[name].logical(case.batch) for name in op.reads if name in op.names}
        arrays: dict[str, NdArray] = {n: rng.standard_normal(shape).astype(np.float32) for n, shape in shapes.items()}
        found = run_kernel(asked(case, op, target, seed=1), arrays)
        exact = op.run({name: from_bf16(to_bf16(array)) for name, array in arrays.items()})
        for name, want in exact.items():
            np.testing.assert_allclose(found[name], want, rtol=0, atol=2e-5)


@pytest.mark.parametrize("line", ["conv n128 c256 h13 f384 k1", "fc n128 c256 h6 f4096"])
def test_they_are_chosen_where_the_processor_has_it(line: str) -> None:
    for op in parse(line).ops()[:3]:
        for target, narrow, way in (
            (NATIVE, MAPS, True),
            (NATIVE, ("y", "dx"), False),
            (TARGETS["avx512"], MAPS, False),
        ):
            assert (PAIRS in candidates(problem(op, 128, target, narrow))) is way
        assert choose(problem(op, 128, NATIVE, MAPS)).algorithm == PAIRS


def test_they_are_not_chosen_where_something_is_left_over() -> None:
    cases = ["conv n128 c3 h13 f384 k1", "fc n128 c3 h3 f384", "fc n128 c4 f10"]
    for op in [parse(line).ops()[0] for line in cases]:
        assert PAIRS not in candidates(problem(op, 128, NATIVE, MAPS))
    op = parse("fc n128 c4 h4 f384").ops()[0]
    assert PAIRS not in candidates(problem(op, 128, NATIVE, MAPS, x=Halo(1, 1, 1, 1)))


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


@pytest.mark.parametrize("line", ["conv n128 c3 h32 f32 k5 p2", "fc n128 c1024 f1024"])
def test_nothing_is_put_together_in_the_innermost_loop(line: str) -> None:
    """Neighbouring images lie in pairs already; weights are paired before."""
    case = parse(line)
    for op in case.ops()[:3] if line.startswith("fc") else case.ops()[2:3]:
        block = hottest(compile_text_for(asked(case, op, NATIVE)), NATIVE, "vdpbf16ps")
        sums = block.matching("vdpbf16ps")
        assert block.loops and len(sums) >= 16 and block.multiplies == block.on_stack == []
        assert block.matching("vpmovzxwd|vpslld|vpor|vcvtneps2bf16") == []
