"""How a kernel is asked for and written: a problem, views of its operands, and the registry of generators.

A generator is a function `generate(k, problem) -> tasks`: it writes the body of `kernel(task, buffers, scratch)` into
the `Kernel` k and says how many tasks there are. Tasks write disjoint outputs, and each element is computed in full
by one task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from convjit.codegen.bf16 import Bf16Pointer
from convjit.codegen.kernel import Kernel
from convjit.codegen.target import Target
from convjit.codegen.values import Index, Pointer, Value
from convjit.ops.base import NO_HALO, ChannelMaps, Halo, Maps, Op

__all__ = [
    "ALGORITHMS",
    "DIRECT",
    "GENERATORS",
    "WORKSPACE",
    "Algorithm",
    "Generated",
    "MapsView",
    "Problem",
    "Round",
    "algorithm",
    "candidates",
    "choose",
    "generate",
    "generator",
    "has_kernel",
    "prepares",
    "rounds",
    "stages",
    "workspace_bytes",
]

DIRECT = "direct"
"""The algorithm that every op has; it has one stage and no workspace unless it is among ALGORITHMS."""
WORKSPACE = "workspace"
"""Buffer that the stages of an algorithm share, behind the operands."""


@dataclass(frozen=True)
class Problem:
    """Everything that a kernel is specialised for."""

    op: Op
    batch: int
    halos: tuple[tuple[str, Halo], ...]
    """Halo of every operand that has one."""
    target: Target
    algorithm: str = DIRECT
    stage: int = 0
    """Which of the algorithm's kernels; they run one after the other."""
    narrow: tuple[str, ...] = ()
    """Maps that are stored as bfloat16, in the op's order."""

    @property
    def blocks(self) -> int:
        """Blocks of V images."""
        return -(-self.batch // self.target.lanes)

    def halo(self, operand: str) -> Halo:
        """Halo of one operand's buffer."""
        return dict(self.halos).get(operand, NO_HALO)

    def view(self, k: Kernel, operand: str) -> MapsView:
        """One operand's maps as vectors; of V channels by V if they have a channel per lane."""
        maps = self.op.operands()[operand]
        assert isinstance(maps, Maps)
        if isinstance(maps, ChannelMaps):
            maps = Maps(-(-maps.channels // self.target.lanes), maps.height, maps.width)
        if operand in self.narrow:
            return MapsView(k.narrow_vectors(operand), k.narrow_scalars(operand), maps, self.halo(operand))
        return MapsView(k.vectors(operand), k.scalars(operand), maps, self.halo(operand))

    def vector_bytes(self, operand: str) -> int:
        """Size of a vector of one operand's maps in memory."""
        return self.target.lanes * (2 if operand in self.narrow else 4)

    def text(self) -> str:
        """The problem on one line: what a cache is keyed by and what a failure prints."""
        halos = "".join(f" {o}+{h.top},{h.left},{h.bottom},{h.right}" for o, h in self.halos)
        narrow = f" bf16:{','.join(self.narrow)}" if self.narrow else ""
        how = "" if (self.algorithm, self.stage) == (DIRECT, 0) else f" {self.algorithm}.{self.stage}"
        return f"n{self.batch} {self.op.text()}{halos}{narrow}{how} @{self.target.name}"


@dataclass(frozen=True)
class MapsView:
    """Maps in memory, [N/V][C][rows][columns] vectors; the index (0, 0, 0, 0) is the first pixel inside the halo.

    To the code they are float32, however they are stored.
    """

    pointer: Pointer
    numbers: Pointer
    """The same memory number by number, V to a vector."""
    maps: Maps
    halo: Halo

    @property
    def narrow(self) -> bool:
        """Whether what is stored is rounded to bfloat16."""
        return isinstance(self.pointer, Bf16Pointer)

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

    def store(self, value: Value, index: Index, *, past_caches: bool = False) -> None:
        """Put a vector at an index; `past_caches` as in `Pointer.store`."""
        self.pointer.store(value, index, past_caches=past_caches)


@dataclass(frozen=True)
class Generated:
    """A kernel as text, before LLVM sees it."""

    name: str
    text: str
    tasks: int
    scratch_bytes: int


Generate = Callable[[Kernel, Problem], int]


@dataclass(frozen=True)
class Round:
    """One turn of a stage: part `part` of `parts` equal parts of its tasks."""

    stage: int
    part: int = 0
    parts: int = 1

    def tasks(self, total: int) -> tuple[int, int]:
        """(first task, tasks) of this turn, of `total` in all."""
        each = total // self.parts
        return self.part * each, each


@dataclass(frozen=True)
class Algorithm:
    """Another way to compute an op: kernels that run one after the other and hand on what is in the workspace."""

    stages: tuple[Generate, ...]
    gain: Callable[[Problem], float]
    """How many times faster than the direct way, by arithmetic alone, so that the choice is the same everywhere; 0
    where it is not possible."""
    workspace: Callable[[Problem], int]
    """Bytes."""
    rounds: Callable[[Problem], list[Round]] | None = None
    """The turns of the stages, where some come more than once."""
    prepares: int = 0
    """So many of the first stages read learned arrays alone: while those stay the same, once is enough."""


GENERATORS: dict[type[Op], Generate] = {}
"""The direct algorithm of every op that has a kernel."""
ALGORITHMS: dict[type[Op], dict[str, Algorithm]] = {}
"""Other algorithms by name."""

G = TypeVar("G", bound=Generate)


def generator(*ops: type[Op]) -> Callable[[G], G]:
    """Register a generator for some ops."""

    def register(function: G) -> G:
        for op in ops:
            GENERATORS[op] = function
        return function

    return register


def algorithm(op: type[Op], name: str, way: Algorithm) -> None:
    """Register another algorithm for an op."""
    ALGORITHMS.setdefault(op, {})[name] = way


def candidates(problem: Problem, workspace: int | None = None) -> dict[str, float]:
    """Every algorithm for the problem that needs at most `workspace` bytes, with what it promises over the direct."""
    ways = ALGORITHMS.get(type(problem.op), {})
    gains = {name: way.gain(problem) for name, way in ways.items()}
    fitting = {
        name: gain
        for name, gain in gains.items()
        if gain > 0 and (workspace is None or ways[name].workspace(problem) <= workspace)
    }
    return {DIRECT: 1.0, **fitting}


def choose(problem: Problem, workspace: int | None = None) -> Problem:
    """The problem with the algorithm that promises most; the same for the same problem, always."""
    found = candidates(problem, workspace)
    return replace(problem, algorithm=max(found, key=lambda name: found[name]))


def _way(problem: Problem) -> Algorithm | None:
    """The problem's algorithm; None for the direct one of an op that has a generator."""
    if problem.algorithm == DIRECT and type(problem.op) in GENERATORS:
        return None
    return ALGORITHMS[type(problem.op)][problem.algorithm]


def stages(problem: Problem) -> list[Problem]:
    """One problem for every kernel of its algorithm."""
    way = _way(problem)
    return [replace(problem, stage=i) for i in range(len(way.stages))] if way else [problem]


def prepares(problem: Problem) -> int:
    """How many of the first stages read learned arrays alone."""
    way = _way(problem)
    return way.prepares if way else 0


def rounds(problem: Problem) -> list[tuple[Problem, Round]]:
    """The kernels of its algorithm in the order in which they run, and which of their tasks."""
    made = stages(problem)
    way = _way(problem)
    turns = way.rounds(problem) if way and way.rounds else [Round(i) for i in range(len(made))]
    return [(made[turn.stage], turn) for turn in turns]


def workspace_bytes(problem: Problem) -> int:
    """Bytes that the kernels of its algorithm share."""
    way = _way(problem)
    return way.workspace(problem) if way else 0


def has_kernel(op: Op) -> bool:
    """Whether the op runs natively."""
    return type(op) in GENERATORS or DIRECT in ALGORITHMS.get(type(op), {})


def generate(problem: Problem, symbol: str = "") -> Generated:
    """Write the kernel of a problem as a function called `symbol` (by default after its op)."""
    name = symbol or problem.op.kind()
    k = Kernel(name, (*problem.op.names, WORKSPACE), problem.target)
    way = _way(problem)
    tasks = (way.stages[problem.stage] if way else GENERATORS[type(problem.op)])(k, problem)
    return Generated(name, k.finish(), tasks, k.scratch_bytes)
