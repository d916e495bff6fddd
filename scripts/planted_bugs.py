"""Plants the mistakes of tests/planted_bugs.toml one by one in a copy of the source: the tests must notice each.

    python scripts/planted_bugs.py [--only NAME] [--jobs N] [--sound]

The exit code is 1 if a mistake went unnoticed or could not be planted, or (with --sound) if tests fail without any.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tests" / "planted_bugs.toml"
COPIED = ("src", "tests", "pyproject.toml", "README.md")
MOST_SECONDS = 120
"""Tests that still run after this long, twice, have noticed something: a mistake may make threads wait for ever."""


@dataclass(frozen=True)
class Bug:
    """One mistake."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def bugs() -> list[Bug]:
    """All of the list."""
    found = tomllib.loads(LIST.read_text(encoding="utf-8"))
    return [Bug(name, b["file"], b["old"], b["new"], tuple(b["tests"])) for name, b in found.items()]


def copy_to(folder: Path) -> Path:
    """A copy of what tests need."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.cfg.bak"))
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


def run_tests(folder: Path, tests: tuple[str, ...]) -> tuple[str, str]:
    """What the tests say in a copy: "passed", "failed", "crashed", "hung" or "broken"; and their output."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CONVJIT_CACHE": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    for _ in range(2):
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=MOST_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            continue
        verdict = {0: "passed", 1: "failed"}.get(done.returncode, "crashed" if done.returncode < 0 else "broken")
        return verdict, done.stdout + done.stderr
    return "hung", ""


def plant(folder: Path, bug: Bug) -> tuple[bool, str]:
    """Plant a mistake in a copy, test, mend it: whether the tests noticed, and in which way."""
    path = folder / "src" / "convjit" / bug.file
    text = path.read_text(encoding="utf-8")
    if (times := text.count(bug.old)) != 1:
        return False, f"its text is found {times} times"
    path.write_text(text.replace(bug.old, bug.new), encoding="utf-8")
    try:
        verdict, output = run_tests(folder, bug.tests)
    finally:
        path.write_text(text, encoding="utf-8")
    if verdict == "broken":
        return False, f"the tests did not run:\n{output[-2000:]}"
    return verdict != "passed", verdict


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", help="plant this one; may be given several times")
    parser.add_argument("--jobs", type=int, default=1, help="how many at the same time")
    parser.add_argument("--sound", action="store_true", help="first see that the same tests pass without a mistake")
    arguments = parser.parse_args()
    chosen = [bug for bug in bugs() if not arguments.only or bug.name in arguments.only]
    if arguments.only and len(chosen) != len(set(arguments.only)):
        parser.error(f"known are: {', '.join(bug.name for bug in bugs())}")
    start, missed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="planted-bugs-") as scratch:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(arguments.jobs):
            copies.put(copy_to(Path(scratch, str(number))))

        def in_a_copy(bug: Bug) -> tuple[Bug, bool, str, float]:
            folder, began = copies.get(), time.monotonic()
            try:
                return bug, *plant(folder, bug), time.monotonic() - began
            finally:
                copies.put(folder)

        def sound(tests: tuple[str, ...]) -> tuple[tuple[str, ...], str, str]:
            folder = copies.get()
            try:
                return tests, *run_tests(folder, tests)
            finally:
                copies.put(folder)

        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            selections = dict.fromkeys(bug.tests for bug in chosen) if arguments.sound else {}
            for tests, verdict, output in pool.map(sound, selections):
                if verdict != "passed":
                    print(f"without a mistake: {' '.join(tests)} {verdict}\n{output[-2000:]}")
                    missed += 1
            width = max(len(bug.name) for bug in chosen)
            for bug, noticed, how, seconds in pool.map(in_a_copy, chosen):
                missed += not noticed
                print(f"{bug.name:{width}}  {'caught' if noticed else 'MISSED'}  {seconds:4.0f} s  {how}", flush=True)
    print(f"{len(chosen)} mistakes, {missed} missed or not to be trusted, {time.monotonic() - start:.0f} s")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
