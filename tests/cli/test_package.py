"""The public names of the package."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import convjit

NAMES = {
    "ConvjitError", "Dataset", "Net", "Recipe", "__version__", "from_arrays", "layers", "load", "load_net",
    "open_dataset", "predict", "sample", "test", "train",
}  # fmt: skip


def test_the_names_are_these() -> None:
    assert set(convjit.__all__) == NAMES and list(convjit.__all__) == sorted(convjit.__all__)
    assert set(dir(convjit)) >= NAMES
    for name in convjit.__all__:
        assert getattr(convjit, name) is not None


def test_other_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="module 'convjit' has no attribute 'trian'"):
        convjit.trian  # noqa: B018


def test_train_is_the_function_whatever_was_imported() -> None:
    from convjit.train import trainer

    assert trainer.__name__ == "convjit.train.trainer" and callable(convjit.train)


def test_the_version_is_that_of_the_distribution() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == convjit.__version__
