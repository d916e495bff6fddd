"""From a net and its recipe to what is done to images: the preprocessing, the mean, what is drawn while training."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convjit.data import Augmentation, Dataset, Preprocessing
from convjit.data.preprocessing import NUMBERS
from convjit.data.statistics import mean_image
from convjit.graph import Net, Recipe

__all__ = ["augmentation_of", "mean_of", "preprocessing_of"]


def preprocessing_of(net: Net, recipe: Recipe) -> Preprocessing:
    """How image files are brought to what the net is given."""
    image = net.image
    colours = NUMBERS if net.numbers else ""
    return Preprocessing((image.channels, image.height, image.width), net.crop, recipe.taken_off, colours)


def mean_of(dataset: Dataset, net: Net, recipe: Recipe) -> NDArray[np.float32]:
    """What is taken off the pixels, [C,h,w]: the centre of the mean training image, a number, or nothing."""
    h, w = net.input.height, net.input.width
    if recipe.scalar_mean >= 0 or recipe.mean == "none":
        return np.full((net.input.channels, h, w), max(recipe.scalar_mean, 0), np.float32)
    top, left = (net.image.height - h) // 2, (net.image.width - w) // 2
    return mean_image(dataset, preprocessing_of(net, recipe))[:, top : top + h, left : left + w].copy()


def augmentation_of(net: Net, recipe: Recipe, mean: NDArray[np.float32]) -> Augmentation:
    """What is drawn for training images; contrast is that with the grey of the mean image."""
    return Augmentation(
        crop=None if net.crop == (0, 0) else net.crop,
        mirror=recipe.mirror,
        area=recipe.crop_area,
        ratio=recipe.crop_ratio,
        rotate=recipe.rotate,
        zoom=recipe.zoom,
        brightness=recipe.brightness,
        contrast=recipe.contrast,
        saturation=recipe.saturation,
        cutout=recipe.cutout,
        grey=float(mean.mean(dtype=np.float64)) or 127.5,
    )
