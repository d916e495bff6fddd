"""The sizes of this machine's caches, as the system tells them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

__all__ = ["COMMON", "Cache", "caches"]


@dataclass(frozen=True)
class Cache:
    """One level of data cache: its bytes, and how many processors share one."""

    level: int
    size: int
    sharers: int

    def reach(self, threads: int) -> int:
        """Bytes that fit into all caches of this level that `threads` threads use together."""
        return self.size * -(-threads // self.sharers)


COMMON = (Cache(1, 32 << 10, 1), Cache(2, 1 << 20, 1), Cache(3, 32 << 20, 8))
"""What is taken for granted where the system says nothing."""


def caches(root: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> tuple[Cache, ...]:
    """Data caches of the first processor, the nearest first; () if the system tells nothing."""
    found: dict[int, Cache] = {}
    for folder in sorted(root.glob("index*")):
        with contextlib.suppress(OSError, ValueError):
            if (folder / "type").read_text().strip() != "Instruction":
                cache = _cache(folder)
                found[cache.level] = cache
    return tuple(found[level] for level in sorted(found))


def _cache(folder: Path) -> Cache:
    size = (folder / "size").read_text().strip()
    number, unit = int(size.rstrip("KMG")), size[-1:]
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(unit, 1)
    return Cache(int((folder / "level").read_text()), number * factor, _count((folder / "shared_cpu_list").read_text()))


def _count(processors: str) -> int:
    """How many there are in a list such as "0-3,8-11"."""
    ends = [part.split("-") for part in processors.strip().split(",")]
    return sum(int(last) - int(first) + 1 for first, *_, last in ([*end, end[-1]] for end in ends))
