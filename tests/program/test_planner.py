"""The planner: buffers that live at the same time never share bytes, and sharing never costs any."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steps import random_net

from convjit.graph import lower
from convjit.ops import Array, Halo, Maps, Op, Operand, PerImage
from convjit.program import Buffer, Launch, Plan, Program, Role, buffer_bytes, plan, stored_shape
from convjit.program.planner import ALIGNMENT


@dataclass(frozen=True)
class Use(Op):
    """An op over any arrays."""

    arrays: tuple[Operand, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"a{i}" for i in range(len(self.arrays)))

    def operands(self) -> dict[str, Operand]:
        return dict(zip(self.names, self.arrays, strict=True))


def launch(number: int, *buffers: Buffer) -> Launch:
    op = Use(tuple(buffer.operand for buffer in buffers))
    return Launch(f"l{number}", op, dict(zip(op.names, buffers, strict=True)))


OPERANDS = st.one_of(
    st.builds(Maps, st.integers(1, 40), st.integers(1, 9), st.integers(1, 9)),
    st.builds(lambda n: PerImage((n,)), st.integers(1, 2000)),
    st.builds(lambda n: Array((n,)), st.integers(1, 9000)),
)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    operands = draw(st.lists(OPERANDS, min_size=1, max_size=12))
    buffers = [
        Buffer(f"b{i}", operand, halo=Halo(0, 1, 2, 0) if isinstance(operand, Maps) and i % 2 else Halo())
        for i, operand in enumerate(operands)
    ]
    chosen = st.lists(st.sampled_from(buffers), min_size=1, max_size=4, unique_by=lambda buffer: buffer.name)
    uses = draw(st.lists(chosen, min_size=1, max_size=20))
    return Program(draw(st.integers(1, 40)), tuple(launch(i, *use) for i, use in enumerate(uses)))


def lives(program: Program) -> dict[str, tuple[int, int]]:
    """First and last launch of every buffer of the arena."""
    found: dict[str, tuple[int, int]] = {}
    for index, one in enumerate(program.launches):
        for buffer in one.buffers.values():
            if buffer.role is Role.ARENA:
                found[buffer.name] = found.get(buffer.name, (index, index))[0], index
    return found


def verify(program: Program, lanes: int) -> Plan:
    made, alive, buffers = plan(program, lanes), lives(program), program.buffers()
    assert set(made.offsets) == set(alive)
    ends = {name: offset + buffer_bytes(buffers[name], program.batch, lanes) for name, offset in made.offsets.items()}
    for a, b in itertools.combinations(alive, 2):
        together = alive[a][0] <= alive[b][1] and alive[b][0] <= alive[a][1]
        meet = made.offsets[a] < ends[b] and made.offsets[b] < ends[a]
        assert not (together and meet), f"{a} and {b} live together and share bytes"
    assert all(offset % ALIGNMENT == 0 for offset in made.offsets.values())
    assert all(end <= made.arena for end in ends.values())
    most = max(
        sum(made.bytes_of(buffers[name]) for name, (first, last) in alive.items() if first <= step <= last)
        for step in range(len(program.launches))
    )
    assert most <= made.arena <= made.unshared
    return made


@settings(deadline=None)
@given(programs(), st.sampled_from([4, 8, 16]))
def test_random_lifetimes(program: Program, lanes: int) -> None:
    assert verify(program, lanes) == plan(program, lanes)


@pytest.mark.parametrize("seed", range(20))
def test_random_nets(seed: int) -> None:
    for mode in ("train", "predict"):
        verify(lower(random_net(seed), 33, mode), 16)


def test_a_chain_needs_two_places() -> None:
    buffers = [Buffer(f"b{i}", Maps(8, 16, 16)) for i in range(9)]
    chain = Program(16, tuple(launch(i, a, b) for i, (a, b) in enumerate(itertools.pairwise(buffers))))
    made = verify(chain, 16)
    size = 8 * 16 * 16 * 16 * 4
    assert (made.arena, made.unshared) == (2 * size, 9 * size)


def test_totals() -> None:
    arrays = [
        Buffer("w", Array((100, 3)), Role.WEIGHTS),
        Buffer("w.inc", Array((100, 3)), Role.INCREMENTS),
        Buffer("pixels", PerImage((3, 2), "uint8"), Role.INPUT),
        Buffer("totals", Array((2,), "float64"), Role.OUTPUT),
        Buffer("x", Maps(3, 2, 2), halo=Halo(1, 0, 0, 2)),
    ]
    made = plan(Program(17, (launch(0, *arrays),)), 16)
    assert stored_shape(arrays[4], 17, 16) == (2, 3, 3, 4, 16)
    assert (made.weights, made.increments, made.transfer) == (1200, 1200, 32 * 6 + 16)
    assert made.unshared == made.arena == -(-2 * 3 * 3 * 4 * 16 * 4 // ALIGNMENT) * ALIGNMENT
    assert made.total == made.arena + 2400 + 208
