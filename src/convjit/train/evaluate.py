"""Using a trained net: its error over a test set, and what it thinks of image files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from convjit.cfg import parse_net
from convjit.data import Dataset, Encoded, Images, Preprocessing
from convjit.data.decode import MAX_FILE, BrokenImageError, quiet
from convjit.data.relabel import relabelled
from convjit.data.stream import shown
from convjit.errors import DataError, RunError
from convjit.runtime import Ways
from convjit.train.checkpoint import Checkpoint, newest
from convjit.train.checkpoint import load as load_checkpoint
from convjit.train.job import Notes, open_data
from convjit.train.prepare import preprocessing_of
from convjit.train.programs import CompileProgress
from convjit.train.resume import check_data
from convjit.train.run_folder import RunFolder
from convjit.train.session import Session
from convjit.train.sums import CostSums

__all__ = ["Prediction", "Run", "TestResult", "read_image"]


@dataclass(frozen=True)
class TestResult:
    """Means over a test set; the error is 0 to 1. `step` is how many minibatches the net had been trained on.

    `broken` images could not be decoded, and are not among the `images`; of these, `unlabelled` have no label and count
    nothing in loss and error. `rates` are shares for every class, such as "precision", of the net's first cost.dce; nan
    where there is none.
    """

    step: int
    images: int
    loss: float
    error: float
    rates: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    broken: int = 0
    counts_errors: bool = True
    """Whether the main cost counts errors; the loss stands for the error if not."""
    unlabelled: int = 0
    skipped: tuple[str, ...] = ()
    """The broken images, each with the reason."""


@dataclass(frozen=True)
class Prediction:
    """The probabilities of the classes for one image."""

    image: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """The most probable classes; equal ones in the order of the classes."""
        pairs = zip(self.classes, self.probabilities, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])[:count]


class Run:
    """A trained net. Use it as a context manager, or close it, so that its threads end."""

    def __init__(
        self,
        path: Path,
        checkpoint: Checkpoint,
        *,
        threads: int | None = None,
        progress: CompileProgress | None = None,
    ) -> None:
        self.path, self.checkpoint, self.state = path, checkpoint, checkpoint.state
        state = self.state
        origins = (str(checkpoint.path), str(checkpoint.path))
        classes = len(state.classes)
        record = state.preprocessing
        known = Preprocessing.parse(record) if record else None
        numbers = known is not None and known.numbers
        loaded = parse_net(
            state.definition, state.parameters, origins=origins, image=state.image, classes=classes, numbers=numbers
        )
        self.net, self.recipe = loaded.net, loaded.recipe
        mean = next((array for name, array in checkpoint.arrays() if name == "mean"), None)
        shape = (self.net.input.channels, self.net.input.height, self.net.input.width)
        if mean is None or mean.shape != shape or mean.dtype != np.float32:
            raise RunError(f"{checkpoint.path}: its mean image is missing or has another shape than {list(shape)}")
        self.preprocessing = known or preprocessing_of(self.net, self.recipe)
        self._session = Session(
            self.net,
            state.part,
            mean,
            preprocessing=self.preprocessing,
            dtype=state.dtype,
            ways=Ways(state.ways),
            constant=True,
            threads=threads,
            progress=progress,
        )
        self._filled = 0

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        warn: Callable[[str], None] = lambda text: warnings.warn(text, stacklevel=3),
        progress: CompileProgress | None = None,
    ) -> Run:
        """From a run's folder, or from one of its checkpoints."""
        path = Path(path)
        checkpoint = load_checkpoint(path) if path.is_file() else newest(RunFolder.open(path).checkpoints, warn)
        return cls(path, checkpoint, threads=threads, progress=progress)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the net's outputs."""
        return self.state.classes

    def open_data(self, data: str | os.PathLike[str] | Dataset | None, notes: Notes | None = None) -> Dataset:
        """The data given, else those of the run; RunError if they have classes or sizes that the run has not.

        They may have some of the run's classes only, which are known by their names.
        """
        if isinstance(data, Dataset):
            dataset = data
        elif where := str(Path(data).absolute()) if data is not None else self.state.data:
            # Of the run's own data, what was set apart to test on; of others, all.
            whole = where != self.state.data
            dataset = relabelled(
                open_data(where, notes, whole=whole, image=self.state.image if whole else None), self.classes
            )
        else:
            raise RunError(f"{self.path}: was trained on arrays; give the data to test on")
        check_data(self.state, dataset, self.path)
        return dataset

    def test(self, data: str | os.PathLike[str] | Dataset | None = None, *, views: int | None = None) -> TestResult:
        """Loss and error over the test set, of 1, 9 or 10 views; by default as many as the recipe says."""
        costs = self.test_costs(self.open_data(data).test, views=views or self.recipe.views)
        main, rates = costs.main, costs.class_rates
        means = main.mean_loss, main.mean_error
        left_out, skipped = self._session.left_out, tuple(self._session.broken)
        unlabelled, counted = costs.images - main.images, self.net.counts_errors
        return TestResult(self.state.step, costs.images, *means, rates, left_out, counted, unlabelled, skipped)

    def test_costs(self, images: Images | Encoded, *, views: int = 1, cost: str = "") -> CostSums:
        """What every cost comes to over some images; of several views the one named, by default the main one."""
        found = self._ready("test" if views == 1 else "predict", len(images)).test(images, views=views, cost=cost)
        assert found is not None
        return found

    def confusion(
        self, data: str | os.PathLike[str] | Dataset | None = None, *, views: int | None = None
    ) -> NDArray[np.int64]:
        """Test images by their class (rows) and the class that the net finds most probable (columns).

        An image of several classes stands in the row of the one that was found, or else of its first. Of several views
        the mean probabilities count; by default there are as many as the recipe says. RunError if the net has no
        numbers for the classes.
        """
        self._check_outputs()
        images = self.open_data(data).test
        counts = np.zeros((len(self.classes), len(self.classes)), np.int64)
        rows = self.mean_rows(images, views or self.recipe.views)
        for place, (label, row) in enumerate(zip(images.labels, rows, strict=True)):
            # Neither images without a label nor those that cannot be decoded.
            if label >= 0 and not np.isnan(row).any():
                found = int(row.argmax())
                right = images.targets is not None and images.targets[place, found]
                counts[found if right else label, found] += 1
        return counts

    def rows(self, layer: str, images: Images | Encoded) -> Iterator[NDArray[np.float32]]:
        """A layer's output for every image, as the net sees its centre; UsageError if there is no such layer.

        For an image that cannot be decoded it is NaN.

        A layer with a neuron gives what goes into it; <layer>_neuron gives what comes out.
        """
        session = self._ready("predict", len(images), () if layer in self.net.outputs else (layer,))
        return session.rows(layer, images)

    def mean_rows(self, images: Images | Encoded, views: int, cost: str = "") -> NDArray[np.float64]:
        """Probabilities [N, classes], the mean over several views: the net's first ones, or those of a cost.logreg."""
        layer = self.net.logreg(cost)[0].inputs[1] if cost else self.net.outputs[0]
        session = self._ready("predict", len(images))
        return np.array(list(session.mean_rows(layer, images, session.views(views))))

    def predict(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities [N, classes] of images uint8 [N,C,H,W] that have the size of the run's own."""
        if pixels.ndim != 4 or pixels.shape[1:] != self.state.image:
            wanted = "x".join(map(str, self.state.image))
            raise DataError(f"pixels are {list(pixels.shape)}; the run needs [N,C,H,W] with CxHxW = {wanted}")
        images = Images(np.ascontiguousarray(pixels), np.zeros(len(pixels), np.int32))
        return np.array(list(self._ready("predict", len(images)).predict(images)))

    def predict_file(self, path: str | os.PathLike[str]) -> Prediction:
        """The prediction for one image file."""
        found = next(self.predict_files([path]))
        if isinstance(found, DataError):
            raise found
        return found

    def predict_files(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[Prediction | DataError]:
        """Predictions in order, and in the place of a file that cannot be used the error that says why."""
        if why := self.preprocessing.check():
            raise RunError(f"the run's images {why}")
        self._check_outputs()
        quiet()
        remaining = iter(paths)
        while some := list(islice(remaining, self.state.part)):
            images: list[NDArray[np.uint8] | DataError] = []
            for path in some:
                try:
                    images.append(read_image(Path(path), self.preprocessing))
                except DataError as error:
                    images.append(error)
            good = [image for image in images if not isinstance(image, DataError)]
            rows = iter(self.predict(np.stack(good)).tolist() if good else [])
            for path, image in zip(some, images, strict=True):
                if isinstance(image, DataError):
                    yield image
                else:
                    yield Prediction(os.fspath(path), self.classes, tuple(next(rows)))

    def _check_outputs(self) -> None:
        """RunError unless the net says something of every class."""
        name = self.net.outputs[0]
        if (numbers := self.net.nodes[name].output.features) != len(self.classes):
            found = f"layer '{name}' ends in {numbers} numbers, not in one for each of the {len(self.classes)} classes"
            raise RunError(f"{self.path}: {found}; convjit features writes what a layer makes of images")

    def _ready(self, mode: str, images: int = 0, exports: tuple[str, ...] = ()) -> Session:
        """The session with the program of this mode for so many images, 0 for any number, and the weights in place."""
        self._session.executor("test" if mode == "test" else "predict", exports, images)
        if self._filled < self._session.programs:
            self._session.set_arrays(self.checkpoint.arrays(), increments=False)
            self._filled = self._session.programs
        return self._session

    def close(self) -> None:
        """End the threads."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_image(path: Path, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """An image file's pixels as the net's data layer wants them, uint8 [C,H,W]; DataError if it cannot be used."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        return preprocessing.centre(preprocessing.picture(data))
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read: {error.strerror or error}") from None
    except BrokenImageError as error:
        raise DataError(f"{shown(path)}: no image that can be used: {error}") from None
