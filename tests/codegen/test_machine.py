"""What the system says of the machine, and what is measured of its memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from convjit.codegen.caches import Cache, caches
from convjit.runtime.bandwidth import Level, Memory, measure_memory
from convjit.runtime.machine import processor_name

INDICES = {
    "index0": ("1", "Data", "32K", "0"),
    "index1": ("1", "Instruction", "64K", "0"),
    "index2": ("2", "Unified", "512K", "0,4"),
    "index3": ("3", "Unified", "16M", "0-3,8-11"),
}


def write(folder: Path, values: tuple[str, str, str, str]) -> None:
    folder.mkdir()
    for name, value in zip(("level", "type", "size", "shared_cpu_list"), values, strict=True):
        (folder / name).write_text(f"{value}\n")


def test_caches_as_linux_tells_them(tmp_path: Path) -> None:
    for name, values in INDICES.items():
        write(tmp_path / name, values)
    assert caches(tmp_path) == (Cache(1, 32 << 10, 1), Cache(2, 512 << 10, 2), Cache(3, 16 << 20, 8))


def test_where_nothing_is_told_nothing_is_made_up(tmp_path: Path) -> None:
    assert caches(tmp_path / "nowhere") == ()
    write(tmp_path / "index0", ("1", "Data", "much", "0"))
    assert caches(tmp_path) == ()


def test_reach_counts_the_caches_that_the_threads_have() -> None:
    assert [Cache(3, 10, 4).reach(threads) for threads in (1, 4, 5, 9)] == [10, 10, 20, 30]


def test_the_name_of_the_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some Core 7\nflags: x\n")
    assert processor_name(tmp_path / "cpuinfo") == "Some Core 7"
    assert processor_name(tmp_path / "nowhere")


@pytest.mark.parametrize("threads", [1, 2])
def test_every_level_is_measured(threads: int) -> None:
    memory = measure_memory(threads, found=(Cache(1, 16 << 10, 1), Cache(2, 128 << 10, 2)))
    assert [level.name for level in memory.levels] == ["L1", "L2", "DRAM"]
    assert [level.size for level in memory.levels[:2]] == [8 * threads << 10, 64 << 10]
    assert all(level.read > 0 and level.copy > 0 for level in memory.levels)


def test_data_belong_to_the_nearest_level_that_holds_them() -> None:
    memory = Memory((Level("L1", 10, 4, 4), Level("L2", 100, 2, 2), Level("DRAM", 1000, 1, 1)))
    assert [memory.holding(size).name for size in (10, 11, 100, 101, 5000)] == ["L1", "L2", "L2", "DRAM", "DRAM"]


def test_times_of_a_copy_and_of_reading_are_those_measured() -> None:
    level = Level("L3", 1, read=40, copy=20)
    assert level.seconds(40_000_000_000, 0) == pytest.approx(1)
    assert level.seconds(20_000_000_000, 10_000_000_000) == pytest.approx(1)
    # In place, what is read is what is written: nothing else is fetched.
    assert level.seconds(10_000_000_000, 10_000_000_000) < 1
    # A copy as fast as reading its two halves, or faster, has its way back for nothing.
    assert Level("L1", 1, read=10, copy=30).seconds(0, 10) == 0


def test_the_better_of_two_measurements() -> None:
    first, second = Memory((Level("DRAM", 9, 1, 4),)), Memory((Level("DRAM", 9, 2, 3),))
    assert first.best(second) == Memory((Level("DRAM", 9, 2, 4),))
