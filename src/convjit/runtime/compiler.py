"""Kernels for problems: from the cache on disk, or compiled, independent ones at the same time.

LLVM is used under one lock inside a process, so that what runs beside is other processes: workers that this one starts,
feeds with problems through a pipe and ends. A worker is this module run as a program.
"""

from __future__ import annotations

import hashlib
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from convjit.codegen.cache import Compiled, KernelCache
from convjit.codegen.jit import compile_object, machine_text, versions
from convjit.kernels import Problem, generate

__all__ = ["Progress", "compile_all", "compile_one", "key_of"]

Progress = Callable[[int, int], None]
"""Called with (kernels compiled, kernels to compile)."""

WORTH_A_WORKER = 4
"""Kernels left to compile from which a worker's start of a third of a second is won back."""


@cache
def _source_digest() -> str:
    """Digest of everything that decides what a kernel's text is."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for folder in ("codegen", "kernels", "ops"):
        for path in sorted((root / folder).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    digest.update((root / "random.py").read_bytes())
    return digest.hexdigest()


def key_of(problem: Problem) -> str:
    """What a compiled kernel is filed under: its problem, the generators' source, the processor and the compiler."""
    parts = (repr(problem), _source_digest(), machine_text(problem.target), versions())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def compile_one(key: str, problem: Problem) -> Compiled:
    """Generate and compile one kernel."""
    made = generate(problem, symbol=f"{problem.op.kind()}_{key[:16]}")
    return Compiled(made.name, made.tasks, made.scratch_bytes, compile_object(made.text, problem.target))


def compile_all(
    problems: Sequence[Problem], *, workers: int = 1, progress: Progress | None = None
) -> dict[Problem, Compiled]:
    """A compiled kernel for every problem, at most `workers` compiled at the same time."""
    store = KernelCache()
    found: dict[Problem, Compiled] = {}
    missing: dict[Problem, str] = {}
    for problem in problems:
        if problem not in found and problem not in missing:
            key = key_of(problem)
            if entry := store.get(key):
                found[problem] = entry
            else:
                missing[problem] = key
    # The longest first, so that none is left alone at the end.
    order = sorted(missing, key=lambda p: -p.op.flops() * p.batch)
    if not order:
        return found
    jobs: queue.SimpleQueue[Problem] = queue.SimpleQueue()
    for problem in order:
        jobs.put(problem)
    lock = threading.Lock()

    def finished(problem: Problem, entry: Compiled) -> None:
        store.put(missing[problem], entry)
        with lock:
            found[problem] = entry
            made = sum(p in found for p in order)
        if progress:
            progress(made, len(order))

    if progress:
        progress(0, len(order))
    helpers = min(workers - 1, len(order) // WORTH_A_WORKER)
    threads = [threading.Thread(target=_feed, args=(jobs, missing, finished), daemon=True) for _ in range(helpers)]
    for thread in threads:
        thread.start()
    for problem in iter(lambda: _next(jobs), None):
        finished(problem, compile_one(missing[problem], problem))
    for thread in threads:
        thread.join()
    for problem in order:  # what a worker took and did not bring back
        if problem not in found:
            finished(problem, compile_one(missing[problem], problem))
    return found


def _next(jobs: queue.SimpleQueue[Problem]) -> Problem | None:
    try:
        return jobs.get_nowait()
    except queue.Empty:
        return None


def _feed(
    jobs: queue.SimpleQueue[Problem], keys: dict[Problem, str], finished: Callable[[Problem, Compiled], None]
) -> None:
    """Run one worker until no problem is left. A worker that fails costs time, nothing else."""
    command = [sys.executable, "-m", "convjit.runtime.compiler"]
    try:
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as worker:
            assert worker.stdin and worker.stdout
            for problem in iter(lambda: _next(jobs), None):
                pickle.dump((keys[problem], problem), worker.stdin)
                worker.stdin.flush()
                finished(problem, pickle.load(worker.stdout))
            worker.stdin.close()
    except (OSError, EOFError, pickle.UnpicklingError):
        return


def _work(problems: IO[bytes], results: IO[bytes]) -> None:
    """The worker's life: both ends of the pipes are this very program."""
    while True:
        try:
            key, problem = pickle.load(problems)
        except EOFError:
            return
        pickle.dump(compile_one(key, problem), results)
        results.flush()


if __name__ == "__main__":
    _work(sys.stdin.buffer, sys.stdout.buffer)
