"""Random nets, and everything that a step of a program reads: for tests that run programs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from layer_samples import net_of
from numpy.typing import NDArray

from convjit.graph import Net
from convjit.layers import Conv, Dropout, Dropout2, Fc, Layer, NeuronLayer, Pool, Softmax
from convjit.ops import Input, LogregForward, Maps, PerImage
from convjit.program import Program, Role
from convjit.runtime import Executor, ReferenceExecutor

__all__ = ["LEARNED", "NdArray", "contents", "give", "random_net", "results", "run_reference"]

NdArray = NDArray[Any]
LEARNED = (Role.WEIGHTS, Role.INCREMENTS)
NEURONS = ("relu", "logistic", "tanh[1.7,0.6]", "abs", "softrelu", "linear[0.5,0.1]")


def contents(program: Program, seed: int = 0) -> dict[str, NdArray]:
    """What the host and earlier steps have written before a step: logical arrays by name."""
    rng = np.random.default_rng(seed)
    ops = [launch.op for launch in program.launches]
    classes = min((op.classes for op in ops if isinstance(op, LogregForward)), default=2)
    room = [(op.source.height - op.maps.height, op.source.width - op.maps.width) for op in ops if isinstance(op, Input)]
    down, right = room[0] if room else (0, 0)
    found: dict[str, NdArray] = {}
    for name, buffer in sorted(program.of_role(Role.INPUT, *LEARNED).items()):
        shape = buffer.operand.logical(program.batch)
        array: NdArray
        if name == "pixels":
            # Near the mean, so that no probability becomes 0 and no sum large, whatever the net.
            array = rng.integers(119, 124, shape).astype(np.uint8)
        elif name == "labels":
            array = rng.integers(0, classes, shape).astype(np.int32)
        elif name == "crops":
            array = rng.integers(0, [down + 1, right + 1, 2], shape).astype(np.int32)
        elif name.endswith(".key"):
            array = rng.integers(-(2**31), 2**31, shape).astype(np.int32)
            array[2:] = 0
        elif name.endswith(".rates"):
            # The last says that the update of several steps is due.
            array = np.array([0.001, 0.9, 0.004, 1 / program.batch, 1], np.float32)[: shape[0]]
        elif name == "targets":
            # Some of them none.
            array = rng.uniform(-0.2, 1, shape).astype(np.float32)
        elif name == "mean":
            array = rng.uniform(120.5, 121.5, shape).astype(np.float32)
        else:
            size = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
            size *= 0.02 if buffer.role is Role.INCREMENTS else 1
            array = (rng.standard_normal(shape) * size).astype(np.float32)
        found[name] = array
    return found


def give(executor: Executor, arrays: dict[str, NdArray]) -> None:
    """Write `contents` as a host would: rows that only fill the last block are a real image, without a label."""
    for name, array in arrays.items():
        if name not in executor.host:
            executor.store[name][...] = array
            continue
        place, buffer = executor.host[name], executor.program.buffers()[name]
        if isinstance(buffer.operand, PerImage):
            place[: len(array)] = array
            place[len(array) :] = -1 if name == "labels" else array[0]
        else:
            place[...] = array


def run_reference(program: Program, arrays: dict[str, NdArray], steps: int = 1) -> dict[str, NdArray]:
    """`results` by the references, in float64."""
    executor = ReferenceExecutor(program)
    executor.arrays.update({n: a.astype(np.float64) if a.dtype == np.float32 else a for n, a in arrays.items()})
    for _ in range(steps):
        executor.run()
    return {name: executor.arrays[name] for name in program.of_role(Role.OUTPUT, *LEARNED)}


def results(executor: Executor) -> dict[str, NdArray]:
    """What is left of a step: outputs, weights, increments."""
    return {name: executor.read(name) for name in executor.program.of_role(Role.OUTPUT, *LEARNED)}


def random_net(seed: int) -> Net:
    """A small net of any layers that fit one another; whatever nothing has read at the end, a last layer joins."""
    rng = np.random.default_rng(seed)

    def pick(*choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    image = (pick(1, 2, 3), pick(5, 6, 8), pick(5, 7))
    crop = (image[1] - 1, image[2] - 2) if rng.random() < 0.3 else (0, 0)
    maps = {"data": Maps(image[0], *(crop if any(crop) else image[1:]))}
    layers: list[Layer] = []
    for number in range(pick(2, 3, 4, 5)):
        name, source = f"l{number}", pick(*maps)
        shape = maps[source]
        if min(shape.height, shape.width) > 1 and rng.random() < 0.6:
            layer = _spatial(name, source, shape, pick, rng)
        else:
            layer = _plain(name, source, pick)
        layer = layer.fitted([shape])
        layers.append(layer)
        maps[name] = layer.shape(layer.views([shape]))
    read = {source for layer in layers for source in layer.inputs}
    ends = [name for name in maps if name not in read]
    join = Fc("join", ends, outputs=4, init_w=0.3, neuron=pick(None, *NEURONS))
    return net_of(*layers, join, image=image, crop=crop)


def _spatial(name: str, source: str, shape: Maps, pick: Any, rng: np.random.Generator) -> Layer:
    side = min(shape.height, shape.width)
    size = pick(*range(2, min(side, 4) + 1))
    if rng.random() < 0.4:
        kind, start = pick("max", "avg"), pick(0, -1)
        return Pool(name, source, pool=kind, size_x=size, stride=pick(1, 2), start=start, neuron=pick(None, *NEURONS))
    return Conv(
        name,
        source,
        filters=pick(2, 4),
        filter_size=size,
        padding=pick(0, 1, 2),
        stride=pick(1, 1, 2),
        groups=pick(*(groups for groups in (1, 2) if shape.channels % groups == 0)),
        shared_biases=pick(True, False),
        eps_w=pick(0.01, 0.01, 0),
        neuron=pick(None, *NEURONS),
    )


def _plain(name: str, source: str, pick: Any) -> Layer:
    layer: Layer = pick(
        Fc(name, source, outputs=pick(3, 5), neuron=pick(None, *NEURONS)),
        NeuronLayer(name, source, neuron=pick(*NEURONS)),
        Dropout(name, source, keep=0.7, enable=pick(True, False)),
        Dropout2(name, source, keep=0.6, enable=pick(True, False)),
        Softmax(name, source),
    )
    return layer
