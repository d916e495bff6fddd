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
    BinaryBackward,
    BinaryCounts,
    BinaryForward,
    Blur,
    ClearHalo,
    Concat,
    Constrain,
    ContrastNormBackward,
    ContrastNormForward,
    Copy,
    CostTotals,
    CrossEntropyBackward,
    CrossEntropyForward,
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
    LogisticBinaryBackward,
    LogregBackward,
    LogregForward,
    Maps,
    MaxAbsPoolForward,
    Maximum,
    MaximumBackward,
    MaxPoolBackward,
    MaxPoolForward,
    Mirror,
    Nailbed,
    NailbedBackward,
    Neuron,
    NeuronBackward,
    NeuronForward,
    NormShape,
    Numbers,
    Op,
    PeriodicUpdate,
    PoolShape,
    Rescale,
    Reshape,
    Resize,
    ResponseNormBackward,
    ResponseNormForward,
    RgbToLab,
    RgbToYuv,
    Rule,
    Scale,
    SelectChannels,
    SelectChannelsBackward,
    SoftmaxBackward,
    SoftmaxCrossEntropyBackward,
    SoftmaxForward,
    SoftmaxLogregBackward,
    SquaresBackward,
    SquaresForward,
    Targets,
    Update,
    WeightedSum,
)
from convjit.ops.by_channel import ChangeLanes, CrossMapNormByChannel, PerChannel

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
    PeriodicUpdate(Array((12345,)), 4),
    *(Constrain(Array((64, 75)), 75, rule) for rule in (Rule("sphere", 2), Rule("ball", 2), Rule("deviation", 2, 1))),
    Constrain(Array((64, 75)), 75, Rule("sphere", 2), periodic=True),
    SelectChannels(MAPS, (3, 1, 2, 0, 0, 1, 2, 3)),
    SelectChannelsBackward(MAPS, (3, 1, 2, 0, 0, 1, 2, 3)),
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
    MaxPoolBackward(POOL, neuron=Neuron("relu")),
    AvgPoolBackward(WIDE_POOL, neuron=Neuron("relu")),
    ResponseNormBackward(NORM, neuron=Neuron("relu")),
    CrossMapNormBackward(NORM, neuron=Neuron("relu")),
    MaxAbsPoolForward(POOL),
    MaxAbsPoolForward(WIDE_POOL),
    CrossEntropyForward(Maps(10)),
    CrossEntropyBackward(Maps(10), 0.5),
    SoftmaxCrossEntropyBackward(Maps(10), 0.5),
    BinaryForward(MAPS, 2),
    BinaryBackward(MAPS, 0.5, 2),
    LogisticBinaryBackward(MAPS, 0.5, 2),
    BinaryCounts(10),
    SquaresForward(MAPS),
    SquaresBackward(MAPS, 0.5),
    Targets(Maps(10)),
    Numbers(Maps(3, 2, 5)),
    Blur(MAPS, 5, 1.5),
    Mirror(MAPS),
    Nailbed(MAPS, 3),
    NailbedBackward(MAPS, 3),
    Rescale(MAPS, Maps(4, 5, 6), 4),
    Resize(MAPS, Maps(4, 6, 7), 1.3),
    RgbToLab(Maps(3, 8, 9)),
    RgbToYuv(Maps(3, 8, 9)),
    ChangeLanes.between(Maps(19, 3, 5), "x"),
    ChangeLanes.between(Maps(19, 3, 5), "y"),
    CrossMapNormByChannel.of(CrossMapNormForward(NormShape(Maps(19, 5, 6), 5, 0.1, 0.75, 1.0))),
    PerChannel.of(MaxPoolForward(PoolShape.parse("c19 h8 k3 s2"))),
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
