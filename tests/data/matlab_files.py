"""MATLAB files of one array of structures, as the ILSVRC devkit has it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np


def _element(kind: int, data: bytes) -> bytes:
    if 0 < len(data) <= 4:
        return (len(data) << 16 | kind).to_bytes(4, "little") + data.ljust(4, b"\0")
    return kind.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data + bytes(-len(data) % 8)


def _matrix(kind: int, shape: tuple[int, ...], rest: bytes, name: bytes = b"") -> bytes:
    head = _element(6, np.array([kind, 0], "<u4").tobytes()) + _element(5, np.array(shape, "<i4").tobytes())
    return _element(14, head + _element(1, name) + rest)


def _value(value: str | float) -> bytes:
    if isinstance(value, str):
        return _matrix(4, (1, len(value)), _element(4, np.array(list(map(ord, value)), "<u2").tobytes()))
    return _matrix(6, (1, 1), _element(2, bytes([int(value)])))


def structures(rows: Sequence[dict[str, str | float]], *, packed: bool = True) -> bytes:
    """The file of these rows."""
    fields = b"".join(field.encode().ljust(32, b"\0") for field in rows[0])
    rest = _element(5, (32).to_bytes(4, "little")) + _element(1, fields)
    rest += b"".join(_value(value) for row in rows for value in row.values())
    body = _matrix(2, (len(rows), 1), rest, b"synsets")
    if packed:
        data = zlib.compress(body)
        body = (15).to_bytes(4, "little") + len(data).to_bytes(4, "little") + data
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + body
