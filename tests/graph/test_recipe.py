from __future__ import annotations

from typing import Any

import pytest

from convjit.errors import ConfigError
from convjit.graph import Recipe


def test_values() -> None:
    recipe = Recipe(image="3x32x28", crop=24, mean="NONE")
    assert (recipe.image, recipe.crop, recipe.mean) == ((3, 32, 28), (24, 24), "none")
    assert Recipe(crop="24x20").crop == (24, 20)
    assert Recipe().crop == Recipe(crop=0).crop == (0, 0)
    assert (Recipe().epochs, Recipe().minibatch, Recipe().test_every, Recipe().mirror) == (10, 128, 1, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": "32x32"}, "image=32x32: must be CxHxW, such as 3x32x32"),
        ({"image": "3x0x3"}, "image=3x0x3: must be CxHxW, such as 3x32x32"),
        ({"image": "3xx3"}, "image=3xx3: must be a whole number, at most 2147483647"),
        ({"crop": "24x0"}, "crop=24x0: must be a side, HxW, or 0 for whole images"),
        ({"crop": -1}, "crop=-1: must be a side, HxW, or 0 for whole images"),
        ({"crop": (1, 2, 3)}, "crop=1x2x3: must be a side, HxW, or 0 for whole images"),
        ({"mean": "pixel"}, "mean=pixel: must be image or none"),
        ({"epochs": 0}, "epochs=0: must be at least 1"),
        ({"minibatch": 2**21}, "minibatch=2097152: must be 1 to 1048576"),
        ({"dataset": "a b"}, "dataset=a b: must be a name of letters, digits, - and _"),
        ({"dataset": "a\nb"}, "dataset=a\\nb: must be one line of text, at most 1000 characters"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Recipe(**options)
    assert str(error.value) == f"layer 'recipe': {message}"
