"""Ctrl-C and SIGTERM while training: the first asks for an end after the minibatch, the second ends at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

__all__ = ["Stop"]


class Stop:
    """A context in which signals are noted; `number` is the signal that came, 0 if none did."""

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def asked(self) -> bool:
        """Whether training is to end."""
        return self.number != 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number

    def __enter__(self) -> Stop:
        # Only the main thread may set handlers; a training in another one is ended by its caller.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
