"""Few images: ops on maps that have a channel per lane, against the reference and, bit for bit, against the kernels for
many images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from harness import assert_matches, integers, on_every_target, problem, run_kernel

from convjit.codegen.target import Target
from convjit.kernels.base import DIRECT, candidates
from convjit.ops import (
    AvgPoolForward,
    Blur,
    ChangeLanes,
    ClearHalo,
    ContrastNormForward,
    ConvByChannel,
    ConvForward,
    ConvShape,
    CrossMapNormForward,
    FcByChannel,
    FcForward,
    FcShape,
    Halo,
    Maps,
    MaxAbsPoolForward,
    Maximum,
    MaxPoolForward,
    Mirror,
    Nailbed,
    Neuron,
    NeuronForward,
    NormShape,
    Op,
    PerChannel,
    PoolShape,
    Resize,
    ResponseNormForward,
    Scale,
    WeightedSum,
)
from convjit.ops.by_channel import PER_CHANNEL, ByChannel, CrossMapNormByChannel

CONVOLUTIONS = [
    "c1 h1 f1 k1",
    "c3 h7 w9 f5 k3 p1",
    "c5 h6 f16 k5 p2",
    "c17 h5 f33 k1",
    "c2 h11 w13 f70 k3 p1",
    "c3 h23 f24 k11 s4",
    "c6 h9 f4 k4 p1 s2",
    "c10 h8 w7 f64 k3 p1 g2",
    "c20 h4 f20 k2",
]
FULLY_CONNECTED = [
    (Maps(1), 1), (Maps(3, 2, 2), 7), (Maps(16), 16), (Maps(5, 3, 7), 40), (Maps(64, 2, 2), 17), (Maps(7, 9, 1), 100)
]  # fmt: skip
BATCHES = (1, 2, 3, 8)
MAPS = Maps(19, 6, 7)
NORM = NormShape(MAPS, 3, 0.5, 0.75, 2.0)
PER_CHANNEL_OPS: list[Op] = [
    AvgPoolForward(PoolShape(19, 6, 7, 3, 2)),
    Blur(MAPS, 3, 1.0),
    ContrastNormForward(NORM),
    MaxAbsPoolForward(PoolShape(19, 6, 7, 3, 2)),
    MaxPoolForward(PoolShape(19, 6, 7, 3, 2, -1)),
    Maximum(MAPS, 3),
    Mirror(MAPS),
    Nailbed(MAPS, 2),
    NeuronForward(MAPS, Neuron("tanh", 1.5, 0.5)),
    Resize(MAPS, Maps(19, 9, 4), 1.3),
    ResponseNormForward(NORM),
    Scale(MAPS, 0.5),
    WeightedSum(MAPS, (1.0, -0.5)),
]


def products(inner: ConvForward | FcForward) -> list[ConvByChannel | FcByChannel]:
    """The op by channel, with x by channel or by image."""
    kind = ConvByChannel if isinstance(inner, ConvForward) else FcByChannel
    return [kind(inner, lanes) for lanes in (("y",), ("x", "y"))]  # type: ignore[arg-type]


def conv_ops(s: ConvShape) -> list[ConvForward]:
    """Every kind of end of a convolution."""
    return [
        ConvForward(s),
        ConvForward(s, "unshared", Neuron("relu")),
        ConvForward(s, "none", accumulate=True),
    ]


def halos(op: Op) -> dict[str, Halo]:
    """Wider than the op asks for, around all maps."""
    return {name: op.reach(name).union(Halo(0, 1, 1, 0)) for name, o in op.operands().items() if isinstance(o, Maps)}


def spans(s: ConvShape, target: Target) -> bool:
    """Whether a vector would hold filters of two groups, which is not for this layout."""
    return s.groups > 1 and s.group_filters % target.lanes != 0


@on_every_target
@pytest.mark.parametrize("text", CONVOLUTIONS)
def test_convolution(text: str, target: Target) -> None:
    s = ConvShape.parse(text)
    if spans(s, target):
        pytest.skip("a vector would hold filters of two groups")
    for batch, inner in zip((*BATCHES, 1), (*conv_ops(s), *conv_ops(s)[:2]), strict=True):
        arrays = {n: integers(o.logical(batch), i) for i, (n, o) in enumerate(inner.operands().items())}
        for op in products(inner):
            assert_matches(problem(op, batch, target, **halos(op)), arrays)


@on_every_target
@pytest.mark.parametrize(("maps", "outputs"), FULLY_CONNECTED, ids=str)
def test_fully_connected(maps: Maps, outputs: int, target: Target) -> None:
    s = FcShape(maps, outputs)
    ops = [FcForward(s), FcForward(s, True, Neuron("relu")), FcForward(s, False), FcForward(s, False, None, True)]
    for batch, inner in zip(BATCHES, ops, strict=True):
        arrays = {n: integers(o.logical(batch), i) for i, (n, o) in enumerate(inner.operands().items())}
        for op in products(inner):
            assert_matches(problem(op, batch, target, **halos(op)), arrays)


@on_every_target
@pytest.mark.parametrize("text", CONVOLUTIONS)
def test_sums_have_the_bits_of_the_kernels_for_many_images(text: str, target: Target) -> None:
    s, batch = ConvShape.parse(text), 3
    if spans(s, target):
        pytest.skip("a vector would hold filters of two groups")
    random = np.random.default_rng(0)
    for number, inner in enumerate(conv_ops(s)):
        arrays = {n: random.standard_normal(o.logical(batch), np.float32) for n, o in inner.operands().items()}
        op = products(inner)[number % 2]
        many, few = (problem(one, batch, target, **halos(one)) for one in (inner, op))
        ways = list(candidates(few))
        assert ways == list(candidates(many))
        for way in {DIRECT, ways[number % len(ways)], ways[-1 - number % len(ways)]}:
            found, wanted = (run_kernel(replace(one, algorithm=way), arrays)["y"] for one in (few, many))
            np.testing.assert_array_equal(found, wanted, err_msg=f"{few.text()} {way}")


@on_every_target
@pytest.mark.parametrize(("maps", "outputs"), [*FULLY_CONNECTED, (Maps(40, 9, 9), 30)], ids=str)
def test_fully_connected_has_the_bits_of_the_kernel_for_many_images(maps: Maps, outputs: int, target: Target) -> None:
    random, inner = np.random.default_rng(1), FcForward(FcShape(maps, outputs), True, Neuron("logistic"))
    arrays = {n: random.standard_normal(o.logical(2), np.float32) for n, o in inner.operands().items()}
    wanted = run_kernel(problem(inner, 2, target), arrays)["y"]
    for op in products(inner):
        np.testing.assert_array_equal(run_kernel(problem(op, 2, target), arrays)["y"], wanted)


def test_all_ops_per_channel_are_here() -> None:
    assert {type(op) for op in PER_CHANNEL_OPS} | {ClearHalo} == PER_CHANNEL


@on_every_target
@pytest.mark.parametrize("inner", PER_CHANNEL_OPS, ids=lambda op: op.kind())
def test_per_channel(inner: Op, target: Target) -> None:
    op = PerChannel.of(inner)
    random = np.random.default_rng(0)
    for batch in (1, 3):
        arrays = {n: random.standard_normal(inner.operands()[n].logical(batch), np.float32) for n in inner.reads}
        around = {name: halos(op)[name] for name in op.reads}
        found, wanted = (run_kernel(problem(one, batch, target, **around), arrays) for one in (op, inner))
        assert set(found) == set(wanted)
        for name in found:
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=f"{op.text()}: {name}")


@on_every_target
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize(
    ("channels", "size"), [(1, 5), (3, 5), (16, 2), (19, 3), (33, 4), (40, 5), (64, 5), (37, 9), (20, 15), (50, 23)]
)
def test_norms_across_channels(channels: int, size: int, blocked: bool, target: Target) -> None:
    inner = CrossMapNormForward(NormShape(Maps(channels, 3, 4), size, 0.5, 0.75, 2.0), blocked)
    op = CrossMapNormByChannel.of(inner)
    random = np.random.default_rng(size)
    for batch in (1, 3):
        arrays = {"x": random.standard_normal(inner.operands()["x"].logical(batch), np.float32)}
        around = {"x": Halo(1, 0, 2, 1)}
        found, wanted = (run_kernel(problem(one, batch, target, **around), arrays)["y"] for one in (op, inner))
        np.testing.assert_array_equal(found, wanted)


@on_every_target
@pytest.mark.parametrize("maps", [Maps(1), Maps(3, 4, 5), Maps(33, 2, 3), Maps(8, 40, 50)], ids=str)
def test_changes_of_layout(maps: Maps, target: Target) -> None:
    for batch in BATCHES:
        arrays = {"x": integers(maps.logical(batch), batch)}
        for by_channel in ("x", "y"):
            op: ByChannel = ChangeLanes.between(maps, by_channel)
            assert_matches(problem(op, batch, target), arrays)
            assert_matches(problem(op, batch, target, **halos(op)), arrays)


@on_every_target
def test_clearing_halos(target: Target) -> None:
    op = PerChannel.of(ClearHalo(MAPS))
    inside = integers(MAPS.logical(2), 1, 1, 9)
    found = run_kernel(problem(op, 2, target, x=Halo(1, 2, 0, 1)), {"x": inside})
    np.testing.assert_array_equal(found["x"], inside)
