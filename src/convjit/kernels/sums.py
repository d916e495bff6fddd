"""Sums that are begun, added to and ended at different times, and where they wait: in the result, if it can hold them.

A narrow result would round them every time, so that they wait beside it then, as float32 in scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import MapsView

__all__ = ["Sums"]

Place = Callable[..., Index]
"""From the coordinates of a sum to an index."""


@dataclass(frozen=True)
class Sums:
    """Sums by their coordinates, whatever these are: `place` gives an index in the result, `beside` one in scratch."""

    result: MapsView
    place: Place
    scratch: Pointer | None
    beside: Place

    @classmethod
    def of(cls, k: Kernel, result: MapsView, place: Place, beside: Place, vectors: int) -> Sums:
        """Sums of which a task has at most `vectors` waiting."""
        return cls(result, place, k.scratch(vectors) if result.narrow else None, beside)

    @property
    def apart(self) -> bool:
        """Whether they wait outside the result."""
        return self.scratch is not None

    def at(self, *where: Index) -> tuple[Pointer, Index]:
        """Where a sum waits."""
        if self.scratch is None:
            return self.result.pointer, self.place(*where)
        return self.scratch, self.beside(*where)

    def load(self, *where: Index) -> Value:
        """A sum so far."""
        pointer, index = self.at(*where)
        return pointer.load(index)

    def store(self, value: Value, *where: Index) -> None:
        """Put a sum, to be gone on with."""
        pointer, index = self.at(*where)
        pointer.store(value, index)

    def old(self, *where: Index) -> Value:
        """What is in the result."""
        return self.result.load(self.place(*where))

    def begin(self, value: Value | None, *where: Index) -> None:
        """Begin with a value, or with None, what is in the result."""
        if value is not None:
            self.store(value, *where)
        elif self.apart:
            self.store(self.old(*where), *where)

    def end(self, end: Callable[[Value], Value] | None, *where: Index) -> None:
        """Bring a sum into the result, through a function if there is one."""
        place = self.place(*where)
        value = self.load(*where) if self.apart else self.result.load(place)
        self.result.store(end(value) if end else value, place)
