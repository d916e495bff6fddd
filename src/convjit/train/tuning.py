"""Every way to compute every launch of a net, measured on this machine."""

from __future__ import annotations

from collections.abc import Callable

from convjit.graph.lower import Dtype, lower
from convjit.graph.net import Net
from convjit.runtime.candidates import Candidate, fastest, measure_launch, ways_of

__all__ = ["fastest", "measure"]


def measure(
    net: Net,
    batch: int,
    threads: int | None = None,
    *,
    dtype: Dtype = "fp32",
    workspace: int | None = None,
    errors: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Candidate]:
    """Time every launch of a training step that can be computed in more than one way.

    `progress` hears of (launches done, launches in all, the next one).
    """
    launches = [one for one in lower(net, batch, dtype=dtype).launches if len(ways_of(one, batch, workspace)) > 1]
    found: list[Candidate] = []
    for done, launch in enumerate(launches):
        if progress:
            progress(done, len(launches), launch.name)
        found += measure_launch(launch, batch, threads, workspace=workspace, errors=errors)
    return found
