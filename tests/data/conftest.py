"""A cache folder that nobody else uses."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test; it does not exist yet."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CONVJIT_CACHE", str(folder))
    return folder
