"""Types of fields that hold one thing and may be given as another; they exist for type checkers only.

Annotations are never evaluated, so that at run time these fields are plain fields of a dataclass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar, overload

__all__ = ["Each", "Given"]

T = TypeVar("T")
U = TypeVar("U")


class Given(Generic[T, U]):
    """The type of a field that holds a T and may be given as a U."""

    @overload
    def __get__(self, owner: None, kind: type) -> Given[T, U]: ...
    @overload
    def __get__(self, owner: object, kind: type) -> T: ...
    def __get__(self, owner: object, kind: type) -> T | Given[T, U]:
        raise NotImplementedError

    def __set__(self, owner: object, value: U) -> None:
        raise NotImplementedError


class Each(Generic[T]):
    """The type of a field that holds one T per input and may be given as one, several, or text."""

    @overload
    def __get__(self, owner: None, kind: type) -> Each[T]: ...
    @overload
    def __get__(self, owner: object, kind: type) -> tuple[T, ...]: ...
    def __get__(self, owner: object, kind: type) -> tuple[T, ...] | Each[T]:
        raise NotImplementedError

    def __set__(self, owner: object, value: T | float | str | Sequence[T | float | str]) -> None:
        raise NotImplementedError
