"""Reading the pickles of CIFAR without running them.

A pickle is a program for a small stack machine, and the usual machine can call anything that can be imported. This
one is our own: it knows the instructions that a dictionary of arrays needs, looks up no name, and calls nothing but the
four constructors below. What it cannot say (numbers, text, lists, dictionaries, plain arrays) it refuses by name.
"""

from __future__ import annotations

import codecs
import io
import math
import pickletools
from collections.abc import Iterator
from typing import Any

import numpy as np

from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["ArrayParts", "Machine", "RefusedError", "unpickle"]

_MAX_MEMO = 1_000_000
# Old and new addresses of what NumPy's arrays and Python's bytes are made with.
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")} | {
    (f"numpy.{core}.{name}", function)
    for core in ("core", "_core")
    for name, function in (("multiarray", "_reconstruct"), ("numeric", "_frombuffer"))
}

_INSTRUCTIONS = {instruction.code.encode("latin-1"): instruction for instruction in pickletools.opcodes}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_INTEGERS = {"BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4"}
_TEXT = {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"}
_PLAIN = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8"} | _TEXT | _INTEGERS
# Python 2 wrote its bytes so; pickletools hands them out as latin-1 text.
_OLD_BYTES = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_SHORT_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class RefusedError(Exception):
    """What the pickle asks for, and may not have."""


class _Mark:
    """Where on the stack an open list, tuple or dictionary begins."""


class _Name:
    """The constructor called `name`; `make` does what the real one would."""

    def __init__(self, name: str) -> None:
        self.name = name

    def make(self, arguments: tuple[Any, ...]) -> object:
        if self.name == "dtype" and arguments and isinstance(arguments[0], str | bytes):
            return _Kind(arguments[0])
        if self.name == "_reconstruct" and arguments and isinstance(arguments[0], _Name):
            return ArrayParts()
        if self.name == "_frombuffer" and len(arguments) == 4 and isinstance(arguments[0], bytes):
            data, kind, shape, order = arguments
            return _array(shape, kind, order == "F", data)
        # Python 3 writes bytes as text in the protocols that have no bytes.
        if self.name == "encode" and len(arguments) == 2 and isinstance(arguments[0], str) and arguments[1] == "latin1":
            return arguments[0].encode("latin-1")
        raise RefusedError(f"a call of {self.name} with unusual arguments")


class _Kind:
    """A dtype of plain numbers, built in two steps as NumPy's own is."""

    def __init__(self, code: str | bytes) -> None:
        self.code = code.decode("latin-1") if isinstance(code, bytes) else code
        if self.code not in {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}:
            raise RefusedError(f"an array of dtype {shown(self.code)}")
        self.order = "="

    def set_state(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) >= 4 and state[2:4] == (None, None)):
            raise RefusedError("a dtype with fields or parts")
        order = state[1].decode("latin-1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise RefusedError("a dtype of unknown byte order")
        self.order = str(order)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class ArrayParts:
    """An array before and after its contents, `value`, are known."""

    value: np.ndarray[Any, Any] | None = None

    def set_state(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5 and isinstance(state[4], bytes)):
            raise RefusedError("an array of anything but plain bytes")
        _, shape, kind, by_columns, data = state
        self.value = _array(shape, kind, bool(by_columns), data).value


def _array(shape: object, kind: object, by_columns: bool, data: bytes) -> ArrayParts:
    if not isinstance(kind, _Kind) or not isinstance(shape, tuple) or len(shape) > 8:
        raise RefusedError("an array of unknown form")
    if not all(type(size) is int and 0 <= size <= 1 << 40 for size in shape):
        raise RefusedError("an array of impossible shape")
    if math.prod(shape) * kind.dtype.itemsize != len(data):
        raise RefusedError(f"an array of shape {shape} in {len(data)} bytes")
    made = ArrayParts()
    made.value = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if by_columns else "C")
    return made


