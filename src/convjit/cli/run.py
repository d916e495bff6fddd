"""Running a command: its exit code, and every error as one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence

import click

import convjit.cli.data
import convjit.cli.nets
import convjit.cli.original
import convjit.cli.use  # noqa: F401 - to import a command is to add it
from convjit.cli.shared import commands, complain
from convjit.errors import ConvjitError

__all__ = ["main"]

INTERNAL_ERROR = 70
INTERRUPTED = 130


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    options = {"debug": False}
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *rest: print(f"warning: {message}", file=sys.stderr)
        try:
            code = commands.main(args, prog_name="convjit", standalone_mode=False, obj=options)
            sys.stdout.flush()
            return int(code or 0)
        except click.ClickException as error:
            where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "convjit"
            complain(f"{error.format_message()} ({where} --help says more)")
            return error.exit_code
        except (click.Abort, KeyboardInterrupt):
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:
            # Who read our output has gone; what is left of it goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except ConvjitError as error:
            if options["debug"]:
                raise
            complain(str(error))
            return error.exit_code
        except MemoryError:
            if options["debug"]:
                raise
            complain("there is not enough memory; a smaller --batch needs less")
            return 1
        except Exception as error:
            if options["debug"]:
                raise
            complain(f"internal error, please report it with what --debug shows: {type(error).__name__}: {error}")
            return INTERNAL_ERROR
