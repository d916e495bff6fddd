"""Initial weights: normal numbers from the seed and the array's name, whatever the order or number of arrays."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from convjit import random
from convjit.graph import Net

__all__ = ["initial_weights"]


def initial_weights(net: Net, seed: int) -> dict[str, NDArray[np.float32]]:
    """Every learned array by name: initW * N(0, 1) for weights, initB for biases."""
    found: dict[str, NDArray[np.float32]] = {}
    for name, learned in net.learned().items():
        shape = learned.array.shape
        if learned.deviation:
            drawn = random.normal(random.derive_key(seed, f"init:{name}"), math.prod(shape))
            found[name] = (learned.deviation * drawn).astype(np.float32).reshape(shape)
        else:
            found[name] = np.full(shape, learned.value, np.float32)
    return found
