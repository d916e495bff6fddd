"""Tables of whole numbers in the code of a kernel."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import I64, Pointer

__all__ = ["table"]


def table(k: Kernel, name: str, numbers: Sequence[int]) -> Pointer:
    """Numbers known when the kernel is written, as i64; `name` is one of its own in the kernel."""
    kind = ir.ArrayType(I64, len(numbers))
    place = ir.GlobalVariable(k.module, kind, f"{k.name}.{name}")
    place.linkage, place.global_constant = "private", True
    place.initializer = ir.Constant(kind, list(numbers))
    return Pointer(k.at, place, I64, 8)
