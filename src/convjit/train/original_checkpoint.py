"""Checkpoints of cuda-convnet and cuda-convnet2, read as numbers.

A checkpoint is a pickle {model_state: {layers, epoch, batchnum, train_outputs, test_outputs}, op: options}; layers
are a dictionary by name (cuda-convnet2) or a list of dictionaries (cuda-convnet). Of a layer its name and its
matrices are taken: weights, weightsInc (one per input), biases, biasesInc.

Old pickles are read in a child process, which has little time and memory and writes safetensors; nothing in them is run
there either.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from convjit.data.original_pickle import plain, unpickle_original
from convjit.data.stream import shown
from convjit.errors import DataError, RunError
from convjit.graph import Net
from convjit.layers import Conv, Fc, Layer, Local, Sfc

__all__ = [
    "OriginalCheckpoint",
    "find_original",
    "from_matrix",
    "matrix_shape",
    "read_here",
    "read_original_checkpoint",
    "weights_of",
]

_NAME = re.compile(r"(\d{1,9})\.(\d{1,9})")
_MOST_BYTES = 4 << 30
_SECONDS = 120
_MATRICES = ("weights", "weightsInc", "biases", "biasesInc")

Matrices = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class OriginalCheckpoint:
    """What a checkpoint holds: the batch that was trained on last, and matrices by "<layer>.<kind>.<index>"."""

    path: Path
    program: str
    """cc1 or cc2: by how it lists its layers."""
    epoch: int
    batch: int
    kinds: Mapping[str, str]
    """The type of every layer."""
    matrices: Matrices
    options: Mapping[str, str]
    """Those of the command line that were kept, as text."""


def find_original(path: Path) -> Path | None:
    """A checkpoint file, or the newest in a folder of files called <epoch>.<batch>; None if there is none."""
    if path.is_file():
        return path
    found = {child: _NAME.fullmatch(child.name) for child in path.iterdir()} if path.is_dir() else {}
    named = [(int(m[1]), int(m[2]), child) for child, m in found.items() if m and child.is_file()]
    return max(named)[2] if named else None


def read_original_checkpoint(path: Path) -> OriginalCheckpoint:
    """A checkpoint, read by a child process with limits; RunError if it is none or needs more than they allow."""
    with tempfile.TemporaryDirectory(prefix="convjit-") as folder:
        out = Path(folder) / "found.safetensors"
        command = [sys.executable, "-m", "convjit.train.original_worker", str(path), str(out)]
        # One thread: each would reserve address space, of which there is little.
        threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, env=environment)
        except subprocess.TimeoutExpired:
            raise RunError(
                f"{shown(path)}: reading it took more than {_SECONDS} s; it is no honest checkpoint"
            ) from None
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            why = lines[-1] if done.returncode == 1 and lines else "reading it needs more memory or time than allowed"
            raise RunError(why if why.startswith(shown(path)) else f"{shown(path)}: {shown(why)}")
        try:
            with safe_open(out, framework="np") as file:
                about = json.loads((file.metadata() or {})["about"])
                matrices = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError, ValueError, LookupError) as error:
            raise RunError(f"{shown(path)}: cannot be read: {shown(error)}") from None
    return OriginalCheckpoint(
        path, about["program"], about["epoch"], about["batch"], about["kinds"], matrices, about["options"]
    )


def read_here(path: Path, out: Path) -> None:
    """What the child does: a checkpoint's numbers to a safetensors file. DataError if it is none."""
    if path.stat().st_size > _MOST_BYTES:
        raise DataError(f"{shown(path)}: more than {_MOST_BYTES >> 30} GB; no net of those years is as large")
    where = shown(path)
    values = unpickle_original(path.read_bytes(), where)
    state = plain(values.get("model_state"))
    if not isinstance(state, dict) or "layers" not in state:
        raise DataError(f"{where}: no checkpoint of cuda-convnet: it has no model_state with layers")
    found = plain(state["layers"])
    layers = found.values() if isinstance(found, dict) else found if isinstance(found, list) else []
    kinds: dict[str, str] = {}
    matrices: dict[str, NDArray[np.float32]] = {}
    for one in layers:
        layer = plain(one)
        name = str(plain(layer.get("name"))) if isinstance(layer, dict) else ""
        if not name or name in kinds:
            raise DataError(f"{where}: a layer without a name of its own")
        kinds[name] = str(plain(layer.get("type", "")))
        for kind in _MATRICES:
            for index, matrix in enumerate(_arrays(layer.get(kind))):
                if not np.isfinite(matrix).all():
                    raise DataError(f"{where}: layer '{shown(name)}': {kind} has numbers that are not finite")
                matrices[f"{name}.{kind}.{index}"] = np.ascontiguousarray(matrix, np.float32)
    about = {
        "program": "cc2" if isinstance(found, dict) else "cc1",
        "epoch": _count(state.get("epoch"), 1),
        "batch": _count(state.get("batchnum"), 1),
        "kinds": kinds,
        "options": _options(values.get("op")),
    }
    save_file(matrices, out, metadata={"about": json.dumps(about)})


