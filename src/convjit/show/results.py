"""Tables of what was found out: gradient check, test, predictions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit.data.stream import shown
from convjit.show.console import Screen, mean_share, outcome, percent
from convjit.train.evaluate import Prediction, TestResult
from convjit.train.gradient_check import ArrayCheck, GradientCheck
from convjit.train.sums import listed

__all__ = [
    "prediction_record",
    "print_json",
    "show_check",
    "show_confusion",
    "show_prediction",
    "show_test",
    "test_record",
]

_TOP = 5
_TABLE = 12
"""Classes up to which a confusion table fits on a screen."""
_WIDTH = 9
_PAIRS = 20
_BROKEN = 10
"""Broken images that are named."""


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


def test_record(
    run: str, result: TestResult, classes: Sequence[str] = (), counts: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """A test for machines; the error is 0 to 1, `counts` are those of a confusion table."""
    found: dict[str, Any] = {"run": run, "step": result.step, "images": result.images}
    found |= {"test_error": result.error if result.counts_errors else None, "test_loss": result.loss}
    found |= {name: listed(rates) for name, rates in result.rates.items()}
    if result.broken:
        found["broken"] = result.broken
    if result.unlabelled:
        found["unlabelled"] = result.unlabelled
    return found if counts is None else {**found, "classes": list(classes), "confusion": counts.tolist()}


def show_test(screen: Screen, result: TestResult, classes: Sequence[str]) -> None:
    """A test; of detectors with what they are worth for every class."""
    trained = f"{result.images:,} images, after {result.step:,} steps of training"
    screen.line(f"test {outcome(result.loss, result.error if result.counts_errors else None)} ({trained})")
    if result.broken:
        for line in result.skipped[:_BROKEN]:
            screen.warn(line)
        screen.warn(f"{result.broken} images cannot be decoded, and were left out")
    if result.unlabelled:
        screen.warn(f"{result.unlabelled} images have no label, and count neither as right nor as wrong")
    if not result.rates:
        return
    table = screen.table("class", *(f">{name}" for name in result.rates))
    for label, *shares in zip(classes, *result.rates.values(), strict=False):
        table.add_row(shown(label), *map(percent, shares))
    table.add_row("mean", *(percent(mean_share(shares)) for shares in result.rates.values()))
    screen.show(table)


def show_confusion(screen: Screen, classes: Sequence[str], counts: NDArray[np.int64]) -> None:
    """Which classes were taken for which: the whole table for a few classes, else the pairs confused most."""
    totals = counts.sum(1)
    if len(classes) <= _TABLE:
        table = screen.table("class", *(f">{shown(name)[:_WIDTH]}" for name in classes), ">right")
        for name, row, total, right in zip(classes, counts, totals, counts.diagonal(), strict=True):
            table.add_row(shown(name), *(str(count) if count else "." for count in row), _share(right, total))
        screen.line("rows are the images' classes, columns what the net takes them for")
        screen.show(table)
        return
    table = screen.table("class", "taken for", ">images", ">of the class")
    wrong = counts - np.diag(counts.diagonal())
    for place in np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]:
        row, column = divmod(int(place), len(classes))
        if wrong[row, column]:
            share = _share(wrong[row, column], totals[row])
            table.add_row(shown(classes[row]), shown(classes[column]), str(wrong[row, column]), share)
    screen.line(f"the classes confused most, of {len(classes):,}")
    screen.show(table)


def _share(part: np.int64, whole: np.int64) -> str:
    return percent(part / whole) if whole else ""


def prediction_record(found: Prediction) -> dict[str, Any]:
    """A prediction for machines, the most probable class first."""
    top = [{"class": name, "probability": probability} for name, probability in found.top(_TOP)]
    return {"image": found.image, "classes": top}


def show_prediction(screen: Screen, found: Prediction) -> None:
    """A prediction: the image, and its most probable classes."""
    screen.line(shown(found.image))
    for name, probability in found.top(_TOP):
        screen.line(f"  {100 * probability:6.2f} %  {shown(name)}")
