"""A net, images and runs that take milliseconds: for tests of training and of the commands."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convjit.data import Dataset, from_arrays
from convjit.data.dataset import in_memory
from convjit.train.api import carry_out
from convjit.train.sums import Sums
from convjit.train.watch import Result, Watcher

__all__ = [
    "DETECTOR",
    "Recorder",
    "kernels",
    "shared_cache",
    "strip_speed",
    "tiny_data",
    "train_tiny",
    "write_idx",
    "write_net",
]

NET = """\
[data]
type=data
dataIdx=0

[labels]
type=data
dataIdx=1

[conv1]
type=conv
inputs=data
channels=1
filters=4
filterSize=3
padding=1
stride=1
initW=0.01
neuron=relu

[pool1]
type=pool
inputs=conv1
pool=max
channels=4
sizeX=2
stride=2

[drop1]
type=dropout
inputs=pool1

[fc3]
type=fc
inputs=drop1
outputs=3
initW=0.05

[probs]
type=softmax
inputs=fc3

[logprob]
type=cost.logreg
inputs=labels, probs
"""

DETECTOR = (
    NET[: NET.index("[probs]")].replace("outputs=3\n", "outputs=3\nneuron=logistic\n")
    + "[targets]\ntype=data\ndataIdx=2\n\n[dce]\ntype=cost.dce\ninputs=targets, fc3\n"
).replace("[labels]\ntype=data\ndataIdx=1\n", "")
"""The same as detectors of the classes."""

PARAMS = """\
[recipe]
image=1x8x8
classes=3
crop=7
mirror=true
epochs=3
minibatch=32

[conv1]
epsW=0.0002
epsB=0.0004
momW=0.9
momB=0.9
wc=0.004

[drop1]
keep=0.8

[fc3]
epsW=linear[base=0.002;tgtFactor=10]
epsB=0.004
momW=0.9
momB=0.9

[logprob]
coeff=1
"""


def tiny_data(
    seed: int = 0, *, train: int = 200, test: int = 60, classes: tuple[str, ...] = ("a", "b", "c")
) -> Dataset:
    """Noise of 8x8 pixels with a bright row for the class; some labels are wrong, so that the loss never ends at 0."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 200, (train + test, 1, 8, 8), dtype=np.uint8)
    labels = rng.integers(0, 3, train + test)
    pixels[np.arange(train + test), 0, 1 + 2 * labels] += 50
    labels[rng.random(train + test) < 0.1] = 0
    return from_arrays(pixels[:train], labels[:train], pixels[train:], labels[train:], classes, name="tiny")


def write_idx(folder: Path, data: Dataset) -> Path:
    """A data set as the four files of MNIST."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, part in (("train", in_memory(data.train)), ("t10k", in_memory(data.test))):
        n, _, h, w = part.pixels.shape
        images = struct.pack(">4I", 2051, n, h, w) + part.pixels.tobytes()
        (folder / f"{split}-images-idx3-ubyte").write_bytes(images)
        labels = struct.pack(">2I", 2049, n) + part.labels.astype(np.uint8).tobytes()
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(labels)
    return folder


def write_net(folder: Path, net: str = NET, params: str = PARAMS) -> Path:
    """tiny.cfg with its parameters beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny.params.cfg").write_text(params)
    (folder / "tiny.cfg").write_text(net)
    return folder / "tiny.cfg"


class Recorder(Watcher):
    """Notes every loss; `act` is called after a step, with its number."""

    def __init__(self, act: Callable[[int], None] = lambda step: None) -> None:
        self.losses: list[float] = []
        self.saves: list[str] = []
        self._act = act

    def step(self, step: int, sums: Sums) -> None:
        self.losses.append(sums.mean_loss)
        self._act(step)

    def saved(self, path: Path) -> None:
        self.saves.append(path.name)


def train_tiny(
    folder: Path, *, net: Path | None = None, data: Dataset | Path | str | None = None, **options: Any
) -> Result:
    """Train the tiny net in the run folder/"run"; options are those of `carry_out`."""
    net = net or write_net(folder)
    if "resume" in options:
        return carry_out(data=data or tiny_data(), **{"threads": 1, **options})
    return carry_out(net, data or tiny_data(), **{"threads": 1, "out": folder / "run", **options})


def strip_speed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics without what differs from run to run."""
    return [
        {key: value for key, value in record.items() if key not in ("images_per_s", "waiting")} for record in records
    ]


def shared_cache(factory: pytest.TempPathFactory) -> Path:
    """One cache folder for all tests of a session, in whichever process."""
    base = factory.getbasetemp()
    return (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "kernels-of-tests"


@pytest.fixture(scope="module", autouse=True)
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache that every test of the module uses; import it to use it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = shared_cache(tmp_path_factory)
        patch.setenv("CONVJIT_CACHE", str(folder))
        yield folder
