"""Convolutions that multiply point by point, Winograd's and Fourier's, against the reference, and their choice."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from harness import on_every_target, problem, run_kernel

from convjit.codegen.target import TARGETS, Target
from convjit.kernels import choose, rounds
from convjit.kernels.base import ALGORITHMS, DIRECT
from convjit.kernels.schemes import SCHEMES
from convjit.kernels.transforms import Transform, sides
from convjit.ops.base import Halo, Maps
from convjit.ops.conv import ConvBackwardData, ConvBackwardWeights, ConvForward, ConvShape
from convjit.ops.neuron import Neuron

SHAPES = [
    "c5 h8 f6 k3 p1",
    "c3 h7 f2 k5 p2",
    "c1 h4 f1 k3",
    "c4 h9 w13 f6 k3 p1 g2",
    "c17 h6 w8 f5 k5 p4",
    "c2 h5 w6 f3 k5 p2",
    "c33 h13 f20 k3 p1",
    "c3 h27 w31 f7 k11 s4",
    "c4 h14 w11 f6 k5 p2 s2 g2",
    "c2 h9 f3 k2",
    "c3 h17 w14 f5 k9 p4",
    "c2 h13 f3 k7 p3",
]
Op = ConvForward | ConvBackwardData | ConvBackwardWeights


def _ops(text: str) -> list[Op]:
    s = ConvShape.parse(text)
    return [
        ConvForward(s),
        ConvForward(s, "unshared", Neuron("relu")),
        ConvForward(s, "none", accumulate=True),
        ConvBackwardWeights(s),
        ConvBackwardWeights(s, accumulate=True),
        *([ConvBackwardData(s), ConvBackwardData(s, accumulate=True)] if s.stride == 1 else []),
    ]


def _check(op: Op, batch: int, target: Target) -> None:
    random = np.random.default_rng(batch)
    halos = {name: op.reach(name).union(Halo(0, 1, 1, 0)) for name, o in op.operands().items() if isinstance(o, Maps)}
    direct = problem(op, batch, target, **halos)
    arrays = {
        name: random.standard_normal(operand.logical(batch)).astype(np.float32)
        for name, operand in op.operands().items()
        if name in op.reads or op.accumulate
    }
    wanted = op.run(arrays)
    ways = {name: way for name, way in ALGORITHMS[type(op)].items() if way.gain(direct) > 0}
    assert ways, direct.text()
    for way in ways:
        asked = replace(direct, algorithm=way)
        found = run_kernel(asked, arrays)
        for name, want in wanted.items():
            error = np.linalg.norm(found[name] - want) / np.linalg.norm(want)
            # Transforms multiply rounding errors, those of tiles of ten pixels by a hundred.
            large = SCHEMES[way](-(-op.shape.size // op.shape.stride)).side >= 9 and "winograd" in way
            assert error < (5e-5 if large else 1e-5), asked.text()


@on_every_target
@pytest.mark.parametrize("text", SHAPES)
def test_equals_the_reference(text: str, target: Target) -> None:
    for op in _ops(text):
        _check(op, target.lanes + 1, target)


@on_every_target
def test_batches(target: Target) -> None:
    for batch in (1, target.lanes - 1, target.lanes):
        _check(ConvForward(ConvShape.parse("c3 h8 f4 k3 p1")), batch, target)


def _times(transform: Transform, values: list[Fraction]) -> list[Fraction]:
    for matrix in reversed(transform):
        values = [sum((a * b for a, b in zip(row, values, strict=True)), Fraction(0)) for row in matrix]
    return values


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7, 9, 11])
@pytest.mark.parametrize("name", SCHEMES)
def test_the_identity_behind_it(name: str, size: int) -> None:
    """In one dimension, A'[(G w) * (B' x)] is the correlation: exactly, or as far as cosines are known."""
    scheme = SCHEMES[name](size)
    if not scheme.possible:
        return
    assert scheme.side == scheme.made + size - 1
    assert sides(scheme.output) == (scheme.made, scheme.points) and sides(scheme.data) == (scheme.points, scheme.side)
    w, x = ([Fraction(i * i % 7 - 3) for i in range(n)] for n in (size, scheme.side))
    products = [a * b for a, b in zip(_times(scheme.weights, w), _times(scheme.data, x), strict=True)]
    wanted = [sum(w[i] * x[start + i] for i in range(size)) for start in range(scheme.made)]
    errors = [abs(a - b) for a, b in zip(_times(scheme.output, products), wanted, strict=True)]
    assert max(errors) < (1e-12 if "fourier" in name else 1e-300)


@on_every_target
@pytest.mark.parametrize("text", ["c3 h9 w11 f5 k3 p1", "c2 h12 f4 k5 p2 g2"])
def test_gradients_of_weights_in_several_rounds(text: str, target: Target) -> None:
    """With a small last cache there are many rounds, the last of them a short one."""
    small = replace(target, third_level=4096)
    op = ConvBackwardWeights(ConvShape.parse(text))
    asked = [problem(op, 5 * target.lanes, small, x=op.reach("x"))]
    assert any(len(rounds(replace(asked[0], algorithm=name))) > 5 for name in ALGORITHMS[type(op)])
    _check(op, 5 * target.lanes, small)


@pytest.mark.parametrize(
    ("op", "text", "way"),
    [
        (ConvForward, "c32 h16 f32 k5 p2", "winograd6"),
        (ConvForward, "c192 h13 f384 k3 p1", "winograd7"),
        (ConvForward, "c3 h224 f64 k11 s4", "winograd8"),
        (ConvForward, "c16 h56 f32 k11 p5", "fourier24"),
        (ConvForward, "c1 h28 f2 k5 p2", DIRECT),
        (ConvForward, "c64 h13 f64 k1", DIRECT),
        (ConvBackwardData, "c32 h16 f32 k5 p2", "winograd6"),
        (ConvBackwardData, "c3 h224 f64 k11 s4", DIRECT),
        (ConvBackwardWeights, "c32 h16 f32 k5 p2", "winograd6"),
        (ConvBackwardWeights, "c3 h32 f32 k5 p2", DIRECT),
    ],
)
def test_what_is_chosen(op: type[Op], text: str, way: str) -> None:
    asked = op(ConvShape.parse(text))
    halos = {name: asked.reach(name) for name in asked.reads if isinstance(asked.operands()[name], Maps)}
    assert choose(problem(asked, 128, TARGETS["avx512"], **halos)).algorithm == way
