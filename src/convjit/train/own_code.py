"""initWFunc=module.function(...): code of the user's own, which a run must allow with --allow-code.

A function is called as cuda-convnet called it: function(layer, index of the input, shape, params) for weights and
function(layer, shape, params) for biases, with params a list of texts. Shapes are the original's, of two dimensions:
(channels*size*size, filters) for conv, (modules*channels*size*size, filters) for local, (inputs, outputs) for fc;
biases are (numbers, 1), those of fc (1, outputs).
"""

from __future__ import annotations

import importlib.util
import math
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from convjit.data.stream import shown
from convjit.errors import ConfigError
from convjit.graph import Net
from convjit.layers import Fc
from convjit.layers.initialisers import Initialiser
from convjit.train.initial import RunCode
from convjit.train.original_checkpoint import from_matrix, matrix_shape

__all__ = ["code_runner"]


def code_runner(net: Net, tell: Callable[[str], None], folder: Path | None = None) -> RunCode:
    """What runs functions of modules in a folder, by default the present one; `tell` hears what is imported."""
    place = folder or Path.cwd()
    modules: dict[str, ModuleType] = {}

    def run(how: Initialiser, layer: str, index: int | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
        name, _, function = how.words[0].rpartition(".")
        if name not in modules:
            modules[name] = _imported(name, place, layer, tell)
        found = getattr(modules[name], function, None)
        if not callable(found):
            raise ConfigError(f"module '{name}' has no function '{function}'", layer=layer, key="initWFunc")
        wanted = _matrix(net, layer, index, shape)
        parameters = list(how.words[1:])
        try:
            made = found(layer, wanted, parameters) if index is None else found(layer, index, wanted, parameters)
        except Exception as error:
            why = f"{name}.{function} raised {type(error).__name__}: {shown(error)}"
            raise ConfigError(why, layer=layer, key="initWFunc") from None
        matrix = np.asarray(made)
        if matrix.shape != wanted or matrix.dtype.kind not in "fiu":
            form = f"{matrix.dtype} {list(matrix.shape)}"
            raise ConfigError(f"{name}.{function} made {form}; float32 {list(wanted)} is needed", layer=layer)
        matrix = matrix.astype(np.float32)
        return matrix.reshape(shape) if index is None else from_matrix(matrix, shape, net.nodes[layer].layer)

    return run


def _matrix(net: Net, layer: str, index: int | None, shape: tuple[int, ...]) -> tuple[int, int]:
    """The original's shape of an array that has `shape` here."""
    size = math.prod(shape)
    if index is None:
        return (1, size) if isinstance(net.nodes[layer].layer, Fc) else (size, 1)
    return matrix_shape(shape, net.nodes[layer].layer)


def _imported(name: str, folder: Path, layer: str, tell: Callable[[str], None]) -> ModuleType:
    """A module of the folder, by its file; ConfigError if others may write it."""
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    if not path.is_file():
        raise ConfigError(f"there is no file {path.name} in {folder}", layer=layer, key="initWFunc")
    for one in (path, path.parent):
        mode = one.stat().st_mode
        open_folder = one is not path and mode & stat.S_ISVTX
        if mode & stat.S_IWOTH and not open_folder and sys.platform != "win32":
            found = f"{one} can be written by everybody; nothing of it is run: chmod o-w it first"
            raise ConfigError(found, layer=layer, key="initWFunc")
    tell(f"importing {path}, which this net asks for (--allow-code)")
    spec = importlib.util.spec_from_file_location(f"convjit_user.{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        why = f"{path}: {type(error).__name__}: {shown(error)}"
        raise ConfigError(why, layer=layer, key="initWFunc") from None
    return module
