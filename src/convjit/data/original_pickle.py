"""Pickles of cuda-convnet's programs, written by Python 2: data batches and checkpoints.

Read by the same machine as those of CIFAR, so that nothing in them is run. Beyond what that one takes, numbers,
nested lists and NumPy's single numbers are let through, and whatever class or function a pickle names becomes an inert
stand-in: a box that holds the name and the state, and does nothing.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import numpy as np

from convjit.data.stream import shown
from convjit.data.unpickle import ArrayParts, Machine, RefusedError
from convjit.errors import DataError

__all__ = ["StandIn", "plain", "unpickle_original"]

# What a pickle packed by cuda-convnet (--zip-save) may unpack to.
_MOST_RATIO = 200
_MOST_BYTES = 8 << 30


class StandIn:
    """In the place of a class, a function, or an object of one; `state` is what the object held."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state: object = None


class _Machine(Machine):
    """The machine with stand-ins for all names that it does not know."""

    def named(self, module: object, attribute: object) -> object:
        if attribute == "scalar" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return StandIn("scalar")
        try:
            return super().named(module, attribute)
        except RefusedError:
            return StandIn(f"{shown(module)}.{shown(attribute)}")

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        match name:
            case "BINFLOAT" | "FLOAT":
                stack.append(float(argument))
            case "POP":
                self.take(1)
            case "INST":
                self.take_to_mark()
                stack.append(StandIn(shown(argument)))
            case "OBJ" | "NEWOBJ":
                first = self.take_to_mark()[0] if name == "OBJ" else self.take(2)[0]
                stack.append(StandIn(first.name if isinstance(first, StandIn) else "object"))
            case "REDUCE" if len(stack) > 1 and isinstance(stack[-2], StandIn):
                function, arguments = self.take(2)
                stack.append(_number(arguments) if function.name == "scalar" else StandIn(function.name))
            case "BUILD" if len(stack) > 1 and isinstance(stack[-2], StandIn):
                (state,) = self.take(1)
                stack[-1].state = state
            case _:
                super().step(name, argument)


def _number(arguments: object) -> float | int:
    """A single number of NumPy: (dtype, bytes)."""
    if not isinstance(arguments, tuple) or len(arguments) != 2 or not isinstance(arguments[1], bytes):
        raise RefusedError("a number of unknown form")
    made = np.frombuffer(arguments[1], arguments[0].dtype)
    if made.size != 1:
        raise RefusedError("a number of more than one part")
    found: float | int = made[0].item()
    return found


def unpickle_original(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary at the top of a pickle, or of the one in a zip file; `plain` opens what is in it.

    DataError, beginning with `where`, for anything else.
    """
    try:
        found = _Machine().run(_unzipped(data, where))
    except RefusedError as refused:
        raise DataError(f"{where}: this pickle asks for {refused} (nothing in it was run)") from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise DataError(f"{where}: not a whole pickle ({shown(error)}); copy it again") from None
    if not isinstance(found, dict):
        raise DataError(f"{where}: holds no dictionary, which files of cuda-convnet do")
    return {str(plain(key)): value for key, value in found.items()}


def plain(value: object) -> Any:
    """A value as Python of today has it: arrays unwrapped, old text as str, keys as str. One level deep."""
    if isinstance(value, ArrayParts):
        return value.value
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, StandIn):
        return plain(value.state) if isinstance(value.state, dict) else None
    if isinstance(value, dict):
        return {str(plain(key)) if isinstance(key, bytes) else str(key): item for key, item in value.items()}
    return value


def _unzipped(data: bytes, where: str) -> bytes:
    if not data.startswith(b"PK\x03\x04"):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            (member,) = archive.infolist()
            if member.file_size > min(_MOST_BYTES, _MOST_RATIO * max(len(data), 1 << 16)):
                raise DataError(f"{where}: would unpack to {member.file_size:,} bytes; unpack it yourself")
            with archive.open(member) as file:
                return file.read(member.file_size)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise ValueError(str(error)) from None
