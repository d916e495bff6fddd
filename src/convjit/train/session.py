"""A net at work: its learned arrays, and its programs compiled for one number of images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.data import Batch, Dataset, Images, centre_batches
from convjit.errors import RunError
from convjit.graph import Net, Recipe, lower
from convjit.graph.lower import Mode
from convjit.layers import Cost, Learned
from convjit.program import Program, Role
from convjit.runtime import Executor, Store
from convjit.train.sums import Sums

__all__ = ["CompileProgress", "Session", "mean_of"]

CompileProgress = Callable[[int, int], None]


def mean_of(dataset: Dataset, net: Net, recipe: Recipe) -> NDArray[np.float32]:
    """What is taken off the pixels, [C,h,w]: the centre of the mean training image, or nothing."""
    h, w = net.input.height, net.input.width
    if recipe.mean == "none":
        return np.zeros((net.input.channels, h, w), np.float32)
    top, left = (net.image.height - h) // 2, (net.image.width - w) // 2
    return dataset.mean_image()[:, top : top + h, left : left + w].copy()


class Session:
    """Steps over minibatches of up to `batch` images. Programs are compiled when they are first asked for.

    `mean` is [C,h,w]. Reported are loss and error of the net's first cost. Close it, so that its threads end.
    """

    def __init__(
        self,
        net: Net,
        batch: int,
        mean: NDArray[np.float32],
        *,
        threads: int | None = None,
        progress: CompileProgress | None = None,
    ) -> None:
        self.net, self.batch, self.mean = net, batch, mean
        self.store = Store()
        self._threads, self._progress = threads, progress
        self._executors: dict[Mode, Executor] = {}
        self._rates: list[tuple[NDArray[np.float32], Learned]] = []
        self._keys: list[tuple[NDArray[np.int32], str]] = []
        costs = [cost for cost in net.costs if isinstance(cost, Cost)]
        self._totals = [f"{cost.name}.totals" for cost in costs]
        columns = costs[0].columns
        self._error = columns.index("error") if "error" in columns else 0

    def executor(self, mode: Mode) -> Executor:
        """The compiled program of one mode."""
        if mode not in self._executors:
            executor = Executor(
                lower(self.net, self.batch, mode), self.store, threads=self._threads, progress=self._progress
            )
            self._executors[mode] = executor
            host = executor.host
            if "mean" in host:
                np.copyto(host["mean"], self.mean)
            if "labels" in host:
                host["labels"][:] = -1
            if mode == "train":
                self._rates = [
                    (host[f"{name}.rates"], learned)
                    for name, learned in self.net.learned().items()
                    if f"{name}.rates" in host
                ]
                self._keys = [(host[name], name.removesuffix(".key")) for name in host if name.endswith(".key")]
        return self._executors[mode]

    def step(self, batch: Batch, *, seed: int, progress: float, epoch: float) -> Sums:
        """Train on one minibatch. `progress` is the share of the whole training that is done, `epoch` the epochs."""
        executor = self.executor("train")
        for array, learned in self._rates:
            array[:] = (learned.epsilon.value(progress, epoch), learned.momentum, learned.decay, 1 / batch.count)
        for words, layer in self._keys:
            words[:] = np.array(random.derive_key(seed, f"dropout:{layer}", batch.step), np.uint32).view(np.int32)
        return self._run(executor, batch)

    def test(self, images: Images, stop: Callable[[], bool] | None = None) -> Sums | None:
        """Loss and error over images; None if `stop` said so in between."""
        executor = self.executor("test")
        sums = Sums()
        for batch in centre_batches(images, self.batch, self._crop):
            if stop and stop():
                return None
            sums += self._run(executor, batch)
        return sums

    def predict(self, images: Images) -> Iterator[NDArray[np.float32]]:
        """Probabilities (or what the net gives instead), one row of classes per image."""
        executor = self.executor("predict")
        rows = executor.host[f"{self.net.outputs[0]}.rows"]
        for batch in centre_batches(images, self.batch, self._crop):
            self._feed(executor, batch)
            executor.run()
            yield from rows[: batch.count].copy()

    @property
    def _crop(self) -> tuple[int, int] | None:
        return None if self.net.crop == (0, 0) else self.net.crop

    def _run(self, executor: Executor, batch: Batch) -> Sums:
        self._feed(executor, batch)
        executor.run()
        totals = [executor.host[name] for name in self._totals]
        sums = Sums(float(totals[0][0]), float(totals[0][self._error]), batch.count)
        if not all(math.isfinite(float(one[0])) for one in totals):
            return Sums(math.nan, math.nan, batch.count)
        return sums

    def _feed(self, executor: Executor, batch: Batch) -> None:
        host = executor.host
        for name, array in (("pixels", batch.pixels), ("crops", batch.crops), ("labels", batch.labels)):
            if name in host:
                np.copyto(host[name][: self.batch], array)

    # Learned arrays

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Learned arrays and their increments by name, as they lie in the store."""
        names = [name for learned in self.net.learned() for name in (learned, f"{learned}.inc")]
        return {name: self.store[name] for name in names if name in self.store}

    def set_arrays(self, arrays: Iterable[tuple[str, NDArray[np.float32]]], *, increments: bool = True) -> None:
        """Fill the store; RunError unless all that the net has is there, in the right shape."""
        wanted = self._stored(increments)
        for name, value in arrays:
            if name in wanted:
                if value.shape != self.store[name].shape or value.dtype != np.float32:
                    found = f"{value.dtype} {list(value.shape)}"
                    raise RunError(f"array '{name}' is {found}; the net has float32 {list(self.store[name].shape)}")
                np.copyto(self.store[name], value)
                wanted.remove(name)
        if wanted:
            raise RunError(f"array '{min(wanted)}' of the net is missing")

    def _stored(self, increments: bool) -> set[str]:
        roles = (Role.WEIGHTS, Role.INCREMENTS) if increments else (Role.WEIGHTS,)
        programs: list[Program] = [executor.program for executor in self._executors.values()]
        return {name for program in programs for name in program.of_role(*roles)}

    def finite(self) -> bool:
        """Whether every learned number is finite."""
        return all(bool(np.isfinite(array).all()) for array in self.arrays().values())

    def weights_sha256(self) -> str:
        """Of all learned arrays in order, as little-endian float32."""
        digest = hashlib.sha256()
        for name in self.net.learned():
            digest.update(np.ascontiguousarray(self.store[name], "<f4").data)
        return digest.hexdigest()

    def close(self) -> None:
        """End the threads."""
        for executor in self._executors.values():
            executor.close()
        self._executors = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
