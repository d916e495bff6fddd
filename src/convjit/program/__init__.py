"""The static step: buffers and launches, the rules they keep, rewrites, recomputing, and the planner of the arena."""

from convjit.program.buffer import BF16, Buffer, Launch, Program, Role
from convjit.program.check import check
from convjit.program.few_images import MOST_IMAGES
from convjit.program.narrow import narrow
from convjit.program.planner import Plan, buffer_bytes, plan, stored_dtype, stored_shape
from convjit.program.recompute import AGAIN, Recomputed, Recomputing
from convjit.program.rewrite import finish

__all__ = [
    "AGAIN",
    "BF16",
    "MOST_IMAGES",
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
    "narrow",
    "plan",
    "stored_dtype",
    "stored_shape",
]
