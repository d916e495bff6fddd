"""Joins the two towers: programs on one side, kernels on the other."""

from convjit.codegen.target import host_target
from convjit.runtime.executor import Executor, LaunchTime
from convjit.runtime.memory import Store
from convjit.runtime.reference import ReferenceExecutor
from convjit.runtime.threads import thread_count
from convjit.runtime.ways import Ways

__all__ = ["Executor", "LaunchTime", "ReferenceExecutor", "Store", "Ways", "host_target", "thread_count"]
