"""The driver: the native loop in which every thread walks the launch table. No Python runs inside a step.

    driver(table, first, last, state, threads, thread, scratch, ticks, give_way)

table     one row of five i64 per launch: address of the kernel, number of tasks, address of its buffers, 1 if all
          earlier launches must have ended before it starts, number of the first task
state     cache lines per launch, zeroed by the host: how many threads have come to its barrier, and for every thread
          how many tasks of its share have been begun
ticks     null, or where this thread notes the cycle counter on coming to every barrier and to the end (for profiles)
give_way  address of a function that yields the processor, called by threads that have waited long

A thread begins with its own share of a launch's tasks, the same part of every launch, and then helps the others with
theirs: blocks of images stay with the thread whose caches have them, and no thread waits while there is work.

Denormals are flushed to zero in every thread, and its old floating-point state is back when the driver returns.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from convjit.codegen.target import Target
from convjit.codegen.values import I32, I64, POINTER
from convjit.codegen.waiting import LINE, look_until, number, slot

__all__ = ["DRIVER", "ROW", "declare_driver", "driver_text", "state_stride"]

DRIVER = "driver"
ROW = 5
"""i64 per row of the table."""

_X86_FLUSH = 0x8040
"""MXCSR: flush results to zero, take denormal operands for zero."""
_ARM_FLUSH = 1 << 24
"""FPCR: flush to zero."""


def state_stride(threads: int) -> int:
    """i64 of state per launch."""
    return (1 + threads) * LINE


def declare_driver(module: ir.Module) -> ir.Function:
    """The function, without its body."""
    kinds = [POINTER, I64, I64, POINTER, I64, I64, POINTER, POINTER, POINTER]
    return ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), DRIVER)


def driver_text(target: Target) -> str:
    """The module's text."""
    module = ir.Module(DRIVER)
    module.triple = target.triple
    function = declare_driver(module)
    table, first, last, state, threads, thread, scratch, ticks, give_way = function.args
    at = ir.IRBuilder(function.append_basic_block("entry"))
    stride = at.mul(at.add(threads, number(1)), number(LINE))
    restore = _flush_denormals(module, at, target)
    head, body, barrier, tasks, following, done = map(
        function.append_basic_block, ["head", "body", "barrier", "tasks", "next", "done"]
    )
    entry = at.block
    at.branch(head)

    at.position_at_end(head)
    i = at.phi(I64, "launch")
    i.add_incoming(first, entry)
    at.cbranch(at.icmp_signed("<=", i, last), body, done)

    at.position_at_end(body)
    ended = at.icmp_signed("==", i, last)
    row = slot(at, table, at.mul(i, number(ROW)))
    mine = slot(at, state, at.mul(i, stride))
    # The row after the last one may lie outside the table; the flag is read from a row that exists.
    flag_row = at.select(ended, slot(at, table, at.mul(first, number(ROW))), row)
    flag = at.load(slot(at, flag_row, number(3)), typ=I64)
    at.cbranch(at.or_(at.icmp_signed("!=", flag, number(0)), ended), barrier, tasks)

    at.position_at_end(barrier)
    with at.if_then(at.icmp_unsigned("!=", at.ptrtoint(ticks, I64), number(0))):
        clock = ir.Function(module, ir.FunctionType(I64, []), "llvm.readcyclecounter")
        at.store(at.call(clock, []), slot(at, ticks, i))
    at.atomic_rmw("add", mine, number(1), "acq_rel")

    def all_came() -> ir.Value:
        return at.icmp_signed(">=", at.load_atomic(mine, "acquire", 8, typ=I64), threads)

    look_until(at, target, all_came, lambda: at.ptrtoint(give_way, I64))
    at.cbranch(ended, done, tasks)

    at.position_at_end(tasks)
    _run_tasks(at, row, mine, threads, thread, scratch)
    at.branch(following)

    at.position_at_end(following)
    i.add_incoming(at.add(i, number(1)), following)
    at.branch(head)

    at.position_at_end(done)
    restore()
    at.ret_void()
    return str(module)


def _run_tasks(
    at: ir.IRBuilder, row: ir.Value, state: ir.Value, threads: ir.Value, thread: ir.Value, scratch: ir.Value
) -> None:
    """Run the tasks of a launch that none has begun: of this thread's share, of the next one's, and so on around."""
    share, look, take, run, onwards, none_left = map(
        at.function.append_basic_block, ["share", "look", "take", "run", "onwards", "none_left"]
    )
    kernel_at, count, buffers, start = (at.load(slot(at, row, number(i)), typ=I64) for i in (0, 1, 2, 4))
    signature = ir.FunctionType(ir.VoidType(), [I64, POINTER, POINTER])
    kernel = at.inttoptr(kernel_at, signature.as_pointer())
    before = at.block
    at.branch(share)

    at.position_at_end(share)
    offset = at.phi(I64, "offset")
    offset.add_incoming(number(0), before)
    turned = at.add(thread, offset)
    whose = at.select(at.icmp_signed("<", turned, threads), turned, at.sub(turned, threads))
    following = at.add(whose, number(1))
    begin, end = (at.udiv(at.mul(count, part), threads) for part in (whose, following))
    size, begun = at.sub(end, begin), slot(at, state, at.mul(following, number(LINE)))
    at.branch(look)
    # A look first: a line that is only read stays in every thread's cache.
    at.position_at_end(look)
    at.cbranch(at.icmp_signed("<", at.load_atomic(begun, "monotonic", 8, typ=I64), size), take, onwards)
    at.position_at_end(take)
    task = at.atomic_rmw("add", begun, number(1), "monotonic")
    at.cbranch(at.icmp_signed("<", task, size), run, onwards)
    at.position_at_end(run)
    at.call(kernel, [at.add(at.add(begin, task), start), at.inttoptr(buffers, POINTER), scratch])
    at.branch(look)
    at.position_at_end(onwards)
    further = at.add(offset, number(1))
    offset.add_incoming(further, onwards)
    at.cbranch(at.icmp_signed("<", further, threads), share, none_left)
    at.position_at_end(none_left)


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
