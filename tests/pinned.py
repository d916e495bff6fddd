"""Texts that tests pin, in tests/golden. With REFRESH_GOLDEN=1 in the environment they are written anew."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = Path(__file__).parent / "golden"


def compare(name: str, text: str) -> None:
    """Fail unless `text` is what the golden file of this name holds."""
    path = _FOLDER / name
    if os.environ.get("REFRESH_GOLDEN"):
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path} differs; if rightly so, run REFRESH_GOLDEN=1 pytest"
