"""Files as the programs of cuda-convnet wrote them, under Python 2."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Old", "old_pickle", "write_batches"]


class Old:
    """An object of a class that is nowhere: `name` is "module class", `state` its dictionary."""

    def __init__(self, name: str, state: dict[str, Any]) -> None:
        self.name, self.state = name, state


def old_pickle(value: object, protocol: int = 2) -> bytes:
    """A pickle as Python 2 wrote it: str as bytes, NumPy's old names, in protocol 0 or 2."""
    assert protocol in (0, 2)
    body = _written(value, protocol == 0) + b"."
    return body if protocol == 0 else b"\x80\x02" + body


def _written(value: object, text: bool) -> bytes:
    match value:
        case np.generic():
            kind = _kind(value.dtype, text)
            data = b"(" + kind + _written(value.tobytes(), text) + b"t"
            return b"cnumpy.core.multiarray\nscalar\n" + data + b"R"
        case None:
            return b"N"
        case bool():
            return (b"I01\n" if value else b"I00\n") if text else (b"\x88" if value else b"\x89")
        case int():
            return f"I{value}\n".encode() if text else b"J" + struct.pack("<i", value)
        case float():
            return f"F{value!r}\n".encode() if text else b"G" + struct.pack(">d", value)
        case str() | bytes():
            data = value.encode() if isinstance(value, str) else value
            return b"S" + repr(data)[1:].encode() + b"\n" if text else b"T" + struct.pack("<i", len(data)) + data
        case list():
            items = b"".join(_written(item, text) + b"a" for item in value)
            return (b"(l" if text else b"]") + items
        case tuple():
            return b"(" + b"".join(_written(item, text) for item in value) + b"t"
        case dict():
            pairs = value.items()
            return (b"(d" if text else b"}") + b"".join(_written(k, text) + _written(v, text) + b"s" for k, v in pairs)
        case np.ndarray():
            return _array(value, text)
        case Old():
            module, name = value.name.split()
            return f"(i{module}\n{name}\n".encode() + _written(value.state, text) + b"b"
    raise TypeError(type(value))


def _kind(dtype: np.dtype[Any], text: bool) -> bytes:
    made = b"cnumpy\ndtype\n" + _written((dtype.str[1:], 0, 1), text) + b"R"
    order = "|" if dtype.itemsize == 1 else "<"
    return made + _written((3, order, None, None, None, -1, -1, 0), text) + b"b"


def _array(array: NDArray[Any], text: bool) -> bytes:
    made = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n" + _written((0,), text) + _written("b", text) + b"tR"
    )
    by_columns = array.flags.f_contiguous and not array.flags.c_contiguous
    state = _written(1, text) + _written(array.shape, text) + _kind(array.dtype, text) + _written(by_columns, text)
    data = array.tobytes(order="F" if by_columns else "C")
    return made + b"(" + state + _written(data, text) + b"tb"


def write_batches(
    folder: Path, batches: dict[int, tuple[NDArray[np.uint8], list[Any]]], *, protocol: int = 2, **meta: Any
) -> Path:
    """A directory of cuda-convnet: images [N,C,H,W] with their labels, numbers or lists, by the batch's number."""
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(batches.values()))[0]
    features = first[0].size
    every = np.concatenate([pixels for pixels, _ in batches.values()]).reshape(-1, features)
    values = {
        "data_mean": every.mean(0, dtype=np.float64).astype(np.float32)[:, None],
        "label_names": ["a", "b", "c"],
        "num_vis": features,
        "batch_size": len(first),
        **meta,
    }
    (folder / "batches.meta").write_bytes(old_pickle(values, protocol))
    for number, (pixels, labels) in batches.items():
        data = np.ascontiguousarray(pixels.reshape(len(pixels), -1).T)
        value = {"data": data, "labels": labels, "batch_label": "one of some"}
        (folder / f"data_batch_{number}").write_bytes(old_pickle(value, protocol))
    return folder
