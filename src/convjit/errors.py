"""Every error that a user may meet.

    ConvjitError                  one line: where, what was found, what is allowed, the way out
    ├── ConfigError               a net or parameter file, with file:line and layer
    ├── DataError                 images, labels, archives, downloads
    ├── RunError                  a run's folder or checkpoint
    ├── TargetError               a processor or compiler setting
    └── UsageError                options that do not go together (exit code 2)

The command prints the text of a ConvjitError after "error: " and exits with its `exit_code`. Any other exception
is a bug in convjit.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["ConfigError", "ConvjitError", "DataError", "RunError", "TargetError", "UsageError", "near"]


class ConvjitError(Exception):
    """Base of the errors that a user can mend."""

    exit_code = 1


class ConfigError(ConvjitError):
    """A net or parameter file says something that is not allowed.

    `where` is "file:line" (or "file"); `layer` the section's name. Both lead the message when given. `key` is the
    option at fault in the spelling of .cfg files, from which the reader of a file finds the line.
    """

    def __init__(self, message: str, *, where: str = "", layer: str = "", key: str = "") -> None:
        self.message, self.where, self.layer, self.key = message, where, layer, key
        super().__init__(": ".join(part for part in (where, f"layer '{layer}'" if layer else "", message) if part))


class DataError(ConvjitError):
    """Images or labels cannot be used."""


class RunError(ConvjitError):
    """A run's folder or one of its checkpoints cannot be used."""


class TargetError(ConvjitError):
    """The processor, or the setting that names it, cannot be used."""


class UsageError(ConvjitError):
    """Options that do not go together."""

    exit_code = 2


def near(word: str, allowed: Iterable[str]) -> str:
    """Say " (did you mean 'x'?)" for the allowed word nearest to `word`, else the empty string."""
    lowered = {name.lower(): name for name in allowed}
    found = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return f" (did you mean '{lowered[found[0]]}'?)" if found else ""
