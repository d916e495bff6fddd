"""Rewrites of a program, each a pure function: fuse neurons and their slopes, rectify pooling, fuse softmax and its
cost, work in place, give halos, update early.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from convjit.ops.base import NO_HALO, ChannelMaps, Halo, Maps, Op
from convjit.ops.by_channel import PerChannel
from convjit.ops.conv import ConvForward
from convjit.ops.cost import LogregBackward, SoftmaxLogregBackward
from convjit.ops.fc import FcForward
from convjit.ops.halo import ClearHalo
from convjit.ops.local import LocalForward
from convjit.ops.neuron import RELU, NeuronBackward, NeuronForward, ThroughNeuron
from convjit.ops.pool import MaxPoolBackward, MaxPoolForward
from convjit.ops.softmax import SoftmaxBackward
from convjit.ops.target_cost import (
    BinaryBackward,
    CrossEntropyBackward,
    LogisticBinaryBackward,
    SoftmaxCrossEntropyBackward,
)
from convjit.program.buffer import Buffer, Launch, Program, Role
from convjit.program.check import check
from convjit.program.few_images import few_images

__all__ = [
    "finish",
    "fuse_neurons",
    "fuse_slopes",
    "fuse_softmax_cost",
    "fuse_target_cost",
    "give_halos",
    "rectify_pooling",
    "update_early",
    "work_in_place",
]


def finish(program: Program, few: int = 0) -> Program:
    """All rewrites, in the order that they need; `few` are the lanes of the vectors that few images would not fill.

    What is added up over the parts of a minibatch is updated at the end.
    """
    for rewrite in (fuse_neurons, rectify_pooling, fuse_slopes, fuse_softmax_cost, fuse_target_cost):
        program = rewrite(program)
    if few:
        program = few_images(program, few)
    program = give_halos(work_in_place(program))
    return check(program) if program.of_role(Role.GRADIENTS) else update_early(program)


def _readers(program: Program, name: str) -> list[Launch]:
    return [launch for launch in program.launches if name in launch.read]


def _writers(program: Program, name: str) -> list[Launch]:
    return [launch for launch in program.launches if name in launch.written]


def _pairs(
    program: Program, maker: type | tuple[type, ...], user: type, operand: str
) -> Iterator[tuple[Launch, Launch]]:
    """(a, b) where b, of type `user`, alone reads as `operand` what a, of type `maker`, alone has written."""
    for later in program.launches:
        if not isinstance(later.op, user) or later.buffers[operand].role is not Role.ARENA:
            continue
        name = later.buffers[operand].name
        writers = _writers(program, name)
        if len(writers) == 1 and isinstance(writers[0].op, maker) and _readers(program, name) == [later]:
            yield writers[0], later


def _replaced(program: Program, first: Launch, second: Launch, both: Launch, at: Launch) -> Program:
    """`first` and `second` replaced by one launch in the place of `at`."""
    launches = tuple(
        both if launch is at else launch for launch in program.launches if launch is at or launch not in (first, second)
    )
    return replace(program, launches=launches)


def fuse_neurons(program: Program) -> Program:
    """A weight layer whose output only its neuron reads applies the neuron itself: one pass over memory less."""
    for layer, neuron in list(_pairs(program, (ConvForward, FcForward, LocalForward), NeuronForward, "x")):
        assert isinstance(layer.op, ConvForward | FcForward | LocalForward) and isinstance(neuron.op, NeuronForward)
        if getattr(layer.op, "accumulate", False) or layer.op.neuron:
            continue
        op = replace(layer.op, neuron=neuron.op.neuron)
        both = Launch(layer.name, op, {**layer.buffers, "y": neuron.buffers["y"]})
        program = _replaced(program, layer, neuron, both, at=layer)
    return program


def rectify_pooling(program: Program) -> Program:
    """A relu behind max pooling is applied by the pooling, and its slope by the pooling's gradient: two passes less.

    Pixels are then compared with what is rectified: the largest of a window still equals it, or the window hands on
    nothing, since it is not above 0.
    """
    for layer in program.launches:
        if isinstance(layer.op, MaxPoolForward) and layer.buffers["y"].role is Role.ARENA:
            program = _rectified(program, layer, layer.op)
    return program


def _rectified(program: Program, layer: Launch, op: MaxPoolForward) -> Program:
    """The same for one pooling; nothing is changed if anything else reads what it pools."""
    readers = _readers(program, layer.buffers["y"].name)
    neurons = [one for one in readers if isinstance(one.op, NeuronForward) and one.op.neuron == RELU]
    if len(neurons) != 1:
        return program
    y = neurons[0].buffers["y"]
    changed = {layer.name: replace(layer, op=replace(op, rectified=True), buffers={**layer.buffers, "y": y})}
    gone = {neurons[0].name}
    for one in readers:
        if one is neurons[0]:
            continue
        if not isinstance(one.op, MaxPoolBackward) or one.buffers["x"] == layer.buffers["y"]:
            return program
        slopes = _writers(program, one.buffers["dy"].name)
        if len(slopes) != 1 or not _slope_of(slopes[0], y) or _readers(program, one.buffers["dy"].name) != [one]:
            return program
        buffers = {**one.buffers, "y": y, "dy": slopes[0].buffers["dy"]}
        changed[one.name] = replace(one, op=replace(one.op, rectified=True), buffers=buffers)
        gone.add(slopes[0].name)
    launches = tuple(changed.get(one.name, one) for one in program.launches if one.name not in gone)
    return replace(program, launches=launches)


def _slope_of(launch: Launch, y: Buffer) -> bool:
    """Whether a launch does nothing but multiply by the slope of a relu whose output is y."""
    op = launch.op
    return isinstance(op, NeuronBackward) and op.neuron == RELU and not op.accumulate and launch.buffers["z"] == y


def fuse_slopes(program: Program) -> Program:
    """The gradient of a pooling or norm that only the neuron before it reads goes through it at once.

    That saves the neuron's pass over memory. Of relu, whose slope is one comparison: those of others would be code that
    is written out for many pixels.
    """
    for layer, below in list(_pairs(program, ThroughNeuron, NeuronBackward, "dy")):
        assert isinstance(layer.op, ThroughNeuron) and isinstance(below.op, NeuronBackward)
        if (
            getattr(layer.op, "accumulate", False)
            or layer.op.neuron
            or below.op.accumulate
            or below.op.neuron.name != "relu"
        ):
            continue
        op = replace(layer.op, neuron=below.op.neuron)
        both = Launch(layer.name, op, {**layer.buffers, "z": below.buffers["z"], "dx": below.buffers["dx"]})
        program = _replaced(program, layer, below, both, at=layer)
    return program


def fuse_softmax_cost(program: Program) -> Program:
    """The gradients of logarithm and softmax together are a difference: exact, and no division by small numbers."""
    for cost, softmax in list(_pairs(program, LogregBackward, SoftmaxBackward, "dy")):
        assert isinstance(cost.op, LogregBackward) and isinstance(softmax.op, SoftmaxBackward)
        if cost.op.accumulate:
            continue
        op = SoftmaxLogregBackward(cost.op.classes, cost.op.coefficient, softmax.op.accumulate)
        buffers = {"p": softmax.buffers["y"], "labels": cost.buffers["labels"], "dx": softmax.buffers["dx"]}
        program = _replaced(program, cost, softmax, Launch(softmax.name, op, buffers), at=softmax)
    return program


def fuse_target_cost(program: Program) -> Program:
    """The same for costs against targets: cross entropy behind softmax, the binary one behind a logistic neuron."""
    kinds = ((CrossEntropyBackward, SoftmaxBackward), (BinaryBackward, NeuronBackward))
    for cost, below in [pair for maker, user in kinds for pair in _pairs(program, maker, user, "dy")]:
        made, op = cost.op, below.op
        if getattr(made, "accumulate", False):
            continue
        if isinstance(made, CrossEntropyBackward) and isinstance(op, SoftmaxBackward):
            both: Op = SoftmaxCrossEntropyBackward(made.maps, made.coefficient, op.accumulate)
        elif isinstance(made, BinaryBackward) and isinstance(op, NeuronBackward) and op.neuron.name == "logistic":
            both = LogisticBinaryBackward(made.maps, made.coefficient, made.weight, op.accumulate)
        else:
            continue
        buffers = {"p": cost.buffers["p"], "t": cost.buffers["t"], "dx": below.buffers["dx"]}
        if buffers["dx"].operand == made.maps:
            program = _replaced(program, cost, below, Launch(below.name, both, buffers), at=below)
    return program


def work_in_place(program: Program) -> Program:
    """Where an op allows it and nobody reads the old contents later, the output takes over the input's buffer."""
    for index in range(len(program.launches)):
        launch = program.launches[index]
        if getattr(launch.op, "accumulate", False):
            continue
        for source, target in launch.op.in_place:
            old, new = launch.buffers[source], launch.buffers[target]
            if old == new or old.operand != new.operand or {old.role, new.role} != {Role.ARENA}:
                continue
            later = program.launches[index + 1 :]
            born_here = _writers(program, new.name)[0] == launch
            if born_here and not any(old.name in after.read | after.written for after in later):
                program = replace(program, launches=tuple(one.rewired({new.name: old}) for one in program.launches))
                break
    return program


