"""Compiling: the same code from a worker, from this process and from the cache, whatever happens to workers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from layer_samples import net_of

from convjit.codegen.cache import Compiled, KernelCache
from convjit.codegen.jit import machine_text
from convjit.codegen.target import TARGETS, host_target, runnable_targets
from convjit.graph import lower
from convjit.kernels import Problem
from convjit.layers import Conv, Pool
from convjit.ops import Copy, Halo, Maps
from convjit.program import Program
from convjit.runtime import Executor, Store, compiler
from convjit.runtime.compiler import compile_all, key_of

PROBLEMS = [Problem(Copy(Maps(channels, 3, 3)), 5, (), host_target()) for channels in range(1, 13)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of kernels; empty at the start of each test."""
    monkeypatch.setenv("CONVJIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


def never(key: str, problem: Problem) -> Compiled:
    raise AssertionError(f"{problem.text()} is compiled again")


def small() -> Program:
    net = net_of(Conv("conv", "data", filters=4, filter_size=3), Pool("pool", "conv", pool="max", size_x=2, stride=2))
    return lower(net, 5)


def test_keys_tell_apart_whatever_the_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Problem(Copy(Maps(2, 3, 3)), 5, (), TARGETS["avx2"])
    others = [
        replace(one, op=Copy(Maps(2, 3, 4))),
        replace(one, op=Copy(Maps(2, 3, 3), accumulate=True)),
        replace(one, batch=6),
        replace(one, halos=(("x", Halo(1)),)),
        replace(one, halos=(("y", Halo(1)),)),
        *(replace(one, target=target) for target in TARGETS.values() if target.name != "avx2"),
        replace(one, target=replace(one.target, features="+avx512f")),
    ]
    keys = {key_of(problem) for problem in (one, *others)}
    assert len(keys) == 1 + len(others)
    assert key_of(replace(one)) in keys
    for name, other in (("versions", "llvm 99"), ("_source_digest", "changed"), ("machine_text", "another processor")):
        with monkeypatch.context() as patch:
            patch.setattr(compiler, name, lambda *_, other=other: other)
            assert key_of(one) not in keys, name
    assert all(set(key) <= set("0123456789abcdef") for key in keys)


def test_the_widest_target_is_made_for_this_processor() -> None:
    texts = {target.name: machine_text(target) for target in runnable_targets()}
    assert len(set(texts.values())) == len(texts)


def test_warm_is_cold(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    cold = compile_all(PROBLEMS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 12) for done in range(13)]
    assert len(list(cache.iterdir())) == 12
    with monkeypatch.context() as patch:
        patch.setattr(compiler, "compile_one", never)
        seen.clear()
        assert compile_all(PROBLEMS, workers=3, progress=lambda done, total: seen.append((done, total))) == cold
        assert seen == []
    for path in cache.iterdir():
        path.unlink()
    assert compile_all(PROBLEMS) == cold


def test_workers_make_the_same_code() -> None:
    here = compile_all(PROBLEMS)
    for path in (KernelCache().folder).iterdir():
        path.unlink()
    assert compile_all(PROBLEMS, workers=4) == here


@pytest.mark.parametrize("delay", [0.0, 0.3, 0.6])
def test_dead_workers_do_not_matter(monkeypatch: pytest.MonkeyPatch, delay: float) -> None:
    expected = compile_all(PROBLEMS)
    for path in (KernelCache().folder).iterdir():
        path.unlink()
    started: list[Any] = []

    class Doomed(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            timer = threading.Timer(delay, self.kill)
            timer.daemon = True
            timer.start()

    monkeypatch.setattr(subprocess, "Popen", Doomed)
    assert compile_all(PROBLEMS, workers=3) == expected
    assert len(started) == 2 and all(worker.returncode is not None for worker in started)


def test_workers_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for executable in ("/nowhere/python", "/bin/false", "/bin/echo"):
        monkeypatch.setattr(sys, "executable", executable)
        batch = 40 + len(executable)
        assert len(compile_all([replace(p, batch=batch) for p in PROBLEMS], workers=3)) == 12


def test_corrupt_entries_are_compiled_again(cache: Path) -> None:
    cold = compile_all(PROBLEMS)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert compile_all(PROBLEMS) == cold
    assert compile_all(PROBLEMS) == cold


def test_executors_share_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    program = small()
    with Executor(program, Store(), threads=1):
        pass
    monkeypatch.setattr(compiler, "compile_one", never)
    with Executor(program, Store(), threads=2) as second:
        second.run()


def test_without_a_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("CONVJIT_CACHE", str(tmp_path / "file"))
    with Executor(small(), Store(), threads=1) as executor:
        executor.run()


FILL = """
from layer_samples import net_of
from convjit.graph import lower
from convjit.layers import Conv, Pool
from convjit.runtime import Executor, Store
net = net_of(Conv("conv", "data", filters=4, filter_size=3), Pool("pool", "conv", pool="max", size_x=2, stride=2))
with Executor(lower(net, 5), Store(), threads=1) as executor:
    executor.run()
"""


def test_three_processes_fill_an_empty_cache(cache: Path) -> None:
    paths = os.pathsep.join([str(Path(compiler.__file__).parents[2]), str(Path(__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": paths}
    racers = [subprocess.Popen([sys.executable, "-c", FILL], env=environment, stderr=subprocess.PIPE) for _ in range(3)]
    for racer in racers:
        _, said = racer.communicate(timeout=60)
        assert racer.returncode == 0, said.decode()
    kept = {path.name: path.read_bytes() for path in cache.iterdir()}
    assert kept and not any(name.startswith(".") for name in kept)
    assert all(KernelCache().get(name) for name in kept)
    with Executor(small(), Store(), threads=1) as executor:
        executor.run()
    assert {path.name: path.read_bytes() for path in cache.iterdir()} == kept
