"""What an executor would take, found without compiling anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from convjit.codegen.cache import KernelCache
from convjit.codegen.target import Target, host_target
from convjit.kernels import Problem, generate, stages
from convjit.program import Plan, Program, plan
from convjit.runtime.compiler import key_of
from convjit.runtime.executor import kernel_memory
from convjit.runtime.ways import Ways

__all__ = ["kernel_memory_of", "planned"]


@dataclass(frozen=True)
class _Known:
    """What is remembered of a kernel."""

    scratch_bytes: int


@cache
def _known(stage: Problem) -> _Known:
    # A kernel that has been compiled is known without writing it again.
    return _Known((KernelCache().get(key_of(stage)) or generate(stage)).scratch_bytes)


def kernel_memory_of(problems: Sequence[Problem | None]) -> tuple[int, int]:
    """Each thread's scratch, and the workspace, in bytes."""
    return kernel_memory(problems, {stage: _known(stage) for p in problems if p for stage in stages(p)})


def planned(program: Program, target: Target | None = None, ways: Ways | None = None) -> tuple[Plan, int, int]:
    """On a target, by default that of this machine: the plan, each thread's scratch, and the workspace, in bytes."""
    target, ways = target or host_target(), ways or Ways()
    problems = [ways.problem(launch, program.batch, target) for launch in program.launches]
    return plan(program, target.lanes), *kernel_memory_of(problems)
