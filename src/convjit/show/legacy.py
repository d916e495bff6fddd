"""The command `convjit legacy`: what a command line of cuda-convnet asks for, done and printed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from convjit.data import Encoded, Images
from convjit.data.dataset import parts_of, some_of
from convjit.data.stream import shown
from convjit.errors import UsageError
from convjit.show.console import Bar, Screen
from convjit.show.original import OriginalView, cost_line
from convjit.show.results import show_check
from convjit.show.training import notes_on, show_result
from convjit.train.evaluate import Run
from convjit.train.features import write_features, write_predictions
from convjit.train.gradient_check import check_gradients
from convjit.train.original import (
    checked_net,
    data_of,
    goes_on,
    job_of,
    keep_options,
    new_folder,
    operated,
    resumed,
    started,
    testing_of,
    views_of,
)
from convjit.train.original_checkpoint import OriginalCheckpoint
from convjit.train.original_options import Original, parse_original
from convjit.train.original_trainer import OriginalTrainer
from convjit.train.run_folder import RunFolder
from convjit.train.sums import CostSums

__all__ = ["run_legacy"]

_PROGRAMS = {"cc1": "cuda-convnet", "cc2": "cuda-convnet2"}


def run_legacy(arguments: Sequence[str], screen: Screen, bar: Bar) -> int:
    """Carry out a command line; the exit code."""
    original = parse_original(arguments)
    for line in original.ignored():
        screen.line(line)
    if original.flag("check-grads"):
        result = check_gradients(checked_net(original, notes_on(screen, bar)))
        show_check(screen, result)
        if result.passed:
            screen.line(f"ALL {len(result.arrays)} TESTS PASSED")
        return 0 if result.passed else 1
    original, before = goes_on(original)
    screen.line(f"as {_PROGRAMS[original.program]} does it (--compat=cc1 or cc2 says otherwise)")
    if original.flag("test-only") or original.text("write-features") or original.text("test-out"):
        _look(original, before, screen, bar)
        return 0
    return _train(original, before, screen, bar)


def _train(original: Original, before: RunFolder | OriginalCheckpoint | None, screen: Screen, bar: Bar) -> int:
    notes = notes_on(screen, bar)
    folder = before if isinstance(before, RunFolder) else None
    if isinstance(before, OriginalCheckpoint):
        folder = started(original, before, notes, new_folder(original, before.path.parent))
    surgery = bool(original.names("conv-to-local") or original.names("unshare-weights"))
    elsewhere = original.given.get("save-file")
    if isinstance(before, RunFolder) and not surgery and elsewhere and Path(elsewhere) != before.path:
        raise UsageError(f"a run goes on in its own folder, {before.path}; copy that to go on elsewhere")
    if folder is None:
        folder = RunFolder(new_folder(original))
        return _carry_out(original, folder, screen, bar, fresh=True)
    if surgery:
        with folder.lock():
            job = resumed(original, folder, notes)
        folder = operated(original, folder, job, new_folder(original, folder.path))
        screen.line(f"the changed net goes on in {folder.path}")
    return _carry_out(original, folder, screen, bar, fresh=False)


def _carry_out(original: Original, folder: RunFolder, screen: Screen, bar: Bar, *, fresh: bool) -> int:
    """Train in a folder that is new, or one that is gone on with."""
    notes, view = notes_on(screen, bar), OriginalView(screen, bar, original.program)
    threads = original.count("threads") or None
    if fresh:
        job = job_of(original, notes)
        with OriginalTrainer(job, testing_of(original), threads=threads, watcher=view) as trainer:
            folder = RunFolder.create(folder.path, job.name)
            with folder.lock():
                keep_options(original, folder)
                result = trainer.run(folder)
    else:
        with folder.lock():
            job = resumed(original, folder, notes)
            keep_options(original, folder)
            with OriginalTrainer(job, testing_of(original), threads=threads, watcher=view) as trainer:
                result = trainer.run(folder)
    show_result(screen, result)
    return 128 + result.interrupted if result.interrupted else 0


def _look(original: Original, before: RunFolder | OriginalCheckpoint | None, screen: Screen, bar: Bar) -> None:
    """Test a trained net, or write what it makes of the test batches; nothing is trained."""
    if before is None:
        raise UsageError("--load-file is missing; it says which net is to be looked at")
    with tempfile.TemporaryDirectory(prefix="convjit-") as temporary:
        if isinstance(before, OriginalCheckpoint):
            before = started(original, before, notes_on(screen, bar), Path(temporary) / "run")
        dataset, _ = data_of(original, notes_on(screen, bar), testing=True)
        threads = original.count("threads") or None
        with Run.load(before.path, threads=threads, warn=screen.warn, progress=bar.compiling) as run:
            run.open_data(dataset)
            bar.close()
            if layer := original.text("write-features"):
                first = original.range("test-range").first
                files = write_features(run, layer, dataset, Path(original.text("feature-path")), first=first)
                screen.line(f"wrote {', '.join(shown(file) for file in files)}")
            if out := original.text("test-out"):
                path = Path(out) if out.endswith(".npz") else Path(out) / "predictions.npz"
                write_predictions(run, dataset, path, views=views_of(original), cost=original.text("logreg-name"))
                screen.line(f"wrote {shown(path)}")
            if original.flag("test-only"):
                _test(original, run, dataset.test, screen)


def _test(original: Original, run: Run, images: Images | Encoded, screen: Screen) -> None:
    """Every batch of the test range, then all of them."""
    first, start = original.range("test-range").first, 0
    whole: CostSums | None = None
    for number, size in enumerate(parts_of(images) or (len(images),), first):
        some = some_of(images, start, start + size)
        start += size
        costs = run.test_costs(some, views=views_of(original), cost=original.text("logreg-name"))
        whole = whole + costs if whole else costs
        screen.line(f"batch {number}: {cost_line(costs, original.program, run.classes)}")
    assert whole is not None
    screen.line(f"Test output: {cost_line(whole, original.program, run.classes)}")
