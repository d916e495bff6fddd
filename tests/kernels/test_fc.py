"""Fully connected kernels against the reference, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from harness import integers, on_every_target, problem, run_kernel
from problems import Case, failures, parse, read

from convjit.codegen.target import Target, runnable_targets
from convjit.ops import FcBackwardData, FcForward, FcShape, Maps

CASES = read("fc")


@on_every_target
@pytest.mark.parametrize("case", CASES, ids=str)
def test_problems(case: Case, target: Target) -> None:
    case.check(target)


@on_every_target
def test_everything_that_can_be_asked_for(target: Target) -> None:
    extra = itertools.cycle((-1, 0, 1))
    for words in itertools.product(("", " nobias"), ("", " relu", " accumulate"), ("", " halo")):
        parse(f"fc n{target.lanes + next(extra)} c3 h5 w2 f{target.lanes + 1}" + "".join(words)).check(target)


@pytest.mark.parametrize("part", range(3))
def test_random_problems(part: int) -> None:
    """The short form of scripts/kernel_sweep.py."""
    wrong = list(failures("fc", range(20 * part, 20 * part + 20), runnable_targets()))
    assert not wrong, "\n\n".join(wrong)


@on_every_target
def test_images_do_not_meet(target: Target) -> None:
    shape = FcShape(Maps(5, 2, 3), 7)
    for op, given, written in ((FcForward(shape, biases=False), "x", "y"), (FcBackwardData(shape), "dy", "dx")):
        batch = target.lanes + 2
        arrays = {name: integers(op.operands()[name].logical(batch), i) for i, name in enumerate((given, "w"))}
        clean = run_kernel(problem(op, batch, target), arrays)[written]
        arrays[given][1] = np.nan
        dirty = run_kernel(problem(op, batch, target), arrays)[written]
        others = [n for n in range(batch) if n != 1]
        assert np.isnan(dirty[1]).all()
        np.testing.assert_array_equal(dirty[others], clean[others])
