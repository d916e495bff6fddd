"""A net at work: its learned arrays, and its programs compiled for one number of images."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.data import Batch, Encoded, Images, Kept, Preprocessing, batches_in_order, views
from convjit.errors import RunError
from convjit.graph import Net
from convjit.graph.lower import Dtype, Mode
from convjit.layers import Learned, Logreg
from convjit.program import Role
from convjit.runtime import Executor, Store, Ways
from convjit.runtime.fit import Fitted
from convjit.train.programs import CompileProgress, Programs
from convjit.train.sums import CostSums, Sums

__all__ = ["Session"]

View = tuple[int, int, int]
"""(y, x, mirror) of a crop."""


class Session:
    """Steps over minibatches of up to `batch` images. Programs are compiled when they are first asked for.

    With `accumulate` minibatches to train on may be any number of times as large: they are computed in parts of `batch`
    images, whose gradients are added up for one update. `memory` limits what the program that trains takes, in bytes:
    activations are computed again and, unless `fixed`, other algorithms taken; `fitted` says what was done, and `ways`
    are then those algorithms. UsageError if it cannot be.
    `mean` is [C,h,w], `axes` those of colour noise [C,C], one to a row; encoded images need a `preprocessing`, and may
    be `kept` from test to test. `dtype` is what activations and gradients are stored as. Close it, so that its threads
    end.
    """

    def __init__(
        self,
        net: Net,
        batch: int,
        mean: NDArray[np.float32],
        *,
        axes: NDArray[np.float32] | None = None,
        preprocessing: Preprocessing | None = None,
        dtype: Dtype = "fp32",
        kept: Kept | None = None,
        ways: Ways | None = None,
        accumulate: bool = False,
        memory: int | None = None,
        fixed: bool = False,
        constant: bool = False,
        threads: int | None = None,
        progress: CompileProgress | None = None,
    ) -> None:
        """`constant` says that the learned arrays change by `set_arrays` alone."""
        self.net, self.batch, self.mean, self.axes = net, batch, mean, axes
        self.preprocessing, self._kept, self.accumulate = preprocessing, kept, accumulate
        self.store = Store()
        self._programs = Programs(
            net, batch, self.store, self._prepare, dtype=dtype, ways=ways, accumulate=accumulate, memory=memory,
            fixed=fixed, constant=constant, threads=threads, progress=progress,
        )  # fmt: skip
        self._rates: list[tuple[NDArray[np.float32], Learned]] = []
        self._keys: list[tuple[NDArray[np.int32], str]] = []
        families = net.reported
        self._reported = tuple(families[name][0] for name in families)
        self._results = [
            [[f"{cost.name}.{name}" for name in cost.results] for cost in family] for family in families.values()
        ]
        self.costs: CostSums | None = None
        """What the costs came to over the last minibatch."""
        self.left_out = 0
        """Images of the last test that could not be decoded."""
        self.broken: list[str] = []
        """Lines about them."""

    @property
    def programs(self) -> int:
        """How many programs have been compiled."""
        return len(self._programs)

    @property
    def fitted(self) -> Fitted | None:
        """What was done to keep to the limit of memory, once the program that trains is there."""
        return self._programs.fitted

    @property
    def ways(self) -> Ways:
        """The algorithms of launches."""
        return self._programs.ways

    def executor(self, mode: Mode, exports: tuple[str, ...] = (), images: int = 0) -> Executor:
        """The compiled program of one mode, as `Programs.executor` gives it."""
        return self._programs.executor(mode, exports, images)

    def _prepare(self, executor: Executor, mode: Mode) -> None:
        """Fill what stays the same from step to step."""
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

    def step(self, batch: Batch, *, seed: int, progress: float, epoch: float, divisor: int = 0) -> Sums:
        """Train on one minibatch; what the main cost came to, and nan if any cost is no number.

        `progress` is the share of the whole training that is done, `epoch` the epochs.
        Gradients are divided by `divisor`, by default the number of images.
        """
        executor = self.executor("train")
        share = 1 / (divisor or batch.count)
        for array, learned in self._rates:
            array[:] = learned.rates(progress, epoch, share, batch.step)
        for words, layer in self._keys:
            words[:2] = np.array(random.derive_key(seed, f"dropout:{layer}", batch.step), np.uint32).view(np.int32)
        costs = self._parts(executor, batch, seed) if self.accumulate else self._train(executor, batch, seed)
        return costs.main if costs.finite else Sums(math.nan, math.nan, batch.count)

    def _train(self, executor: Executor, batch: Batch, seed: int, end: int | None = None) -> CostSums:
        """The launches of a step, or those before `end`."""
        if "tints" in executor.host:
            executor.host["tints"][: self.batch] = self._tints(seed, batch)
        return self._run(executor, batch, end)

    def _parts(self, executor: Executor, batch: Batch, seed: int) -> CostSums:
        """A minibatch part by part; parts that hold no image at all would add nothing."""
        for name in executor.program.of_role(Role.GRADIENTS):
            self.store[name][...] = 0
        update = executor.program.update
        found: CostSums | None = None
        for first in range(0, batch.count, self.batch):
            for words, _ in self._keys:
                words[2:] = first
            costs = self._train(executor, batch.part(first, first + self.batch), seed, update)
            found = found + costs if found else costs
        executor.run(update)
        assert found is not None
        self.costs = found
        return found

    def _tints(self, seed: int, batch: Batch) -> NDArray[np.float32]:
        """Colour noise: offsets [N,C], for every image a normal number along each axis."""
        assert self.axes is not None
        count = len(self.axes)
        drawn = random.normals(random.derive_key(seed, "colour", batch.epoch), batch.index, count)
        tints: NDArray[np.float32] = (self.net.changes.colour_noise * drawn @ self.axes).astype(np.float32)
        return tints

    def test(
        self,
        images: Images | Encoded,
        stop: Callable[[], bool] | None = None,
        *,
        views: int = 1,
        cost: str = "",
    ) -> CostSums | None:
        """What the costs come to over images; None if `stop` said so in between.

        Of several views the probabilities are averaged, then one cost is worked out: the one named, or the main one.
        Images that cannot be decoded are not among those that are counted; `left_out` says how many there were.
        """
        self.broken = []
        if views > 1:
            return self._view_costs(images, views, self.net.logreg(cost), stop)
        executor = self.executor("test")
        found: CostSums | None = None
        self.left_out = 0
        for batch in self._batches(images, self.batch, stop):
            self._see(batch, self.views(1)[0])
            sums = self._run(executor, batch)
            self.left_out += _broken(batch)
            found = found + sums if found else sums
        if found is None or (stop and stop()):
            return None
        return replace(found, images=found.images - self.left_out)

    def _batches(self, images: Images | Encoded, size: int, stop: Callable[[], bool] | None = None) -> Iterator[Batch]:
        """All images in order, `size` at a time, until `stop` says so."""
        with closing(batches_in_order(images, size, self.preprocessing, self._kept)) as batches:
            for batch in batches:
                if stop and stop():
                    return
                self.broken += batch.broken
                yield batch

    def _see(self, batch: Batch, view: View) -> None:
        batch.crops[:] = view

    def _view_costs(
        self, images: Images | Encoded, count: int, family: Sequence[Logreg], stop: Callable[[], bool] | None
    ) -> CostSums | None:
        """A cost and its children from the mean probabilities of several views."""
        found: list[NDArray[np.float64]] = []
        for cost in family:
            rows = np.array(list(self.mean_rows(cost.inputs[1], images, self.views(count), stop)))
            if stop and stop():
                return None
            broken = np.isnan(rows).any(1)
            self.left_out = int(broken.sum())
            found.append(cost.measure(rows[~broken], images.labels[~broken]).sum(0))
        labelled = int((images.labels[~broken] >= 0).sum())
        return CostSums((family[0],), (tuple(np.sum(found, 0).tolist()),), len(images) - self.left_out, labelled)

    def views(self, count: int) -> tuple[View, ...]:
        """The places (y, x, mirror) of so many views."""
        image, seen = self.net.image, self.net.input
        return views(count, (image.height, image.width), (seen.height, seen.width))

    def predict(self, images: Images | Encoded) -> Iterator[NDArray[np.float32]]:
        """Probabilities (or what the net gives instead), one row of classes per image."""
        return self.rows(self.net.outputs[0], images)

    def rows(self, layer: str, images: Images | Encoded) -> Iterator[NDArray[np.float32]]:
        """A layer's output, one row per image, seen from its centre; NaN for an image that cannot be decoded."""
        for row in self.mean_rows(layer, images, self.views(1)):
            yield row.astype(np.float32)

    def mean_rows(
        self, layer: str, images: Images | Encoded, views: Sequence[View], stop: Callable[[], bool] | None = None
    ) -> Iterator[NDArray[np.float64]]:
        """A layer's output, one row per image, the mean over some views of it."""
        executor = self.executor("predict", () if layer in self.net.outputs else (layer,), len(images))
        rows = executor.host[f"{layer}.rows"]
        for batch in self._batches(images, executor.program.batch, stop):
            total = np.zeros(())
            for view in views:
                self._see(batch, view)
                self._feed(executor, batch)
                executor.run()
                total = total + rows[: batch.count].astype(np.float64)
            total[batch.index[: batch.count] < 0] = np.nan
            yield from total / len(views)

    def _run(self, executor: Executor, batch: Batch, end: int | None = None) -> CostSums:
        self._feed(executor, batch)
        executor.run(end=end)
        values = []
        for family in self._results:
            members = [np.concatenate([executor.host[name].ravel() for name in names]) for names in family]
            values.append(tuple(np.stack(members).sum(0, np.float64).tolist()))
        # Of a test, an image that cannot be decoded has no label either.
        labelled = int((batch.labels[: batch.count] >= 0).sum())
        self.costs = CostSums(self._reported, tuple(values), batch.count, labelled)
        return self.costs

    def _feed(self, executor: Executor, batch: Batch) -> None:
        host, size = executor.host, executor.program.batch
        for name in ("pixels", "crops", "labels", "places", "colours", "cuts"):
            if name in host:
                np.copyto(host[name][:size], getattr(batch, name))
        if "targets" in host:
            np.copyto(host["targets"][:size], self._targets(batch))

    def _targets(self, batch: Batch) -> NDArray[np.int32]:
        """[N,K]: 1 for the classes of an image, 0 for others; -1, which means none, where nothing is known of it."""
        if batch.targets is None:
            rows = batch.labels[:, None]
            return np.where(rows < 0, -1, rows == np.arange(self.net.classes)).astype(np.int32)
        known = (np.arange(len(batch.index)) < batch.count) & (batch.index >= 0)
        return np.where(known[:, None], batch.targets.astype(np.int32), -1)

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
        for executor in self._programs:
            executor.arrays_changed()
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
        return {name for executor in self._programs for name in executor.program.of_role(*roles)}

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
        self._programs.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


def _broken(batch: Batch) -> int:
    """How many of a test's images cannot be decoded."""
    return int((batch.index[: batch.count] < 0).sum())
