"""Recipe: how a net is meant to be trained, in the section [recipe] of its parameter file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from convjit.errors import ConfigError
from convjit.layers.base import Changes
from convjit.layers.given import Given
from convjit.layers.options import Option, choice, flag, integer, normalise, number, options_of, sides, text
from convjit.layers.values import number_text, shown

__all__ = ["Recipe"]


_OF_IMAGES = (
    "crop", "mirror", "colour_noise", "crop_area", "rotate", "zoom", "brightness", "contrast", "saturation", "cutout",
    "views",
)  # fmt: skip
"""Options that say what is done to images."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The data that a net is made for, and how it is trained on them.

    `dataset` names data that convjit finds itself ("" for none), `image` is (C, H, W) of the stored images, `crop` the
    (h, w) that the net sees, (0, 0) for all. Cropping is random while training, as is mirroring if asked for. `mean` is
    what is taken off the pixels: "image", the mean image of the training set, or "none"; `scalar_mean`, if not below 0,
    is a number taken off instead. `colour_noise` c adds c * normal noise along the principal axes of the colours to
    every training image, and divides by 1 + c. What else may be done to training images at random:

    crop_area                          at least this share of an image, up to all of it, is scaled to the crop, with
    crop_ratio                         sides of up to this ratio either way; 1 takes crops of whole pixels instead
    rotate                             turned by up to so many degrees, either way
    zoom                               made smaller or larger, by up to 1 + zoom
    brightness, contrast, saturation   times 1 - b to 1 + b: pixels, their distances from the mean grey, and those of
                                       the colours from their own grey
    cutout                             a square of so many pixels is made mean

    `order` is "shuffled", or "batches" as in cuda-convnet: data batches in
    their order, minibatches of consecutive images of one data batch, and rates that change with the data batch.
    `average` divides gradients by the "actual" number of a minibatch's images, or by the "configured" one, so that the
    last, short one of a data batch has a smaller step. `views` of an image are seen by tests: 1, 9 or 10.
    """

    dataset: str = text("dataset", default="", file="params")
    image: Given[tuple[int, ...], tuple[int, int, int] | tuple[()] | str] = sides("image", default=(), file="params")
    classes: int = integer("classes", default=0, least=0, file="params")
    crop: Given[tuple[int, ...], int | tuple[int, int] | str] = sides("crop", default=(0, 0), file="params")
    mirror: bool = flag("mirror", default=False, file="params")
    epochs: int = integer("epochs", default=10, least=1, file="params")
    minibatch: int = integer("minibatch", default=128, least=1, most=2**20, file="params")
    mean: str = choice("mean", ("image", "none"), default="image", file="params")
    scalar_mean: float = number("scalarMean", default=-1.0, least=-1, most=255, file="params")
    colour_noise: float = number("colourNoise", default=0.0, least=0, most=1000, file="params")
    crop_area: float = number("cropArea", default=1.0, least=0.01, most=1, file="params")
    crop_ratio: float = number("cropRatio", default=4 / 3, least=1, most=10, file="params")
    rotate: float = number("rotate", default=0.0, least=0, most=180, file="params")
    zoom: float = number("zoom", default=0.0, least=0, most=4, file="params")
    brightness: float = number("brightness", default=0.0, least=0, most=1, file="params")
    contrast: float = number("contrast", default=0.0, least=0, most=1, file="params")
    saturation: float = number("saturation", default=0.0, least=0, most=1, file="params")
    cutout: int = integer("cutout", default=0, least=0, most=2**16, file="params")
    order: str = choice("order", ("shuffled", "batches"), default="shuffled", file="params")
    average: str = choice("average", ("actual", "configured"), default="actual", file="params")
    views: int = integer("views", default=1, least=1, most=10, file="params")
    test_every: int = integer("testEvery", default=1, least=1, file="params")
    """In epochs."""

    def __post_init__(self) -> None:
        normalise(self, "recipe", 1)
        if not re.fullmatch(r"[A-Za-z0-9_-]*", self.dataset):
            found = f"dataset={shown(self.dataset)}: must be a name of letters, digits, - and _"
            raise ConfigError(found, layer="recipe", key="dataset")
        if self.views not in (1, 9, 10):
            found = f"views={self.views}: must be 1, 9 (a grid of 3x3) or 10 (corners and centre, and mirrored)"
            raise ConfigError(found, layer="recipe", key="views")
        if len(self.image) not in (0, 3) or not all(side > 0 for side in self.image):
            found = "x".join(map(str, self.image))
            raise ConfigError(f"image={found}: must be CxHxW, such as 3x32x32", layer="recipe", key="image")
        crop = self.crop * 2 if len(self.crop) == 1 else self.crop
        if len(crop) != 2 or min(crop) < 0 or (0 in crop and crop != (0, 0)):
            found = "x".join(map(str, self.crop))
            raise ConfigError(f"crop={found}: must be a side, HxW, or 0 for whole images", layer="recipe", key="crop")
        object.__setattr__(self, "crop", crop)

    @property
    def taken_off(self) -> str:
        """What is taken off the pixels, in a word: image, none, or the number."""
        return self.mean if self.scalar_mean < 0 else number_text(self.scalar_mean)

    @property
    def changes(self) -> Changes:
        """What a program has to know of what is done to training images."""
        return Changes(
            self.colour_noise,
            warp=self.crop_area < 1 or self.rotate > 0 or self.zoom > 0,
            recolour=max(self.brightness, self.contrast, self.saturation) > 0,
            cutout=self.cutout > 0,
        )

    def check_numbers(self) -> None:
        """ConfigError if it asks for what is done to images only; features of another net are taken as they are."""
        plain = Recipe()
        for attribute, option in self.options().items():
            if attribute in _OF_IMAGES and getattr(self, attribute) != getattr(plain, attribute):
                found = f"{option.key} is for images, and the data are features of another net; leave it out"
                raise ConfigError(found, layer="recipe", key=option.key)

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Options by attribute name."""
        return options_of(cls)
