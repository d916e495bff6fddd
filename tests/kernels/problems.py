"""Problems as text, e.g. conv n128 c96 h27 f256 k5 p2 g2 "alexnet:conv2": what tests, sweeps and bug reports share.

`Case.check(target, seed)` runs every kernel of a problem and compares it with the reference bit for bit. A failure
names the string that scripts/kernel_sweep.py --problem takes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from harness import as_stored, integers, run_kernel
from numpy.typing import NDArray

from convjit.codegen.target import Target
from convjit.kernels import Problem
from convjit.ops import (
    NO_HALO,
    BiasBackward,
    ConvBackwardData,
    ConvBackwardWeights,
    ConvForward,
    ConvShape,
    FcBackwardData,
    FcBackwardWeights,
    FcForward,
    FcShape,
    Halo,
    LocalBackwardData,
    LocalBackwardWeights,
    LocalForward,
    LocalShape,
    Maps,
    Neuron,
    Op,
)

__all__ = ["Case", "failures", "parse", "random_case", "read"]

NdArray = NDArray[Any]
FOLDER = Path(__file__).parent.parent / "problems"
WORDS = ("accumulate", "bf16", "halo", "nobias", "relu", "unshared")
DRAWS = 20


@dataclass(frozen=True)
class Case:
    """One line: a shape, a number of images, and what is to be computed."""

    text: str
    batch: int
    shape: ConvShape | FcShape
    words: frozenset[str]
    name: str = ""

    def __str__(self) -> str:
        return self.text

    def ops(self) -> list[Op]:
        """Forward, both gradients and, of convolutions, that of the biases."""
        accumulate, relu = "accumulate" in self.words, Neuron("relu") if "relu" in self.words else None
        # What is added to holds the biases already, and is not yet through the neuron.
        bare = accumulate or "nobias" in self.words
        neuron = None if accumulate else relu
        if isinstance(self.shape, FcShape):
            return [
                FcForward(self.shape, not bare, neuron, accumulate),
                FcBackwardData(self.shape, accumulate),
                FcBackwardWeights(self.shape, accumulate),
            ]
        if isinstance(self.shape, LocalShape):
            return [
                LocalForward(self.shape, not bare, neuron, accumulate),
                LocalBackwardData(self.shape, accumulate),
                LocalBackwardWeights(self.shape, accumulate),
                BiasBackward(self.shape.output, False, accumulate),
            ]
        shared = "unshared" not in self.words
        return [
            ConvForward(self.shape, "none" if bare else "shared" if shared else "unshared", neuron, accumulate),
            ConvBackwardData(self.shape, accumulate),
            ConvBackwardWeights(self.shape, accumulate),
            BiasBackward(self.shape.output, shared, accumulate),
        ]

    def check(self, target: Target, seed: int = 0) -> None:
        """Compare every kernel with the reference; AssertionError with the string that does it again."""
        for op in self.ops():
            try:
                self._check(op, target, seed)
            except AssertionError as error:
                again = f"{self.text.partition(chr(34))[0].strip()} @{target.name} #{seed}"
                message = f"{op.kind()}: {error}\nagain: scripts/kernel_sweep.py --problem '{again}'"
                raise AssertionError(message) from None

    def _check(self, op: Op, target: Target, seed: int) -> None:
        problem = Problem(op, self.batch, self.halos(op, seed), target, narrow=self.narrow(op, seed))
        arrays, expected = self._draw(op, seed)
        for name, found in run_kernel(problem, arrays, seed=seed).items():
            want = as_stored(problem, name, expected[name])
            wrong = found != want
            if wrong.any():
                at = tuple(int(i) for i in np.argwhere(wrong)[0])
                difference = f"{found[at]} instead of {want[at]}"
                raise AssertionError(f"{name}: {wrong.sum()} of {wrong.size} differ, at {at}: {difference}")

    def halos(self, op: Op, seed: int = 0) -> tuple[tuple[str, Halo], ...]:
        """What the op asks for, and at random more if this is called "halo"."""
        found = {}
        rng = np.random.default_rng(seed)
        for name, operand in op.operands().items():
            extra = Halo(*map(int, rng.integers(0, 3, 4))) if "halo" in self.words else NO_HALO
            if isinstance(operand, Maps) and op.reach(name).union(extra) != NO_HALO:
                found[name] = op.reach(name).union(extra)
        return tuple((name, found[name]) for name in op.names if name in found)

    def narrow(self, op: Op, seed: int = 0) -> tuple[str, ...]:
        """Of an op that is called "bf16" all maps, or with another seed some of them."""
        maps = [name for name, operand in op.operands().items() if isinstance(operand, Maps) and "bf16" in self.words]
        rng = np.random.default_rng(seed)
        return tuple(name for name in op.names if name in maps and (seed == 0 or rng.random() < 0.6))

    def _draw(self, op: Op, seed: int) -> tuple[dict[str, NdArray], dict[str, NdArray]]:
        """Whole numbers for all that is read, and the results; drawn again while most results are 0."""
        read = [*op.reads, *(op.writes if getattr(op, "accumulate", False) else ())]
        shapes = {name: op.operands()[name].logical(self.batch) for name in read if name in op.names}
        linear = replace(op, neuron=None) if isinstance(op, ConvForward | FcForward | LocalForward) else op
        for draw in range(DRAWS):
            first = 100 * seed + 1000 * draw
            arrays = {name: integers(shape, first + i) for i, (name, shape) in enumerate(shapes.items())}
            expected = linear.run(arrays)
            if _trusted(linear, shapes, expected):
                break
        else:
            raise AssertionError(f"too many zeros to trust in {DRAWS} draws")
        if linear is not op:
            expected = op.run(arrays)
        return arrays, expected


def _trusted(op: Op, shapes: dict[str, tuple[int, ...]], expected: dict[str, NdArray]) -> bool:
    """Whether at most half of the results are 0, not counting those that no number reaches."""
    values = np.concatenate([array.reshape(-1) for array in expected.values()])
    if np.count_nonzero(values) * 2 >= values.size:
        return True
    ones = op.run({name: np.ones(shape, np.float32) for name, shape in shapes.items()})
    reached = np.concatenate([array.reshape(-1) for array in ones.values()]) != 0
    return bool(np.count_nonzero(values) * 2 >= np.count_nonzero(reached))


def parse(line: str) -> Case:
    """A line of a file of problems."""
    family, *words = shlex.split(line)
    name = words.pop() if line.rstrip().endswith('"') else ""
    numbers: dict[str, int] = {}
    for word in words:
        if match := re.fullmatch(r"(rows|columns|[nchwfkpsg])(\d+)", word):
            numbers[match[1]] = int(match[2])
        elif word not in WORDS:
            raise ValueError(f"{line}: what is '{word}'?")
    shape: ConvShape | FcShape
    if family == "fc":
        height = numbers.get("h", 1)
        shape = FcShape(Maps(numbers["c"], height, numbers.get("w", height)), numbers["f"])
    else:
        shape = (LocalShape if family == "local" else ConvShape).parse(line.partition('"')[0])
        shape = replace(shape, rows=numbers.get("rows", shape.rows), columns=numbers.get("columns", shape.columns))
    return Case(line, numbers["n"], shape, frozenset(words) & frozenset(WORDS), name)


def read(family: str) -> list[Case]:
    """The problems of a file."""
    lines = (FOLDER / f"{family}.txt").read_text(encoding="utf-8").splitlines()
    return [parse(line) for line in lines if line and not line.startswith("#")]


def random_case(family: str, seed: int, lanes: int) -> Case:
    """A problem that `seed` gives, of any geometry that is allowed and of a few million operations at most."""
    rng = np.random.default_rng([seed, len(family)])

    def pick(*choices: Any) -> int:
        return int(rng.choice(choices))

    def side(most: int) -> int:
        return int(rng.integers(1, most + 1))

    n = pick(1, 2, 3, lanes - 1, lanes, lanes + 1, 2 * lanes + 3)
    words = " ".join(word for word in WORDS if rng.random() < 0.3)
    if family == "fc":
        # On one pixel features may be many.
        h, w = (1, 1) if rng.random() < 0.4 else (side(6), side(6))
        c, f = side(100) if h * w == 1 else side(9), pick(1, 2, 3, 10, 16, 17, side(80))
        return parse(f"fc n{n} c{c} h{h} w{w} f{f} {words}")
    g = pick(1, 1, 1, 2, 3)
    c, f = g * pick(1, 2, 3, 4, 5, 7, 8, 13, 16), g * pick(1, 2, 3, 4, 5, 7, 8, 13, 16, 33)
    largest = 14
    if family == "local":
        # Weights are many and pixels few; channels are what the gradient of the weights has in its lanes.
        c, largest = g * pick(1, 2, 3, 5, lanes - 1, lanes, lanes + 1, 2 * lanes, 4 * lanes + 3), 6
    h, w, k, s = side(largest), side(largest), side(largest // 2), pick(1, 1, 1, 2, 2, 3, 4, 5)
    # Of the smallest padding for which a window fits, up to more than the filter's side.
    p = pick(*range(max(0, -(-(k - min(h, w)) // 2)), k + 3))
    case = parse(f"{family} n{n} c{c} h{h} w{w} f{f} k{k} p{p} s{s} g{g}")
    assert isinstance(case.shape, ConvShape)
    modules = ""
    if rng.random() < 0.2:
        rows, columns = (max(1, count + pick(-1, 0, 1, 2)) for count in (case.shape.rows, case.shape.columns))
        modules = f"rows{rows} columns{columns} "
    return parse(f"{case.text} {modules}{words}")


def failures(family: str, seeds: range, targets: list[Target]) -> Iterator[str]:
    """What went wrong in the random problems of some seeds, each on one of the targets."""
    for seed in seeds:
        target = targets[seed % len(targets)]
        try:
            random_case(family, seed, target.lanes).check(target, seed)
        except AssertionError as error:
            yield str(error)
