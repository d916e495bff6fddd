"""How native threads wait for one another, and the i64 in memory by which they see it."""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from convjit.codegen.target import Target
from convjit.codegen.values import I32, I64

__all__ = ["LINE", "look_until", "number", "slot"]

LINE = 8
"""i64 per cache line."""

_SPINS = 1_000
"""Looks (some 20 microseconds) before the processor is yielded at every further look: on a machine that others use too,
the thread that is waited for may need this very processor."""


def number(value: int) -> ir.Constant:
    """An i64."""
    return ir.Constant(I64, value)


def slot(at: ir.IRBuilder, base: ir.Value, index: ir.Value | int) -> ir.Value:
    """The address of an i64 behind `base`."""
    return at.gep(base, [number(index) if isinstance(index, int) else index], source_etype=I64)


def look_until(
    at: ir.IRBuilder,
    target: Target,
    there: Callable[[], ir.Value],
    give_way: Callable[[], ir.Value],
    most: tuple[int, ir.Block] | None = None,
) -> None:
    """Look until `there()`, and go on behind; `give_way()` is the address of a function that yields the processor.

    After `most` looks, where there are so many, on to its block.
    """
    look, spin, long, yield_, found = map(at.function.append_basic_block, ["look", "spin", "long", "yield", "found"])
    before = at.block
    at.branch(look)
    at.position_at_end(look)
    looks = at.phi(I64, "looks")
    looks.add_incoming(number(0), before)
    at.cbranch(there(), found, spin)
    at.position_at_end(spin)
    if target.is_x86:
        name = "llvm.x86.sse2.pause"
        pause = at.module.globals.get(name) or ir.Function(at.module, ir.FunctionType(ir.VoidType(), []), name)
        at.call(pause, [])
    more = at.add(looks, number(1))
    looks.add_incoming(more, spin)
    at.cbranch(at.icmp_signed("<", more, number(_SPINS)), look, long)
    at.position_at_end(long)
    if most:
        at.cbranch(at.icmp_signed("<", more, number(most[0])), yield_, most[1])
    else:
        at.branch(yield_)
    at.position_at_end(yield_)
    at.call(at.inttoptr(give_way(), ir.FunctionType(I32, []).as_pointer()), [])
    looks.add_incoming(more, yield_)
    at.branch(look)
    at.position_at_end(found)
