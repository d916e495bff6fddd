"""Values of generated code: scalars and vectors with Python's operators, and pointers to them.

A `Value` wraps an LLVM value of one of a few types: i64 (indices), f32, f64, i32, i8, or a vector of f32 or i32 with
one element per lane. A Python number beside a value becomes a constant of that value's type.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self, TypeAlias

from llvmlite import ir

__all__ = ["F32", "F64", "I1", "I8", "I16", "I32", "I64", "POINTER", "Index", "Number", "Pointer", "Value", "constant"]

F32, F64 = ir.FloatType(), ir.DoubleType()
I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
POINTER = ir.PointerType()

Number: TypeAlias = "Value | int | float"
Index: TypeAlias = "Value | int"


def constant(kind: ir.Type, number: float) -> ir.Constant:
    """The constant `number` of type `kind`, in every element if that is a vector."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [_scalar(kind.element, number)] * kind.count)
    return ir.Constant(kind, _scalar(kind, number))


def _scalar(kind: ir.Type, number: float) -> float | int:
    return float(number) if isinstance(kind, ir.FloatType | ir.DoubleType) else int(number)


@dataclass(frozen=True, eq=False)
class Value:
    """One LLVM value and the place where code is being written."""

    at: ir.IRBuilder
    ir: ir.Value

    @property
    def kind(self) -> ir.Type:
        """LLVM type."""
        return self.ir.type

    @property
    def is_float(self) -> bool:
        """Whether the arithmetic is that of floating point."""
        kind = self.kind.element if isinstance(self.kind, ir.VectorType) else self.kind
        return isinstance(kind, ir.FloatType | ir.DoubleType)

    def lift(self, other: Number) -> ir.Value:
        """`other` as an LLVM value of this value's type."""
        return other.ir if isinstance(other, Value) else constant(self.kind, other)

    def _new(self, value: ir.Value) -> Value:
        return Value(self.at, value)

    def __add__(self, other: Number) -> Value:
        if isinstance(other, int) and other == 0 and not self.is_float:
            return self
        return self._new((self.at.fadd if self.is_float else self.at.add)(self.ir, self.lift(other)))

    def __radd__(self, other: Number) -> Value:
        return self + other

    def __sub__(self, other: Number) -> Value:
        return self._new((self.at.fsub if self.is_float else self.at.sub)(self.ir, self.lift(other)))

    def __rsub__(self, other: Number) -> Value:
        return self._new((self.at.fsub if self.is_float else self.at.sub)(self.lift(other), self.ir))

    def __mul__(self, other: Number) -> Value:
        if isinstance(other, int) and other == 1 and not self.is_float:
            return self
        return self._new((self.at.fmul if self.is_float else self.at.mul)(self.ir, self.lift(other)))

    def __rmul__(self, other: Number) -> Value:
        return self * other

    def __truediv__(self, other: Number) -> Value:
        return self._new(self.at.fdiv(self.ir, self.lift(other)))

    def __rtruediv__(self, other: Number) -> Value:
        return self._new(self.at.fdiv(self.lift(other), self.ir))

    def __floordiv__(self, other: Number) -> Value:
        """Quotient of integers that are not negative."""
        if isinstance(other, int) and other == 1:
            return self
        return self._new(self.at.udiv(self.ir, self.lift(other)))

    def __mod__(self, other: Number) -> Value:
        """Remainder of integers that are not negative."""
        return self._new(self.at.urem(self.ir, self.lift(other)))

    def __neg__(self) -> Value:
        return self._new(self.at.fneg(self.ir) if self.is_float else self.at.neg(self.ir))

    def __xor__(self, other: Number) -> Value:
        return self._new(self.at.xor(self.ir, self.lift(other)))

    def __and__(self, other: Number) -> Value:
        return self._new(self.at.and_(self.ir, self.lift(other)))

    def __or__(self, other: Number) -> Value:
        return self._new(self.at.or_(self.ir, self.lift(other)))

    def __lshift__(self, other: Number) -> Value:
        return self._new(self.at.shl(self.ir, self.lift(other)))

    def __rshift__(self, other: Number) -> Value:
        """Shift right, zeros coming in."""
        return self._new(self.at.lshr(self.ir, self.lift(other)))

    def _compare(self, sign: str, other: Number) -> Value:
        compare = self.at.fcmp_ordered if self.is_float else self.at.icmp_signed
        return self._new(compare(sign, self.ir, self.lift(other)))

    def __lt__(self, other: Number) -> Value:
        return self._compare("<", other)

    def __le__(self, other: Number) -> Value:
        return self._compare("<=", other)

    def __gt__(self, other: Number) -> Value:
        return self._compare(">", other)

    def __ge__(self, other: Number) -> Value:
        return self._compare(">=", other)

    def equals(self, other: Number) -> Value:
        """Element by element; false where either is NaN."""
        return self._compare("==", other)


@dataclass(frozen=True, eq=False)
class Pointer:
    """An address and the type of the elements there; `align` in bytes."""

    at: ir.IRBuilder
    ir: ir.Value
    element: ir.Type
    align: int

    def _place(self, index: Index) -> ir.Value:
        where = index.ir if isinstance(index, Value) else ir.Constant(I64, index)
        return self.at.gep(self.ir, [where], inbounds=True, source_etype=self.element)

    def __add__(self, index: Index) -> Self:
        """The pointer `index` elements further on."""
        if isinstance(index, int) and index == 0:
            return self
        return replace(self, ir=self._place(index))

    def load(self, index: Index = 0) -> Value:
        """The element at `index`."""
        return Value(self.at, self.at.load(self._place(index), align=self.align, typ=self.element))

    def store(self, value: Value, index: Index = 0, *, past_caches: bool = False) -> None:
        """Put `value` at `index`; past the caches if nothing reads it for long: then its place is not fetched first.

        Such a store is in order only with what locks memory, as the driver's counters do between tasks and launches.
        """
        instruction = self.at.store(value.ir, self._place(index), align=self.align)
        if past_caches:
            instruction.set_metadata("nontemporal", self.at.module.add_metadata([ir.Constant(I32, 1)]))

    def view(self, element: ir.Type, align: int) -> Pointer:
        """The same address with another type of elements."""
        return Pointer(self.at, self.ir, element, align)
