"""The commands. Options are read here; the work is done in `train`, and `show` prints.

Whatever a command needs is imported when it runs, so that --help is quick.
"""

from convjit.cli.run import main

__all__ = ["main"]
