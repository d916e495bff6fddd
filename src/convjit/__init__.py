"""convjit trains convolutional nets on the cores you have.

    import convjit
    result = convjit.train("default")              # a Result: error, run folder, speed ...
    with convjit.load(result.run) as run:
        run.predict_file("shoe.png").top(3)

Names other than the four functions are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The function takes the name of the package that it comes from: `from convjit.train.x import y` still finds that.
from convjit.train.api import load, predict, test, train

if TYPE_CHECKING:
    from convjit.cfg import load_net
    from convjit.data import Dataset, from_arrays, open_dataset
    from convjit.data.sample import sample
    from convjit.errors import ConvjitError
    from convjit.graph import Net, Recipe

__all__ = [
    "ConvjitError",
    "Dataset",
    "Net",
    "Recipe",
    "__version__",
    "from_arrays",
    "layers",
    "load",
    "load_net",
    "open_dataset",
    "predict",
    "sample",
    "test",
    "train",
]

_HOMES = {
    "ConvjitError": "convjit.errors",
    "Dataset": "convjit.data",
    "Net": "convjit.graph",
    "Recipe": "convjit.graph",
    "from_arrays": "convjit.data",
    "load_net": "convjit.cfg",
    "open_dataset": "convjit.data",
    "sample": "convjit.data",
}


def __getattr__(name: str) -> Any:
    if name == "layers":
        return importlib.import_module("convjit.layers")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'convjit' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
