"""Gradients compared with two-sided differences, in float64 through the references of the ops.

The differences are taken of the program as the layers launch it, the gradients from the one that has been rewritten for
speed, so that the rewrites are checked as well. Weights are drawn large enough for every layer to matter, data from a
normal distribution; dropout keeps one mask.

A cost with rectifiers and maxima has kinks, where a difference says nothing of the gradient. An element is measured
with steps h and h/2: where the cost is smooth, both give the same slope, and a curvature in the ratio of four. Where
they do not, h is made smaller; an element that still has a kink then is rejected and counted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.graph import Net, lower
from convjit.graph.lower import output_name
from convjit.layers.cost import Cost
from convjit.program import Program, Role, finish
from convjit.runtime.reference import ReferenceExecutor

__all__ = ["TOLERANCE", "ArrayCheck", "GradientCheck", "check_gradients"]

TOLERANCE = 1e-5
"""Largest relative error that passes."""

_STEPS = (1e-4, 1e-5, 1e-6)
# A slope that changes by this share of the array's typical gradient between h and h/2 betrays a kink ...
_KINK = 2e-7
# ... unless rounding explains it: the cost comes with an error of about this many units in its last place.
_ROUNDING = 200 * 2.0**-52
_FEWEST = 3

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ArrayCheck:
    """One array: a learned one, or the images that a data layer gives.

    `relative_error` is |numeric - analytic| / max(|numeric|, |analytic|) over the checked elements (Euclidean norms);
    `numeric` and `analytic` are those of the element at `worst_index`, where they differ most.
    """

    name: str
    layer: str
    relative_error: float
    worst_index: tuple[int, ...]
    numeric: float
    analytic: float
    elements: int
    checked: int
    rejected: int

    @property
    def passed(self) -> bool:
        """Whether the gradient is right, as far as elements could be checked."""
        return self.checked > 0 and self.relative_error < TOLERANCE


@dataclass(frozen=True)
class GradientCheck:
    """The whole check. `cut_short` says that time did not allow as many elements as were asked for."""

    arrays: tuple[ArrayCheck, ...]
    batch: int
    seconds: float
    cut_short: bool

    @property
    def passed(self) -> bool:
        """Whether every array passed."""
        return all(array.passed for array in self.arrays)


def check_gradients(
    net: Net,
    *,
    seed: int = 1,
    batch: int = 3,
    most: int = 200,
    seconds: float = 120.0,
    progress: Callable[[ArrayCheck], None] | None = None,
) -> GradientCheck:
    """Check the gradients of every learned array that is not frozen, and of the images.

    At most `most` elements of an array are checked, chosen by the seed, and as few as 3 when `seconds` run out.
    `progress` hears of each array as it is done.
    """
    start = time.monotonic()
    raw = lower(net, batch, "gradients", rewrite=False)
    values = _values(net, raw, seed)
    analytic = ReferenceExecutor(finish(raw))
    analytic.arrays.update(values)
    analytic.run()
    names = [name.removesuffix(".grad") for name in raw.of_role(Role.OUTPUT) if name.endswith(".grad")]
    names.sort(key=[*net.nodes, *net.learned()].index)
    cost = _Cost(net, raw, values)
    found, cut_short = [], False
    for position, name in enumerate(names):
        gradient = analytic.arrays[f"{name}.grad"]
        chosen = _chosen(gradient, random.derive_key(seed, f"check:{name}"))[:most]
        left = seconds - (time.monotonic() - start)
        deadline = time.monotonic() + left / (len(names) - position)
        one, complete = _check(cost, name, gradient, chosen, deadline)
        cut_short |= not complete
        found.append(one)
        if progress:
            progress(one)
    return GradientCheck(tuple(found), batch, time.monotonic() - start, cut_short)


class _Cost:
    """The cost as a function of one element of one array, by running only the launches that depend on the array."""

    def __init__(self, net: Net, program: Program, values: dict[str, NDArray[Any]]) -> None:
        self._weights = {f"{c.name}.totals": c.coeff for c in net.costs if isinstance(c, Cost)}
        self._launches = program.launches
        self._end = 1 + max(i for i, launch in enumerate(program.launches) if launch.written & set(self._weights))
        self._executor = ReferenceExecutor(program)
        self._executor.arrays.update(values)
        self._executor.run(0, self._end)
        self._base = {n: np.ascontiguousarray(array) for n, array in self._executor.arrays.items()}
        self.here = self._total()

    def first(self, name: str) -> int:
        """The first launch to run again when an array has changed."""
        first = next(i for i, launch in enumerate(self._launches) if name in launch.read)
        # What that launch adds to must be made anew as well.
        made = [i for i, launch in enumerate(self._launches[:first]) if launch.written & self._launches[first].written]
        return min(made, default=first)

    def at(self, name: str, index: int, delta: float, first: int) -> float:
        """The cost with `delta` added to an element."""
        self._executor.arrays = dict(self._base)
        element = self._base[name].reshape(-1)[index : index + 1]
        before = element.copy()
        element += delta
        self._executor.run(first, self._end)
        element[:] = before
        return self._total()

    def _total(self) -> float:
        return sum(coeff * float(self._executor.arrays[name][0]) for name, coeff in self._weights.items())


def _chosen(gradient: Array, key: random.Key) -> NDArray[np.int64]:
    """Elements in a random order in which those whose gradient is 0, and says little, are every second at most."""
    order = random.permutation(key, gradient.size)
    zero = gradient.reshape(-1)[order] == 0
    rank = np.where(zero, np.cumsum(zero), np.cumsum(~zero))
    return order[np.lexsort((zero, rank))]


def _check(
    cost: _Cost, name: str, gradient: Array, chosen: NDArray[np.int64], deadline: float
) -> tuple[ArrayCheck, bool]:
    """One array, and whether there was time for all chosen elements."""
    array = output_name(name)
    first = cost.first(array)
    measured: list[tuple[int, float, float]] = []
    for index in chosen:
        if len(measured) >= _FEWEST and time.monotonic() > deadline:
            break
        measured.append((int(index), *_measure(cost, array, int(index), _STEPS[0], first)))
    typical = math.sqrt(sum(slope * slope for _, slope, _ in measured) / len(measured))
    numeric: dict[int, float] = {}
    for index, slope, bend in measured:
        for step in _STEPS:
            if step != _STEPS[0]:
                slope, bend = _measure(cost, array, index, step, first)
            if bend <= max(_KINK * typical, _ROUNDING * max(abs(cost.here), 1) / step):
                numeric[index] = slope
                break
    return _compared(name, gradient, numeric, len(measured)), len(measured) == len(chosen)


def _measure(cost: _Cost, name: str, index: int, step: float, first: int) -> tuple[float, float]:
    """Slope at an element, and by how much slope or curvature are not those of a smooth function."""
    high, low = (cost.at(name, index, sign * step, first) for sign in (1, -1))
    near_high, near_low = (cost.at(name, index, sign * step / 2, first) for sign in (1, -1))
    slope, near_slope = (high - low) / (2 * step), (near_high - near_low) / step
    curvature = high + low - 2 * cost.here - 4 * (near_high + near_low - 2 * cost.here)
    return near_slope, max(abs(slope - near_slope), abs(curvature) / step)


def _compared(name: str, gradient: Array, numeric: dict[int, float], tried: int) -> ArrayCheck:
    layer = name.rpartition(".")[0] or name
    if not numeric:
        return ArrayCheck(name, layer, math.nan, (), math.nan, math.nan, gradient.size, 0, tried)
    indices = np.array(list(numeric))
    measured, computed = np.array(list(numeric.values())), gradient.reshape(-1)[indices]
    size = max(float(np.linalg.norm(measured)), float(np.linalg.norm(computed)))
    worst = int(np.argmax(np.abs(measured - computed)))
    return ArrayCheck(
        name,
        layer,
        float(np.linalg.norm(measured - computed)) / size if size else 0.0,
        tuple(int(i) for i in np.unravel_index(indices[worst], gradient.shape)),
        float(measured[worst]),
        float(computed[worst]),
        gradient.size,
        len(numeric),
        tried - len(numeric),
    )


def _values(net: Net, program: Program, seed: int) -> dict[str, NDArray[Any]]:
    """Random contents of everything that the host or an earlier step writes."""
    found: dict[str, NDArray[Any]] = {}
    for name, buffer in program.of_role(Role.INPUT, Role.WEIGHTS).items():
        shape = buffer.operand.logical(program.batch)
        key = random.derive_key(seed, f"check:values:{name}")
        drawn = random.normal(key, math.prod(shape)).reshape(shape)
        if name == "labels":
            classes = min(net.nodes[cost.inputs[-1]].output.features for cost in net.costs)
            found[name] = (random.uniform(key, math.prod(shape)).reshape(shape) * classes).astype(np.int32)
        elif name.endswith(".key"):
            found[name] = random.words(key, math.prod(shape)).view(np.int32)
            found[name][2:] = 0
        elif name in ("crops", "cuts", "mean", "tints"):
            found[name] = np.zeros(shape, np.int32 if name in ("crops", "cuts") else np.float64)
        elif name == "targets":
            found[name] = random.uniform(key, math.prod(shape)).reshape(shape)
        elif buffer.role is Role.WEIGHTS:
            # He et al. 2015: keeps the size of activations from layer to layer; biases smaller than what they shift.
            found[name] = drawn * (math.sqrt(2 / math.prod(shape[1:])) if name.rpartition(".")[2] != "biases" else 0.1)
        else:
            found[name] = drawn
    return found