def unpickle(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary that a pickle holds: of arrays, text, bytes, integers, and flat lists of the last three.

    Strings of Python 2 come out as bytes, except that keys are always str. Raises DataError, beginning with `where`,
    that names whatever else was asked for.
    """
    try:
        return _dictionary(Machine().run(data))
    except RefusedError as refused:
        raise DataError(
            f"{where}: this pickle asks for {refused}; allowed are arrays, lists, dictionaries, text and integers "
            "(nothing in it was run)"
        ) from None
    except (ValueError, LookupError, TypeError, ArithmeticError, MemoryError, RecursionError) as error:
        raise DataError(f"{where}: not a whole pickle ({shown(error)}); fetch the data again") from None


def _dictionary(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RefusedError("something other than a dictionary")
    result: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, ArrayParts):
            item = item.value
        items = item if isinstance(item, list | tuple) else [item]
        if not all(isinstance(one, int | str | bytes | np.ndarray) for one in items):
            raise RefusedError(f"nested values in '{shown(key)}'")
        result[key.decode("latin-1") if isinstance(key, bytes) else str(key)] = item
    return result


def _instructions(data: bytes) -> Iterator[tuple[str, Any]]:
    """Instructions with their arguments, as pickletools.genops gives them; but that takes no bytes in old text."""
    stream = io.BytesIO(data)
    while code := stream.read(1):
        instruction = _INSTRUCTIONS.get(code)
        if instruction is None:
            raise ValueError(f"instruction {code!r} is unknown")
        if instruction.name == "STRING":
            yield "STRING", _old_text(stream.readline())
        else:
            yield instruction.name, instruction.arg.reader(stream) if instruction.arg else None
    raise ValueError("the end is missing")


def _old_text(line: bytes) -> str:
    """The bytes of Python 2's 'text' with its escapes, as latin-1."""
    text = line[:-1]
    if not line.endswith(b"\n") or len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
        raise ValueError("a text without its quotes")
    found = codecs.escape_decode(text[1:-1])[0]
    assert isinstance(found, bytes)
    return found.decode("latin-1")


class Machine:
    """The stack machine; `memo` holds the values that are referred to again."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> object:
        for name, argument in _instructions(data):
            if name == "STOP":
                return self.stack.pop()
            self.step(name, argument)
        raise AssertionError("instructions end with STOP or an error")

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        stack = self.stack
        match name:
            case _ if name in _PLAIN:
                stack.append(argument)
            case _ if name in _OLD_BYTES:
                stack.append(argument.encode("latin-1"))
            case "BYTEARRAY8":
                stack.append(bytes(argument))
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "PUT" | "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
                if len(self.memo) > _MAX_MEMO:
                    raise RefusedError("more memory than a data set needs")
                self.memo[len(self.memo) if argument is None else argument] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                stack.append(_Mark())
            case _ if name in _SHORT_TUPLES:
                stack.append(tuple(self.take(_SHORT_TUPLES[name])))
            case "TUPLE":
                stack.append(tuple(self.take_to_mark()))
            case "LIST":
                stack.append(self.take_to_mark())
            case "DICT":
                items = self.take_to_mark()
                stack.append({})
                _fill(stack[-1], items)
            case "APPEND" | "APPENDS":
                items = self.take(1) if name == "APPEND" else self.take_to_mark()
                if not isinstance(stack[-1], list):
                    raise RefusedError("an append to something that is not a list")
                stack[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = self.take(2) if name == "SETITEM" else self.take_to_mark()
                _fill(stack[-1], items)
            case "GLOBAL":
                stack.append(self.named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(self.named(*self.take(2)))
            case "REDUCE":
                function, arguments = self.take(2)
                if not isinstance(function, _Name) or not isinstance(arguments, tuple):
                    raise RefusedError("a call of something that is not a function")
                stack.append(function.make(arguments))
            case "BUILD":
                (state,) = self.take(1)
                if not isinstance(stack[-1], _Kind | ArrayParts):
                    raise RefusedError("an object with a state of its own")
                stack[-1].set_state(state)
            case "PROTO" | "FRAME":
                pass
            case _:
                raise RefusedError(f"the instruction {name}")

    def named(self, module: object, attribute: object) -> object:
        """What stands for a name that the real machine would import."""
        if (module, attribute) not in _ALLOWED:
            raise RefusedError(f"'{shown(module)}.{shown(attribute)}'")
        return _Name(str(attribute))

    def take(self, count: int) -> list[Any]:
        """The topmost values of the stack, taken off it."""
        if count > len(self.stack):
            raise ValueError("the stack is empty")
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def take_to_mark(self) -> list[Any]:
        """What lies above the last mark, taken off with it."""
        for depth in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[depth], _Mark):
                items = self.stack[depth + 1 :]
                del self.stack[depth:]
                return items
        raise ValueError("the beginning of a list is missing")


def _fill(target: object, items: list[Any]) -> None:
    if not isinstance(target, dict):
        raise RefusedError("an entry in something that is not a dictionary")
    if len(items) % 2:
        raise ValueError("a key without a value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        # Hashing a nested tuple can take for ever.
        if not isinstance(key, str | bytes | int):
            raise RefusedError("a key that is neither text nor a number")
        target[key] = value
