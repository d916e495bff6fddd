"""Activations and gradients in half the memory: stored as bfloat16, which has the exponents of float32 and 8 bits of
its numbers. What kernels compute is float32 all the same; learned arrays, their gradients and increments stay so too.
"""

from __future__ import annotations

from dataclasses import replace

from convjit.ops.base import Maps
from convjit.program.buffer import BF16, Launch, Program, Role
from convjit.program.check import check

__all__ = ["narrow"]


def narrow(program: Program) -> Program:
    """Store all maps of the arena as bfloat16, but for

    - those that an op wants exact: scores, probabilities, and what costs read and write
    - sums that grow over several launches, each of which would round them
    - what is compared, as the largest of a window, with maps that are exact
    """
    arena = {name for name, b in program.of_role(Role.ARENA).items() if isinstance(b.operand, Maps)}
    kept = {launch.buffers[o].name for launch in program.launches for o in _exact(launch) if o in launch.buffers}
    pairs = [
        (launch.buffers[a].name, launch.buffers[b].name) for launch in program.launches for a, b in launch.op.compared
    ]
    while more := {b for a, b in pairs if a in kept or a not in arena} - kept:
        kept |= more
    change = {name: replace(b, dtype=BF16) for name, b in program.buffers().items() if name in arena - kept}
    return check(replace(program, launches=tuple(launch.rewired(change) for launch in program.launches)))


def _exact(launch: Launch) -> tuple[str, ...]:
    """Operands of a launch that have to be float32."""
    grows = launch.op.writes if getattr(launch.op, "accumulate", False) else ()
    return (*launch.op.exact, *grows)
