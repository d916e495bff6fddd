"""Limits of memory: kept to the byte by what then runs, at the least cost, or refused in a line that says the least."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from layer_samples import net_of
from tiny_runs import kernels

from convjit.codegen.target import host_target
from convjit.errors import UsageError
from convjit.graph import Net, lower
from convjit.kernels.base import DIRECT
from convjit.layers import Conv, Fc, Pool, Rnorm
from convjit.program import AGAIN, Program
from convjit.runtime import Executor, Store, Ways
from convjit.runtime.fit import bytes_of, fit, size_text
from convjit.runtime.planned import planned

__all__ = ["kernels"]

THREADS = 2


def net() -> Net:
    """Activations that are worth dropping, and convolutions with a workspace."""
    return net_of(
        Conv("conv1", "data", filters=16, filter_size=3, padding=1, neuron="relu"),
        Rnorm("norm1", "conv1", size=3, scale=0.1, pow=0.75),
        Pool("pool1", "norm1", pool="max", size_x=2, stride=2),
        Conv("conv2", "pool1", filters=16, filter_size=3, padding=1, neuron="relu"),
        Fc("fc", "conv2", outputs=50, neuron="relu"),
        image=(8, 16, 16),
    )


@pytest.fixture(scope="module")
def program() -> Program:
    return lower(net(), 40)


def taken(program: Program, ways: Ways | None = None) -> int:
    """Bytes of a step by the plan."""
    made, scratch, workspace = planned(program, ways=ways)
    return made.total + scratch * THREADS + workspace


def least(program: Program, *, fixed: bool = False) -> int:
    """What the error for an impossible limit says, in bytes."""
    with pytest.raises(UsageError, match=r"^--memory 1 kB: 40 images at a time take at least \d+ kB; ") as error:
        fit(program, 1, Ways(), threads=THREADS, fixed=fixed)
    assert ("fewer --threads" in str(error.value)) == fixed
    found = re.search(r"at least (\d+ kB)", str(error.value))
    assert found
    return bytes_of(found[1])


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500_000_000),
        ("500 mb", 500_000_000),
        ("2GiB", 2 << 30),
        ("1.5GB", 1_500_000_000),
        ("64KiB", 65536),
        ("7kB", 7000),
        ("3MiB", 3 << 20),
        ("12345", 12345),
        ("12345B", 12345),
        (12345, 12345),
    ],
)
def test_sizes(text: str | int, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "MB", "0", "0.0001kB", "-1MB", "5XB", "5M", "1e9", "1,5GB", "٣MB", "9" * 40, -5])
def test_what_is_no_size(text: str | int) -> None:
    with pytest.raises(
        UsageError, match=r"^--memory .*: a size such as 500MB or 2GiB, or a number of bytes, is needed$"
    ):
        bytes_of(text)


def test_sizes_are_said_rounded_up() -> None:
    assert [size_text(size) for size in (1, 9_000_001, 10**7 + 1, 2 * 10**9)] == ["1 kB", "9001 kB", "11 MB", "2000 MB"]


def test_enough_is_enough(program: Program) -> None:
    whole = taken(program)
    found = fit(program, whole, Ways(), threads=THREADS)
    assert found.program is program
    assert (found.total, found.again, found.plainer, found.extra) == (whole, (), (), 0)
    assert found.text() == f"memory limit {size_text(whole)}: kept at no cost"
    tighter = fit(program, whole - 1, Ways(), threads=THREADS)
    assert tighter.plainer or tighter.again


def test_every_limit_is_kept_or_refused(program: Program) -> None:
    whole, lowest = taken(program), least(program)
    assert lowest < 0.8 * whole
    extras = []
    for limit in range(lowest, whole, (whole - lowest) // 6 + 1):
        found = fit(program, limit, Ways(), threads=THREADS)
        assert found.total == taken(found.program, found.ways) <= limit
        assert bool(found.again) == any(one.name.endswith(AGAIN) for one in found.program.launches)
        assert set(found.plainer) == set(found.ways.chosen)
        extras.append(found.extra)
    assert extras == sorted(extras, reverse=True)
    assert extras[0] > 0
    assert "computed again" in fit(program, lowest, Ways(), threads=THREADS).text()


def test_the_executor_takes_what_was_said(program: Program) -> None:
    found = fit(program, least(program), Ways(), threads=THREADS)
    with Executor(found.program, Store(), threads=THREADS, ways=found.ways) as executor:
        assert executor.memory_bytes() == found.total


def test_algorithms_that_are_fixed_stay(program: Program) -> None:
    ways = {
        one.name: problem.algorithm for one in program.launches if (problem := Ways().problem(one, 40, host_target()))
    }
    assert any(way != DIRECT for way in ways.values())
    lowest = least(program, fixed=True)
    assert least(program) < lowest
    conv = next(one for one in program.launches if ways[one.name] != DIRECT)
    again = Ways({conv.name: DIRECT}).problem(replace(conv, name=conv.name + AGAIN), 40, host_target())
    # Whatever arithmetic would choose.
    assert again and again.algorithm == DIRECT
    for chosen in (ways, dict.fromkeys(ways, DIRECT)):
        limit = min(lowest, int(0.85 * taken(program, Ways(chosen))))
        found = fit(program, limit, Ways(chosen), threads=THREADS, fixed=True)
        assert found.again
        assert not found.plainer
        for one in found.program.launches:
            problem = found.ways.problem(one, 40, host_target())
            assert problem is None or problem.algorithm == chosen[one.name.removesuffix(AGAIN)]


def test_sums_over_parts_are_updated_at_the_end() -> None:
    program = lower(net(), 40, accumulate=True)
    found = fit(program, taken(program) - 1, Ways(), threads=THREADS).program
    assert [one.name for one in found.launches[found.update :]] == [
        one.name for one in program.launches[program.update :]
    ]
