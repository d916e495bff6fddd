"""Input: uint8 images in rows to lanes of float32: cropped or sampled, recoloured, mirrored, the mean taken off.

Pixels come from `input_rows`, 16 of a row at a time, or with a warp from `input_warp`, one by one; what is done to
their values is the same for both, and done before they are stored for the first time.
"""

from __future__ import annotations

from collections.abc import Sequence

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.input_rows import WIDTH, copy, copy_backwards, transposed
from convjit.kernels.input_warp import Sampler
from convjit.kernels.sweep import share, shares
from convjit.ops.input import Input

PIXELS = 1024
"""Pixels of an image that one task works on, about, so that the copies stay in the first-level cache."""


@generator(Input)
def input_forward(k: Kernel, problem: Problem) -> int:
    """Task: some rows of a block, of one channel; of all where their colours are mixed, or share a place."""
    op = problem.op
    assert isinstance(op, Input)
    together = op.warp or op.recolour
    channels, height = op.maps.channels, op.maps.height
    groups, width = (1, op.maps.width * channels) if together else (channels, op.maps.width)
    most = max(1, PIXELS // width)
    parts = shares(height, most)
    block, group, part = k.split(k.task, problem.blocks, groups, parts)
    first, end = share(k, part, height, most)
    chosen = [k.index(c) for c in range(channels)] if together else [group]
    finish = _Finish(k, problem, block, chosen)
    if op.warp:
        sampler = Sampler(k, op, [finish.image(lane) for lane in range(k.lanes)], finish.flipped)
        with k.loop(first, end, name="row") as y, k.loop(0, op.maps.width, name="pixel") as column:
            finish.store(y, column, sampler.pixel(y, column))
    else:
        _from_rows(k, op, finish, first, end, min(most, height))
    return problem.blocks * groups * parts


def _from_rows(k: Kernel, op: Input, finish: _Finish, first: Index, end: Index, most: int) -> None:
    """Whole pixels of up to `most` rows."""
    source, maps, pixels = op.source, op.maps, k.bytes("pixels")
    pitch = -(-maps.width // WIDTH) * WIDTH
    room = most * k.lanes * pitch
    copies = k.scratch_of_bytes(len(finish.channels) * room)
    with k.loop(0, k.lanes, name="lane") as lane:
        top, left, mirror = finish.crop(lane)
        for number, channel in enumerate(finish.channels):
            plane = (finish.image(lane) * source.channels + channel) * source.height
            start = pixels + ((plane + top) * source.width + left)
            with k.loop(first, end, name="row") as y:
                line = start + y * source.width
                to = copies + (((y - first) * k.lanes + lane) * pitch + number * room)
                with k.when(mirror > 0):
                    copy_backwards(k, line, to, maps.width)
                with k.when(mirror < 1):
                    copy(k, line, to, maps.width)
    with k.loop(first, end, name="row") as y:
        rows = [copies + ((y - first) * (k.lanes * pitch) + n * room) for n in range(len(finish.channels))]

        def store(column: Index, count: int) -> None:
            taken = [transposed(k, row + column, pitch)[:count] for row in rows]
            for i, values in enumerate(zip(*taken, strict=True)):
                finish.store(y, column + i, [k.byte_to_float(value) for value in values])

        whole = maps.width // WIDTH * WIDTH
        if whole:
            with k.loop(0, whole, WIDTH, name="pixels") as column:
                store(column, WIDTH)
        if whole < maps.width:
            store(whole, maps.width - whole)


class _Finish:
    """What is done to the values of a pixel of V images, in some channels, and their place in x.

    What belongs to an image is read once, before the loops. Lanes beyond the last image read that one, so that their
    numbers are finite whatever the host has left there.
    """

    def __init__(self, k: Kernel, problem: Problem, block: Value, channels: Sequence[Value]) -> None:
        op = problem.op
        assert isinstance(op, Input)
        self._k, self._op, self._block, self._last, self.channels = k, op, block, problem.batch - 1, channels
        self._x, self._mean = problem.view(k, "x"), k.scalars("mean")
        self.flipped = k.pack([k.to_word(self.crop(lane)[2]) for lane in range(k.lanes)]) > 0
        count = op.maps.channels
        self._tints = [self._floats("tints", c, count) for c in channels] if op.factor else []
        row = count + 1
        self._colours = [
            [self._floats("colours", c * row + d, count * row) for d in range(row)] for c in channels if op.recolour
        ]
        self._cuts = [
            k.pack([self._integer("cuts", lane, side, 4) for lane in range(k.lanes)]) for side in range(4) if op.cutout
        ]

    def image(self, lane: Index) -> Value:
        """The number of a lane's image."""
        return self._k.minimum(self._block * self._k.lanes + lane, self._last)

    def crop(self, lane: Index) -> list[Value]:
        """(top, left, mirror) of a lane's image."""
        return [self._k.to_index(self._integer("crops", lane, i, 3)) for i in range(3)]

    def _integer(self, name: str, lane: Index, item: int, size: int) -> Value:
        return self._k.integers(name).load(self.image(lane) * size + item)

    def _floats(self, name: str, item: Index, size: int) -> Value:
        """One of every image's `size` numbers."""
        numbers = self._k.scalars(name)
        return self._k.pack([numbers.load(self.image(lane) * size + item) for lane in range(self._k.lanes)])

    def store(self, y: Value, column: Index, pixel: Sequence[Value]) -> None:
        """Finish and store a pixel's values, one for each channel."""
        k, op, maps = self._k, self._op, self._op.maps
        for number, channel in enumerate(self.channels):
            line = self._mean + (channel * maps.height + y) * maps.width
            value = self._recoloured(number, pixel) if op.recolour else pixel[number]
            there, back = k.broadcast(line.load(column)), k.broadcast(line.load(maps.width - 1 - column))
            value = value - k.select(self.flipped, back, there)
            if op.factor:
                value = (value + self._tints[number]) * op.factor
            if op.cutout:
                value = k.select(self._cut(y, column), 0.0, value)
            self._x.store(value, self._x.index(self._block, channel, y) + column)

    def _recoloured(self, number: int, pixel: Sequence[Value]) -> Value:
        *row, total = self._colours[number]
        for weight, value in zip(row, pixel, strict=True):
            total = self._k.fma(weight, value, total)
        return total

    def _cut(self, y: Value, column: Index) -> Value:
        """In which images the pixel is cut out."""
        k, (top, left, bottom, right) = self._k, self._cuts
        i, j = (k.broadcast(k.to_word(k.index(at))) for at in (y, column))
        return (i >= top) & (i < bottom) & (j >= left) & (j < right)
