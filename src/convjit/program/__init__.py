"""The static step: buffers and launches, the rules they keep, rewrites, recomputing, and the planner of the arena."""

from convjit.program.buffer import Buffer, Launch, Program, Role
from convjit.program.check import check
from convjit.program.planner import Plan, buffer_bytes, plan, stored_shape
from convjit.program.recompute import AGAIN, Recomputed, Recomputing, update_early
from convjit.program.rewrite import finish

__all__ = [
    "AGAIN",
    "Buffer",
    "Launch",
    "Plan",
    "Program",
    "Recomputed",
    "Recomputing",
    "Role",
    "buffer_bytes",
    "check",
    "finish",
    "plan",
    "stored_shape",
    "update_early",
]
