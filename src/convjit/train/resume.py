"""A training that goes on from a run's last checkpoint: what may have changed since, and what may not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from convjit.cfg import parse_net
from convjit.data import Dataset, split_place
from convjit.data.stream import shown
from convjit.errors import RunError, UsageError
from convjit.graph.lower import dtype_of
from convjit.train.checkpoint import State, newest
from convjit.train.job import Job, Notes, decoded, open_data
from convjit.train.order import Order
from convjit.train.run_folder import RunFolder
from convjit.train.sums import NO_SUMS

__all__ = ["check_data", "resumed_job"]


def resumed_job(
    folder: RunFolder,
    data: str | Path | Dataset | None = None,
    *,
    epochs: int | None = None,
    dtype: str | None = None,
    memory: int = 0,
    parameters: bytes | None = None,
    notes: Notes | None = None,
) -> Job:
    """A training that goes on from the newest checkpoint, with the parameters given or those of the folder.

    `memory` is another limit than before, 0 for the same.
    The data may be other batches of the same set: the run then goes on at the same epoch and batch.
    """
    notes = notes or Notes()
    start = newest(folder.checkpoints, notes.warn)
    state = start.state
    if dtype is not None and dtype_of(dtype) != state.dtype:
        raise UsageError(f"{folder.path}: is a run with {state.dtype}, not {dtype}; that cannot change within a run")
    if isinstance(data, Dataset):
        dataset, where = data, ""
    elif where := str(Path(data).absolute()) if data is not None else state.data:
        dataset = open_data(where, notes)
    else:
        raise RunError(f"{folder.path}: was trained on arrays; give the data again")
    check_data(state, dataset, folder.path)
    ranges = split_place(where)[0] == split_place(state.data)[0] and where != state.data
    if dataset.fingerprint != state.fingerprint and not ranges:
        raise RunError(
            f"{folder.path}: was trained on other images than those of {where or 'these arrays'}; give the same"
        )
    origins = (str(start.path), str(folder.path / "params.cfg"))
    parameters = parameters if parameters is not None else folder.read_text("params.cfg")
    if parameters is None:
        parameters, origins = state.parameters.encode(), (str(start.path), str(start.path))
    if (definition := folder.read_text("net.cfg")) is not None and decoded(definition) != state.definition:
        notes.warn(f"{folder.path / 'net.cfg'}: differs from the checkpoint, whose definition is used")
    data_are: dict[str, Any] = {"image": state.image, "classes": len(state.classes), "numbers": dataset.numbers}
    net, recipe, _ = parse_net(state.definition, parameters, origins=origins, **data_are)
    before = parse_net(state.definition, state.parameters, **data_are)
    if (net.crop, recipe.taken_off) != (state.crop, state.mean):
        found = f"crop and mean are {net.crop} and {recipe.taken_off}, in the checkpoint {state.crop} and {state.mean}"
        raise RunError(f"{origins[1]}: {found}; they cannot change within a run")
    # An edited recipe counts, an option more.
    kept = recipe.epochs if recipe.epochs != before.recipe.epochs else state.epochs
    job = Job(
        folder.path.name,
        net,
        recipe,
        dataset,
        state.definition,
        decoded(parameters),
        where,
        epochs or kept,
        state.batch,
        state.seed,
        start=start,
        ways=state.ways,
        dtype=state.dtype,
        accumulate=state.accumulate,
        memory=memory or state.memory,
    )
    if ranges or (job.recipe.order == "batches") != bool(state.parts):
        folder.cut_metrics(state.reported)
        state = _moved(state, job, folder.path)
        job = replace(job, start=replace(start, state=state))
    if state.step > job.steps:
        done = math.ceil(state.step / job.steps_per_epoch)
        raise UsageError(f"{folder.path}: has been trained for {done} epochs; --epochs {job.epochs} is less than that")
    return job


def _moved(state: State, job: Job, run: Path) -> State:
    """A state in the steps of other data batches: at the same epoch and batch."""
    before = Order(state.parts or (state.train_images,), state.batch)
    step, reported = (job.order.step(before.place(steps)) for steps in (state.step, state.reported))
    if step < state.step:
        # Checkpoints are known by their steps; a smaller one would pass for an older one.
        found = f"epochs of {job.steps_per_epoch} steps after some of {before.steps_per_epoch}"
        raise UsageError(f"{run}: {found}; a run can go on with more data batches, not with fewer: start a new one")
    return replace(state, step=step, reported=min(reported, step), interval=NO_SUMS, epoch=NO_SUMS)


def check_data(state: State, dataset: Dataset, run: Path) -> None:
    """RunError unless the data have the classes and image size of the run."""
    if dataset.classes != state.classes:
        more = [name for name in dataset.classes if name not in state.classes]
        missing = [name for name in state.classes if name not in dataset.classes]
        both = ("the data have", more), ("they lack", missing)
        said = [f"{words} {_some(names)}" for words, names in both if names]
        raise RunError(
            f"{run}: other classes than those of the run: {', '.join(said) or 'in another order'}; give data of these "
            "classes, or start a new run"
        )
    if dataset.shape not in (None, state.image):
        found, wanted = ("x".join(map(str, shape)) for shape in (dataset.shape, state.image))
        raise RunError(f"{run}: the images are {found}, those of the run are {wanted} (CxHxW)")


def _some(names: Sequence[str]) -> str:
    """The first of some names of classes."""
    return shown(", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else ""))
