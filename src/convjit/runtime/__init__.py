"""Joins the two towers: programs on one side, kernels on the other."""

from convjit.runtime.executor import Executor, LaunchTime
from convjit.runtime.memory import Store
from convjit.runtime.reference import ReferenceExecutor
from convjit.runtime.threads import thread_count

__all__ = ["Executor", "LaunchTime", "ReferenceExecutor", "Store", "thread_count"]
