"""randSparse: filters of a group that see channels chosen at random instead of neighbours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from convjit import random
from convjit.layers.base import Pass, Target
from convjit.layers.given import Each, Given
from convjit.layers.initialisers import CODE, Initialiser
from convjit.layers.options import flags, initialiser, integers
from convjit.layers.windows import WindowLayer
from convjit.ops.base import Maps
from convjit.ops.channels import SelectChannels, SelectChannelsBackward
from convjit.ops.conv import ConvShape
from convjit.program import Buffer

__all__ = ["SparseLayer"]


@dataclass(frozen=True, kw_only=True)
class SparseLayer(WindowLayer):
    """Connections are as many permutations of the channels, one behind the other, as the groups' channels fill.

    They are drawn from the layer's name, whatever the seed of a run, so that they are as lasting as the net;
    `initCFunc=vec[...]` gives them in full.
    """

    rand_sparse: Each[bool] = flags("randSparse", default=False)
    filter_channels: Each[int] = integers("filterChannels", default=0, least=0)
    init_c_func: Given[Initialiser | None, Initialiser | str | None] = initialiser("initCFunc", default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        how = self.init_c_func
        if how and how.name not in (CODE, "vec"):
            found = f"initCFunc={how}: connections are written vec[...], or module.function(...) under --allow-code"
            raise self.error(found, "initCFunc")

    def conv_shape(self, index: int, maps: Maps) -> ConvShape:
        groups, given = self.group_count(index), self.filter_channels[index]
        if not self.rand_sparse[index]:
            if given and given * groups != maps.channels:
                found = f"filterChannels={given}: without randSparse it is channels/groups, {maps.channels}/{groups}"
                raise self.error(found, "filterChannels")
            return super().conv_shape(index, maps)
        if groups == 1:
            raise self.error("randSparse=true: needs groups above 1", "randSparse")
        seen = given or maps.channels // groups
        if not seen or (maps.channels % seen and not self.init_c_func):
            found = f"filterChannels={seen} does not divide channels={maps.channels}"
            raise self.error(found, "filterChannels")
        if groups * seen % maps.channels:
            found = f"groups*filterChannels={groups * seen} is not divisible by channels={maps.channels}"
            raise self.error(found, "filterChannels")
        return super().conv_shape(index, Maps(groups * seen, maps.height, maps.width))

    @property
    def sparse(self) -> bool:
        """Whether any input is connected at random."""
        return any(self.rand_sparse)

    def connections(self, index: int, maps: Maps) -> tuple[int, ...]:
        """Channels of the input in the order in which the groups see them."""
        count = self.conv_shape(index, maps).channels
        how = self.init_c_func
        if how is None:
            key = random.derive_key(0, f"connections:{self.name}:{index}")
            drawn = random.uniform(key, count).reshape(-1, maps.channels)
            return tuple(int(c) for c in np.argsort(drawn, axis=1, kind="stable").reshape(-1))
        if how.name == CODE:
            raise self.error(f"initCFunc={how}: a function runs code, which needs --allow-code", "initCFunc")
        order = tuple(int(number) for number in how.numbers)
        parts = [order[i : i + maps.channels] for i in range(0, len(order), maps.channels)]
        if len(order) != count or any(sorted(part) != list(range(maps.channels)) for part in parts):
            found = f"initCFunc: must be {count} numbers, every {maps.channels} of them a permutation of the channels"
            raise self.error(found, "initCFunc")
        seen = count // self.group_count(index)
        if any(len(set(order[i : i + seen])) < seen for i in range(0, count, seen)):
            raise self.error("initCFunc: a group sees a channel twice", "initCFunc")
        return order

    def shape(self, inputs: Sequence[Maps]) -> Maps:
        found = super().shape(inputs)
        for i, maps in enumerate(inputs):
            if self.rand_sparse[i]:
                self.connections(i, maps)
        return found

    def _selected(self, step: Pass, index: int, suffix: str = "") -> Buffer:
        maps = step.views[index]
        channels = self.conv_shape(index, maps).channels
        return step.own(f"selected{index or ''}{suffix}", Maps(channels, maps.height, maps.width))

    def source(self, step: Pass, index: int, launch: bool = False) -> Buffer:
        if not self.rand_sparse[index]:
            return step.inputs[index]
        found, maps = self._selected(step, index), step.views[index]
        if launch:
            op = SelectChannels(maps, self.connections(index, maps))
            step.launch(f"select{index or ''}", op, x=step.inputs[index], y=found)
        return found

    def source_gradient(self, step: Pass, index: int, launch: Callable[[Target], None]) -> None:
        if not self.rand_sparse[index]:
            super().source_gradient(step, index, launch)
        elif target := step.input_gradient(index):
            gradient, maps = self._selected(step, index, ".grad"), step.views[index]
            launch(Target(gradient, accumulate=False))
            op = SelectChannelsBackward(maps, self.connections(index, maps), target.accumulate)
            step.launch(f"backward_select{index or ''}", op, dy=gradient, dx=target.buffer)
