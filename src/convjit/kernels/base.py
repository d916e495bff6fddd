"""How a kernel is asked for and written: a problem, views of its operands, and the registry of generators.

A generator is a function `generate(k, problem) -> tasks`: it writes the body of `kernel(task, buffers, scratch)` into the
`Kernel` k and says how many tasks there are. Tasks write disjoint outputs, and each element is computed in full by one task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.values import Index, Pointer, Value
from convjit.ops.base import NO_HALO, Halo, Maps, Op

__all__ = ["GENERATORS", "Generated", "MapsView", "Problem", "generate", "generator", "has_kernel"]


@dataclass(frozen=True)
class Problem:
    """Everything that a kernel is specialised for."""

    op: Op
    batch: int
    halos: tuple[tuple[str, Halo], ...]
    """Halo of every operand that has one."""
    target: Target

    @property
    def blocks(self) -> int:
        """Blocks of V images."""
        return -(-self.batch // self.target.lanes)

    def halo(self, operand: str) -> Halo:
        """Halo of one operand's buffer."""
        return dict(self.halos).get(operand, NO_HALO)

    def view(self, k: Kernel, operand: str) -> MapsView:
        """One operand's maps as vectors."""
        maps = self.op.operands()[operand]
        assert isinstance(maps, Maps)
        return MapsView(k.vectors(operand), maps, self.halo(operand))

    def text(self) -> str:
        """The problem on one line: what a cache is keyed by and what a failure prints."""
        halos = "".join(f" {o}+{h.top},{h.left},{h.bottom},{h.right}" for o, h in self.halos)
        return f"n{self.batch} {self.op.text()}{halos} @{self.target.name}"


@dataclass(frozen=True)
class MapsView:
    """Maps in memory, [N/V][C][rows][columns] vectors; the index (0, 0, 0, 0) is the first pixel inside the halo."""

    pointer: Pointer
    maps: Maps
    halo: Halo

    @property
    def row(self) -> int:
        """Vectors from one row to the next."""
        return self.halo.left + self.maps.width + self.halo.right

    @property
    def plane(self) -> int:
        """Vectors from one channel to the next."""
        return self.row * (self.halo.top + self.maps.height + self.halo.bottom)

    @property
    def block(self) -> int:
        """Vectors from one block of images to the next."""
        return self.plane * self.maps.channels

    @property
    def origin(self) -> int:
        """Vectors before the first pixel inside the halo."""
        return self.halo.top * self.row + self.halo.left

    @property
    def dense(self) -> bool:
        """Whether the maps of an image lie without gaps."""
        return self.halo == NO_HALO

    def index(self, block: Index = 0, channel: Index = 0, y: Index = 0, x: Index = 0) -> Index:
        """Position of a pixel, in vectors; y and x may reach into the halo."""
        return block * self.block + channel * self.plane + y * self.row + x + self.origin

    def load(self, index: Index) -> Value:
        """The vector at an index."""
        return self.pointer.load(index)

    def store(self, value: Value, index: Index) -> None:
        """Put a vector at an index."""
        self.pointer.store(value, index)


@dataclass(frozen=True)
class Generated:
    """A kernel as text, before LLVM sees it."""

    name: str
    text: str
    tasks: int
    scratch_bytes: int


Generate = Callable[[Kernel, Problem], int]
GENERATORS: dict[type[Op], Generate] = {}

G = TypeVar("G", bound=Generate)


def generator(*ops: type[Op]) -> Callable[[G], G]:
    """Register a generator for some ops."""

    def register(function: G) -> G:
        for op in ops:
            GENERATORS[op] = function
        return function

    return register


def has_kernel(op: Op) -> bool:
    """Whether the op runs natively."""
    return type(op) in GENERATORS


def generate(problem: Problem, symbol: str = "") -> Generated:
    """Write the kernel of a problem as a function called `symbol` (by default after its op)."""
    name = symbol or problem.op.kind()
    k = Kernel(name, problem.op.names, problem.target)
    tasks = GENERATORS[type(problem.op)](k, problem)
    return Generated(name, k.finish(), tasks, k.scratch_bytes)
