"""Tables of what was found out: gradient check, test, predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from convjit.data.stream import shown
from convjit.show.console import Screen, mean_share, percent
from convjit.train.evaluate import Prediction, TestResult
from convjit.train.gradient_check import ArrayCheck, GradientCheck
from convjit.train.sums import listed

__all__ = [
    "prediction_record",
    "print_json",
    "show_check",
    "show_prediction",
    "show_test",
    "test_record",
]

_TOP = 5


def print_json(record: dict[str, Any]) -> None:
    """One line for machines."""
    print(json.dumps(record), flush=True)


def show_check(screen: Screen, result: GradientCheck) -> None:
    """The gradient check: a row per array, then the verdict."""
    table = screen.table("array", ">relative error", ">checked", ">of", ">at kinks", "")
    for one in result.arrays:
        error = f"{one.relative_error:.1e}" if one.checked else "?"
        table.add_row(one.name, error, f"{one.checked}", f"{one.elements}", f"{one.rejected}", _verdict(one))
    screen.show(table)
    failed = [one.name for one in result.arrays if not one.passed]
    short = "; time did not allow all elements" if result.cut_short else ""
    verdict = f"{len(failed)} of {len(result.arrays)} gradients are wrong" if failed else "every gradient is right"
    screen.line(f"{verdict} ({result.seconds:.1f} s{short})")


def _verdict(one: ArrayCheck) -> str:
    if one.passed:
        return "right"
    if not one.checked:
        return "could not be checked"
    return f"WRONG at {list(one.worst_index)}: numeric {one.numeric:.6g}, ours {one.analytic:.6g}"


def test_record(run: str, result: TestResult) -> dict[str, Any]:
    """A test for machines; the error is 0 to 1."""
    found = {"run": run, "step": result.step, "images": result.images}
    shares = {name: listed(rates) for name, rates in result.rates.items()}
    return {**found, "test_error": result.error, "test_loss": result.loss, **shares}


def show_test(screen: Screen, result: TestResult, classes: Sequence[str]) -> None:
    """A test; of detectors with what they are worth for every class."""
    trained = f"{result.images:,} images, after {result.step:,} steps of training"
    screen.line(f"test error {percent(result.error)}, loss {result.loss:.4f} ({trained})")
    if not result.rates:
        return
    table = screen.table("class", *(f">{name}" for name in result.rates))
    for label, *shares in zip(classes, *result.rates.values(), strict=False):
        table.add_row(shown(label), *map(percent, shares))
    table.add_row("mean", *(percent(mean_share(shares)) for shares in result.rates.values()))
    screen.show(table)


def prediction_record(found: Prediction) -> dict[str, Any]:
    """A prediction for machines, the most probable class first."""
    top = [{"class": name, "probability": probability} for name, probability in found.top(_TOP)]
    return {"image": found.image, "classes": top}


def show_prediction(screen: Screen, found: Prediction) -> None:
    """A prediction: the image, and its most probable classes."""
    screen.line(shown(found.image))
    for name, probability in found.top(_TOP):
        screen.line(f"  {100 * probability:6.2f} %  {shown(name)}")
