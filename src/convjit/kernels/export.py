"""Export: V vectors of one feature each become V rows of V features, one row per image.

Stored number by number, rows whose distance is a multiple of 4096 bytes would drive each other out of the cache.
"""

from __future__ import annotations

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import CHUNK, Place, share, shares, sweep
from convjit.ops.export import Export

__all__ = ["transposed"]


@generator(Export)
def export(k: Kernel, problem: Problem) -> int:
    """Task: a share of the features of a block; the last task also does those that fill no vector."""
    op = problem.op
    assert isinstance(op, Export)
    x, y, lanes, features = problem.view(k, "x"), k.scalars("y"), k.lanes, op.maps.features

    def single(place: Index, block: Value, feature: Index) -> None:
        vector, row = x.load(place), y + block * (lanes * features)
        for image in range(lanes):
            row.store(k.lane(vector, image), feature + image * features)

    if not x.dense:

        def body(place: Place, block: Value, feature: Index) -> None:
            single(place("x"), block, feature)

        return sweep(k, problem, ("x",), body, unroll=1)

    tiles = features // lanes
    parts = shares(tiles, CHUNK // lanes) if tiles else 1
    block, part = k.split(k.task, problem.blocks, parts)
    start, row = x.index(block), y + block * (lanes * features)
    if tiles:
        first, end = share(k, part, tiles, CHUNK // lanes)
        with k.loop(first, end, name="tile") as tile:
            feature = tile * lanes
            for image, numbers in enumerate(transposed(k, [x.load(start + feature + i) for i in range(lanes)])):
                k.loose_vectors(row + (feature + image * features)).store(numbers)
    with k.when(part.equals(parts - 1)):
        for rest in range(tiles * lanes, features):
            single(start + rest, block, rest)
    return problem.blocks * parts


def transposed(k: Kernel, vectors: list[Value]) -> list[Value]:
    """V vectors of V numbers with rows and columns exchanged, in log2(V) rounds of interleaving."""
    half, lanes = k.lanes // 2, k.lanes
    low = [number for i in range(half) for number in (i, i + lanes)]
    high = [number + half for number in low]
    for _ in range(lanes.bit_length() - 1):
        pairs = list(zip(vectors[:half], vectors[half:], strict=True))
        vectors = [k.shuffle(a, b, order) for a, b in pairs for order in (low, high)]
    return vectors
