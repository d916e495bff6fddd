"""Random problems, kernels against references bit for bit: the long form of what tests/kernels run.

    python scripts/kernel_sweep.py --cases 10000 --seed 1
    python scripts/kernel_sweep.py --problem 'conv n5 c3 h9 f4 k3 p1 s2 relu @avx2 #7'

A failure prints the second form, which does it again. The exit code is the number of failures, at most 100.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "kernels"))

import harness
from problems import failures, parse

from convjit.codegen.target import TARGETS, Target, runnable_targets

FAMILIES = ("conv", "fc", "local")
ROUND = 50
"""Cases after which the kernels compiled so far are forgotten, lest memory fill up."""


def again(text: str) -> str | None:
    """Run one problem; what is wrong with it, if anything."""
    line, _, rest = text.partition("@")
    name, _, seed = rest.partition("#")
    try:
        parse(line.strip()).check(TARGETS[name.strip()], int(seed or 0))
    except AssertionError as error:
        return str(error)
    return None


def sweep(family: str, cases: int, seed: int, targets: list[Target]) -> int:
    """Run some random problems of a family; how many failed."""
    wrong, start = 0, time.monotonic()
    for done in range(0, cases, ROUND):
        seeds = range(seed * 10**6 + done, seed * 10**6 + min(done + ROUND, cases))
        for message in failures(family, seeds, targets):
            wrong += 1
            print(f"{message}\n", flush=True)
        harness.compile_kernel.cache_clear()
        harness._loader.cache_clear()
        if sys.stderr.isatty():
            print(f"\r{family} {done + len(seeds)}/{cases}", end="", file=sys.stderr, flush=True)
    print(f"{family}: {cases} problems, {wrong} wrong, {time.monotonic() - start:.0f} s")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="random problems of each family")
    parser.add_argument("--seed", type=int, default=1, help="another seed gives other problems")
    parser.add_argument("--family", choices=FAMILIES, action="append", help="default: all")
    parser.add_argument("--target", choices=TARGETS, action="append", help="default: all that this processor runs")
    parser.add_argument("--problem", help="run this problem alone")
    arguments = parser.parse_args()
    if arguments.problem:
        if message := again(arguments.problem):
            print(message)
            return 1
        print("right")
        return 0
    targets = [t for t in runnable_targets() if not arguments.target or t.name in arguments.target]
    families = arguments.family or FAMILIES
    return min(100, sum(sweep(family, arguments.cases, arguments.seed, targets) for family in families))


if __name__ == "__main__":
    sys.exit(main())
