"""The list of planted bugs: each can still be planted. scripts/planted_bugs.py says whether the tests notice them."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_each_has_one_place() -> None:
    bugs = runpy.run_path(str(ROOT / "scripts" / "planted_bugs.py"))["bugs"]()
    assert len(bugs) > 100
    times = {bug.name: (ROOT / "src" / "convjit" / bug.file).read_text(encoding="utf-8").count(bug.old) for bug in bugs}
    assert {name: count for name, count in times.items() if count != 1} == {}


def test_their_tests_are_there() -> None:
    bugs = runpy.run_path(str(ROOT / "scripts" / "planted_bugs.py"))["bugs"]()
    places = {test.partition("::")[0] for bug in bugs for test in bug.tests if test.startswith("tests/")}
    assert [place for place in places if not (ROOT / place).exists()] == []
