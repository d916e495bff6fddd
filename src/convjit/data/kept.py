"""Decoded images that are kept for the next time that they are asked for, as many as memory allows."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Any, TypeVar

from convjit.data.encoded import Encoded

__all__ = ["Kept"]

T = TypeVar("T")


class Kept:
    """Up to `room` bytes of images, whatever they are used for and in whichever thread: first come, first kept."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.full = False
        """Whether there was no room for an image."""
        self._lock = threading.Lock()
        # With each set itself, so that no other one gets its number.
        self._shelves: dict[tuple[int, Hashable], tuple[Encoded, dict[int, Any]]] = {}

    def shelf(self, images: Encoded, use: Hashable) -> dict[int, Any]:
        """What is kept of a set for one use of it, by the numbers of the images."""
        with self._lock:
            return self._shelves.setdefault((id(images), use), (images, {}))[1]

    def add(self, shelf: dict[int, T], index: int, one: T, size: int) -> None:
        """Keep an image of `size` bytes, if there is room."""
        with self._lock:
            if self.fits(size) and index not in shelf:
                shelf[index] = one
                self.room -= size

    def fits(self, size: int) -> bool:
        """Whether there is room for so many bytes."""
        self.full = self.full or size > self.room
        return size <= self.room
