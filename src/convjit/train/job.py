"""What is to be trained, on what, and how: from the options of a user.

It reads nets through `cfg`, so that the texts of a run and those of the command take the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from convjit.cfg import NetTexts, definition_text, find_net, parameter_text, parse_net
from convjit.data import (
    Dataset,
    Preprocessing,
    Progress,
    cifar10,
    open_dataset,
    open_place,
    sample,
)
from convjit.data.dataset import parts_of
from convjit.errors import UsageError, near
from convjit.graph import Net, Recipe
from convjit.graph.lower import Dtype, dtype_of
from convjit.layers import Logreg
from convjit.train.checkpoint import Checkpoint
from convjit.train.initial import RunCode
from convjit.train.order import Order
from convjit.train.own_code import code_runner
from convjit.train.prepare import preprocessing_of

__all__ = ["NAMED_DATA", "Job", "Notes", "decoded", "net_of", "new_job", "open_data", "parts_of_minibatch"]

DEFAULT_NET = "default"


@dataclass(frozen=True)
class Notes:
    """Who hears what goes on while a job is made: lines for the user, images being decoded, bytes being downloaded."""

    warn: Callable[[str], None] = lambda text: None
    opening: Progress | None = None
    downloading: Progress | None = None


NAMED_DATA: Mapping[str, Callable[[Notes], Dataset]] = {
    "sample": lambda notes: sample(),
    "cifar10": lambda notes: open_dataset(cifar10(notes.downloading), progress=notes.opening),
}
"""Data that convjit finds itself, by the name in a recipe."""


@dataclass(frozen=True)
class Job:
    """A training, ready to start. `given` holds the two texts before --set, if it changed them.

    `data` says where the data came from: a name of NAMED_DATA, an absolute path, or "" for arrays.
    """

    name: str
    net: Net
    recipe: Recipe
    dataset: Dataset
    definition: str
    parameters: str
    data: str
    epochs: int
    batch: int
    seed: int
    given: tuple[bytes, bytes] | None = None
    start: Checkpoint | None = None
    run_code: RunCode | None = None
    ways: Mapping[str, str] = field(default_factory=dict)
    """Algorithms of launches that were chosen by measuring."""
    dtype: Dtype = "fp32"
    """What activations and gradients are stored as."""
    accumulate: int = 1
    """Equal parts in which a minibatch is computed."""
    memory: int = 0
    """Bytes that a training step, or a part of one, may take; 0 for no limit."""

    @property
    def part(self) -> int:
        """Images of a part."""
        return self.batch // self.accumulate

    @cached_property
    def order(self) -> Order:
        """Which minibatch comes when."""
        images = self.dataset.train
        parts = parts_of(images) if self.recipe.order == "batches" else ()
        return Order(parts or (len(self.dataset.train),), self.batch)

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """What is done to image files."""
        return preprocessing_of(self.net, self.recipe)

    @property
    def steps_per_epoch(self) -> int:
        """Minibatches of an epoch."""
        return self.order.steps_per_epoch

    @property
    def steps(self) -> int:
        """Minibatches of the whole training."""
        return self.epochs * self.steps_per_epoch

    def progress(self, step: int) -> tuple[float, float]:
        """The share of the training, and the epochs, that are done after `step` steps: what rates depend on."""
        if self.recipe.order == "batches":
            epoch = self.order.epoch(step)
            return epoch / self.epochs, epoch
        return step / self.steps, step / self.steps_per_epoch


def open_data(
    data: str, notes: Notes | None = None, *, whole: bool = False, image: tuple[int, ...] | None = None
) -> Dataset:
    """The data set of a name or path, as `open_place` takes it; what could not be read of it becomes a warning."""
    notes = notes or Notes()
    if data in NAMED_DATA:
        dataset = NAMED_DATA[data](notes)
    else:
        dataset = open_place(data, whole=whole, image=image, progress=notes.opening)
    if dataset.skipped:
        more = f" and {len(dataset.skipped) - 1} more" if len(dataset.skipped) > 1 else ""
        notes.warn(f"{len(dataset.skipped)} images were skipped: {dataset.skipped[0]}{more}")
    return dataset


def net_of(
    net: str | Path | None,
    params: str | Path | None = None,
    overrides: Sequence[str] = (),
    notes: Notes | None = None,
    *,
    lenient: bool = False,
) -> tuple[Net, Recipe, NetTexts]:
    """A net by name or file, for images as its recipe says; its warnings are passed on."""
    texts = find_net(net if net is not None else DEFAULT_NET, params)
    loaded = parse_net(texts.definition, texts.parameters, origins=texts.origins, overrides=overrides, lenient=lenient)
    for warning in loaded.warnings:
        (notes or Notes()).warn(warning)
    return loaded.net, loaded.recipe, texts


def new_job(
    net: str | Path | Net | None = None,
    data: str | Path | Dataset | None = None,
    *,
    params: str | Path | None = None,
    recipe: Recipe | None = None,
    overrides: Sequence[str] = (),
    epochs: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    accumulate: int | None = None,
    memory: int = 0,
    lenient: bool = False,
    allow_code: bool = False,
    notes: Notes | None = None,
) -> Job:
    """A training from the start. Data default to those that the net's recipe names.

    `accumulate` is in how many equal parts a minibatch is computed, `memory` how many bytes that may take, 0 for as
    many as it takes. `lenient` makes warnings of unknown keys, `allow_code` runs the functions that the net's
    initialisers name.
    """
    notes, stored = notes or Notes(), dtype_of(dtype or "fp32")
    if isinstance(net, Net):
        if params is not None or overrides:
            raise UsageError("a net given as an object has no files; change its layers instead of giving params or set")
        recipe = recipe or Recipe(crop=net.crop)
        recipe = replace(recipe, image=(net.image.channels, net.image.height, net.image.width), classes=net.classes)
        texts = NetTexts("net", definition_text(net).encode(), parameter_text(net, recipe).encode(), ("net", "net"))
    else:
        if recipe is not None:
            raise UsageError("a net that is read from files has its recipe there; give the one or the other")
        texts = find_net(net if net is not None else DEFAULT_NET, params)
    dataset, where = _data_of(texts, data, overrides, lenient, notes)
    loaded = parse_net(
        texts.definition,
        texts.parameters,
        origins=texts.origins,
        image=dataset.shape,
        classes=len(dataset.classes),
        numbers=dataset.numbers,
        overrides=overrides,
        lenient=lenient,
    )
    for warning in loaded.warnings:
        notes.warn(warning)
    if not lenient and _has_several(dataset) and any(isinstance(cost, Logreg) for cost in loaded.net.costs):
        notes.warn(
            "images have several labels, of which cost.logreg learns one at a time, drawn anew in every epoch, and "
            "tests the first; cost.bce and cost.dce take them all"
        )
    definition, parameters = decoded(texts.definition), decoded(texts.parameters)
    given = None
    # What only a lenient reader takes could not be read back.
    if overrides or lenient:
        definition, parameters = definition_text(loaded.net), parameter_text(loaded.net, loaded.recipe)
        given = (texts.definition, texts.parameters)
    minibatch = batch or loaded.recipe.minibatch
    return Job(
        texts.name,
        loaded.net,
        loaded.recipe,
        dataset,
        definition,
        parameters,
        where,
        epochs or loaded.recipe.epochs,
        minibatch,
        1 if seed is None else seed,
        given,
        accumulate=parts_of_minibatch(minibatch, accumulate),
        memory=memory,
        run_code=code_runner(loaded.net, notes.warn) if allow_code else None,
        dtype=stored,
    )


def parts_of_minibatch(batch: int, parts: int | None) -> int:
    """The number of parts, by default 1; UsageError unless a minibatch divides into so many equal ones."""
    parts = 1 if parts is None else parts
    if parts < 1 or batch % parts:
        nearest = [n for n in range(1, batch + 1) if batch % n == 0]
        able = sorted(sorted(nearest, key=lambda n: abs(n - parts))[:3])
        raise UsageError(
            f"--accumulate {parts}: a minibatch of {batch} images does not divide into {parts} equal parts, but into "
            f"{' or '.join(map(str, able))}; another --batch divides otherwise"
        )
    return parts


def _data_of(
    texts: NetTexts, data: str | Path | Dataset | None, overrides: Sequence[str], lenient: bool, notes: Notes
) -> tuple[Dataset, str]:
    """The data set, and where it came from."""
    if isinstance(data, Dataset):
        return data, ""
    if data is not None:
        return open_data(str(Path(data).absolute()), notes), str(Path(data).absolute())
    # A mistake in the files shows before anything is downloaded.
    loaded = parse_net(texts.definition, texts.parameters, origins=texts.origins, overrides=overrides, lenient=lenient)
    name = loaded.recipe.dataset
    if not name:
        raise UsageError(f"net '{texts.name}' names no data of its own; say --data PATH")
    if name not in NAMED_DATA:
        known = ", ".join(NAMED_DATA)
        raise UsageError(f"dataset={name} is not known{near(name, NAMED_DATA)}; there are {known}; or say --data PATH")
    return open_data(name, notes), name


def _has_several(dataset: Dataset) -> bool:
    """Whether training images may be of several classes at once."""
    targets = dataset.train.targets
    return targets is not None and bool((targets.sum(1, dtype=np.int64) > 1).any())


def decoded(text: bytes) -> str:
    """The text of a net file."""
    return text.decode("utf-8-sig")
