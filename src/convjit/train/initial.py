"""Initial weights: normal numbers from the seed and the array's name, whatever the order or number of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.errors import ConfigError, RunError
from convjit.graph import Net
from convjit.layers import Initialiser, Learned
from convjit.layers.initialisers import CODE
from convjit.runtime import thread_count
from convjit.train.checkpoint import Checkpoint, load, newest

__all__ = ["RunCode", "initial_weights"]

_CHUNK = 1 << 16
"""Numbers drawn at a time: half a megabyte, which stays in a cache. AlexNet's 61 million take 2 s instead of 6."""

Array: TypeAlias = NDArray[np.float32]
RunCode: TypeAlias = Callable[[Initialiser, str, int | None, tuple[int, ...]], Array]
"""Runs an initialiser's function: (function, layer, index of the input or None for biases, shape) to an array."""


def initial_weights(net: Net, seed: int, run_code: RunCode | None = None) -> dict[str, Array]:
    """Every learned array by name: initW * N(0, 1) for weights, initB for biases, or what their initialisers make.

    ConfigError for an initialiser that is a function, unless `run_code` is given, or that does not fit its array.
    """
    found: dict[str, Array] = {}
    with ThreadPoolExecutor(thread_count()) as pool:

        def normal(name: str, size: int, deviation: float) -> Array:
            array, key = np.empty(size, np.float32), random.derive_key(seed, f"init:{name}")

            def draw(start: int) -> None:
                part = array[start : start + _CHUNK]
                part[:] = deviation * random.normal(key, len(part), start)

            list(pool.map(draw, range(0, size, _CHUNK)))
            return array

        for name, learned in net.learned().items():
            size = math.prod(learned.array.shape)
            if learned.initialiser and learned.initialiser.name == CODE:
                array = _from_code(name, learned, run_code)
            elif learned.initialiser:
                array = _initialised(name, learned, learned.initialiser, seed, normal)
            elif learned.deviation:
                array = normal(name, size, learned.deviation)
            else:
                array = np.full(size, learned.value, np.float32)
            found[name] = array.reshape(learned.array.shape)
    return found


def _error(name: str, learned: Learned, message: str) -> ConfigError:
    key = "initBFunc" if learned.name == "biases" else "initWFunc"
    return ConfigError(f"{key}={learned.initialiser}: {message}", layer=name.rpartition(".")[0], key=key)


def _initialised(
    name: str, learned: Learned, how: Initialiser, seed: int, normal: Callable[[str, int, float], Array]
) -> Array:
    """A flat array by one of the built-in names."""
    size = math.prod(learned.array.shape)
    if how.name == "he":
        return normal(name, size, math.sqrt(2 / learned.fan_in))
    if how.name == "xavier":
        bound = math.sqrt(6 / (learned.fan_in + learned.fan_out))
        drawn = random.uniform(random.derive_key(seed, f"init:{name}"), size)
        return ((2 * drawn.astype(np.float64) - 1) * bound).astype(np.float32)
    if how.name == "orthogonal":
        matrices = normal(name, size, 1.0).reshape(-1, learned.units, learned.fan_in)
        return np.stack([_orthogonal(matrix.astype(np.float64)) for matrix in matrices]).reshape(-1)
    if how.name == "load":
        return _loaded(name, learned, how)
    if how.name == "vec":
        if len(how.numbers) != size:
            raise _error(name, learned, f"{len(how.numbers)} numbers for an array of {size}")
        return np.array(how.numbers, np.float32)
    return np.full(size, how.numbers[0], np.float32)


def _orthogonal(matrix: NDArray[np.float64]) -> Array:
    """Rows (columns, if rows are more) made orthogonal and of length 1, one after the other.

    Gram and Schmidt's way, twice for each row; einsum adds in one order, which a library of threads need not.
    """
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T.copy()
    for i in range(len(rows)):
        for _ in range(2):
            rows[i] -= np.einsum("j,jk->k", np.einsum("jk,k->j", rows[:i], rows[i]), rows[:i])
        rows[i] /= math.sqrt(np.einsum("k,k->", rows[i], rows[i]))
    made = rows if rows.shape == matrix.shape else rows.T
    return np.ascontiguousarray(made, np.float32)


def _loaded(name: str, learned: Learned, how: Initialiser) -> Array:
    """Arrays of the same name, of one or more layers of a checkpoint."""
    path, *layers = how.words
    try:
        checkpoint = _checkpoint(Path(path))
    except RunError as error:
        raise _error(name, learned, str(error)) from None
    wanted = {f"{layer}.{learned.name}": layer for layer in layers}
    found = {name: array for name, array in checkpoint.arrays() if name in wanted}
    for full, layer in wanted.items():
        if full not in found:
            raise _error(name, learned, f"{checkpoint.path} has no {learned.name} of a layer '{layer}'")
    made = [found[full] for full in wanted]
    shapes = [array.shape for array in made]
    fits = (
        len({shape[1:] for shape in shapes}) == 1 and (sum(s[0] for s in shapes), *shapes[0][1:]) == learned.array.shape
    )
    if not fits:
        given = " and ".join("x".join(map(str, shape)) for shape in shapes)
        raise _error(name, learned, f"{checkpoint.path} has {given}, but {learned.array} is needed")
    return np.concatenate(made)


def _checkpoint(path: Path) -> Checkpoint:
    """A file, or the newest of a run's folder."""
    if path.is_dir():
        return newest(path / "checkpoints" if (path / "checkpoints").is_dir() else path, lambda text: None)
    return load(path)


def _from_code(name: str, learned: Learned, run_code: RunCode | None) -> Array:
    """What a function of the user's makes."""
    how = learned.initialiser
    assert how is not None
    if run_code is None:
        raise _error(name, learned, "a function runs code from the working directory, which needs --allow-code")
    layer = name.rpartition(".")[0]
    index = None if learned.name == "biases" else int(learned.name.removeprefix("weights") or 0)
    array = np.asarray(run_code(how, layer, index, learned.array.shape))
    if array.shape != learned.array.shape or array.dtype.kind not in "fiu":
        shape = "x".join(map(str, array.shape))
        raise _error(name, learned, f"it made {array.dtype} {shape}; float32 {learned.array} is needed")
    return array.astype(np.float32)
