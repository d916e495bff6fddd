"""The console: where it prints, how numbers look, and what shows that work goes on.

On a terminal work has a bar, elsewhere a line; both appear only when it has taken half a second.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

__all__ = ["Bar", "Screen", "count", "duration", "mean_share", "megabytes", "outcome", "percent"]

_PATIENCE = 0.5
_REFRESH = 0.2
_PLAIN_WIDTH = 140


class Screen:
    """Standard output, or standard error where output is for machines."""

    def __init__(self, *, error: bool = False) -> None:
        plain = not (sys.stderr if error else sys.stdout).isatty()
        self.console = Console(
            stderr=error, highlight=False, markup=False, emoji=False, width=_PLAIN_WIDTH if plain else None
        )

    @property
    def live(self) -> bool:
        """Whether somebody sees a terminal."""
        return self.console.is_terminal

    def line(self, text: str = "") -> None:
        """One line, as it is."""
        self.console.print(text, soft_wrap=True)

    def warn(self, text: str) -> None:
        """A line about something that is no error."""
        self.line(f"warning: {text}")

    def table(self, *columns: str) -> Table:
        """A table of plain text; columns whose name starts with > are set to the right."""
        table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
        for column in columns:
            table.add_column(
                column.removeprefix(">"), justify="right" if column.startswith(">") else "left", no_wrap=True
            )
        return table

    def show(self, table: Table) -> None:
        """Print a table."""
        self.console.print(table)


class Bar:
    """What shows that work goes on; refreshed by the work itself, so that no thread takes time from it."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._progress: Progress | None = None
        self._task = TaskID(0)
        self._label = ""
        self._began = self._refreshed = 0.0

    def update(self, label: str, done: int, total: int, note: str = "") -> None:
        """So much is done; `note` stands behind the bar."""
        now = time.monotonic()
        if label != self._label and self._progress is None:
            self._label, self._began, self._refreshed = label, now, 0.0
        if now - self._began < _PATIENCE or (now - self._refreshed < _REFRESH and done < total):
            return
        if not self._screen.live:
            if not self._refreshed:
                self._screen.line(f"{label} ...")
        else:
            if self._progress is None:
                self._start()
            assert self._progress is not None
            self._progress.update(self._task, description=label, completed=done, total=total, note=note)
            self._progress.refresh()
        self._refreshed = now

    def compiling(self, done: int, total: int) -> None:
        """So many of so many kernels are compiled."""
        self.update("compiling kernels", done, total, f"{done} of {total}")
        if done == total:
            self.close()

    def due(self) -> bool:
        """Whether an update would be seen: asked before a costly note is made."""
        return time.monotonic() - self._refreshed >= _REFRESH

    def _start(self) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(30),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self._progress = Progress(*columns, console=self._screen.console, auto_refresh=False, transient=True)
        self._task = self._progress.add_task("", note="")
        self._progress.start()

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
        self._progress, self._label = None, ""


def count(number: float) -> str:
    """A number with a letter for thousands, millions or billions: "28.9 K"."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("K", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {letter}" if number < 999.5 * size else f"{number / size:,.0f} {letter}"
    return f"{number:.0f}"


def megabytes(size: int) -> str:
    """Bytes for reading."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def outcome(loss: float, error: float | None) -> str:
    """What a test came to; without an error where none are counted."""
    return f"loss {loss:.4f}" if error is None else f"error {percent(error)}, loss {loss:.4f}"


def percent(share: float) -> str:
    """A share of 1; nan is none."""
    if math.isnan(share):
        return "-"
    return f"{100 * share:.2f} %"


def mean_share(shares: Sequence[float]) -> float:
    """The mean over the classes that have a share; nan if none has."""
    known = [share for share in shares if not math.isnan(share)]
    return sum(known) / len(known) if known else math.nan


def duration(seconds: float) -> str:
    """Time for reading: "12 s", "3 min 05 s", "2 h 07 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
