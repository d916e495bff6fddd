"""docs/layers.md is what the registry of layers says."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "make_layer_docs.py"))
    page = (ROOT / "docs" / "layers.md").read_text(encoding="utf-8")
    assert page == made["text"](), "run scripts/make_layer_docs.py"
