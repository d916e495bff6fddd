"""What every module says it offers is there, once."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

import pytest

import convjit

FOUND = [found for found in pkgutil.walk_packages(convjit.__path__, "convjit.") if found.name != "convjit.__main__"]
MODULES = ["convjit", *(found.name for found in FOUND)]


@pytest.mark.parametrize("name", MODULES)
def test_all(name: str) -> None:
    module = importlib.import_module(name)
    offered = getattr(module, "__all__", None)
    if offered is None:
        return
    assert len(offered) == len(set(offered)), f"{name}.__all__ has something twice"
    missing = [word for word in offered if not hasattr(module, word)]
    assert not missing, f"{name}.__all__ offers {missing}"


@pytest.mark.parametrize("name", [found.name for found in FOUND if found.ispkg and found.name != "convjit.cli"])
def test_packages_offer_what_they_import(name: str) -> None:
    """A package's own file is its list of contents (but for the command's, which has no other users)."""
    module = importlib.import_module(name)
    if not hasattr(module, "__all__"):
        return
    public = {word for word, value in vars(module).items() if not word.startswith("_") and not _foreign(name, value)}
    assert public - {"annotations"} <= set(module.__all__), public - set(module.__all__)


def _foreign(package: str, value: object) -> bool:
    """A submodule, or something that is not of this package."""
    return isinstance(value, ModuleType) or not getattr(value, "__module__", package).startswith(package)
