"""What an executor would take, found without compiling anything."""

from __future__ import annotations

from convjit.codegen.cache import KernelCache
from convjit.codegen.target import Target, host_target
from convjit.kernels import generate, stages
from convjit.program import Plan, Program, plan
from convjit.runtime.compiler import key_of
from convjit.runtime.executor import kernel_memory
from convjit.runtime.ways import Ways

__all__ = ["planned"]


def planned(program: Program, target: Target | None = None) -> tuple[Plan, int, int]:
    """On a target, by default that of this machine: the plan, each thread's scratch, and the workspace, in bytes."""
    target = target or host_target()
    problems = [Ways().problem(launch, program.batch, target) for launch in program.launches]
    # A kernel that has been compiled is known without writing it again.
    cache = KernelCache()
    every = dict.fromkeys(stage for p in problems if p for stage in stages(p))
    made = {stage: cache.get(key_of(stage)) or generate(stage) for stage in every}
    return plan(program, target.lanes), *kernel_memory(problems, made)
