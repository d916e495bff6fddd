"""The rules of programs: each broken one is found, and named."""

from __future__ import annotations

import pytest

from convjit.ops import Array, ConvForward, ConvShape, Copy, Halo, LogregForward, Maps, Neuron, NeuronForward, PerImage
from convjit.program import Buffer, Launch, Program, Role, check

MAPS = Maps(3, 5, 5)
X, Y, Z = (Buffer(name, MAPS) for name in "xyz")
GIVEN = Buffer("given", MAPS, Role.INPUT)
SHAPE = ConvShape.parse("c3 h5 f3 k3 p1")
RELU = NeuronForward(MAPS, Neuron("relu"))


def copy(source: Buffer, target: Buffer, *, accumulate: bool = False) -> Launch:
    return Launch(f"{source.name} to {target.name}", Copy(MAPS, accumulate), {"x": source, "y": target})


def refused(says: str, *launches: Launch) -> None:
    with pytest.raises(ValueError, match=says):
        check(Program(4, launches))


def test_a_good_program_comes_back() -> None:
    program = Program(4, (copy(GIVEN, X), copy(X, Y), copy(GIVEN, Y, accumulate=True)))
    assert check(program) is program


def test_one_name_for_two_buffers() -> None:
    refused("x to y: two buffers are called x", copy(GIVEN, X), copy(Buffer("x", MAPS, halo=Halo(1)), Y))
    refused("x to y: two buffers are called x", copy(GIVEN, X), copy(Buffer("x", MAPS, Role.OUTPUT), Y))


def test_read_before_written() -> None:
    refused("x to y: x is read before it is written", copy(X, Y), copy(GIVEN, X))
    refused("given to x: x is read before it is written", copy(GIVEN, X, accumulate=True))
    refused("out to y: out is read before", copy(Buffer("out", MAPS, Role.OUTPUT), Y))
    check(Program(4, (copy(Buffer("kept", MAPS, Role.WEIGHTS), Y),)))


def test_inputs_are_the_hosts() -> None:
    refused("x to given: given belongs to the host", copy(GIVEN, X), copy(X, GIVEN))


def test_halos_of_arrays() -> None:
    costs = {"p": Buffer("p", Maps(3), Role.INPUT), "labels": Buffer("labels", PerImage((), "int32"), Role.INPUT)}
    wrong = Buffer("costs", PerImage((3,)), halo=Halo(1))
    refused("cost: costs .* has a halo", Launch("cost", LogregForward(3), {**costs, "costs": wrong}))


@pytest.mark.parametrize("halo", [Halo(), Halo(1, 1, 1, 0), Halo(0, 9, 9, 9)])
def test_halos_that_are_too_narrow(halo: Halo) -> None:
    x, w = Buffer("in", MAPS, Role.INPUT, halo), Buffer("w", SHAPE.weights, Role.WEIGHTS)
    conv = Launch("conv", ConvForward(SHAPE, "none"), {"x": x, "w": w, "y": Y})
    refused(r"conv: x reaches Halo\(top=1.*beyond the halo of in", conv)


@pytest.mark.parametrize("halo", [Halo(1, 1, 1, 1), Halo(2, 1, 1, 3)])
def test_halos_that_are_wide_enough(halo: Halo) -> None:
    x, w = Buffer("in", MAPS, Role.INPUT, halo), Buffer("w", SHAPE.weights, Role.WEIGHTS)
    check(Program(1, (Launch("conv", ConvForward(SHAPE, "none"), {"x": x, "w": w, "y": Y}),)))


def test_work_in_place_where_it_is_not_allowed() -> None:
    refused("x to x: y and x are one buffer", copy(GIVEN, X), copy(X, X))
    check(Program(4, (copy(GIVEN, X), Launch("relu", RELU, {"x": X, "y": X}))))


def test_operands_of_launches() -> None:
    with pytest.raises(ValueError, match=r"one: operands \['x'\], copy has"):
        Launch("one", Copy(MAPS), {"x": X})
    with pytest.raises(ValueError, match="two: y is 3x5x5, but its buffer is y"):
        Launch("two", Copy(MAPS), {"x": X, "y": Buffer("y", Maps(3, 5, 4))})
    with pytest.raises(ValueError, match="three: w is 3x3x3x3, but its buffer is w"):
        bad = Buffer("w", Array((3, 3, 9)), Role.WEIGHTS)
        Launch("three", ConvForward(SHAPE, "none"), {"x": X, "w": bad, "y": Y})
