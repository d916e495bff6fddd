"""Changes of a trained net that leave what it computes as it was: convolutions become local, shared weights one's own.

    conv_to_local      the filters of a convolution are repeated at every output pixel, so that they may part
    unshare_weights    a layer that uses another's weights gets a copy of them

Nets and arrays are not changed; new ones are returned. Increments of arrays that are new start at 0. The originals do
this on a loaded checkpoint, with --conv-to-local and --unshare-weights, and mishandle nets that share weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from convjit.errors import ConfigError, UsageError, near
from convjit.graph import Net
from convjit.layers import Conv, Layer, Local, WeightLayer, WindowLayer

__all__ = ["Operated", "conv_to_local", "unshare_weights"]

Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]
_ITEM = re.compile(r"([^\[\]]+?)\s*(?:\[\s*([0-9]{1,6})\s*\])?")


@dataclass(frozen=True)
class Operated:
    """The net afterwards, its arrays (increments too, where they were given), and the layers that were changed."""

    net: Net
    arrays: dict[str, NDArray[np.float32]]
    layers: tuple[str, ...]


def conv_to_local(net: Net, arrays: Arrays, names: Sequence[str]) -> Operated:
    """The net with the conv layers `names`, and all that share weights with them, as local layers.

    `arrays` holds every learned array of the net by name, and may hold more. UsageError for what is no conv layer.
    """
    for name in names:
        layer = _layer(net, name)
        if not isinstance(layer, Conv):
            raise UsageError(f"layer '{name}' is of type {layer.kind}; conv layers can become local ones")
    changed = _sharers(net, names)
    layers = [_as_local(layer) if layer.name in changed else layer for layer in net.written]
    made = _net(net, layers)
    found = _kept(made, arrays)
    for full, learned in made.learned().items():
        name = full.rpartition(".")[0]
        if name in changed:
            old, shape = arrays[full], learned.array.shape
            if learned.name == "biases":
                old = old.reshape(shape[0], -1, 1) if old.ndim == 1 else old
                value = np.broadcast_to(old, shape)
            else:
                # (F, C, K, K) to (rows * columns, F, K, K, C)
                value = np.broadcast_to(np.moveaxis(old, 1, 3), shape)
            found[full] = np.ascontiguousarray(value, np.float32)
            _clear(found, full, arrays, full)
    return Operated(made, found, tuple(layer.name for layer in net.written if layer.name in changed))


def unshare_weights(net: Net, arrays: Arrays, items: Sequence[str]) -> Operated:
    """The net in which each item, "layer" or "layer[index of its input]", has weights of its own.

    Without an index those of all inputs. Layers that took their weights from the item go on sharing with it. UsageError
    for an item that shares nothing.
    """
    chosen: dict[str, set[int]] = {}
    for item in items:
        match = _ITEM.fullmatch(item.strip())
        if not match:
            raise UsageError(f"'{item}': must be a layer, or layer[index of its input]")
        layer = _layer(net, match[1])
        shared = {i for i in range(len(layer.inputs)) if isinstance(layer, WeightLayer) and layer.weight_source[i]}
        wanted = {int(match[2])} if match[2] is not None else shared
        if not wanted or not wanted <= shared:
            raise UsageError(f"'{item}' does not share another layer's weights")
        chosen[layer.name] = chosen.get(layer.name, set()) | wanted
    layers: list[Layer] = []
    for layer in net.written:
        if isinstance(layer, WeightLayer) and layer.name in chosen:
            sources = tuple("" if i in chosen[layer.name] else s for i, s in enumerate(layer.weight_source))
            layer = replace(layer, weight_source=sources)
        layers.append(layer)
    made = _net(net, layers)
    before = {f"{name}.{one.name}": one.owner for name, node in net.nodes.items() for one in node.learned}
    found = _kept(made, arrays)
    for full in made.learned():
        if owner := before[full]:
            found[full] = np.array(arrays[owner], np.float32)
            _clear(found, full, arrays, owner)
    return Operated(made, found, tuple(chosen))


def _layer(net: Net, name: str) -> Layer:
    for layer in net.written:
        if layer.name == name:
            return layer
    raise UsageError(f"there is no layer '{name}'{near(name, [layer.name for layer in net.written])}")


def _sharers(net: Net, names: Iterable[str]) -> set[str]:
    """These layers, those whose weights they use, those that use theirs, and so on."""
    linked = [
        {name, *(one.owner.rpartition(".")[0] for one in node.learned if one.owner)} for name, node in net.nodes.items()
    ]
    found = set(names)
    while more := set().union(*(link for link in linked if link & found)) - found:
        found |= more
    return found


def _as_local(layer: Layer) -> Local:
    """The same layer with filters of its own at every pixel. An initialiser has done its work, and may not fit."""
    assert isinstance(layer, Conv)
    if any(layer.wc_norm_max):
        raise ConfigError("wcNormMax holds for conv alone: remove it first", layer=layer.name, key="wcNormMax")
    if layer.sparse:
        raise ConfigError(
            "randSparse holds for conv alone: such a layer cannot become local", layer=layer.name, key="randSparse"
        )
    names = ("name", "inputs", *(f.name for f in fields(WindowLayer) if f.name not in ("name", "inputs")))
    return Local(**{name: getattr(layer, name) for name in names} | {"init_w_func": None, "init_b_func": None})


def _net(net: Net, layers: Sequence[Layer]) -> Net:
    """A net of other layers for the same images."""
    image = (net.image.channels, net.image.height, net.image.width)
    return Net(layers, image=image, classes=net.classes, crop=net.crop, changes=net.changes)


def _kept(net: Net, arrays: Arrays) -> dict[str, NDArray[np.float32]]:
    """What the net still has of some arrays, in its own order."""
    names = [name for full in net.learned() for name in (full, f"{full}.inc", f"{full}.sum")]
    return {name: arrays[name] for name in names if name in arrays}


def _clear(found: dict[str, NDArray[np.float32]], full: str, arrays: Arrays, before: str) -> None:
    """New increments and sums of an array, where the one `before` had such."""
    for suffix in (".inc", ".sum"):
        if before + suffix in arrays:
            found[full + suffix] = np.zeros_like(found[full])
