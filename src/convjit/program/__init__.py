"""The static step: buffers and launches, the rules they keep, rewrites, and the planner of the arena."""

from convjit.program.buffer import Buffer, Launch, Program, Role
from convjit.program.check import check
from convjit.program.few_images import MOST_IMAGES
from convjit.program.planner import Plan, buffer_bytes, plan, stored_shape
from convjit.program.rewrite import finish

__all__ = [
    "MOST_IMAGES",
    "Buffer",
    "Launch",
    "Plan",
    "Program",
    "Role",
    "buffer_bytes",
    "check",
    "finish",
    "plan",
    "stored_shape",
]
