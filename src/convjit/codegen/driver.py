"""The driver: the native loop in which every thread walks the launch table. No Python runs inside a step.

    driver(table, first, last, state, threads, scratch, ticks, give_way)

table     one row of five i64 per launch: address of the kernel, number of tasks, address of its buffers, 1 if all
          earlier launches must have ended before it starts, number of the first task
state     two cache lines per launch, zeroed by the host: the next task, and the threads that have come to its barrier
ticks     null, or where this thread notes the cycle counter on coming to every barrier and to the end (for profiles)
give_way  address of a function that yields the processor, called by threads that have waited long

Denormals are flushed to zero in every thread, and its old floating-point state is back when the driver returns.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from convjit.codegen.target import Target
from convjit.codegen.values import I32, I64, POINTER

__all__ = ["DRIVER", "LINE", "ROW", "STATE_STRIDE", "driver_text"]

DRIVER = "driver"
ROW = 5
"""i64 per row of the table."""
LINE = 8
"""i64 per cache line."""
STATE_STRIDE = 2 * LINE
"""i64 of state per launch."""

SPINS = 1_000
"""Looks at a barrier (some 20 microseconds) before the processor is yielded at every further look: on a machine that
others use too, the thread that is waited for may need this very processor."""

_X86_FLUSH = 0x8040
"""MXCSR: flush results to zero, take denormal operands for zero."""
_ARM_FLUSH = 1 << 24
"""FPCR: flush to zero."""


def driver_text(target: Target) -> str:
    """The module's text."""
    module = ir.Module(DRIVER)
    module.triple = target.triple
    kinds = [POINTER, I64, I64, POINTER, I64, POINTER, POINTER, POINTER]
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), DRIVER)
    table, first, last, state, threads, scratch, ticks, give_way = function.args
    at = ir.IRBuilder(function.append_basic_block("entry"))

    def number(value: int) -> ir.Constant:
        return ir.Constant(I64, value)

    def slot(base: ir.Value, index: ir.Value) -> ir.Value:
        return at.gep(base, [index], source_etype=I64)

    def block(name: str) -> ir.Block:
        return function.append_basic_block(name)

    restore = _flush_denormals(module, at, target)
    head, body, barrier, wait, patient, yield_, arrived, tasks, run, following, done = map(
        block,
        ["head", "body", "barrier", "wait", "patient", "yield", "arrived", "tasks", "run", "next", "done"],
    )
    entry = at.block
    at.branch(head)

    at.position_at_end(head)
    i = at.phi(I64, "launch")
    i.add_incoming(first, entry)
    at.cbranch(at.icmp_signed("<=", i, last), body, done)

    at.position_at_end(body)
    ended = at.icmp_signed("==", i, last)
    row = slot(table, at.mul(i, number(ROW)))
    mine = slot(state, at.mul(i, number(STATE_STRIDE)))
    # The row after the last one may lie outside the table; the flag is read from a row that exists.
    flag_row = at.select(ended, slot(table, at.mul(first, number(ROW))), row)
    flag = at.load(slot(flag_row, number(3)), typ=I64)
    at.cbranch(at.or_(at.icmp_signed("!=", flag, number(0)), ended), barrier, tasks)

    at.position_at_end(barrier)
    arrivals = slot(mine, number(LINE))
    with at.if_then(at.icmp_unsigned("!=", at.ptrtoint(ticks, I64), number(0))):
        clock = ir.Function(module, ir.FunctionType(I64, []), "llvm.readcyclecounter")
        at.store(at.call(clock, []), slot(ticks, i))
    at.atomic_rmw("add", arrivals, number(1), "acq_rel")
    came = at.block
    at.branch(wait)
    at.position_at_end(wait)
    spins = at.phi(I64, "spins")
    spins.add_incoming(number(0), came)
    here = at.load_atomic(arrivals, "acquire", 8, typ=I64)
    at.cbranch(at.icmp_signed("<", here, threads), patient, arrived)
    at.position_at_end(patient)
    if target.is_x86:
        at.call(ir.Function(module, ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause"), [])
    more = at.add(spins, number(1))
    spins.add_incoming(more, patient)
    at.cbranch(at.icmp_signed("<", more, number(SPINS)), wait, yield_)
    at.position_at_end(yield_)
    at.call(at.inttoptr(at.ptrtoint(give_way, I64), ir.FunctionType(I32, []).as_pointer()), [])
    spins.add_incoming(number(SPINS), yield_)
    at.branch(wait)

    at.position_at_end(arrived)
    at.cbranch(ended, done, tasks)

    at.position_at_end(tasks)
    task = at.atomic_rmw("add", mine, number(1), "monotonic")
    count = at.load(slot(row, number(1)), typ=I64)
    at.cbranch(at.icmp_signed("<", task, count), run, following)
    at.position_at_end(run)
    signature = ir.FunctionType(ir.VoidType(), [I64, POINTER, POINTER])
    kernel = at.inttoptr(at.load(slot(row, number(0)), typ=I64), signature.as_pointer())
    buffers = at.inttoptr(at.load(slot(row, number(2)), typ=I64), POINTER)
    start = at.load(slot(row, number(4)), typ=I64)
    at.call(kernel, [at.add(task, start), buffers, scratch])
    at.branch(tasks)

    at.position_at_end(following)
    i.add_incoming(at.add(i, number(1)), following)
    at.branch(head)

    at.position_at_end(done)
    restore()
    at.ret_void()
    return str(module)


def _flush_denormals(module: ir.Module, at: ir.IRBuilder, target: Target) -> Callable[[], None]:
    """Set the mode; a function that emits the way back."""
    if target.is_x86:
        place = at.alloca(I32, size=2)
        second = at.gep(place, [ir.Constant(I64, 1)], source_etype=I32)
        kind = ir.FunctionType(ir.VoidType(), [POINTER])
        save = ir.Function(module, kind, "llvm.x86.sse.stmxcsr")
        load = ir.Function(module, kind, "llvm.x86.sse.ldmxcsr")
        old = at.bitcast(place, POINTER)
        at.call(save, [old])
        at.store(at.or_(at.load(old, typ=I32), ir.Constant(I32, _X86_FLUSH)), second)
        at.call(load, [second])
        return lambda: at.call(load, [old])
    get = ir.Function(module, ir.FunctionType(I64, []), "llvm.aarch64.get.fpcr")
    put = ir.Function(module, ir.FunctionType(ir.VoidType(), [I64]), "llvm.aarch64.set.fpcr")
    before = at.call(get, [])
    at.call(put, [at.or_(before, ir.Constant(I64, _ARM_FLUSH))])
    return lambda: at.call(put, [before])
