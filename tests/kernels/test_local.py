"""Locally connected kernels against the reference, bit for bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from harness import evaluate, integers, on_every_target, problem, run_kernel
from problems import Case, failures, parse, read

from convjit.codegen.target import Target, runnable_targets
from convjit.kernels.local_weights import transpose
from convjit.ops import LocalBackwardData, LocalForward, LocalShape

CASES = read("local")


@on_every_target
@pytest.mark.parametrize("case", CASES, ids=str)
def test_problems(case: Case, target: Target) -> None:
    case.check(target)


@on_every_target
def test_everything_that_can_be_asked_for(target: Target) -> None:
    extra = itertools.cycle((-1, 0, 1))
    for words in itertools.product(("", " nobias"), ("", " relu", " accumulate"), ("", " halo")):
        parse(f"local n{target.lanes + next(extra)} c3 h5 w4 f6 k3 p1 s2" + "".join(words)).check(target)


@pytest.mark.parametrize("part", range(2))
def test_random_problems(part: int) -> None:
    """The short form of scripts/kernel_sweep.py."""
    wrong = list(failures("local", range(7 * part, 7 * part + 7), runnable_targets()))
    assert not wrong, "\n\n".join(wrong)


@on_every_target
def test_a_square_is_turned(target: Target) -> None:
    lanes = target.lanes
    square = np.arange(lanes * lanes, dtype=np.float32).reshape(lanes, lanes)
    for row in (0, 1, lanes - 1):
        found = evaluate(target, lambda k, given, row=row: transpose(k, list(given))[row], *square)  # type: ignore[misc]
        np.testing.assert_array_equal(found, square[:, row])


@on_every_target
def test_images_do_not_meet(target: Target) -> None:
    shape = LocalShape(5, 3, 3, 7, 3, padding=1)
    for op, read_, written in ((LocalForward(shape, biases=False), "x", "y"), (LocalBackwardData(shape), "dy", "dx")):
        batch = target.lanes + 2
        arrays = {name: integers(op.operands()[name].logical(batch), i) for i, name in enumerate((read_, "w"))}
        clean = run_kernel(problem(op, batch, target), arrays)[written]
        arrays[read_][1] = np.nan
        dirty = run_kernel(problem(op, batch, target), arrays)[written]
        others = [n for n in range(batch) if n != 1]
        assert np.isnan(dirty[1]).all()
        np.testing.assert_array_equal(dirty[others], clean[others])
