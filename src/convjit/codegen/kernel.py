"""The builder of one kernel: a function `kernel(task, buffers, scratch)` written through Python.

Loops are `with` blocks that yield the index; conditions are `with` blocks too. A kernel generator receives a `Kernel`,
asks it for its buffers by name and writes code; it never touches LLVM.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from llvmlite import ir

from convjit.codegen.bf16 import Bf16Pointer
from convjit.codegen.target import Target
from convjit.codegen.values import F32, F64, I8, I16, I32, I64, POINTER, Index, Number, Pointer, Value, constant

__all__ = ["Kernel"]


class Kernel:
    """Code being written for one target.

    `task` is the index of the task (i64). `buffers` names the operands in the order of the launch table.
    """

    def __init__(self, name: str, buffers: Sequence[str], target: Target) -> None:
        self.name, self.target = name, target
        self.lanes = target.lanes
        self.vector = ir.VectorType(F32, target.lanes)
        self.word_vector = ir.VectorType(I32, target.lanes)
        self.module = ir.Module(name)
        self.module.triple = target.triple
        self.function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), [I64, POINTER, POINTER]), name)
        # Lest a loop of zeros become a call of memset; llvmlite's own `add` knows no attributes in quotes.
        set.add(self.function.attributes, '"no-builtins"')
        self.at = ir.IRBuilder(self.function.append_basic_block("entry"))
        task, table, scratch = self.function.args
        task.name, table.name, scratch.name = "task", "buffers", "scratch"
        self.task = Value(self.at, task)
        self._scratch = scratch
        self.scratch_bytes = 0
        self._buffers = {}
        for position, buffer in enumerate(buffers):
            place = self.at.gep(table, [ir.Constant(I64, position)], inbounds=True, source_etype=POINTER)
            # Those that the kernel does not ask for are dropped by LLVM.
            self._buffers[buffer] = self.at.load(place, name=buffer, align=8, typ=POINTER)

    # Buffers

    def vectors(self, buffer: str) -> Pointer:
        """The buffer as vectors of V float32, one element per image."""
        return Pointer(self.at, self._buffers[buffer], self.vector, 4 * self.lanes)

    def scalars(self, buffer: str) -> Pointer:
        """The buffer as float32."""
        return Pointer(self.at, self._buffers[buffer], F32, 4)

    def narrow_vectors(self, buffer: str) -> Bf16Pointer:
        """The buffer as vectors of V bfloat16, which are float32 to the code."""
        kind = ir.VectorType(I16, self.lanes)
        return Bf16Pointer(self.at, self._buffers[buffer], kind, 2 * self.lanes, self.target.bf16)

    def narrow_scalars(self, buffer: str) -> Bf16Pointer:
        """The buffer as bfloat16, on the same terms."""
        return Bf16Pointer(self.at, self._buffers[buffer], I16, 2, self.target.bf16)

    def doubles(self, buffer: str) -> Pointer:
        """The buffer as float64."""
        return Pointer(self.at, self._buffers[buffer], F64, 8)

    def bytes(self, buffer: str) -> Pointer:
        """The buffer as uint8."""
        return Pointer(self.at, self._buffers[buffer], I8, 1)

    def chunk(self, pointer: Pointer) -> Pointer:
        """Sixteen bytes, as one vector, at an address of any alignment."""
        return pointer.view(ir.VectorType(I8, 16), 1)

    def integers(self, buffer: str) -> Pointer:
        """The buffer as int32."""
        return Pointer(self.at, self._buffers[buffer], I32, 4)

    def loose_vectors(self, pointer: Pointer) -> Pointer:
        """Vectors of float32 at addresses that are only aligned to one float."""
        return pointer.view(self.vector, 4)

    def word_vectors(self, pointer: Pointer) -> Pointer:
        """Vectors of V int32 at addresses that are only aligned to one."""
        return pointer.view(self.word_vector, 4)

    def scratch(self, vectors: int) -> Pointer:
        """Room for `vectors` vectors, private to the thread, of undefined contents at the start of a task."""
        start = self.scratch_bytes
        self.scratch_bytes += vectors * 4 * self.lanes
        place = self.at.gep(self._scratch, [ir.Constant(I64, start)], inbounds=True, source_etype=I8)
        return Pointer(self.at, place, self.vector, 4 * self.lanes)

    def scratch_of_bytes(self, size: int) -> Pointer:
        """Room for `size` bytes, on the same terms."""
        return self.scratch(-(-size // (4 * self.lanes))).view(I8, 1)

    # Constants and conversions

    def number(self, value: float) -> Value:
        """A constant vector of float32."""
        return Value(self.at, constant(self.vector, value))

    def word(self, value: int) -> Value:
        """A constant vector of int32."""
        return Value(self.at, constant(self.word_vector, value))

    def words(self, values: Sequence[int]) -> Value:
        """A constant vector of int32 (or of uint32, which has the same bits), one value per lane."""
        signed = [(value + 2**31) % 2**32 - 2**31 for value in values]
        return Value(self.at, ir.Constant(self.word_vector, signed))

    def double(self, value: float) -> Value:
        """A constant float64."""
        return Value(self.at, constant(F64, value))

    def index(self, value: Index) -> Value:
        """An i64."""
        return value if isinstance(value, Value) else Value(self.at, ir.Constant(I64, value))

    def broadcast(self, scalar: Value) -> Value:
        """A vector with `scalar` in every lane."""
        kind = ir.VectorType(scalar.kind, self.lanes)
        first = self.at.insert_element(ir.Constant(kind, ir.Undefined), scalar.ir, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return Value(self.at, self.at.shuffle_vector(first, ir.Constant(kind, ir.Undefined), zeros))

    def spread(self, pointer: Pointer, index: Index) -> Value:
        """A vector with the number at `index` in every lane."""
        if isinstance(pointer, Bf16Pointer):
            return pointer.spread(index, self.lanes)
        return self.broadcast(pointer.load(index))

    def lane_numbers(self) -> Value:
        """The vector 0, 1, ..., V-1 of int32."""
        return Value(self.at, ir.Constant(self.word_vector, list(range(self.lanes))))

    def lane(self, vector: Value, lane: int) -> Value:
        """One element of a vector."""
        return Value(self.at, self.at.extract_element(vector.ir, ir.Constant(I32, lane)))

    def with_lane(self, vector: Value, scalar: Value, lane: int) -> Value:
        """`vector` with one element replaced."""
        return Value(self.at, self.at.insert_element(vector.ir, scalar.ir, ir.Constant(I32, lane)))

    def pack(self, scalars: Sequence[Value]) -> Value:
        """The vector of the given scalars, one for each lane."""
        vector = ir.Constant(ir.VectorType(scalars[0].kind, self.lanes), ir.Undefined)
        for lane, scalar in enumerate(scalars):
            vector = self.at.insert_element(vector, scalar.ir, ir.Constant(I32, lane))
        return Value(self.at, vector)

    def shuffle(self, a: Value, b: Value, order: Sequence[int]) -> Value:
        """Elements of a (0..V-1) and b (V..2V-1) in the given order."""
        places = ir.Constant(ir.VectorType(I32, len(order)), list(order))
        return Value(self.at, self.at.shuffle_vector(a.ir, b.ir, places))

    def to_index(self, value: Value) -> Value:
        """An i32 or i8 as an i64; i32 with its sign, i8 without."""
        widen = self.at.zext if value.kind == I8 else self.at.sext
        return Value(self.at, widen(value.ir, I64))

    def to_word(self, value: Value) -> Value:
        """The lower 32 bits of an i64."""
        return Value(self.at, self.at.trunc(value.ir, I32))

    def to_float(self, value: Value) -> Value:
        """A signed int32, or vector of them, as float32."""
        vector = isinstance(value.kind, ir.VectorType)
        return Value(self.at, self.at.sitofp(value.ir, self.vector if vector else F32))

    def byte_to_float(self, value: Value) -> Value:
        """An uint8, or vector of them, as float32."""
        vector = isinstance(value.kind, ir.VectorType)
        return Value(self.at, self.at.uitofp(value.ir, self.vector if vector else F32))

    def to_double(self, value: Value) -> Value:
        """A float32 as float64."""
        return Value(self.at, self.at.fpext(value.ir, F64))

    def truncate(self, value: Value) -> Value:
        """float32 towards zero to int32."""
        vector = isinstance(value.kind, ir.VectorType)
        return Value(self.at, self.at.fptosi(value.ir, self.word_vector if vector else I32))

    def as_words(self, value: Value) -> Value:
        """The bits of a vector of float32 as int32."""
        return Value(self.at, self.at.bitcast(value.ir, self.word_vector))

    def as_floats(self, value: Value) -> Value:
        """The bits of a vector of int32 as float32."""
        return Value(self.at, self.at.bitcast(value.ir, self.vector))

    def prefetch(self, pointer: Pointer, *, writing: bool = False) -> None:
        """Ask for the cache line at `pointer`, which is going to be loaded, or stored to."""
        kind = ir.FunctionType(ir.VoidType(), [POINTER, I32, I32, I32])
        name = "llvm.prefetch.p0"
        function = self.module.globals.get(name) or ir.Function(self.module, kind, name)
        self.at.call(function, [pointer.ir, *(ir.Constant(I32, number) for number in (int(writing), 3, 1))])

    # Arithmetic beyond the operators

    def _intrinsic(self, name: str, *values: Value) -> Value:
        kind = values[0].kind
        element = kind.element if isinstance(kind, ir.VectorType) else kind
        suffix = {F32: "f32", F64: "f64", I32: "i32", I64: "i64"}[element]
        full = f"{name}.v{kind.count}{suffix}" if isinstance(kind, ir.VectorType) else f"{name}.{suffix}"
        function = self.module.globals.get(full)
        if function is None:
            function = ir.Function(self.module, ir.FunctionType(kind, [kind] * len(values)), full)
        return Value(self.at, self.at.call(function, [v.ir for v in values]))

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, rounded once where the target can."""
        return self._intrinsic("llvm.fma", a, b, c) if self.target.fma else a * b + c

    def sqrt(self, value: Value) -> Value:
        """Square root, correctly rounded."""
        return self._intrinsic("llvm.sqrt", value)

    def absolute(self, value: Value) -> Value:
        """Magnitude of floats."""
        return self._intrinsic("llvm.fabs", value)

    def maximum(self, a: Value, b: Number) -> Value:
        """The larger; where a is NaN, a."""
        return self.select(a < b, b, a)

    def minimum(self, a: Value, b: Number) -> Value:
        """The smaller; where a is NaN, a."""
        return self.select(a > b, b, a)

    def minimum_index(self, a: Value, b: Index) -> Value:
        """The smaller of two indices."""
        return self.select(a < b, a, b)

    def select(self, condition: Value, yes: Number, no: Number) -> Value:
        """Where `condition` holds `yes`, else `no`; at least one of both is a value."""
        typed = yes if isinstance(yes, Value) else no
        assert isinstance(typed, Value)
        return Value(self.at, self.at.select(condition.ir, typed.lift(yes), typed.lift(no)))

    def lane_sum(self, vector: Value) -> Value:
        """Sum over the lanes, halves added to halves: a fixed order."""
        width = self.lanes
        while width > 1:
            width //= 2
            upper = self.shuffle(vector, vector, [width + i if i < width else i for i in range(self.lanes)])
            vector = vector + upper
        return self.lane(vector, 0)

    def lane_sums(self, vectors: Sequence[Value]) -> list[Value]:
        """Sums over the lanes of many vectors, one sum to a lane; lanes beyond the last are 0.

        Halves are added to halves, two vectors at once: a fixed order, and a third of the instructions of `lane_sum`.
        """
        lanes = self.lanes
        missing = -len(vectors) % lanes
        groups = [*vectors, *[self.number(0)] * missing]
        width = lanes
        while width > 1:
            # Each vector holds lanes / width groups of `width` partial sums.
            half = width // 2
            starts = range(0, 2 * lanes, width)
            lower, upper = ([s + h + i for s in starts for i in range(half)] for h in (0, half))
            pairs = zip(groups[::2], groups[1::2], strict=True)
            groups = [self.shuffle(a, b, lower) + self.shuffle(a, b, upper) for a, b in pairs]
            width = half
        return groups

    # Control flow

    @contextmanager
    def loop(self, start: Index, stop: Index, step: int = 1, name: str = "i") -> Iterator[Value]:
        """Count from `start` while below `stop`; may run zero times if either is not a plain number."""
        known = isinstance(start, int) and isinstance(stop, int)
        if known and start >= stop:
            raise ValueError(f"loop {name} from {start} to {stop} never runs")
        first, last = self.index(start), self.index(stop)
        before = self.at.block
        body = self.function.append_basic_block(name)
        after = self.function.append_basic_block(f"{name}.end")
        if known:
            self.at.branch(body)
        else:
            self.at.cbranch((first < last).ir, body, after)
        self.at.position_at_end(body)
        counter = self.at.phi(I64, name)
        counter.add_incoming(first.ir, before)
        yield Value(self.at, counter)
        following = Value(self.at, counter) + step
        counter.add_incoming(following.ir, self.at.block)
        self.at.cbranch((following < last).ir, body, after)
        self.at.position_at_end(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Run the block where a scalar condition holds."""
        body = self.function.append_basic_block("when")
        after = self.function.append_basic_block("when.end")
        self.at.cbranch(condition.ir, body, after)
        self.at.position_at_end(body)
        yield
        self.at.branch(after)
        self.at.position_at_end(after)

    @contextmanager
    def procedure(self, name: str, *pointers: Pointer) -> Iterator[list[Pointer]]:
        """Write the block as a function of its own, called here with `pointers`; it sees those and nothing else.

        Constants that LLVM keeps in registers through the code around then leave this code its registers.
        """
        kind = ir.FunctionType(ir.VoidType(), [POINTER] * len(pointers))
        function = ir.Function(self.module, kind, self.module.get_unique_name(f"{self.name}.{name}"))
        function.linkage = "internal"
        function.attributes.add("noinline")
        set.add(function.attributes, '"no-builtins"')
        self.at.call(function, [pointer.ir for pointer in pointers])
        caller, place, self.function = self.function, self.at.block, function
        self.at.position_at_end(function.append_basic_block("entry"))
        arguments = zip(pointers, function.args, strict=True)
        yield [replace(pointer, ir=argument) for pointer, argument in arguments]
        self.at.ret_void()
        self.function = caller
        self.at.position_at_end(place)

    def variables(self, count: int, kind: ir.Type | None = None) -> list[Pointer]:
        """`count` variables (vectors of float32 unless `kind` says else) that LLVM keeps in registers."""
        kind = kind or self.vector
        with self.at.goto_entry_block():
            places = [self.at.alloca(kind) for _ in range(count)]
        size = 4 * self.lanes if isinstance(kind, ir.VectorType) else 8
        for place in places:
            place.align = size
        return [Pointer(self.at, place, kind, size) for place in places]

    def split(self, index: Value, *sizes: int) -> list[Value]:
        """A flat index over sizes (outermost first) as one index per size."""
        parts: list[Value] = []
        for size in reversed(sizes[1:]):
            parts.insert(0, index % size if size > 1 else self.index(0))
            index = index // size
        return [index, *parts]

    def finish(self) -> str:
        """End the function; the text of the module."""
        self.at.ret_void()
        return str(self.module)
