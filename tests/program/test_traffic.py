"""Bytes of a launch, counted by hand."""

from __future__ import annotations

from convjit.ops import (
    Array,
    ClearHalo,
    ConvForward,
    ConvShape,
    Cut,
    Halo,
    Input,
    Maps,
    MaxPoolBackward,
    Neuron,
    NeuronBackward,
    Op,
    PoolShape,
    Update,
)
from convjit.program import Buffer, Launch
from convjit.program.traffic import Traffic, traffic

BATCH, LANES, PADDED = 10, 8, 16


def moved(op: Op, halo: Halo | None = None, **same: str) -> Traffic:
    """Of a launch whose operands have buffers of their own, but for those that `same` names."""
    operands = op.operands()
    buffers = {
        name: Buffer(same.get(name, name), shape, halo=halo or Halo())
        if isinstance(shape, Maps)
        else Buffer(name, shape)
        for name, shape in operands.items()
    }
    return traffic(Launch("one", op, buffers), BATCH, LANES)


def test_every_number_once() -> None:
    op, size = NeuronBackward(Maps(3, 4, 5), Neuron("relu")), 4 * PADDED * 60
    assert moved(op) == Traffic(2 * size, size, 3 * size)
    assert moved(op, dx="dy") == Traffic(2 * size, size, 2 * size)
    assert moved(NeuronBackward(Maps(3, 4, 5), Neuron("relu"), accumulate=True)) == Traffic(3 * size, size, 3 * size)


def test_two_operands_in_one_buffer_are_read_once() -> None:
    op = MaxPoolBackward(PoolShape.parse("c1 h4 k2 s2"), neuron=Neuron("relu"))
    large, small = 4 * PADDED * 16, 4 * PADDED * 4
    assert moved(op, z="x") == Traffic(large + 2 * small, large, 2 * large + 2 * small)


def test_of_a_halo_what_an_op_reaches() -> None:
    op = ConvForward(ConvShape.parse("c2 h5 f3 k3 p1"))
    found = moved(op, Halo(2, 2, 2, 2))
    weights = 4 * (3 * 2 * 9 + 3)
    assert found.read == 4 * PADDED * 2 * 7 * 7 + weights
    assert found.written == 4 * PADDED * 3 * 25


def test_clearing_writes_the_halo_alone() -> None:
    assert moved(ClearHalo(Maps(2, 3, 4)), Halo(1, 1, 1, 1)) == Traffic(0, 4 * PADDED * 2 * 18, 4 * PADDED * 2 * 18)


def test_a_box_and_a_crop_are_parts() -> None:
    box = 4 * PADDED * 6
    assert moved(Cut(Maps(4, 8, 8), Maps(1, 2, 3))) == Traffic(box, box, 2 * box)
    found = moved(Input(Maps(3, 8, 8), Maps(3, 4, 4)))
    assert found.read == PADDED * (48 + 3 * 4) + 4 * 48 and found.written == 4 * PADDED * 48


def test_an_update_reads_three_arrays_and_writes_two() -> None:
    assert moved(Update(Array((100,)))) == Traffic(1200 + 16, 800, 1200 + 16)
