"""How many threads there are, and what their processors do with denormal numbers."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from convjit.codegen.driver import ROW
from convjit.codegen.target import host_target
from convjit.errors import UsageError
from convjit.ops import Maps, Scale
from convjit.program import Buffer, Launch, Program, Role
from convjit.runtime import Executor, Store, thread_count, threads
from convjit.runtime.barrier import measure_barrier
from convjit.runtime.threads import Team, default_threads, quota
from convjit.runtime.walk import Walkers

TINY = 1e-40
"""A denormal float32."""


def groups(tmp_path: Path, line: str, **files: str) -> float | None:
    """`quota` for made-up control groups; `__` in a name stands for a slash, `_dot_` for a dot."""
    root = tmp_path / "cgroup"
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    (tmp_path / "self").write_text(line + "\n")
    return quota(root, tmp_path / "self")


@pytest.mark.parametrize(
    ("text", "granted"),
    [("50000 100000", 0.5), ("100000 100000", 1.0), ("250000 100000", 2.5), ("max 100000", None), ("rubbish", None)],
)
def test_version_2(tmp_path: Path, text: str, granted: float | None) -> None:
    assert groups(tmp_path, "0::/job", job__cpu_dot_max=text) == granted


def test_version_2_outer_groups_count(tmp_path: Path) -> None:
    files = {"user__cpu_dot_max": "150000 100000", "user__job__cpu_dot_max": "max 100000"}
    assert groups(tmp_path, "0::/user/job", **files) == 1.5
    assert groups(tmp_path, "0::/user/job", **files, cpu_dot_max="20000 50000") == 0.4
    assert groups(tmp_path, "0::/elsewhere/job") == 0.4


@pytest.mark.parametrize(
    ("most", "granted"), [("50000", 0.5), ("100000", 1.0), ("250000", 2.5), ("-1", None), ("0", None), ("x", None)]
)
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path: Path, mount: str, most: str, granted: float | None) -> None:
    files = {f"{mount}__job__cpu.cfs_quota_us": most, f"{mount}__job__cpu.cfs_period_us": "100000"}
    assert groups(tmp_path, f"5:memory:/other\n4:{mount}:/job\n1:cpuset:/", **files) == granted


def test_a_period_of_0(tmp_path: Path) -> None:
    files = {"cpu__cpu.cfs_quota_us": "1000", "cpu__cpu.cfs_period_us": "0"}
    assert groups(tmp_path, "1:cpu:/", **files) is None


def test_no_control_groups(tmp_path: Path) -> None:
    assert quota(tmp_path / "none", tmp_path / "none") is None
    assert groups(tmp_path, "not a line of the kind") is None


@pytest.mark.parametrize(
    ("granted", "cores", "slurm", "expected"),
    [
        (None, 6, "", 6),
        (0.5, 6, "", 1),
        (1.0, 6, "", 1),
        (2.5, 6, "", 2),
        (16.0, 6, "", 6),
        (None, 6, "3", 3),
        (2.0, 6, "3", 2),
        (None, 6, "many", 6),
        (None, 6, "0", 1),
    ],
)
def test_default(monkeypatch: pytest.MonkeyPatch, granted: float | None, cores: int, slurm: str, expected: int) -> None:
    monkeypatch.setattr(threads, "quota", lambda: granted)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", slurm)
    monkeypatch.delenv("CONVJIT_THREADS", raising=False)
    assert default_threads() == thread_count() == expected


def test_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVJIT_THREADS", "7")
    assert thread_count() == 7
    assert thread_count(3) == 3
    for text in ("0", "1025", "-1", "two", "1.5", "²", "٣"):
        monkeypatch.setenv("CONVJIT_THREADS", text)
        with pytest.raises(UsageError, match="from 1 to 1024") as caught:
            thread_count()
        assert "\n" not in str(caught.value)
    for number in (0, -1, 1025):
        with pytest.raises(UsageError, match=rf"^{number} threads: from 1 to 1024 are possible$"):
            thread_count(number)


def test_a_team_runs_every_thread_once() -> None:
    team = Team(4)
    for _ in range(50):
        came: list[int] = []
        team.run(came.append)
        assert sorted(came) == [0, 1, 2, 3]
    team.close()
    team.close()


MAPS = Maps(300, 4, 4)
HALF = Program(
    64,
    (
        Launch(
            "half",
            Scale(MAPS, 0.5),
            {"x": Buffer("x", MAPS, Role.INPUT), "y": Buffer("y", MAPS, Role.OUTPUT)},
        ),
    ),
)


@pytest.fixture
def half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A program of one launch of many tasks: y = x / 2."""
    monkeypatch.setenv("CONVJIT_CACHE", str(tmp_path))
    return HALF


def denormals_work() -> bool:
    """Whether this thread computes with denormal numbers, as threads normally do."""
    return bool((np.full(64, TINY, np.float32) * np.float32(0.5)).any())


def test_denormals_are_flushed_in_every_thread_and_the_old_state_comes_back(half: Program) -> None:
    with Executor(half, Store(), threads=3) as executor:
        executor.write("x", np.full((64, 300, 4, 4), TINY, np.float32))
        for _ in range(5):
            executor.host["y"][...] = 1
            executor.run()
            assert not executor.read("y").any()
        states: dict[int, bool] = {}
        team = Team(3)
        # One thread after the other does the whole step, so that none can hide behind the others' work.
        call, table = executor.walkers.driver, executor._table
        for worker in range(3):
            executor.host["y"][...] = 1
            state = np.zeros(64, np.int64)
            start = state.ctypes.data + -state.ctypes.data % 64

            def step(thread: int, worker: int = worker, start: int = start) -> None:
                if thread == worker:
                    scratch = executor._scratch[thread].ctypes.data
                    call(table.ctypes.data, 0, 1, start, 1, 0, scratch, None, executor.walkers.give_way)
                    states[thread] = denormals_work()

            team.run(step)
            assert not executor.read("y").any()
        team.close()
        assert states == {0: True, 1: True, 2: True}
    assert denormals_work()


def test_numbers_that_are_not_denormal_are_left_alone(half: Program) -> None:
    with Executor(half, Store(), threads=2) as executor:
        x = np.random.default_rng(0).standard_normal((64, 300, 4, 4)).astype(np.float32)
        x[0, 0, 0, 0], x[1, 0, 0, 0], x[2, 0, 0, 0] = 2**-125, np.nan, np.inf
        executor.write("x", x)
        executor.run()
        np.testing.assert_array_equal(executor.read("y"), x * np.float32(0.5))


@pytest.mark.parametrize("count", [1, 2])
def test_a_barrier_takes_time(count: int) -> None:
    walkers = Walkers(count, host_target())
    try:
        assert 0 < measure_barrier(walkers) < 1e9
    finally:
        walkers.close()


def test_walks_after_sleep_and_right_after_one_another() -> None:
    target = host_target()
    noted: list[tuple[int, int]] = []
    kernel = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(
        lambda task, _, scratch: noted.append((task, threading.get_ident()))
    )
    table = np.zeros((2, ROW), np.int64)
    table[:] = ctypes.cast(kernel, ctypes.c_void_p).value or 0, 6, 0, 1, 0
    walkers = Walkers(3, target)
    try:
        for pause in [0.0, 0.0, 0.02, 0.0, 0.0005, 0.0002, 0.0003] * 20:
            noted.clear()
            walkers.walk(table, 0, 2)
            assert sorted(task for task, _ in noted) == sorted([*range(6), *range(6)])
            time.sleep(pause)
    finally:
        walkers.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("convjit-")]
