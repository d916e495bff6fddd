"""The child process that reads an old checkpoint: little memory, little time, no file but its own can grow.

python -m convjit.train.original_worker CHECKPOINT OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

from convjit.errors import ConvjitError
from convjit.train.original_checkpoint import read_here

if sys.platform != "win32":
    import resource

__all__ = ["main"]

_MEMORY = 2 << 30
"""Beyond ten times the file: the interpreter and NumPy, of which most is address space that is never touched."""
_SECONDS = 60


def _limit(path: Path) -> None:
    """Bounds that the kernel keeps; where it knows none there are none."""
    if sys.platform == "win32":
        return
    size = path.stat().st_size
    limits = {resource.RLIMIT_CPU: _SECONDS + size // 10_000_000, resource.RLIMIT_CORE: 0}
    if sys.platform == "linux":
        limits[resource.RLIMIT_AS] = _MEMORY + 10 * size
    for limit, value in limits.items():
        _, most = resource.getrlimit(limit)
        resource.setrlimit(limit, (value if most == resource.RLIM_INFINITY else min(value, most), most))


def main(checkpoint: str, out: str) -> int:
    """The exit code; an error is one line on standard error."""
    try:
        _limit(Path(checkpoint))
        read_here(Path(checkpoint), Path(out))
    except ConvjitError as error:
        print(error, file=sys.stderr)
        return 1
    except MemoryError:
        print(f"{checkpoint}: reading it needs more memory than allowed", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{checkpoint}: cannot be read: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
