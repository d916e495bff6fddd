"""Recipe: how a net is meant to be trained, in the section [recipe] of its parameter file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from convjit.errors import ConfigError
from convjit.layers.given import Given
from convjit.layers.options import Option, choice, flag, integer, normalise, options_of, sides, text
from convjit.layers.values import shown

__all__ = ["Recipe"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The data that a net is made for, and how it is trained on them.

    `dataset` names data that convjit finds itself ("" for none), `image` is (C, H, W) of the stored images, `crop` the
    (h, w) that the net sees, (0, 0) for all. Cropping is random while training, as is mirroring if asked for. `mean` is
    what is taken off the pixels: "image", the mean image of the training set, or "none".
    """

    dataset: str = text("dataset", default="", file="params")
    image: Given[tuple[int, ...], tuple[int, int, int] | tuple[()] | str] = sides("image", default=(), file="params")
    classes: int = integer("classes", default=0, least=0, file="params")
    crop: Given[tuple[int, ...], int | tuple[int, int] | str] = sides("crop", default=(0, 0), file="params")
    mirror: bool = flag("mirror", default=False, file="params")
    epochs: int = integer("epochs", default=10, least=1, file="params")
    minibatch: int = integer("minibatch", default=128, least=1, most=2**20, file="params")
    mean: str = choice("mean", ("image", "none"), default="image", file="params")
    test_every: int = integer("testEvery", default=1, least=1, file="params")
    """In epochs."""

    def __post_init__(self) -> None:
        normalise(self, "recipe", 1)
        if not re.fullmatch(r"[A-Za-z0-9_-]*", self.dataset):
            found = f"dataset={shown(self.dataset)}: must be a name of letters, digits, - and _"
            raise ConfigError(found, layer="recipe", key="dataset")
        if len(self.image) not in (0, 3) or not all(side > 0 for side in self.image):
            found = "x".join(map(str, self.image))
            raise ConfigError(f"image={found}: must be CxHxW, such as 3x32x32", layer="recipe", key="image")
        crop = self.crop * 2 if len(self.crop) == 1 else self.crop
        if len(crop) != 2 or min(crop) < 0 or (0 in crop and crop != (0, 0)):
            found = "x".join(map(str, self.crop))
            raise ConfigError(f"crop={found}: must be a side, HxW, or 0 for whole images", layer="recipe", key="crop")
        object.__setattr__(self, "crop", crop)

    @classmethod
    def options(cls) -> dict[str, Option]:
        """Options by attribute name."""
        return options_of(cls)
