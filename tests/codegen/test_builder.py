"""The builder: what each verb writes does what its docstring says, on every target of this processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from native import run
from numpy.typing import NDArray

from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target, runnable_targets
from convjit.codegen.tile import Tile
from convjit.codegen.values import I64, Value

pytestmark = pytest.mark.parametrize("target", runnable_targets(), ids=lambda target: target.name)

NdArray = NDArray[Any]


def vector(target: Target, *numbers: float) -> NdArray:
    return np.resize(np.array(numbers, np.float32), target.lanes)


def counted(target: Target, write: Callable[[Kernel, Callable[[], None]], None], task: int = 0) -> int:
    """How often the code ran that `write` places by calling its second argument."""

    def kernel(k: Kernel) -> None:
        place = k.integers("n")

        def once() -> None:
            place.store(place.load() + 1)

        write(k, once)

    return int(run(target, kernel, task, n=np.zeros(1, np.int32))["n"][0])


@pytest.mark.parametrize(("start", "stop", "step", "times"), [(0, 5, 1, 5), (2, 9, 3, 3), (4, 5, 7, 1)])
def test_loops_of_known_length(target: Target, start: int, stop: int, step: int, times: int) -> None:
    def write(k: Kernel, once: Callable[[], None]) -> None:
        with k.loop(start, stop, step):
            once()

    assert counted(target, write) == times


@pytest.mark.parametrize("stop", [-3, 0, 1, 2, 7])
def test_loops_may_run_zero_times(target: Target, stop: int) -> None:
    def write(k: Kernel, once: Callable[[], None]) -> None:
        with k.loop(0, k.task):
            once()

    assert counted(target, write, task=stop) == max(stop, 0)


def test_a_loop_that_never_runs_is_refused(target: Target) -> None:
    k = Kernel("never", (), target)
    with pytest.raises(ValueError, match="never runs"), k.loop(3, 3):
        pass


def test_nested_loops_and_conditions(target: Target) -> None:
    def write(k: Kernel, once: Callable[[], None]) -> None:
        with k.loop(0, 6, name="outer") as i, k.loop(i, 6, name="inner") as j, k.when((i + j).equals(5)):
            once()

    assert counted(target, write) == 3


def test_loops_yield_their_index(target: Target) -> None:
    def write(k: Kernel) -> None:
        out = k.integers("out")
        with k.loop(3, k.task, 2) as i:
            out.store(k.to_word(i * 10), (i - 3) // 2)

    found = run(target, write, task=8, out=np.zeros(4, np.int32))["out"]
    np.testing.assert_array_equal(found, [30, 50, 70, 0])


def test_variables_outlive_loops(target: Target) -> None:
    def write(k: Kernel) -> None:
        (total,) = k.variables(1, I64)
        total.store(k.index(1))
        with k.loop(0, k.task) as i:
            total.store(total.load() * (i + 1))
        k.integers("out").store(k.to_word(total.load()))

    assert run(target, write, task=6, out=np.zeros(1, np.int32))["out"][0] == 720


def test_split(target: Target) -> None:
    def write(k: Kernel) -> None:
        for place, part in enumerate(k.split(k.task, 5, 1, 3, 4)):
            k.integers("out").store(k.to_word(part), place)

    for task in (0, 7, 59):
        found = run(target, write, task, out=np.zeros(4, np.int32))["out"]
        np.testing.assert_array_equal(found, np.unravel_index(task, (5, 1, 3, 4)))


ARITHMETIC: list[tuple[str, Callable[[Kernel, Value, Value], Value], Callable[[NdArray, NdArray], NdArray]]] = [
    ("sum", lambda k, a, b: a + b + 1.5, lambda a, b: a + b + np.float32(1.5)),
    ("difference", lambda k, a, b: 2.0 - (a - b), lambda a, b: 2 - (a - b)),
    ("product", lambda k, a, b: 3.0 * a * b, lambda a, b: 3 * a * b),
    ("quotient", lambda k, a, b: 1.0 / b + a / b, lambda a, b: 1 / b + a / b),
    ("negative", lambda k, a, b: -a, lambda a, b: -a),
    ("larger", lambda k, a, b: k.maximum(a, b), np.maximum),
    ("smaller", lambda k, a, b: k.minimum(a, b), np.minimum),
    ("magnitude", lambda k, a, b: k.absolute(a), lambda a, b: np.abs(a)),
    ("root", lambda k, a, b: k.sqrt(k.absolute(a)), lambda a, b: np.sqrt(np.abs(a))),
    ("choice", lambda k, a, b: k.select(a >= 0.0, a, b), lambda a, b: np.where(a >= 0, a, b)),
    ("choice of numbers", lambda k, a, b: k.select(a < b, a, 7.0), lambda a, b: np.where(a < b, a, 7)),
    ("bits", lambda k, a, b: k.as_floats(k.as_words(a) ^ k.as_words(b) ^ k.as_words(b)), lambda a, b: a),
    ("whole", lambda k, a, b: k.to_float(k.truncate(a * 10)), lambda a, b: np.trunc(a * 10)),
    ("same", lambda k, a, b: k.select(a.equals(a), k.number(1), 0.0), lambda a, b: np.ones_like(a)),
]


@pytest.mark.parametrize(("write", "expected"), [case[1:] for case in ARITHMETIC], ids=[case[0] for case in ARITHMETIC])
def test_arithmetic(
    target: Target,
    write: Callable[[Kernel, Value, Value], Value],
    expected: Callable[[NdArray, NdArray], NdArray],
) -> None:
    a, b = np.random.default_rng(0).standard_normal((2, target.lanes)).astype(np.float32)

    def kernel(k: Kernel) -> None:
        k.vectors("out").store(write(k, k.vectors("a").load(), k.vectors("b").load()))

    found = run(target, kernel, a=a, b=b, out=np.zeros_like(a))["out"]
    np.testing.assert_array_equal(found, expected(a, b))


def test_the_larger_of_nan_and_a_number_is_nan(target: Target) -> None:
    def kernel(k: Kernel) -> None:
        a, b = k.vectors("a").load(), k.vectors("b").load()
        k.vectors("out").store(k.maximum(a, b))
        k.vectors("out").store(k.minimum(a, b), 1)

    nan, one = vector(target, np.nan), vector(target, 1)
    assert np.isnan(run(target, kernel, a=nan, b=one, out=np.zeros((2, target.lanes), np.float32))["out"]).all()


def test_fma_is_rounded_once_where_the_target_can(target: Target) -> None:
    # (1 + e)(1 - e) - 1 is -e**2, which two roundings lose.
    e = 2**-13

    def kernel(k: Kernel) -> None:
        a, b = k.vectors("a").load(), k.vectors("b").load()
        k.vectors("out").store(k.fma(a, b, k.number(-1)))

    found = run(target, kernel, a=vector(target, 1 + e), b=vector(target, 1 - e), out=vector(target, 9))["out"]
    np.testing.assert_array_equal(found, -(e**2) if target.fma else 0)


def test_lane_sum_adds_halves_to_halves(target: Target) -> None:
    numbers = np.random.default_rng(1).standard_normal(target.lanes).astype(np.float32) * np.logspace(
        -3, 3, target.lanes, dtype=np.float32
    )

    def kernel(k: Kernel) -> None:
        k.scalars("out").store(k.lane_sum(k.vectors("a").load()))

    found = run(target, kernel, a=numbers, out=np.zeros(1, np.float32))["out"][0]
    parts = numbers
    while len(parts) > 1:
        parts = parts[: len(parts) // 2] + parts[len(parts) // 2 :]
    assert found == parts[0]


def test_lanes(target: Target) -> None:
    v = target.lanes
    numbers = np.arange(v, dtype=np.float32)

    def kernel(k: Kernel) -> None:
        a, out = k.vectors("a").load(), k.vectors("out")
        order = [i // 2 if i % 2 == 0 else v + i // 2 for i in range(v)]
        out.store(k.shuffle(a, a + 100.0, order), 0)
        out.store(k.broadcast(k.lane(a, v - 1)), 1)
        out.store(k.with_lane(a, k.lane(a, 0) - 5.0, 2), 2)
        out.store(k.pack([k.lane(a, v - 1 - i) for i in range(v)]), 3)
        out.store(k.to_float(k.lane_numbers()), 4)

    found = run(target, kernel, a=numbers, out=np.zeros((5, v), np.float32))["out"]
    expected = np.stack([numbers // 2, np.full(v, v - 1), numbers, numbers[::-1], numbers])
    expected[0, 1::2] += 100
    expected[2, 2] = -5
    np.testing.assert_array_equal(found, expected)


def test_integers(target: Target) -> None:
    def kernel(k: Kernel) -> None:
        word, out = k.integers("word"), k.integers("out")
        out.store(k.to_word(k.to_index(word.load()) >> 1), 0)
        out.store(k.to_word(k.to_index(k.bytes("byte").load()) + 1), 1)
        out.store(k.lane((k.word(-1) >> 28) & 6, 0), 2)
        out.store(k.to_word(k.minimum_index(k.task, 5) % 4), 3)
        out.store(k.to_word(-k.task | 1), 4)

    word, byte = np.array([-2], np.int32), np.array([255], np.uint8)
    found = run(target, kernel, task=7, word=word, byte=byte, out=np.zeros(5, np.int32))["out"]
    np.testing.assert_array_equal(found, [-1, 256, 6, 1, -7])


def test_scratch_is_apart(target: Target) -> None:
    def kernel(k: Kernel) -> None:
        first, second = k.scratch(2), k.scratch(1)
        second.store(k.number(7))
        first.store(k.number(1), 0)
        first.store(k.number(2), 1)
        k.vectors("out").store(first.load(0) + first.load(1) + second.load())

    np.testing.assert_array_equal(run(target, kernel, out=vector(target, 0))["out"], 10)


def test_tile(target: Target) -> None:
    rows, columns, depth = 3, 2, 4
    rng = np.random.default_rng(2)
    a = rng.integers(-4, 5, (depth, rows)).astype(np.float32)
    b = rng.integers(-4, 5, (depth, columns, target.lanes)).astype(np.float32)

    def kernel(k: Kernel) -> None:
        tile = Tile(k, rows, columns)
        tile.init(lambda r, c: k.number(10 * r + c))
        with k.loop(0, depth) as i:
            weights = [k.broadcast(k.scalars("a").load(i * rows + r)) for r in range(rows)]
            tile.multiply_add(weights, [k.vectors("b").load(i * columns + c) for c in range(columns)])
        tile.each(lambda r, c, value: k.vectors("out").store(value, r * columns + c))

    found = run(target, kernel, a=a, b=b, out=np.zeros((rows, columns, target.lanes), np.float32))["out"]
    start = 10 * np.arange(rows)[:, None, None] + np.arange(columns)[None, :, None]
    np.testing.assert_array_equal(found, start + np.einsum("ir,icv->rcv", a, b))
