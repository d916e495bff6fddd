"""Training, testing and predicting as functions. Imports wait until a function is called: `import convjit` is quick."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from convjit.errors import UsageError

if TYPE_CHECKING:
    from convjit.data import Dataset
    from convjit.graph import Net, Recipe
    from convjit.train.evaluate import Prediction, Run, TestResult
    from convjit.train.job import Notes
    from convjit.train.watch import Result, Watcher

__all__ = ["carry_out", "load", "predict", "test", "train"]

PathLike = str | os.PathLike[str]


def train(
    net: PathLike | Net | None = None,
    data: PathLike | Dataset | None = None,
    *,
    params: PathLike | None = None,
    recipe: Recipe | None = None,
    set: Sequence[str] = (),  # noqa: A002 - the name of the command's option
    epochs: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    accumulate: int | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
    out: PathLike | None = None,
    resume: PathLike | None = None,
    watcher: Watcher | None = None,
) -> Result:
    """Train a net and keep the run in a folder: what the command `convjit train` does.

    `net` is the name of a net that comes with convjit, the path of a .cfg file, or a `Net` (then with a `recipe`);
    `data` a path or a `Dataset`, by default what the net's recipe names. `set` changes options of the files,
    "LAYER.KEY=VALUE". Epochs and batch default to the recipe's, the seed to 1, threads to what the machine allows,
    `out` to a new folder in "runs". `dtype` "bf16" stores activations and gradients in half the memory of "fp32".
    `accumulate` computes each minibatch in so many equal parts, which takes the memory of one; `memory` limits what a
    step, or a part, takes: bytes, or "500MB". `resume` goes on with a run's folder; then only data, epochs, memory and
    threads may be given.
    Ctrl-C writes a checkpoint before KeyboardInterrupt comes. Raises ConvjitError.
    """
    result = carry_out(
        net, data, params=params, recipe=recipe, overrides=set, epochs=epochs, batch=batch, seed=seed, dtype=dtype,
        accumulate=accumulate, memory=memory, threads=threads, out=out, resume=resume, watcher=watcher,
    )  # fmt: skip
    if result.interrupted == signal.SIGINT:
        raise KeyboardInterrupt
    if result.interrupted:
        raise SystemExit(128 + result.interrupted)
    return result


def carry_out(
    net: PathLike | Net | None = None,
    data: PathLike | Dataset | None = None,
    *,
    params: PathLike | None = None,
    recipe: Recipe | None = None,
    overrides: Sequence[str] = (),
    epochs: int | None = None,
    batch: int | None = None,
    seed: int | None = None,
    dtype: str | None = None,
    accumulate: int | None = None,
    memory: int | str | None = None,
    threads: int | None = None,
    out: PathLike | None = None,
    resume: PathLike | None = None,
    lenient: bool = False,
    allow_code: bool = False,
    tune: bool = False,
    watcher: Watcher | None = None,
    notes: Notes | None = None,
    seconds_between_checkpoints: float | None = None,
) -> Result:
    """As `train`, but a signal that ended it is told in the result.

    `tune` measures every way to compute each launch and takes the fastest, for this run and for good.
    """
    from convjit.runtime.fit import bytes_of
    from convjit.train.job import new_job
    from convjit.train.resume import resumed_job
    from convjit.train.run_folder import RunFolder, check_new
    from convjit.train.trainer import SECONDS_BETWEEN_CHECKPOINTS, Trainer
    from convjit.train.tuning import fastest, measure

    limit = 0 if memory is None else bytes_of(memory)
    source = Path(data) if isinstance(data, str | os.PathLike) else data
    with ExitStack() as stack:
        folder = None
        if resume is not None:
            edit, kept = "edit params.cfg in the run's folder instead", "a run keeps it; start a new one"
            fixed: dict[str, tuple[object, str]] = {
                "NET": (net, "a run has its own"),
                "--params": (params, edit),
                "--set": (overrides or None, edit),
                "a recipe": (recipe, edit),
                "--batch": (batch, kept),
                "--seed": (seed, kept),
                "--accumulate": (accumulate, kept),
                "--out": (out, "a run goes on in its own folder"),
                "--lenient": (lenient or None, edit),
                "--allow-code": (allow_code or None, "initial weights are made once"),
                "--tune": (tune or None, "a run keeps to its algorithms; start a new one"),
            }
            for name, (value, why) in fixed.items():
                if value is not None:
                    raise UsageError(f"{name} cannot be given with --resume: {why}")
            folder = RunFolder.open(Path(resume))
            stack.enter_context(folder.lock())
            job = resumed_job(folder, source, epochs=epochs, dtype=dtype, memory=limit, notes=notes)
        else:
            if out is not None:
                check_new(Path(out))
            job = new_job(
                net if net is None or not isinstance(net, os.PathLike) else Path(net),
                source,
                params=None if params is None else Path(params),
                recipe=recipe,
                overrides=overrides,
                epochs=epochs,
                batch=batch,
                seed=seed,
                dtype=dtype,
                accumulate=accumulate,
                memory=limit,
                lenient=lenient,
                allow_code=allow_code,
                notes=notes,
            )
        if tune:
            told = watcher.measuring if watcher else None
            job = replace(job, ways=fastest(measure(job.net, job.part, threads, dtype=job.dtype, progress=told)))
        between = SECONDS_BETWEEN_CHECKPOINTS if seconds_between_checkpoints is None else seconds_between_checkpoints
        trainer = Trainer(job, threads=threads, watcher=watcher, seconds_between_checkpoints=between)
        stack.enter_context(trainer)
        if folder is None:
            folder = RunFolder.create(None if out is None else Path(out), job.name)
            stack.enter_context(folder.lock())
        return trainer.run(folder)


def load(run: PathLike) -> Run:
    """A trained net, from its run's folder or from one of its checkpoints. Raises RunError."""
    from convjit.train.evaluate import Run

    return Run.load(run)


def test(run: PathLike, data: PathLike | Dataset | None = None) -> TestResult:
    """Loss and error of a run over a test set, by default that of the data it was trained on. Raises ConvjitError."""
    with load(run) as loaded:
        return loaded.test(data)


def predict(run: PathLike, images: Sequence[PathLike]) -> list[Prediction]:
    """What a run thinks of some image files. Raises ConvjitError, naming the first file that cannot be used."""
    with load(run) as loaded:
        return [loaded.predict_file(Path(image)) for image in images]
