"""A net at work: its learned arrays, and its programs compiled for one number of images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.data import Batch, Dataset, Images, centre_batches, view_batches, views
from convjit.errors import RunError
from convjit.graph import Net, Recipe, lower
from convjit.graph.lower import Mode
from convjit.layers import Learned, Logreg
from convjit.program import Program, Role
from convjit.runtime import Executor, Store
from convjit.train.sums import CostSums, Sums

__all__ = ["CompileProgress", "Session", "mean_of"]

CompileProgress = Callable[[int, int], None]


def mean_of(dataset: Dataset, net: Net, recipe: Recipe) -> NDArray[np.float32]:
    """What is taken off the pixels, [C,h,w]: the centre of the mean training image, a number, or nothing."""
    h, w = net.input.height, net.input.width
    if recipe.scalar_mean >= 0 or recipe.mean == "none":
        return np.full((net.input.channels, h, w), max(recipe.scalar_mean, 0), np.float32)
    top, left = (net.image.height - h) // 2, (net.image.width - w) // 2
    return dataset.mean_image()[:, top : top + h, left : left + w].copy()


class Session:
    """Steps over minibatches of up to `batch` images. Programs are compiled when they are first asked for.

    `mean` is [C,h,w], `axes` those of colour noise [C,C], one to a row. Close it, so that its threads end.
    """

    def __init__(
        self,
        net: Net,
        batch: int,
        mean: NDArray[np.float32],
        *,
        axes: NDArray[np.float32] | None = None,
        threads: int | None = None,
        progress: CompileProgress | None = None,
    ) -> None:
        self.net, self.batch, self.mean, self.axes = net, batch, mean, axes
        self.store = Store()
        self._threads, self._progress = threads, progress
        self._executors: dict[tuple[Mode, tuple[str, ...]], Executor] = {}
        self._rates: list[tuple[NDArray[np.float32], Learned]] = []
        self._keys: list[tuple[NDArray[np.int32], str]] = []
        families = net.reported
        self._reported = tuple(families[name][0] for name in families)
        self._results = [
            [[f"{cost.name}.{name}" for name in cost.results] for cost in family] for family in families.values()
        ]
        self.costs: CostSums | None = None
        """What the costs came to over the last minibatch."""

    @property
    def programs(self) -> int:
        """How many programs have been compiled."""
        return len(self._executors)

    def executor(self, mode: Mode, exports: tuple[str, ...] = ()) -> Executor:
        """The compiled program of one mode; `exports` are layers whose rows are wanted besides."""
        key = mode, exports
        if key not in self._executors:
            program = lower(self.net, self.batch, mode, exports=exports)
            executor = Executor(program, self.store, threads=self._threads, progress=self._progress)
            self._executors[key] = executor
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
        return self._executors[key]

    def step(self, batch: Batch, *, seed: int, progress: float, epoch: float, divisor: int = 0) -> Sums:
        """Train on one minibatch; what the main cost came to, and nan if any cost is no number.

        `progress` is the share of the whole training that is done, `epoch` the epochs.
        Gradients are divided by `divisor`, by default the number of images.
        """
        executor = self.executor("train")
        share = 1 / (divisor or batch.count)
        for array, learned in self._rates:
            array[:] = learned.rates(progress, epoch, share, batch.step)
        if "tints" in executor.host:
            executor.host["tints"][: self.batch] = self._tints(seed, batch.step)
        for words, layer in self._keys:
            words[:] = np.array(random.derive_key(seed, f"dropout:{layer}", batch.step), np.uint32).view(np.int32)
        costs = self._run(executor, batch)
        return costs.main if costs.finite else Sums(math.nan, math.nan, batch.count)

    def _tints(self, seed: int, step: int) -> NDArray[np.float32]:
        """Colour noise: offsets [N,C], for every image a normal number along each axis."""
        assert self.axes is not None
        count = len(self.axes)
        drawn = random.normal(random.derive_key(seed, "colour", step), self.batch * count).reshape(-1, count)
        tints: NDArray[np.float32] = (self.net.colour_noise * drawn @ self.axes).astype(np.float32)
        return tints

    def test(
        self, images: Images, stop: Callable[[], bool] | None = None, *, views: int = 1, cost: str = ""
    ) -> CostSums | None:
        """What the costs come to over images; None if `stop` said so in between.

        Of several views the probabilities are averaged, then one cost is worked out: the one named, or the main one.
        """
        if views > 1:
            return self._view_costs(images, views, self.net.logreg(cost), stop)
        executor = self.executor("test")
        found: CostSums | None = None
        for batch in centre_batches(images, self.batch, self._crop):
            if stop and stop():
                return None
            sums = self._run(executor, batch)
            found = found + sums if found else sums
        return found

    def _view_costs(
        self, images: Images, count: int, family: Sequence[Logreg], stop: Callable[[], bool] | None
    ) -> CostSums | None:
        """A cost and its children from the mean probabilities of several views."""
        found: list[NDArray[np.float64]] = []
        for cost in family:
            mean = self.mean_rows(cost.inputs[1], images, count, stop)
            if mean is None:
                return None
            found.append(cost.measure(mean, images.labels).sum(0))
        return CostSums((family[0],), (tuple(np.sum(found, 0).tolist()),), len(images))

    def mean_rows(
        self, layer: str, images: Images, count: int, stop: Callable[[], bool] | None = None
    ) -> NDArray[np.float64] | None:
        """A layer's output for every image, the mean of so many views; None if `stop` said so in between."""
        total: NDArray[np.float64] | None = None
        for view in self.views(count):
            rows = []
            for row in self.rows(layer, images, view):
                if stop and stop():
                    return None
                rows.append(row)
            total = np.array(rows, np.float64) if total is None else total + np.array(rows)
        assert total is not None
        return total / count

    def views(self, count: int) -> tuple[tuple[int, int, int], ...]:
        """The places (y, x, mirror) of so many views."""
        image, seen = self.net.image, self.net.input
        return views(count, (image.height, image.width), (seen.height, seen.width))

    def predict(self, images: Images) -> Iterator[NDArray[np.float32]]:
        """Probabilities (or what the net gives instead), one row of classes per image."""
        return self.rows(self.net.outputs[0], images)

    def rows(
        self, layer: str, images: Images, view: tuple[int, int, int] | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """A layer's output, one row per image, seen from one place (by default the centre)."""
        executor = self.executor("predict", () if layer in self.net.outputs else (layer,))
        rows = executor.host[f"{layer}.rows"]
        for batch in view_batches(images, self.batch, self._crop, view or self.views(1)[0]):
            self._feed(executor, batch)
            executor.run()
            yield from rows[: batch.count].copy()

    @property
    def _crop(self) -> tuple[int, int] | None:
        return None if self.net.crop == (0, 0) else self.net.crop

    def _run(self, executor: Executor, batch: Batch) -> CostSums:
        self._feed(executor, batch)
        executor.run()
        values = []
        for family in self._results:
            members = [np.concatenate([executor.host[name].ravel() for name in names]) for names in family]
            values.append(tuple(np.stack(members).sum(0, np.float64).tolist()))
        self.costs = CostSums(self._reported, tuple(values), batch.count)
        return self.costs

    def _feed(self, executor: Executor, batch: Batch) -> None:
        host = executor.host
        for name, array in (("pixels", batch.pixels), ("crops", batch.crops), ("labels", batch.labels)):
            if name in host:
                np.copyto(host[name][: self.batch], array)
        if "targets" in host:
            # 1 for the class of the label, 0 for others; -1, which means none, where there is no label.
            rows = batch.labels[:, None]
            np.copyto(host["targets"][: self.batch], np.where(rows < 0, -1, rows == np.arange(self.net.classes)))

    # Learned arrays

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Learned arrays by name, their increments and the sums of updates to come, as they lie in the store."""
        names = [name for learned in self.net.learned() for name in (learned, f"{learned}.inc", f"{learned}.sum")]
        return {name: self.store[name] for name in names if name in self.store}

    def set_arrays(self, arrays: Iterable[tuple[str, NDArray[np.float32]]], *, increments: bool = True) -> None:
        """Fill the store; RunError unless all that the net has is there, in the right shape.

        Increments and sums may be missing, and are 0 then: parameters edited since may ask for more of them.
        """
        wanted = self._stored(increments)
        for name, value in arrays:
            if name in wanted:
                if value.shape != self.store[name].shape or value.dtype != np.float32:
                    found = f"{value.dtype} {list(value.shape)}"
                    raise RunError(f"array '{name}' is {found}; the net has float32 {list(self.store[name].shape)}")
                np.copyto(self.store[name], value)
                wanted.remove(name)
        if missing := [name for name in sorted(wanted) if not name.endswith((".inc", ".sum"))]:
            raise RunError(f"array '{missing[0]}' of the net is missing")

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
