"""From a checkpoint of cuda-convnet to a run of ours, which goes on at the next data batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convjit.data import Dataset, split_place
from convjit.data.stream import shown
from convjit.errors import RunError
from convjit.train.job import Job, Notes, new_job
from convjit.train.order import Place
from convjit.train.original_checkpoint import (
    OriginalCheckpoint,
    find_original,
    read_original_checkpoint,
    weights_of,
)
from convjit.train.programs import CompileProgress
from convjit.train.run_folder import RunFolder
from convjit.train.trainer import Trainer
from convjit.train.watch import Watcher

__all__ = ["ORDER", "import_original", "import_run"]

ORDER = {
    "cc1": ("recipe.order=batches", "recipe.average=actual"),
    "cc2": ("recipe.order=batches", "recipe.average=configured"),
}
"""What of a recipe makes minibatches and updates those of the program."""


class _Quiet(Watcher):
    """Tells of compiling and of nothing else."""

    def __init__(self, progress: CompileProgress | None) -> None:
        self._progress = progress

    def compiling(self, done: int, total: int) -> None:
        if self._progress:
            self._progress(done, total)


def import_original(
    path: Path,
    net: str | Path,
    data: str | Path | Dataset,
    *,
    params: str | Path | None = None,
    overrides: Sequence[str] = (),
    batch: int | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    threads: int | None = None,
    out: Path | None = None,
    lenient: bool = False,
    notes: Notes | None = None,
    progress: CompileProgress | None = None,
) -> RunFolder:
    """A new run with the weights, increments and position of an old checkpoint.

    The net is that of the original's two files; the data are what it was trained on, perhaps with ranges.
    """
    found = find_original(path)
    if found is None:
        raise RunError(f"{shown(path)}: no checkpoint of cuda-convnet: neither a file nor a folder of <epoch>.<batch>")
    checkpoint = read_original_checkpoint(found)
    job = new_job(
        net,
        data,
        params=params,
        overrides=(*ORDER[checkpoint.program], *overrides),
        epochs=epochs,
        batch=batch,
        seed=seed,
        lenient=lenient,
        notes=notes,
    )
    return import_run(checkpoint, job, out, threads=threads, progress=progress)


def import_run(
    checkpoint: OriginalCheckpoint,
    job: Job,
    out: Path | None,
    *,
    threads: int | None = None,
    progress: CompileProgress | None = None,
) -> RunFolder:
    """The folder of a new run that goes on from a checkpoint."""
    weights = weights_of(checkpoint, job.net)
    train = split_place(job.data)[1]
    part = checkpoint.batch - (train.first if train else 1) + 1
    epoch = max(checkpoint.epoch - 1, 0)
    if part >= len(job.order.parts):
        epoch, part = epoch + 1, 0
    step = job.order.step(Place(epoch, max(part, 0), 0))
    if step > job.steps:
        raise RunError(
            f"{shown(checkpoint.path)}: was trained for {checkpoint.epoch} epochs; "
            f"--epochs {job.epochs} is less than that"
        )
    with Trainer(job, threads=threads, watcher=_Quiet(progress), adopted=(weights, step)) as trainer:
        folder = RunFolder.create(out, job.name)
        with folder.lock():
            trainer.begin(folder)
    return folder
