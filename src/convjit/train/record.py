"""run.json: with which settings and versions a run was made."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from convjit import __version__
from convjit.runtime import Executor
from convjit.train.job import Job

__all__ = ["run_record"]


def run_record(job: Job, executor: Executor) -> dict[str, Any]:
    """Everything that was decided before the first step. Errors and shapes as in `State`."""
    crop = job.net.crop
    return {
        "net": job.name,
        "parameters": job.net.parameters,
        "data": {
            "source": job.data,
            "name": job.dataset.name,
            "fingerprint": job.dataset.fingerprint,
            "images": [len(job.dataset.train), len(job.dataset.test)],
            "shape": list(job.preprocessing.image),
            "classes": list(job.dataset.classes),
        },
        "settings": {
            "epochs": job.epochs,
            "batch": job.batch,
            "accumulate": job.accumulate,
            "memory": job.memory or None,
            "seed": job.seed,
            "dtype": job.dtype,
            "threads": executor.threads,
            "target": executor.target.name,
            "crop": list(crop) if crop != (0, 0) else None,
            "mirror": job.recipe.mirror,
            "mean": job.recipe.taken_off,
            "test_every": job.recipe.test_every,
            "algorithms": dict(executor.ways.chosen),
        },
        "versions": {
            "convjit": __version__,
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "llvmlite": version("llvmlite"),
            "system": platform.platform(),
        },
        "resumed": [],
    }
