"""Which algorithm computes a launch: the one that promises most by arithmetic, or one that was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from convjit.codegen.target import Target
from convjit.errors import UsageError
from convjit.kernels import Problem, candidates, choose, has_kernel
from convjit.ops.base import NO_HALO
from convjit.program import AGAIN, Launch, Program

__all__ = ["Ways", "asked"]


@dataclass(frozen=True)
class Ways:
    """`chosen` names algorithms by launch; all others are chosen by arithmetic, from those whose workspace is at most
    `workspace` bytes. A launch that is run again is computed as the first time.
    """

    chosen: Mapping[str, str] = field(default_factory=dict, hash=False)
    workspace: int | None = None

    def problem(self, launch: Launch, batch: int, target: Target) -> Problem | None:
        """What is asked of a kernel for a launch, its algorithm included; None where the reference has to do.

        UsageError if the algorithm that was chosen does not exist for it.
        """
        plain = asked(launch, batch, target)
        first = launch.name.removesuffix(AGAIN)
        if plain is None or first not in self.chosen:
            return plain and choose(plain, self.workspace)
        name, found = self.chosen[first], candidates(plain)
        if name not in found:
            raise UsageError(f"{launch.name}: there is no algorithm '{name}' for it; there are {', '.join(found)}")
        return replace(plain, algorithm=name)

    def pinned(self, program: Program, target: Target) -> Ways:
        """Those that take for every launch what these take for the launch of that name in `program`."""
        problems = {one.name: self.problem(one, program.batch, target) for one in program.launches}
        return replace(self, chosen={name: problem.algorithm for name, problem in problems.items() if problem})


def asked(launch: Launch, batch: int, target: Target) -> Problem | None:
    """What is asked of a kernel, by the direct algorithm; None where there is no kernel."""
    if not has_kernel(launch.op):
        return None
    halos = tuple((o, launch.buffers[o].halo) for o in launch.op.names if launch.buffers[o].halo != NO_HALO)
    narrow = tuple(o for o in launch.op.names if launch.buffers[o].narrow)
    return Problem(launch.op, batch, halos, target, narrow=narrow)
