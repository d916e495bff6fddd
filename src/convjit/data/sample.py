"""The images that convjit brings with it: a cut of Fashion-MNIST for the first run."""

from __future__ import annotations

from importlib import resources

import numpy as np

from convjit.data.dataset import Dataset, Images, build
from convjit.data.idx import parse_idx

__all__ = ["sample"]

_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def sample() -> Dataset:
    """10,000 training and 2,000 test images of Fashion-MNIST, [C,H,W] = (1, 28, 28), ten balanced classes."""
    return build("sample", _images("train"), _images("t10k"), _CLASSES)


def _images(split: str) -> Images:
    folder = resources.files("convjit") / "sample"
    pixels, labels = (
        parse_idx((folder / name).read_bytes(), f"convjit's own {name}", kind)
        for kind, name in (("images", f"{split}-images-idx3-ubyte.gz"), ("labels", f"{split}-labels-idx1-ubyte.gz"))
    )
    return Images(pixels[:, None], labels.astype(np.int32))
