"""What this machine calls itself."""

from __future__ import annotations

import contextlib
import platform
import re
from pathlib import Path

__all__ = ["processor_name"]


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """As its maker calls it, or at least its family."""
    with contextlib.suppress(OSError):
        if found := re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine()
