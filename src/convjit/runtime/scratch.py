"""How much scratch memory a program's kernels need, found without compiling them."""

from __future__ import annotations

from convjit.codegen.target import Target
from convjit.kernels import Problem, generate, has_kernel
from convjit.ops.base import NO_HALO
from convjit.program import Program

__all__ = ["scratch_bytes"]


def scratch_bytes(program: Program, target: Target) -> int:
    """Bytes of one thread, which all launches share."""
    needed = 0
    for launch in program.launches:
        if has_kernel(launch.op):
            halos = tuple((o, launch.buffers[o].halo) for o in launch.op.names if launch.buffers[o].halo != NO_HALO)
            needed = max(needed, generate(Problem(launch.op, program.batch, halos, target)).scratch_bytes)
    return -(-max(needed, 1) // 4096) * 4096
