"""Convolution and fully connected kernels as LLVM writes them for every target, on any machine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from assembly import calls, hottest, vector_name
from harness import compile_text_for
from problems import parse

from convjit.codegen.target import TARGETS, Target
from convjit.kernels import Problem
from convjit.ops import ConvBackwardWeights, ConvForward

CONV2, CONV3 = "conv n128 c32 h16 f32 k5 p2", "conv n128 c192 h13 f384 k3 p1"
LOCAL3 = "local n128 c64 h6 f32 k3 p1 relu"
SHAPES = (
    CONV2,
    CONV3,
    "conv n64 c3 h224 f64 k11 s4",
    "conv n17 c6 h10 w7 f9 k3 p1 s2 g3 unshared",
    "conv n1 c1 h1 f1 k1 accumulate",
    "fc n128 c64 h4 f64 relu",
    "fc n9 c17 h3 f10 halo accumulate",
    LOCAL3,
    "local n17 c6 h10 w7 f9 k3 p1 s2 g3 halo accumulate",
)
every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@cache
def compiled(line: str, target: Target) -> list[tuple[Problem, str]]:
    """The kernels of a problem and their assembly."""
    case = parse(line)
    problems = [Problem(op, case.batch, case.halos(op), target) for op in case.ops()]
    return [(problem, compile_text_for(problem)) for problem in problems]


@every_target
@pytest.mark.parametrize("line", SHAPES)
def test_compiles_and_calls_nothing(line: str, target: Target) -> None:
    for problem, text in compiled(line, target):
        assert calls(text) == [], problem.text()


@every_target
@pytest.mark.parametrize("line", [CONV2, CONV3, SHAPES[2], SHAPES[5], LOCAL3])
def test_the_innermost_loop_multiplies_at_full_width(line: str, target: Target) -> None:
    for problem, text in compiled(line, target)[:3]:
        block = hottest(text, target)
        assert block.loops, problem.text()
        # Fewer than eight sums would leave the multipliers waiting for one another.
        assert len(block.multiplies) >= 8, problem.text()
        narrow = [line for line in block.multiplies if line not in block.matching(vector_name(target))]
        assert narrow == [], problem.text()


@pytest.mark.parametrize("name", ["avx512", "avx2", "neon"])
@pytest.mark.parametrize("line", [CONV2, CONV3, LOCAL3])
def test_nothing_spills_in_the_innermost_loop(line: str, name: str) -> None:
    target = TARGETS[name]
    forward, _, weights, _ = compiled(line, target)
    for problem, text in (forward, weights):
        block = hottest(text, target)
        # Half as many registers hold a tile and its operands, and now and then one value less than LLVM wants to keep.
        most = 0 if target.registers >= 32 else len(block.multiplies) // 4
        assert len(block.on_stack) <= most, f"{problem.text()}:\n" + "\n".join(block.on_stack)


@pytest.mark.parametrize("name", ["avx512", "avx2", "neon"])
@pytest.mark.parametrize("line", [CONV2, CONV3, SHAPES[2]])
def test_products_of_winograd_keep_to_the_registers(line: str, name: str) -> None:
    """The longest piece of code between the transforms, in forward and in the gradient of the weights."""
    case = parse(line)
    for op in case.ops():
        if not isinstance(op, ConvForward | ConvBackwardWeights):
            continue
        asked = replace(Problem(op, case.batch, case.halos(op), TARGETS[name]), algorithm="winograd4", stage=1)
        block = hottest(compile_text_for(asked), TARGETS[name])
        assert block.loops, asked.text()
        # For Arm in general, LLVM loads ahead of what the registers hold.
        most = len(block.multiplies) // 4 if name == "neon" else 0
        assert len(block.on_stack) <= most, asked.text()
        assert len(block.matching(vector_name(TARGETS[name]))) >= len(block.multiplies) >= 8, asked.text()
