"""Threads that go from one walk of the driver to the next without the host: native code that waits a little for more.

    post(mail, threads)          a new walk is there; notes which threads sleep, and have to be woken by the host
    lead(mail, threads)          thread 0: the walk itself, until all others have left it
    serve(mail, thread, seen)    another thread: every walk that comes, then, if none comes for some time, back to the
                                 host to sleep; `seen` walks are behind it, and what it returns are

The mail is cache lines of i64: LETTERS, the number of walks so far; DONE, how many threads have left this one; JOB, the
driver's ARGUMENTS but the thread, with tables of every thread's scratch and ticks in the place of one; then for every
thread whether it SLEEPS, and whether it was found asleep (WOKEN). A thread that is about to sleep says so first and
looks for mail once more, as who posts first posts and looks for sleepers then: one of them sees the other.
"""

from __future__ import annotations

from llvmlite import ir

from convjit.codegen.driver import declare_driver
from convjit.codegen.target import Target
from convjit.codegen.values import I64, POINTER
from convjit.codegen.waiting import LINE, look_until, number, slot

__all__ = ["ARGUMENTS", "JOB", "LEAD", "POST", "SERVE", "SLEEPS", "WOKEN", "crew_text", "mail_size"]

POST, LEAD, SERVE = "post", "lead", "serve"
LETTERS, DONE, JOB, SLEEPS = 0, LINE, 2 * LINE, 4 * LINE
"""Places in the mail; SLEEPS is that of thread 0, the next thread's is a line on."""
ARGUMENTS = 8
"""Of the driver, from JOB on; the last is the address of what yields the processor."""
WOKEN = 1
"""Behind SLEEPS."""

_LOOKS = 3_000
"""Looks for mail before a thread sleeps: a millisecond, longer than a host needs between the steps of a small net,
shorter than anyone notices."""


def mail_size(threads: int) -> int:
    """In i64."""
    return SLEEPS + threads * LINE


def crew_text(target: Target) -> str:
    """The module's text; it calls the driver by its name."""
    module = ir.Module("crew")
    module.triple = target.triple
    driver = declare_driver(module)
    _post(module)
    _lead(module, driver, target)
    _serve(module, driver, target)
    return str(module)


def _function(module: ir.Module, name: str, *others: ir.Type) -> tuple[ir.Function, ir.IRBuilder]:
    function = ir.Function(module, ir.FunctionType(I64, [POINTER, *others]), name)
    return function, ir.IRBuilder(function.append_basic_block("entry"))


def _sleeps(at: ir.IRBuilder, mail: ir.Value, thread: ir.Value) -> ir.Value:
    return slot(at, mail, at.add(at.mul(thread, number(LINE)), number(SLEEPS)))


def _post(module: ir.Module) -> None:
    function, at = _function(module, POST, I64)
    mail, threads = function.args
    at.store(number(0), slot(at, mail, DONE))
    at.atomic_rmw("add", slot(at, mail, LETTERS), number(1), "seq_cst")
    head, body, end = map(function.append_basic_block, ["head", "body", "end"])
    entry = at.block
    at.branch(head)
    at.position_at_end(head)
    thread = at.phi(I64, "thread")
    thread.add_incoming(number(1), entry)
    at.cbranch(at.icmp_signed("<", thread, threads), body, end)
    at.position_at_end(body)
    place = _sleeps(at, mail, thread)
    at.store(at.atomic_rmw("xchg", place, number(0), "seq_cst"), slot(at, place, WOKEN))
    thread.add_incoming(at.add(thread, number(1)), body)
    at.branch(head)
    at.position_at_end(end)
    at.ret(number(0))


def _lead(module: ir.Module, driver: ir.Function, target: Target) -> None:
    function, at = _function(module, LEAD, I64)
    mail, threads = function.args
    _walk(at, driver, mail, number(0))
    others = at.sub(threads, number(1))
    look_until(at, target, lambda: at.icmp_signed("==", _load(at, mail, DONE), others), lambda: _yielder(at, mail))
    at.ret(number(0))


def _serve(module: ir.Module, driver: ir.Function, target: Target) -> None:
    function, at = _function(module, SERVE, I64, I64)
    mail, thread, before = function.args
    head, doubt, late, tired, work = map(function.append_basic_block, ["head", "doubt", "late", "tired", "work"])
    entry = at.block
    at.branch(head)
    at.position_at_end(head)
    seen = at.phi(I64, "seen")
    seen.add_incoming(before, entry)
    look_until(
        at,
        target,
        lambda: at.icmp_signed("!=", _load(at, mail, LETTERS), seen),
        lambda: _yielder(at, mail),
        (_LOOKS, doubt),
    )
    at.branch(work)

    at.position_at_end(doubt)
    place = _sleeps(at, mail, thread)
    at.atomic_rmw("xchg", place, number(1), "seq_cst")
    letters = at.load_atomic(slot(at, mail, LETTERS), "seq_cst", 8, typ=I64)
    at.cbranch(at.icmp_signed("==", letters, seen), tired, late)
    at.position_at_end(late)
    mine = at.atomic_rmw("xchg", place, number(0), "seq_cst")
    # Who posted may have taken note of it, and will wake this thread.
    at.cbranch(at.icmp_signed("==", mine, number(1)), work, tired)
    at.position_at_end(tired)
    at.ret(seen)

    at.position_at_end(work)
    _walk(at, driver, mail, thread)
    at.atomic_rmw("add", slot(at, mail, DONE), number(1), "acq_rel")
    seen.add_incoming(at.add(seen, number(1)), at.block)
    at.branch(head)


def _load(at: ir.IRBuilder, mail: ir.Value, index: int) -> ir.Value:
    return at.load_atomic(slot(at, mail, index), "acquire", 8, typ=I64)


def _walk(at: ir.IRBuilder, driver: ir.Function, mail: ir.Value, thread: ir.Value) -> None:
    """Call the driver with what the mail has for one thread."""
    job = [at.load(slot(at, mail, JOB + i), typ=I64) for i in range(ARGUMENTS)]
    table, first, last, state, threads, scratch, ticks, give_way = job
    own = [at.load(slot(at, at.inttoptr(addresses, POINTER), thread), typ=I64) for addresses in (scratch, ticks)]

    def pointer(address: ir.Value) -> ir.Value:
        return at.inttoptr(address, POINTER)

    rest = [pointer(own[0]), pointer(own[1]), pointer(give_way)]
    at.call(driver, [pointer(table), first, last, pointer(state), threads, thread, *rest])


def _yielder(at: ir.IRBuilder, mail: ir.Value) -> ir.Value:
    return at.load(slot(at, mail, JOB + ARGUMENTS - 1), typ=I64)
