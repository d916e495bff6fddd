"""The array of structures in a MATLAB file (level 5), which is how the ILSVRC devkit says its classes.

A file is 128 bytes of header and elements: type, size, contents. Numbers and text are all that is read; nothing in the
format is a program.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["read_structures"]

_HEADER = 128
_MAX_BYTES = 64 << 20
_MAX_DEPTH = 4
_MATRIX, _COMPRESSED = 14, 15
_STRUCTURE, _CHARACTERS = 2, 4
_NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
_NUMBERS |= {16: "u1", 17: "<u2", 18: "<u4"}

Value = str | float | list["Value"] | list[dict[str, "Value"]] | None


def read_structures(data: bytes, where: str) -> list[dict[str, Value]]:
    """The first array of structures in a file; DataError that begins with `where` if there is none."""
    try:
        if data[126:128] != b"IM":
            raise ValueError("not a little-endian MATLAB file of level 5")
        for kind, content in _elements(data[_HEADER:]):
            value = _matrix(content, 0) if kind == _MATRIX else None
            if isinstance(value, list) and value and isinstance(value[0], dict):
                return [one for one in value if isinstance(one, dict)]
        raise ValueError("no array of structures in it")
    except (ValueError, LookupError, TypeError, OverflowError, zlib.error) as error:
        raise DataError(f"{where}: cannot be understood ({shown(error)}); fetch the devkit again") from None


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and contents of every element, packed ones unpacked."""
    place = 0
    while place < len(data):
        word, size = (int.from_bytes(data[place + 4 * i : place + 4 * i + 4], "little") for i in (0, 1))
        if word >> 16:
            # A small one has its size and up to four bytes in these eight.
            kind, size, start, place = word & 0xFFFF, word >> 16, place + 4, place + 8
            if size > 4:
                raise ValueError("an element is damaged")
        else:
            kind, start = word, place + 8
            place = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        content = data[start : start + size]
        if len(content) < size:
            raise ValueError("cut short")
        if kind == _COMPRESSED:
            decoder = zlib.decompressobj()
            content = decoder.decompress(content, _MAX_BYTES)
            if not decoder.eof:
                raise ValueError(f"more than {_MAX_BYTES >> 20} MB, or cut short")
            yield from _elements(content)
        else:
            yield kind, content


def _matrix(data: bytes, depth: int) -> Value:
    """Text, a number, a list of numbers, or a list of structures; None for what else there is."""
    if depth > _MAX_DEPTH:
        raise ValueError("structures in structures")
    parts = _elements(data)
    flags, shape = (_numbers(*next(parts)).tolist() for _ in range(2))
    kind, count = int(flags[0]) & 0xFF, math.prod(map(int, shape))
    next(parts)
    if kind == _STRUCTURE:
        length = int(_numbers(*next(parts))[0])
        names = next(parts)[1]
        if not 0 < length <= 64:
            raise ValueError("names of fields are damaged")
        fields = [names[i : i + length].split(b"\0")[0].decode("ascii") for i in range(0, len(names), length)]
        found: list[dict[str, Value]] = []
        for _ in range(count):
            found.append({field: _matrix(next(parts)[1], depth + 1) for field in fields})
        return found
    content = next(parts, None)
    if content is None:
        return []
    if kind == _CHARACTERS:
        number, raw = content
        return raw.decode("utf-8") if number == 16 else "".join(map(chr, _numbers(number, raw).tolist()))
    if content[0] not in _NUMBERS:
        return None
    values: list[Value] = [float(one) for one in _numbers(*content).tolist()]
    return values[0] if len(values) == 1 else values


def _numbers(kind: int, data: bytes) -> NDArray[np.generic]:
    return np.frombuffer(data, _NUMBERS[kind])
