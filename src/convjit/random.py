"""Randomness is a function: numbers drawn by a counter, keyed by (seed, purpose, step).

Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011):
additions, rotations and exclusive ors of 32-bit words, so that kernels draw the same bits in vector registers.
There is no state: any thread can draw any number, and a resumed run draws what the first one would have.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "PARITY",
    "ROTATIONS",
    "derive_key",
    "normal",
    "normals",
    "permutation",
    "threefry",
    "uniform",
    "uniforms",
    "words",
]

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA

Words = NDArray[np.uint32]
Key = tuple[int, int]


def threefry(key: Key, low: Words, high: Words) -> tuple[Words, Words]:
    """Two words of random bits for each counter (low, high)."""
    schedule = [np.uint32(key[0]), np.uint32(key[1]), np.uint32(key[0] ^ key[1] ^ PARITY)]
    with np.errstate(over="ignore"):
        a, b = low + schedule[0], high + schedule[1]
        for block in range(5):
            for rotation in ROTATIONS[:4] if block % 2 == 0 else ROTATIONS[4:]:
                a = a + b
                b = ((b << np.uint32(rotation)) | (b >> np.uint32(32 - rotation))) ^ a
            a = a + schedule[(block + 1) % 3]
            b = b + schedule[(block + 2) % 3] + np.uint32(block + 1)
    return a, b


def derive_key(seed: int, purpose: str, step: int = 0) -> Key:
    """The key of one stream of numbers; `seed` and `step` below 2**64."""
    base = (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)
    for low, high in ((zlib.crc32(purpose.encode()), len(purpose)), (step & 0xFFFFFFFF, step >> 32)):
        a, b = threefry(base, np.array([low], np.uint32), np.array([high], np.uint32))
        base = int(a[0]), int(b[0])
    return base


def words(key: Key, count: int, start: int = 0) -> Words:
    """`count` 32-bit words: the first output of counters `start`, start + 1, ..."""
    index = np.arange(start, start + count, dtype=np.uint64)
    return threefry(key, (index & np.uint64(0xFFFFFFFF)).astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32))[
        0
    ]


def uniform(key: Key, count: int, start: int = 0) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) of 24 bits each, exact in float32, from number `start` on: what the kernels draw."""
    return (words(key, count, start) >> np.uint32(8)).astype(np.float64) / 2**24


def uniforms(key: Key, indices: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) for each of some things, known by their numbers: [N, count]."""
    index = np.repeat(np.asarray(indices, np.uint32)[:, None], count, axis=1)
    slot = np.broadcast_to(np.arange(count, dtype=np.uint32), index.shape)
    return (threefry(key, index, slot)[0] >> np.uint32(8)).astype(np.float64) / 2**24


def normals(key: Key, indices: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """`count` numbers of the standard normal distribution for each of some things: [N, count]."""
    drawn = uniforms(key, indices, 2 * count)
    radius, angle = np.sqrt(-2 * np.log(drawn[:, ::2] + 2.0**-25)), 2 * np.pi * drawn[:, 1::2]
    found: NDArray[np.float64] = radius * np.cos(angle)
    return found


def normal(key: Key, count: int, start: int = 0) -> NDArray[np.float64]:
    """Numbers `start` .. `start + count` of a sequence of the standard normal distribution (Box and Muller 1958)."""
    index = np.arange(start // 2, (start + count + 1) // 2, dtype=np.uint32)
    a, b = threefry(key, index, np.ones_like(index))
    radius = np.sqrt(-2 * np.log((a.astype(np.float64) + 0.5) / 2**32))
    angle = 2 * np.pi * b.astype(np.float64) / 2**32
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)[start % 2 :][:count]


def permutation(key: Key, count: int) -> NDArray[np.int64]:
    """A random order of 0 .. count-1."""
    index = np.arange(count, dtype=np.uint32)
    a, b = threefry(key, index, np.zeros_like(index))
    return np.lexsort((b, a)).astype(np.int64)
