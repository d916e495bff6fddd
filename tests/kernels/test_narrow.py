"""Every kernel on maps stored as bfloat16, all of them or some: the reference is given the numbers that are stored, and
its result rounded once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
from harness import NdArray, as_stored, assert_matches, integers, on_every_target, problem, run_kernel
from layer_samples import NETS
from problems import parse
from steps import contents

from convjit.codegen.target import Target, runnable_targets
from convjit.graph import lower
from convjit.graph.lower import Mode
from convjit.kernels import GENERATORS, candidates
from convjit.kernels.base import DIRECT
from convjit.ops import (
    AvgPoolBackward,
    ContrastNormBackward,
    ConvBackwardData,
    ConvForward,
    CrossMapNormBackward,
    Halo,
    Maps,
    MaxPoolBackward,
    Neuron,
    NormShape,
    Numbers,
    Op,
    PoolShape,
)

LINES = [
    "conv n9 c7 h6 w3 f13 k3 p1 relu",
    "conv n4 c6 h10 w7 f9 k3 p1 s2 g3 halo unshared",
    "conv n8 c5 h5 f7 k3 p1 accumulate",
    "conv n17 c32 h8 f32 k5 p2",
    "fc n17 c2500 f33 relu",
    "fc n9 c32 h6 f10 halo accumulate",
    "fc n3 c7 h3 w5 f1 halo nobias",
    "local n17 c64 h5 f36 k5 p2 relu",
    "local n9 c6 h10 w7 f9 k3 p1 s2 g3 halo accumulate",
    "local n3 c40 h4 f12 k3 p1 halo",
]
"""Sums of whole numbers past 256, which bfloat16 does not hold: a sum that was rounded on its way would be another."""
PLAIN = {
    "bias_backward",
    "concat",
    "copy",
    "cross_pool_backward",
    "cross_pool_forward",
    "cut",
    "export",
    "max_abs_pool_forward",
    "max_pool_backward",
    "max_pool_forward",
    "maximum",
    "maximum_backward",
    "mirror",
    "nailbed",
    "nailbed_backward",
    "reshape",
    "select_channels",
    "select_channels_backward",
    "targets",
}
"""Ops whose results are whole numbers for whole numbers."""
LARGE_WINDOWS: list[Op] = [
    MaxPoolBackward(PoolShape.parse("c2 h24 k17 s1"), neuron=Neuron("relu")),
    AvgPoolBackward(PoolShape.parse("c2 h24 k17 s1"), accumulate=True),
    CrossMapNormBackward(NormShape(Maps(20, 3, 2), 15, 0.3, 0.75, 1.0)),
    CrossMapNormBackward(NormShape(Maps(20, 3, 2), 15, 0.3, 0.75, 1.0), accumulate=True),
    ContrastNormBackward(NormShape(Maps(2, 9, 8), 7, 0.3, 0.75, 1.0), accumulate=True),
]
"""Geometries with code of their own."""


@dataclass(frozen=True)
class Sample:
    """An op, the halos that a program gives its maps, and what is read that is no maps."""

    op: Op
    halos: dict[str, Halo]
    given: dict[str, NdArray]


def able(op: Op) -> list[str]:
    """Maps that may be narrow."""
    return [n for n, operand in op.operands().items() if isinstance(operand, Maps) and n not in op.exact]


def mixes(op: Op) -> Iterator[tuple[str, ...]]:
    """All that may be narrow; then only what is read, and only what is written, but never b of a compared with b."""
    names = able(op)
    for some in dict.fromkeys(
        (tuple(names), tuple(n for n in names if n in op.reads), tuple(n for n in names if n in op.writes))
    ):
        if some and all(a in some for a, b in op.compared if b in some):
            yield some


@cache
def samples(batch: int) -> dict[str, list[Sample]]:
    """By kind of op, up to four that differ, out of the nets that show what layers can do."""
    found: dict[str, dict[str, Sample]] = {}
    for net, mode in itertools.product(NETS.values(), get_args(Mode)):
        program = lower(net, batch, mode)
        given = contents(program)
        for launch in program.launches:
            op = launch.op
            some = found.setdefault(op.kind(), {})
            if type(op) in GENERATORS and able(op) and len(some) < 4 and op.text() not in some:
                halos = {o: b.halo for o, b in launch.buffers.items()}
                host = {o: given[b.name] for o, b in launch.buffers.items() if b.name in given}
                some[op.text()] = Sample(op, halos, host)
    # Images of a net on features, which those nets are not.
    found["numbers"] = {"": Sample(Numbers(Maps(3, 2, 5)), {}, {})}
    found |= {f"{op.kind()} {i}": {"": Sample(op, {}, {})} for i, op in enumerate(LARGE_WINDOWS)}
    return {kind: list(some.values()) for kind, some in found.items() if some}


def drawn(sample: Sample, batch: int) -> dict[str, NdArray]:
    """What an op reads: whole numbers, above 0 where roots or logarithms are taken."""
    op: Any = sample.op
    neuron = getattr(op, "neuron", None)
    low = 1 if neuron and neuron.name in ("sqrt", "log") else -4
    read = [*op.reads, *(op.writes if getattr(op, "accumulate", False) else ())]
    shapes = {name: op.operands()[name].logical(batch) for name in read if name in op.names}
    return {n: sample.given.get(n, integers(shape, i, low)) for i, (n, shape) in enumerate(shapes.items())}


@on_every_target
@pytest.mark.parametrize("kind", sorted(samples(3)))
def test_every_kernel(kind: str, target: Target) -> None:
    batch = target.lanes + 1
    for sample in samples(batch)[kind]:
        arrays = drawn(sample, batch)
        for narrow in mixes(sample.op):
            asked = problem(sample.op, batch, target, narrow, **sample.halos)
            if kind == "clear_halo":
                run_kernel(asked, {"x": integers(sample.op.operands()["x"].logical(batch))})
            else:
                # Lab is 500 times the difference of two roots.
                scale = 500 if kind == "rgb_to_lab" else 8
                assert_matches(asked, arrays, terms=0 if kind in PLAIN else 100, scale=scale)


def test_there_is_a_sample_of_every_kernel() -> None:
    missing = {op.kind() for op in GENERATORS} - set(samples(3))
    never = {"cost_totals", "update", "periodic_update", "constrain"}
    exact = {op.kind() for op in GENERATORS if op.exact}
    # Programs of few images are of float32.
    never |= {"change_lanes", "cross_map_norm_by_channel", "per_channel"}
    assert missing <= never | exact


@on_every_target
@pytest.mark.parametrize("line", LINES)
def test_problems(line: str, target: Target) -> None:
    for seed in range(3):
        parse(f"{line} bf16").check(target, seed)


@on_every_target
def test_winograd(target: Target) -> None:
    for line in (
        "conv n9 c5 h9 w8 f6 k3 p1",
        "conv n9 c3 h8 f4 k5 p2 relu",
        "conv n9 c6 h14 w11 f4 k5 p2 s2 g2 accumulate",
    ):
        case = parse(f"{line} bf16")
        for op in case.ops()[:3]:
            direct = problem(op, case.batch, target, able(op), **dict(case.halos(op)))
            sample = Sample(op, {}, {})
            arrays = drawn(sample, case.batch)
            wanted = op.run(arrays)
            for way in [name for name in candidates(direct) if name != DIRECT]:
                found = run_kernel(replace(direct, algorithm=way), arrays)
                for name, want in wanted.items():
                    # Whole numbers are exact in bfloat16; what the transforms lose may move a result by one unit.
                    error = np.abs(found[name] - as_stored(direct, name, want))
                    assert (error <= np.maximum(np.abs(want) * 2.0**-7, 1e-2)).all(), (way, direct.text())
                    assert np.linalg.norm(error) <= 1e-3 * np.linalg.norm(want), (way, direct.text())


@pytest.mark.parametrize("op", [ConvForward, ConvBackwardData])
def test_images_do_not_meet(op: type[ConvForward | ConvBackwardData]) -> None:
    """NaN and infinity are stored as such, and stay in the image that they come from."""
    target = runnable_targets()[0]
    case = parse(f"conv n{target.lanes + 2} c3 h6 f5 k3 p1 nobias")
    one = next(o for o in case.ops() if isinstance(o, op))
    asked = problem(one, case.batch, target, able(one), **dict(case.halos(one)))
    arrays = drawn(Sample(one, {}, {}), case.batch)
    given, (written,) = one.reads[0], one.writes
    clean = run_kernel(asked, arrays)[written]
    for image, value in ((0, np.nan), (target.lanes, np.inf)):
        arrays[given][image] = value
    dirty = run_kernel(asked, arrays)[written]
    others = [n for n in range(case.batch) if n not in (0, target.lanes)]
    assert np.isnan(dirty[0]).all()
    assert not np.isfinite(dirty[target.lanes]).any()
    np.testing.assert_array_equal(dirty[others], clean[others])