def give_halos(program: Program) -> Program:
    """Every buffer gets the halo of its widest reader, cleared before the buffer's first use in a step."""
    halos: dict[str, Halo] = {}
    for launch in program.launches:
        for operand, buffer in launch.buffers.items():
            halos[buffer.name] = halos.get(buffer.name, NO_HALO).union(launch.op.reach(operand))
    with_halo = {name: replace(b, halo=halos[name]) for name, b in program.buffers().items()}
    launches: list[Launch] = []
    born: set[str] = set()
    for launch in program.launches:
        wired = launch.rewired(with_halo)
        for buffer in wired.buffers.values():
            if buffer.halo != NO_HALO and buffer.name not in born:
                launches.append(_clear(buffer))
            born.add(buffer.name)
        launches.append(wired)
    return replace(program, launches=tuple(launches))


def _clear(buffer: Buffer) -> Launch:
    maps = buffer.operand
    assert isinstance(maps, Maps)
    op: Op = ClearHalo(maps)
    if isinstance(maps, ChannelMaps):
        op = PerChannel.of(ClearHalo(Maps(maps.channels, maps.height, maps.width)))
    return Launch(f"{buffer.name}.halo", op, {"x": buffer})


def update_early(program: Program) -> Program:
    """Every update right behind the last launch that it waits for, so that no gradient lives to the step's end."""
    weights = set(program.of_role(Role.WEIGHTS))
    launches = [one for one in program.launches if not one.written & weights]
    for one in program.launches:
        if one.written & weights:
            used = one.read | one.written
            waits = (i for i, two in enumerate(launches) if two.written & used or one.written & two.read)
            launches.insert(max(waits, default=-1) + 1, one)
    return check(replace(program, launches=tuple(launches)))
