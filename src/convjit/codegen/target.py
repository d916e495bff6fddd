"""Targets are data: what a kernel generator may know of a processor, and how LLVM is told of it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import llvmlite.binding as llvm

from convjit import settings
from convjit.codegen.caches import caches
from convjit.errors import TargetError, near

__all__ = ["TARGETS", "Target", "host_target", "initialise_llvm", "runnable_targets", "with_bf16"]


@dataclass(frozen=True)
class Target:
    """One instruction set.

    `lanes` is V, the float32 lanes of a vector; `registers` the number of vector registers; caches in bytes, the
    smallest that are usual unless they are this machine's, the third level shared by all cores. `needs` are
    the features (LLVM's names) that a processor must have to run it; `bf16` says that this one has the instructions
    for bfloat16 besides.
    """

    name: str
    triple: str
    cpu: str
    features: str
    lanes: int
    registers: int
    fma: bool
    needs: tuple[str, ...] = ()
    first_level: int = 32 * 1024
    second_level: int = 1024 * 1024
    third_level: int = 8 * 1024 * 1024
    bf16: bool = False

    @property
    def is_x86(self) -> bool:
        """Whether the floating-point state is set through MXCSR."""
        return self.triple.startswith("x86_64")


BF16 = "avx512bf16"
"""Feature of the processors that have instructions for bfloat16."""
_X86 = "x86_64-unknown-linux-gnu"
_LEVELS = {1: "first_level", 2: "second_level", 3: "third_level"}

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            "avx512",
            _X86,
            "x86-64-v4",
            "-prefer-256-bit",
            16,
            32,
            True,
            ("avx512f", "avx512bw", "avx512dq", "avx512vl"),
        ),
        Target("avx2", _X86, "x86-64-v3", "", 8, 16, True, ("avx2", "fma"), second_level=256 * 1024),
        Target("sse", _X86, "x86-64", "", 4, 16, False, ("sse2",), second_level=256 * 1024),
        Target(
            "neon", "aarch64-unknown-linux-gnu", "generic", "+neon", 4, 32, True, ("neon",), second_level=512 * 1024
        ),
    )
}


@cache
def initialise_llvm() -> None:
    """Make every target known to LLVM; cheap, and done once."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@cache
def _host_features() -> frozenset[str]:
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


@cache
def _host_caches() -> Mapping[str, Any]:
    """Bytes of this machine's caches, as far as the system tells, by the names that they have in a target."""
    return {_LEVELS[one.level]: one.size for one in caches() if one.level in _LEVELS}


def runnable_targets() -> list[Target]:
    """The targets that this processor can execute, widest first, with its own caches."""
    arm = platform.machine().lower() in ("aarch64", "arm64")
    able = [t for t in TARGETS.values() if t.is_x86 != arm and set(t.needs) <= _host_features()]
    able = [with_bf16(t) if BF16 in _host_features() else t for t in able]
    return [replace(target, **_host_caches()) for target in able]


def with_bf16(target: Target) -> Target:
    """The target of a processor that has the instructions for bfloat16; they belong to AVX-512."""
    if "avx512f" not in target.needs:
        return target
    return replace(target, features=f"{target.features},+{BF16}", bf16=True)


def host_target() -> Target:
    """The target to compile for: the one set by CONVJIT_TARGET, else the widest that this processor runs."""
    runnable = runnable_targets()
    if not runnable:
        raise TargetError(f"this processor ({platform.machine()}) runs none of convjit's targets: {', '.join(TARGETS)}")
    asked = settings.target_name()
    if asked is None:
        return runnable[0]
    if target := next((target for target in runnable if target.name == asked), None):
        return target
    if asked not in TARGETS:
        raise TargetError(f"CONVJIT_TARGET={asked}: known are {', '.join(TARGETS)}{near(asked, TARGETS)}")
    names = ", ".join(t.name for t in runnable)
    raise TargetError(f"CONVJIT_TARGET={asked}: this processor cannot run it; it runs {names}")
