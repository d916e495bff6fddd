"""Every kernel compiles for every target, on any machine, and calls nothing."""

from __future__ import annotations

import re

import pytest
from harness import compile_text_for, problem

from convjit.codegen.target import TARGETS
from convjit.kernels import GENERATORS, generate
from convjit.ops import (
    NEURONS,
    Array,
    AvgPoolBackward,
    AvgPoolForward,
    BiasBackward,
    ClearHalo,
    Concat,
    ContrastNormBackward,
    ContrastNormForward,
    Copy,
    CostTotals,
    CrossMapNormBackward,
    CrossMapNormForward,
    CrossPoolBackward,
    CrossPoolForward,
    CrossPoolShape,
    Cut,
    DropoutBackward,
    DropoutForward,
    Export,
    Halo,
    Input,
    LogregBackward,
    LogregForward,
    Maps,
    MaxAbsPoolForward,
    MaxPoolBackward,
    MaxPoolForward,
    Maximum,
    MaximumBackward,
    Neuron,
    NeuronBackward,
    NeuronForward,
    NormShape,
    Op,
    PoolShape,
    Reshape,
    ResponseNormBackward,
    ResponseNormForward,
    Scale,
    SoftmaxBackward,
    SoftmaxForward,
    SoftmaxLogregBackward,
    Update,
    WeightedSum,
)

MAPS = Maps(4, 8, 9)
POOL, WIDE_POOL = PoolShape.parse("c4 h9 k3 s2"), PoolShape.parse("c1 h40 k20 s1")
NORM, WIDE_NORM = NormShape(MAPS, 3, 0.5, 0.75), NormShape(Maps(20, 20, 20), 18, 0.5, 0.7)
CROSS_POOL = CrossPoolShape(MAPS, 3, 2, -1, 2)
SAMPLES: list[Op] = [
    Input(Maps(3, 32, 32), Maps(3, 28, 28)),
    *(
        pool(shape)
        for pool in (MaxPoolForward, MaxPoolBackward, AvgPoolForward, AvgPoolBackward)
        for shape in (POOL, WIDE_POOL)
    ),
    *(NeuronForward(MAPS, Neuron(name, 2, 3)) for name in NEURONS),
    *(NeuronBackward(MAPS, Neuron(name, 2, 3)) for name in NEURONS),
    SoftmaxForward(MAPS),
    SoftmaxBackward(MAPS),
    LogregForward(10, 5),
    LogregBackward(10, 0.5),
    SoftmaxLogregBackward(10, 0.5),
    CostTotals(3),
    Update(Array((12345,))),
    BiasBackward(MAPS),
    BiasBackward(MAPS, shared=False),
    ClearHalo(MAPS),
    Copy(MAPS),
    Export(MAPS),
    Export(Maps(100)),
    Reshape(MAPS, Maps(MAPS.features)),
    DropoutForward(MAPS, 0.5, True),
    DropoutBackward(MAPS, 0.5, True),
    Scale(MAPS, 0.5),
    *(
        norm(shape)
        for norm in (ResponseNormForward, ResponseNormBackward, ContrastNormForward, ContrastNormBackward)
        for shape in (NORM, WIDE_NORM)
    ),
    *(
        norm(shape, blocked)
        for norm in (CrossMapNormForward, CrossMapNormBackward)
        for shape in (NORM, WIDE_NORM)
        for blocked in (False, True)
    ),
    WeightedSum(MAPS, (1, 0.5, 2)),
    Maximum(MAPS, 3),
    MaximumBackward(MAPS),
    Concat((MAPS, Maps(2, 8, 9))),
    Cut(MAPS, Maps(2, 3, 4), 1, 2, 3),
    CrossPoolForward(CROSS_POOL),
    CrossPoolBackward(CROSS_POOL),
    MaxAbsPoolForward(POOL),
    MaxAbsPoolForward(WIDE_POOL),
]
CALL = re.compile(r"^\s+(call\w*|bl|blr)\s", re.MULTILINE)
PRODUCTS = ("Conv", "Fc", "Local")
"""Ops that have tests of their generated code elsewhere."""


def test_there_is_a_sample_of_every_kernel() -> None:
    sampled = {type(op) for op in SAMPLES}
    assert {op.__name__ for op in GENERATORS if op not in sampled and not op.__name__.startswith(PRODUCTS)} == set()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", SAMPLES, ids=lambda op: op.text())
def test_calls_nothing(op: Op, target: str) -> None:
    halos = {name: Halo(9, 1, 9, 1) for name in op.names[:1] if isinstance(op.operands()[name], Maps)}
    asked = problem(op, 40, target, **halos)
    declared = [line for line in generate(asked).text.splitlines() if line.startswith("declare")]
    assert [line for line in declared if '@"llvm.' not in line] == []
    assert CALL.findall(compile_text_for(asked)) == []
