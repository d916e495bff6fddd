"""Every environment variable that convjit reads, declared once.

CONVJIT_CACHE     folder of compiled kernels and decoded image sets (default: $XDG_CACHE_HOME/convjit, else
                  ~/.cache/convjit)
CONVJIT_DECODERS  number of threads that decode images (default: one for each core)
CONVJIT_IMAGE_MEMORY  megabytes of decoded images that are kept for the next epoch (default: 1000)
CONVNET_RANDOM_SEED   seed of `convjit legacy` when no option says it, as in a fork of cuda-convnet
CONVJIT_TARGET    compile for this target instead of the best one of this processor: avx512, avx2, sse, neon
CONVJIT_THREADS   number of compute threads when no option says it (default: what quota, affinity and cores allow)
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder", "decoders", "image_memory", "original_seed", "target_name", "thread_count"]


def cache_folder() -> Path:
    """Folder of everything that can be made again; it may not exist yet."""
    if own := os.environ.get("CONVJIT_CACHE"):
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "convjit"


def target_name() -> str | None:
    """Name of the target asked for, if one was."""
    return os.environ.get("CONVJIT_TARGET") or None


def thread_count() -> str | None:
    """Number of threads asked for, as written, if it was."""
    return os.environ.get("CONVJIT_THREADS") or None


def original_seed() -> str | None:
    """Seed of an original command line, as written, if there is one."""
    return os.environ.get("CONVNET_RANDOM_SEED") or None


def decoders() -> str | None:
    """Number of decoding threads, as written, if it was."""
    return os.environ.get("CONVJIT_DECODERS") or None


def image_memory() -> str | None:
    """Megabytes of decoded images to keep, as written, if they were."""
    return os.environ.get("CONVJIT_IMAGE_MEMORY") or None
