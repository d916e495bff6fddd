"""Winograd's filtering against the reference, and its choice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from harness import on_every_target, problem, run_kernel

from convjit.codegen.target import TARGETS, Target
from convjit.kernels import choose
from convjit.kernels.winograd import NAME
from convjit.kernels.winograd_transforms import weights_matrix
from convjit.ops.base import Halo, Maps
from convjit.ops.conv import ConvBackwardData, ConvForward, ConvShape
from convjit.ops.neuron import Neuron

SHAPES = [
    "c5 h8 f6 k3 p1",
    "c3 h7 f2 k5 p2",
    "c1 h4 f1 k3",
    "c4 h9 w13 f6 k3 p1 g2",
    "c17 h6 w8 f5 k5 p4",
    "c2 h5 w6 f3 k5 p2",
    "c33 h13 f20 k3 p1",
]
Op = ConvForward | ConvBackwardData


def _ops(text: str) -> list[Op]:
    s = ConvShape.parse(text)
    return [
        ConvForward(s),
        ConvForward(s, "unshared", Neuron("relu")),
        ConvForward(s, "none", accumulate=True),
        ConvBackwardData(s),
        ConvBackwardData(s, accumulate=True),
    ]


def _check(op: Op, batch: int, target: Target) -> None:
    random = np.random.default_rng(batch)
    halos = {name: op.reach(name).union(Halo(0, 1, 1, 0)) for name, o in op.operands().items() if isinstance(o, Maps)}
    asked = replace(problem(op, batch, target, **halos), algorithm=NAME)
    arrays = {
        name: random.standard_normal(operand.logical(batch)).astype(np.float32)
        for name, operand in op.operands().items()
        if name in op.reads or op.accumulate
    }
    found, wanted = run_kernel(asked, arrays), op.run(arrays)
    for name, want in wanted.items():
        error = np.linalg.norm(found[name] - want) / np.linalg.norm(want)
        # The transforms multiply rounding errors by up to some ten: 1e-5 where plain sums of this length have 1e-6.
        assert error < 1e-5, asked.text()


@on_every_target
@pytest.mark.parametrize("text", SHAPES)
def test_equals_the_reference(text: str, target: Target) -> None:
    for op in _ops(text):
        _check(op, target.lanes + 1, target)


@on_every_target
def test_batches(target: Target) -> None:
    for batch in (1, target.lanes - 1, target.lanes):
        _check(ConvForward(ConvShape.parse("c3 h8 f4 k3 p1")), batch, target)


@pytest.mark.parametrize("size", [3, 5])
def test_weights_matrix_makes_exact_filters(size: int) -> None:
    """The identity behind it all, in one dimension and exact arithmetic: A'[(G w) * (B' x)] is the correlation."""
    random = np.random.default_rng(0)
    w, x, made = random.standard_normal(size), random.standard_normal(6), 7 - size
    points = (0, 1, -1, 2, -2)
    output = np.array([[p**i for p in points] + [float(i == made - 1)] for i in range(made)], float)
    data = np.array(
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        float,
    )
    found = output @ ((np.array(weights_matrix(size)) @ w) * (data @ x))
    assert np.allclose(found, np.correlate(x, w, "valid"), atol=1e-12)


@pytest.mark.parametrize(
    ("text", "pays"),
    [
        ("c32 h16 f32 k5 p2", True),
        ("c192 h13 f384 k3 p1", True),
        ("c3 h32 f32 k5 p2", False),
        ("c3 h224 f64 k11 s4", False),
        ("c32 h16 f32 k3 p1 s2", False),
        ("c64 h3 f64 k3 p1", False),
    ],
)
def test_is_chosen_where_it_pays(text: str, pays: bool) -> None:
    op = ConvForward(ConvShape.parse(text))
    chosen = choose(problem(op, 128, TARGETS["avx512"], x=op.reach("x")))
    assert (chosen.algorithm == NAME) is pays
