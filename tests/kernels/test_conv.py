"""Convolution kernels against the reference, bit for bit: sums of whole numbers are exact in float32 below 2**24."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from harness import integers, on_every_target, problem, run_kernel
from problems import Case, failures, parse, read

from convjit.codegen.target import Target, runnable_targets
from convjit.ops import ConvBackwardData, ConvForward, ConvShape

CASES = read("conv")
WIDEST = runnable_targets()[0].lanes


@on_every_target
@pytest.mark.parametrize("case", CASES, ids=str)
def test_problems(case: Case, target: Target) -> None:
    case.check(target)


@on_every_target
def test_everything_that_can_be_asked_for(target: Target) -> None:
    """Kinds of biases, neurons and sums, each with each, with as many images as lanes, one more and one less."""
    biases, ends = ("", " unshared", " nobias"), ("", " relu", " accumulate")
    sizes = itertools.cycle(itertools.product((0, 1, -1), ("", " halo")))
    for words, (extra, halo) in zip(itertools.product(biases, ends), sizes, strict=False):
        parse(f"conv n{target.lanes + extra} c3 h5 w4 f6 k3 p1 s2{''.join(words)}{halo}").check(target)


@pytest.mark.parametrize("part", range(5))
def test_random_problems(part: int) -> None:
    """The short form of scripts/kernel_sweep.py."""
    wrong = list(failures("conv", range(12 * part, 12 * part + 12), runnable_targets()))
    assert not wrong, "\n\n".join(wrong)


@on_every_target
def test_images_do_not_meet(target: Target) -> None:
    """NaN and infinity stay in the image that they come from, whatever lane its neighbours have."""
    shape = ConvShape.parse("c3 h6 f5 k3 p1")
    for op, given, written in ((ConvForward(shape, "none"), "x", "y"), (ConvBackwardData(shape), "dy", "dx")):
        batch = target.lanes + 2
        one = problem(op, batch, target, **{given: op.reach(given)})
        arrays = {name: integers(op.operands()[name].logical(batch), i) for i, name in enumerate((given, "w"))}
        clean = run_kernel(one, arrays)[written]
        for image, value in ((0, np.nan), (target.lanes, np.inf)):
            arrays[given][image] = value
        dirty = run_kernel(one, arrays)[written]
        others = [n for n in range(batch) if n not in (0, target.lanes)]
        assert np.isnan(dirty[0]).all()
        assert not np.isfinite(dirty[target.lanes]).any()
        np.testing.assert_array_equal(dirty[others], clean[others])


@on_every_target
def test_the_order_of_tasks_does_not_matter(target: Target) -> None:
    """Sums that are not exact have the same bits in whatever order tasks run: each result is one task's."""
    rng = np.random.default_rng(0)
    case = parse("conv n19 c16 h9 f33 k3 p1")
    for op in case.ops():
        one = problem(op, case.batch, target, **{name: op.reach(name) for name in ("x", "dy") if name in op.names})
        arrays = {
            name: rng.standard_normal(op.operands()[name].logical(case.batch)).astype(np.float32) for name in op.reads
        }
        (first,), (second,) = (run_kernel(one, arrays, seed=seed).values() for seed in (1, 2))
        assert first.tobytes() == second.tobytes()
        (exact,) = op.run(arrays).values()
        terms = 16 * 9 if op.kind() in ("conv_forward", "conv_backward_data") else 19 * 81
        # The error of a sum of K terms of random sign is about sqrt(K) roundings of what has been summed up.
        assert np.abs(first - exact).max() <= 4 * np.sqrt(terms) * np.abs(exact).max() * 2**-24


def test_the_files_hold_what_they_should() -> None:
    names = " ".join(case.name for case in CASES)
    assert all(name in names for name in ("80sec", "19pct", "13pct", "alexnet"))
    assert {1, WIDEST - 1, WIDEST, WIDEST + 1} <= {case.batch for case in CASES}
    shapes = [case.shape for case in CASES if isinstance(case.shape, ConvShape)]
    assert any(s.stride > s.size for s in shapes) and any(s.padding >= s.size for s in shapes)
    assert any(s.height == s.width == 1 for s in shapes) and any(s.groups > 1 for s in shapes)
    ruled = [replace(s, rows=0, columns=0) for s in shapes]
    assert any(s.rows > r.rows for s, r in zip(shapes, ruled, strict=True))
    assert any((s.rows - 1) * s.stride + s.size > s.height + 2 * s.padding for s in ruled)
