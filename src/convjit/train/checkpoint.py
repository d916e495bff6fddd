"""Checkpoints: everything that a run needs to go on, in one safetensors file that shows any damage.

    checkpoints/step-00001234.safetensors
        __metadata__   format   "convjit checkpoint 1"
                       state    JSON: net, parameters, position, seed, data, preprocessing, classes (see `State`)
                       sha256   of the whole file, with these 64 digits as zeros
        mean                   what is taken off the pixels, [C,h,w] of the crop
        <layer>.<array>        learned arrays, float32
        <layer>.<array>.inc    their increments (momentum)
        <layer>.<array>.sum    gradients of the steps since the last update, where updates wait for several steps

Reading one executes nothing: the header is JSON, the rest are numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from convjit.data import Preprocessing
from convjit.errors import RunError, UsageError
from convjit.graph.lower import Dtype, dtype_of
from convjit.train.disk import write_file
from convjit.train.order import Order
from convjit.train.sums import NO_SUMS, Sums

__all__ = ["Checkpoint", "State", "file_name", "load", "newest", "prune", "save"]

FORMAT = "convjit checkpoint 1"
_NAME = re.compile(r"step-(\d{8,15})\.safetensors")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEPT = 2
_MOST_HEADER = 32 << 20
_BLOCK = 1 << 20


@dataclass(frozen=True)
class State:
    """Everything about a run but its arrays. Shapes are (C, H, W) and (h, w); a crop of (0, 0) is none."""

    definition: str
    parameters: str
    step: int
    """Minibatches done."""
    reported: int
    """The last step with a line in metrics.jsonl."""
    epochs: int
    batch: int
    seed: int
    data: str
    fingerprint: str
    train_images: int
    classes: tuple[str, ...]
    image: tuple[int, ...]
    crop: tuple[int, ...]
    mirror: bool
    mean: str
    target: str
    version: str
    interval: Sums = NO_SUMS
    """Summed since the last report."""
    epoch: Sums = NO_SUMS
    """Summed since the epoch began."""
    train_loss: float = 0.0
    """Of the last whole epoch, as is the error."""
    train_error: float = 0.0
    preprocessing: Mapping[str, Any] | None = None
    """What is done to image files; see `convjit.data.Preprocessing`."""
    parts: tuple[int, ...] = ()
    """Images of the data batches, where minibatches keep to them."""
    ways: Mapping[str, str] = field(default_factory=dict)
    """Algorithms of launches that were chosen by measuring."""
    dtype: Dtype = "fp32"
    """What activations and gradients are stored as."""
    accumulate: int = 1
    """Equal parts in which a minibatch is computed."""
    memory: int = 0
    """Bytes that a training step may take; 0 for no limit."""

    def text(self) -> str:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def parse(cls, text: str) -> State:
        """From JSON; ValueError unless every field is there and of its kind."""
        found = json.loads(text)
        if not isinstance(found, dict) or not set(_KINDS) - _LATER <= set(found) <= set(_KINDS):
            raise ValueError("fields are missing or unknown")
        state = cls(**{name: kind(found[name]) for name, kind in _KINDS.items() if name in found})
        if state.batch % state.accumulate:
            raise ValueError(f"{state.batch} images do not divide into {state.accumulate} parts")
        return state

    def steps_per_epoch(self) -> int:
        """Minibatches of an epoch; the last may be short."""
        return Order(self.parts or (self.train_images,), self.batch).steps_per_epoch

    @property
    def part(self) -> int:
        """Images that are computed at a time."""
        return self.batch // self.accumulate


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**64:
        raise ValueError(f"{value!r} is no count")
    return value


def _positive(value: Any) -> int:
    if _count(value) == 0:
        raise ValueError("0 is too few")
    return int(value)


def _number(value: Any) -> float:
    if not isinstance(value, float) or not np.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return value


def _tuple(kind: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is no list")
        return tuple(kind(item) for item in value)

    return read


def _preprocessing(value: Any) -> Mapping[str, Any] | None:
    return None if value is None else Preprocessing.parse(value).record()


def _ways(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r} names no algorithms")
    return {_text(launch): _text(algorithm) for launch, algorithm in value.items()}


def _dtype(value: Any) -> Dtype:
    try:
        return dtype_of(_text(value))
    except UsageError as error:
        raise ValueError(str(error)) from None


def _sums(value: Any) -> Sums:
    if not isinstance(value, dict) or set(value) != {"loss", "error", "images"}:
        raise ValueError(f"{value!r} are no sums")
    return Sums(_number(value["loss"]), _number(value["error"]), _count(value["images"]))


_KINDS: Mapping[str, Callable[[Any], Any]] = {
    "definition": _text,
    "parameters": _text,
    "step": _count,
    "reported": _count,
    "epochs": _positive,
    "batch": _positive,
    "seed": _count,
    "data": _text,
    "fingerprint": _text,
    "train_images": _positive,
    "classes": _tuple(_text),
    "image": _tuple(_positive),
    "crop": _tuple(_count),
    "mirror": _flag,
    "mean": _text,
    "target": _text,
    "version": _text,
    "interval": _sums,
    "epoch": _sums,
    "train_loss": _number,
    "train_error": _number,
    "preprocessing": _preprocessing,
    "parts": _tuple(_positive),
    "ways": _ways,
    "dtype": _dtype,
    "accumulate": _positive,
    "memory": _count,
}
_LATER = {"accumulate", "dtype", "memory", "parts", "preprocessing", "ways"}
"""Fields that the first version did not write."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose checksum was right when it was loaded."""

    path: Path
    state: State

    def arrays(self) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Name and contents of every array, one at a time."""
        try:
            with safe_open(self.path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118 - the file is no mapping
                    yield name, file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise RunError(f"{self.path}: cannot be read: {error}") from None


def file_name(step: int) -> str:
    """Of the checkpoint after `step` minibatches."""
    return f"step-{step:08d}.safetensors"


def save(folder: Path, state: State, arrays: Mapping[str, NDArray[np.float32]]) -> Path:
    """Write a checkpoint and remove those older than the last two.

    Written array by array: a library call that makes the whole file in memory would need the room of the net twice.
    """
    values = {name: np.ascontiguousarray(array, "<f4") for name, array in arrays.items()}
    header = _header(state, values)
    digest = hashlib.sha256(header)
    for array in values.values():
        digest.update(array.data)
    header = header.replace(b"0" * 64, digest.hexdigest().encode(), 1)
    path = folder / file_name(state.step)
    write_file(path, (header, *(array.data for array in values.values())))
    prune(folder, state.step)
    return path


def _header(state: State, arrays: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Length and header, the digest still zeros."""
    # The digest comes first, so that its zeros are the first 64 of the file.
    entries: dict[str, Any] = {"__metadata__": {"sha256": "0" * 64, "format": FORMAT, "state": state.text()}}
    offset = 0
    for name, array in arrays.items():
        entries[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": (offset, offset + array.nbytes)}
        offset += array.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def load(path: Path) -> Checkpoint:
    """A checkpoint, every bit of it checked; RunError if it is damaged or not ours."""
    try:
        with path.open("rb") as file:
            header, metadata = _read_header(file)
            found = metadata["sha256"]
            if not _DIGEST.fullmatch(found):
                raise ValueError("its checksum is no checksum")
            digest = hashlib.sha256(header.replace(found.encode(), b"0" * 64, 1))
            while block := file.read(_BLOCK):
                digest.update(block)
        if digest.hexdigest() != found:
            raise ValueError("its checksum is wrong")
        return Checkpoint(path, State.parse(metadata["state"]))
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: damaged, or no checkpoint of convjit: {error}") from None


def _read_header(file: BinaryIO) -> tuple[bytes, dict[str, str]]:
    """The bytes up to the arrays, and the metadata; ValueError if it is no header of ours."""
    length = file.read(8)
    size = int.from_bytes(length, "little")
    room = file.seek(0, 2) - 8
    if len(length) < 8 or not 2 <= size <= min(room, _MOST_HEADER):
        raise ValueError("its header is cut short or too long")
    file.seek(8)
    text = file.read(size)
    entries = json.loads(text)
    metadata = entries.get("__metadata__") if isinstance(entries, dict) else None
    if not isinstance(metadata, dict) or set(metadata) != {"sha256", "format", "state"}:
        raise ValueError("its header is not one of convjit")
    if not all(isinstance(value, str) for value in metadata.values()) or metadata["format"] != FORMAT:
        raise ValueError(f"its format is not '{FORMAT}'")
    return length + text, metadata


def _steps(folder: Path) -> dict[int, Path]:
    """Checkpoints by step, the newest first, going by their names alone."""
    try:
        files = {path: _NAME.fullmatch(path.name) for path in folder.iterdir() if path.is_file()}
    except OSError as error:
        raise RunError(f"{folder}: cannot be read: {error.strerror or error}") from None
    found = {int(match[1]): path for path, match in files.items() if match and path.name == file_name(int(match[1]))}
    return dict(sorted(found.items(), reverse=True))


def newest(folder: Path, warn: Callable[[str], None]) -> Checkpoint:
    """The newest checkpoint that is whole; damaged ones are named through `warn` and passed over."""
    steps = _steps(folder)
    for path in steps.values():
        try:
            return load(path)
        except RunError as error:
            warn(f"{error}; the one before it is used")
    raise RunError(f"{folder}: no {'whole ' if steps else ''}checkpoint; start the run anew")


def prune(folder: Path, step: int) -> None:
    """Remove checkpoints older than the last two up to `step`; never a file that convjit has not written."""
    own = [path for at, path in _steps(folder).items() if at <= step]
    for path in own[_KEPT:]:
        try:
            if path.is_symlink():
                continue
            with path.open("rb") as file:
                _read_header(file)
            path.unlink()
        except (OSError, ValueError, RecursionError):
            # Not ours, or not removable: it may stay.
            continue
