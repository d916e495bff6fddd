"""Numbers kept in memory as bfloat16, the upper half of a float32: widened when loaded, rounded when stored.

Generated code never sees such a number: a `Bf16Pointer` gives and takes float32. In integer arithmetic a load costs two
instructions and a store about eleven; with the processor's own instruction a store costs two. Left to itself, LLVM
would call a function for every number where there is no such instruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from llvmlite import ir

from convjit.codegen.values import F32, I16, I32, Index, Pointer, Value, constant

__all__ = ["Bf16Pointer", "PairPointer", "dot_pairs", "pairs", "rounded", "widened"]

QUIET = 0x400000
"""Makes a NaN quiet, so that it is still one without its lower bits."""


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


def _like(value: Value, element: ir.Type) -> ir.Type:
    """The type with another element, in as many lanes."""
    return ir.VectorType(element, value.kind.count) if isinstance(value.kind, ir.VectorType) else element


def widened(half: Value) -> Value:
    """float32 from the bits of bfloat16, as i16."""
    at = half.at
    word = Value(at, at.zext(half.ir, _like(half, I32))) << 16
    return Value(at, at.bitcast(word.ir, _like(half, F32)))


def rounded(value: Value, *, native: bool) -> Value:
    """The bits of bfloat16 from float32, to the nearest, ties to even; NaN stays NaN.

    `native` takes the processor's instruction, for which denormals are 0; they are kept otherwise.
    """
    at = value.at
    if native:
        return Value(at, at.bitcast(at.fptrunc(value.ir, _like(value, _BFloat())), _like(value, I16)))
    bits = Value(at, at.bitcast(value.ir, _like(value, I32)))
    # Half a unit less one, and one more where the last bit that is kept is set: what is carried over rounds.
    nearest = bits + 0x7FFF + ((bits >> 16) & 1)
    is_nan = at.fcmp_unordered("uno", value.ir, constant(value.kind, 0.0))
    kept = Value(at, at.select(is_nan, (bits | QUIET).ir, nearest.ir)) >> 16
    return Value(at, at.trunc(kept.ir, _like(value, I16)))


def pairs(low: Value, high: Value) -> Value:
    """Two halves, as i16, to a word whose lower half is the first."""
    at = low.at
    first, second = (Value(at, at.zext(half.ir, _like(half, I32))) for half in (low, high))
    return first | second << 16


def dot_pairs(total: Value, a: Value, b: Value, *, native: bool) -> Value:
    """total + both products of the pairs in vectors of words; without `native`, by arithmetic of float32."""
    at = total.at
    if native:
        halves = ir.VectorType(_BFloat(), 2 * a.kind.count)
        name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * a.kind.count}"
        function = at.module.globals.get(name) or ir.Function(
            at.module, ir.FunctionType(total.kind, [total.kind, halves, halves]), name
        )
        return Value(at, at.call(function, [total.ir, at.bitcast(a.ir, halves), at.bitcast(b.ir, halves)]))
    for first, second in ((a & -0x10000, b & -0x10000), (a << 16, b << 16)):
        x, y = (Value(at, at.bitcast(words.ir, total.kind)) for words in (first, second))
        total = total + x * y
    return total


@dataclass(frozen=True, eq=False)
class Bf16Pointer(Pointer):
    """An address of bfloat16, or of vectors of them, kept as i16. `native` as in `rounded`."""

    native: bool

    def load(self, index: Index = 0) -> Value:
        """The element at `index`, as float32."""
        return widened(super().load(index))

    def store(self, value: Value, index: Index = 0, *, past_caches: bool = False) -> None:
        """Round `value` into the element at `index`."""
        super().store(rounded(value, native=self.native), index, past_caches=past_caches)

    def bits(self, index: Index = 0) -> Value:
        """The element at `index` as it is stored."""
        return super().load(index)

    def two(self, index: Index, apart: int | None) -> Value:
        """The vectors at `index` and `apart` behind it (zeros for None) as words, pairs of neighbouring lanes: V/2 of
        the first vector, then V/2 of the second.
        """
        at, lanes = self.at, self.element.count
        wide = ir.VectorType(I16, 2 * lanes)
        if apart == 1:
            halves = at.load(self._place(index), align=self.align, typ=wide)
        else:
            first = super().load(index).ir
            second = ir.Constant(self.element, [0] * lanes) if apart is None else super().load(index + apart).ir
            places = ir.Constant(ir.VectorType(I32, 2 * lanes), list(range(2 * lanes)))
            halves = at.shuffle_vector(first, second, places)
        return Value(at, at.bitcast(halves, ir.VectorType(I32, lanes)))

    def spread(self, index: Index, lanes: int) -> Value:
        """The number at `index` in every lane.

        A vector of twice as many halves needs but one load and one shift, not a way through a general register.
        """
        at, kind = self.at, ir.VectorType(I16, 2 * lanes)
        first = at.insert_element(ir.Constant(kind, ir.Undefined), super().load(index).ir, ir.Constant(I32, 0))
        places = ir.Constant(ir.VectorType(I32, 2 * lanes), [0] * (2 * lanes))
        halves = at.shuffle_vector(first, ir.Constant(kind, ir.Undefined), places)
        words = Value(at, at.bitcast(halves, ir.VectorType(I32, lanes))) << 16
        return Value(at, at.bitcast(words.ir, ir.VectorType(F32, lanes)))

    def view(self, element: ir.Type, align: int) -> NoReturn:
        """There is none: whoever looked at the bits otherwise would take two numbers for one."""
        raise TypeError("numbers of bfloat16 have no other view")


@dataclass(frozen=True, eq=False)
class PairPointer(Bf16Pointer):
    """The same, read in pairs: the second of each lies `apart` elements behind the first."""

    apart: int

    def load(self, index: Index = 0) -> Value:
        """A pair in every lane, as words."""
        return pairs(self.bits(index), self.bits(index + self.apart))
