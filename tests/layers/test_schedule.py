from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convjit.layers import Schedule

UP = math.nextafter


def test_const() -> None:
    for text in ("0.25", "const[base=.25]", "CONST[Base = 25e-2]"):
        schedule = Schedule.parse(text)
        assert schedule == Schedule.const(0.25)
        assert schedule.value(0) == schedule.value(0.3, 7) == schedule.value(1) == 0.25


def test_linear() -> None:
    schedule = Schedule.parse("linear[base=0.8;tgtFactor=4]")
    assert [schedule.value(p) for p in (0, 0.5, 1)] == pytest.approx([0.8, 0.5, 0.2], abs=1e-16)


def test_exp() -> None:
    schedule = Schedule.parse("exp[base=0.8;tgtFactor=100]")
    assert [schedule.value(p) for p in (0, 0.5, 1)] == pytest.approx([0.8, 0.08, 0.008], abs=1e-16)


def test_staircase_at_its_edges() -> None:
    """n=4: the first step reaches to p=1/4 inclusive, and the last is base/tgtFactor exactly."""
    schedule = Schedule.parse("dexp[base=1;tgtFactor=8;numSteps=4]")
    steps = [1, 1 / 2, 1 / 4, 1 / 8]
    assert [schedule.value(p) for p in (0, 0.25, 0.5, 0.75, 1)] == pytest.approx([1, *steps], rel=1e-15)
    beyond = [schedule.value(p) for p in (UP(0.25, 1), 0.2500001, UP(0.5, 1), UP(0.75, 1))]
    assert beyond == pytest.approx([steps[1], *steps[1:]], rel=1e-15)
    assert schedule.value(1) == 0.125


@given(st.integers(1, 40), st.integers(0, 40))
def test_staircase_as_the_definition_says(n: int, i: int) -> None:
    schedule = Schedule("dexp", 1.0, 10.0, n)
    for p in (i / n, UP(i / n, -1), UP(i / n, 2)):
        inside = min(max(p, 0), 1)
        step = next(k for k in range(n) if inside <= (k + 1) / n)
        expected = 0.1 if n == 1 else 10 ** (-step / (n - 1))
        assert schedule.value(p) == pytest.approx(expected, rel=1e-12)


def test_one_step_is_the_target() -> None:
    assert Schedule.parse("dexp[base=1;tgtFactor=8;numSteps=1]").value(0) == 0.125


def test_steps() -> None:
    schedule = Schedule.parse("steps[base=0.001;factor=10;epochs=120,130]")
    assert list(schedule.epochs) == [120, 130]
    assert schedule.value(0.5, 0) == schedule.value(0.9, UP(120, 0)) == 0.001
    assert schedule.value(0, 120) == schedule.value(0, UP(130, 0)) == 0.0001
    assert schedule.value(0, 130) == schedule.value(1, 1000) == 0.00001


def test_progress_is_clamped() -> None:
    schedule = Schedule.parse("linear[base=1;tgtFactor=2]")
    assert (schedule.value(-1), schedule.value(2)) == (1, 0.5)


def test_scaled() -> None:
    assert Schedule.parse("exp[base=2;tgtFactor=3]").scaled(0.5).text() == "exp[base=1;tgtFactor=3]"


NUMBERS = st.floats(0, 1e30).filter(lambda x: x == 0 or x > 1e-30)
FACTORS = st.floats(1e-6, 1e6)
SCHEDULES = st.one_of(
    NUMBERS.map(Schedule.const),
    st.builds(Schedule, st.sampled_from(["linear", "exp"]), NUMBERS, FACTORS),
    st.builds(Schedule, st.just("dexp"), NUMBERS, FACTORS, st.integers(1, 1000)),
    st.builds(
        lambda base, factor, epochs: Schedule("steps", base, factor, 1, tuple(sorted(epochs))),
        NUMBERS,
        FACTORS,
        st.sets(st.floats(0.001, 1e6), min_size=1, max_size=5),
    ),
)


@given(SCHEDULES)
def test_text_round_trip(schedule: Schedule) -> None:
    assert Schedule.parse(schedule.text()) == schedule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a number, or a schedule such as exp[base=0.01;tgtFactor=10]"),
        ("fast", "must be a number, or a schedule such as exp[base=0.01;tgtFactor=10]"),
        ("nan", "must be a number, or a schedule such as exp[base=0.01;tgtFactor=10]"),
        ("-0.1", "base=-0.1 must be 0 or more"),
        (
            "dex[base=1]",
            "'dex' is no schedule; there are const, linear, exp, dexp, steps (did you mean 'dexp'?)",
        ),
        ("exp[base=1]", "must be written exp[base=...;tgtFactor=...]"),
        ("const[base=1;tgtFactor=2]", "must be written const[base=...]"),
        ("exp[base=1;base=2]", "'base=2' is not one key=value of each key, separated by ;"),
        ("exp[base=1;tgtFactor=0]", "tgtFactor=0 must be above 0"),
        ("dexp[base=1;tgtFactor=2;numSteps=0]", "numSteps=0 must be at least 1"),
        ("dexp[base=1;tgtFactor=2;numSteps=1.5]", "must be a whole number, at most 2147483647"),
        ("steps[base=1;factor=10;epochs=]", "epochs must be rising numbers above 0"),
        ("steps[base=1;factor=10;epochs=9,8]", "epochs must be rising numbers above 0"),
        ("steps[base=1e400;factor=10;epochs=9]", "must be a number, such as 0.01 or 1e-4"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        Schedule.parse(text)
    assert str(error.value) == message
