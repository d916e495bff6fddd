"""What a layer makes of images, and what a net thinks of them, written for other programs.

features.npz, features.safetensors     data float32 [cases, outputs], labels int32 [cases]
features.json                          source_model, layer, num_vis, shape, cases, classes, and the images' fingerprint

`convjit.data.features` reads them, as the data of another net.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from convjit.data import Dataset
from convjit.data.dataset import parts_of, some_of
from convjit.data.stream import shown
from convjit.errors import RunError, UsageError
from convjit.train.disk import write_file
from convjit.train.evaluate import Run

__all__ = ["write_features", "write_predictions"]


def write_features(
    run: Run, layer: str, dataset: Dataset, out: Path, *, split: str = "test", first: int = 1
) -> list[Path]:
    """The outputs of a layer for the images of a split, in files in a folder. RunError if they cannot be written.

    Of several data batches each has its files, which are numbered from `first` on.
    """
    if split not in ("train", "test"):
        raise UsageError(f"'{shown(split)}' is no split; there are train and test")
    images = dataset.train if split == "train" else dataset.test
    parts = parts_of(images) or (len(images),)
    files: list[Path] = []
    start = 0
    for number, size in enumerate(parts, first):
        some = some_of(images, start, start + size)
        start += size
        data = np.array(list(run.rows(layer, some)))
        stem = "features" if len(parts) == 1 else f"features-{number}"
        files += [out / f"{stem}.npz", out / f"{stem}.safetensors"]
        _write_npz(files[-2], data, some.labels)
        write_file(files[-1], [save({"data": data, "labels": some.labels})])
    maps = run.net.nodes[layer].output
    about = {
        "source_model": str(run.path),
        "layer": layer,
        "num_vis": int(data.shape[1]),
        "shape": [maps.channels, maps.height, maps.width],
        "cases": len(images),
        "classes": list(run.classes),
        "data": dataset.fingerprint,
        "split": split,
    }
    write_file(out / "features.json", [(json.dumps(about, indent=2) + "\n").encode()])
    return [*files, out / "features.json"]


def write_predictions(run: Run, dataset: Dataset, out: Path, *, views: int = 1, cost: str = "") -> None:
    """The probabilities of the test images, as `data` [cases, classes] with `labels`, in an .npz file.

    They are the net's first, or those of the cost.logreg named.
    """
    if out.suffix != ".npz":
        raise UsageError(f"{shown(out)}: predictions are written as .npz; choose such a name")
    _write_npz(out, run.mean_rows(dataset.test, views, cost).astype(np.float32), dataset.test.labels)


def _write_npz(path: Path, data: NDArray[np.float32], labels: NDArray[np.int32]) -> None:
    """Two arrays in a file that is whole or not there."""
    with _temporary(path) as temporary:
        np.savez(temporary, data=data, labels=labels)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside `path` that takes its place at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)