def _arrays(value: object) -> list[NDArray[Any]]:
    """The matrices of a list, or the one that stands alone."""
    value = plain(value)
    items = value if isinstance(value, list | tuple) else [value]
    found = [plain(item) for item in items]
    return [one for one in found if isinstance(one, np.ndarray) and one.dtype.kind in "fiu"]


def _count(value: object, default: int) -> int:
    value = plain(value)
    return value if type(value) is int and value >= 0 else default


def _options(value: object) -> dict[str, str]:
    """Names and values of the options; whatever is neither text nor number is left out."""
    state = plain(value)
    options = plain(state.get("options")) if isinstance(state, dict) else None
    found = {}
    for name, option in options.items() if isinstance(options, dict) else ():
        inner = plain(option)
        kept = plain(inner.get("value")) if isinstance(inner, dict) else None
        if isinstance(kept, list) and kept and _is_range(kept):
            kept = f"{kept[0]}-{kept[-1]}" if len(kept) > 1 else kept[0]
        if isinstance(kept, str | int | float):
            found[str(name)] = shown(kept)
    return found


def _is_range(items: list[Any]) -> bool:
    """Whether these are whole numbers, each one more than the one before: a range of batches as it was kept."""
    return type(items[0]) is int and all(type(one) is int and one == items[0] + i for i, one in enumerate(items))


def weights_of(checkpoint: OriginalCheckpoint, net: Net) -> dict[str, NDArray[np.float32]]:
    """Every learned array of a net and its increments, by name; RunError where the checkpoint does not fit.

    Rows of a conv matrix are (channel, y, x) and its columns filters; of a local one (module, channel, y, x); those of
    an fc matrix inputs, and its columns outputs. Biases of a layer are one number per output, or per filter.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for name, node in net.nodes.items():
        for learned in node.learned:
            if learned.owner:
                continue  # another layer's
            biases = learned.name == "biases"
            index = 0 if biases else int(learned.name.removeprefix("weights") or 0)
            for kind, suffix in (("biases", "") if biases else ("weights", ""), (None, ".inc")):
                kind = kind or ("biasesInc" if biases else "weightsInc")
                matrix = checkpoint.matrices.get(f"{name}.{kind}.{index}")
                shape = learned.array.shape
                if matrix is None and suffix:
                    matrix = np.zeros(math.prod(shape), np.float32)
                elif matrix is None:
                    there = ", ".join(checkpoint.kinds) or "none"
                    raise RunError(f"{shown(checkpoint.path)}: no {kind} of layer '{name}'; its layers are {there}")
                # A flat one is the increments that are not there.
                fits = biases or matrix.ndim == 1 or matrix.shape == matrix_shape(shape, node.layer)
                if matrix.size != math.prod(shape) or not fits:
                    given = "x".join(map(str, matrix.shape))
                    wanted = "x".join(map(str, shape))
                    raise RunError(
                        f"{shown(checkpoint.path)}: layer '{name}': {kind} are {given}, the net's are {wanted}"
                    )
                ours = matrix.reshape(shape) if biases or matrix.ndim == 1 else from_matrix(matrix, shape, node.layer)
                found[f"{name}.{learned.name}{suffix}"] = np.ascontiguousarray(ours, np.float32)
    return found


def matrix_shape(shape: tuple[int, ...], layer: Layer) -> tuple[int, int]:
    """The original's shape of an array of weights: (rows, columns)."""
    columns = layer.outputs if isinstance(layer, Fc | Sfc) else shape[-4]
    return math.prod(shape) // columns, columns


def from_matrix(matrix: NDArray[np.float32], shape: tuple[int, ...], layer: Layer) -> NDArray[np.float32]:
    """A matrix of weights in the order of ours."""
    if isinstance(layer, Fc):
        return matrix.T
    if isinstance(layer, Sfc):
        return matrix.reshape(layer.parts, -1, layer.outputs).transpose(0, 2, 1).reshape(shape)
    if isinstance(layer, Conv) and not layer.sparse:
        filters, channels, size, _ = shape
        return matrix.reshape(channels, size, size, filters).transpose(3, 0, 1, 2)
    if isinstance(layer, Local):
        modules, filters, size, _, channels = shape
        return matrix.reshape(modules, channels, size, size, filters).transpose(0, 4, 2, 3, 1)
    raise RunError(f"layer '{layer.name}': weights of randSparse cannot be imported; train it anew")
