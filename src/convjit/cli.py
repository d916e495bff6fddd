"""The commands. Options are read here; the work is done in `train`, and `show` prints.

Whatever a command needs is imported when it runs, so that --help is quick.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import click

from convjit import __version__
from convjit.errors import ConvjitError, near

if TYPE_CHECKING:
    from convjit.graph import Net, Recipe
    from convjit.show.console import Bar, Screen

__all__ = ["main"]

INTERNAL_ERROR = 70
INTERRUPTED = 130


class _Commands(click.Group):
    """A group that suggests the nearest command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            there_are = f"there are {', '.join(self.commands)}"
            ctx.fail(f"no such command '{args[0]}'{near(args[0], self.commands)}; {there_are}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="convjit")
@click.option("--debug", is_flag=True, help="Show where in the program an error arose.")
@click.pass_obj
def commands(options: dict[str, bool], debug: bool) -> None:
    """Train convolutional nets on the cores you have.

    NET is the path of a .cfg file, or the name of a net that comes with convjit: default, lenet5, cifar10-80sec,
    cifar10-19pct, alexnet. RUN is a folder that "convjit train" has made.
    """
    options["debug"] = debug


_net = click.argument("net", metavar="NET")
_params = click.option("--params", metavar="FILE", help="Parameter file.  [default: the one beside NET]")
_batch = click.option("--batch", type=click.IntRange(1, 2**20), help="Images a step.  [default: the recipe's, 128]")
_threads = click.option("--threads", type=click.IntRange(1, 1024), help="Threads.  [default: what the machine allows]")
_json = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")


@commands.command(short_help="Train a net.")
@click.argument("net", metavar="[NET]", required=False)
@_params
@click.option("--data", metavar="PATH", help="Images: a folder or an archive.  [default: what the recipe names]")
@click.option("--epochs", type=click.IntRange(1), help="Times that every image is seen.  [default: the recipe's]")
@_batch
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="What all random numbers come from.  [default: 1]")
@_threads
@click.option("--out", metavar="DIR", help="Folder of the run.  [default: a new one in runs/]")
@click.option("--resume", metavar="DIR", help="Go on with the run in this folder.")
@click.option("--set", "overrides", metavar="LAYER.KEY=VALUE", multiple=True, help="Change an option of the net files.")
@_json
def train(
    net: str | None,
    params: str | None,
    data: str | None,
    epochs: int | None,
    batch: int | None,
    seed: int | None,
    threads: int | None,
    out: str | None,
    resume: str | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int:
    """Train a net; without NET, a small one on images that come with convjit.

    Ctrl-C stops after the current step and keeps everything; --resume goes on from there, bit for bit.
    """
    from convjit.show.results import print_json
    from convjit.show.training import TrainingView, notes_on, show_result
    from convjit.train.api import carry_out

    with _display(as_json) as (screen, bar):
        result = carry_out(
            net, data, params=params, overrides=overrides, epochs=epochs, batch=batch, seed=seed, threads=threads,
            out=out, resume=resume, watcher=TrainingView(screen, bar), notes=notes_on(screen, bar),
        )  # fmt: skip
    show_result(screen, result)
    if result.interrupted:
        return 128 + result.interrupted
    if as_json:
        print_json(result.record())
    return 0


@commands.command(short_help="Test a trained net.")
@click.argument("run", metavar="RUN")
@click.option("--data", metavar="PATH", help="Images: a folder or an archive.  [default: those of the run]")
@_threads
@_json
def test(run: str, data: str | None, threads: int | None, as_json: bool) -> None:
    """Test a trained net on the test images of its data, or of others with the same classes."""
    from convjit.show.results import print_json, show_test, test_record
    from convjit.show.training import notes_on
    from convjit.train.evaluate import Run

    with (
        _display(as_json) as (screen, bar),
        Run.load(run, threads=threads, warn=screen.warn, progress=bar.compiling) as loaded,
    ):
        result = loaded.test(loaded.open_data(data, notes_on(screen, bar)))
    if as_json:
        print_json(test_record(run, result))
    else:
        show_test(screen, result)


@commands.command(short_help="Say what a trained net sees in images.")
@click.argument("run", metavar="RUN")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@_threads
@_json
def predict(run: str, images: tuple[str, ...], threads: int | None, as_json: bool) -> int:
    """Say what a trained net sees in images.

    Files that cannot be used are named, and the others still looked at; the exit code is 1 then.
    """
    from convjit.show.results import prediction_record, print_json, show_prediction
    from convjit.train.evaluate import Run

    code = 0
    with (
        _display(as_json) as (screen, bar),
        Run.load(run, threads=threads, warn=screen.warn, progress=bar.compiling) as loaded,
    ):
        for found in loaded.predict_files(images):
            if isinstance(found, ConvjitError):
                _complain(str(found))
                code = found.exit_code
            elif as_json:
                print_json(prediction_record(found))
            else:
                show_prediction(screen, found)
    return code


@commands.command(short_help="Show a net: layers, shapes, operations, memory.")
@_net
@_params
@_batch
@click.option("--program", is_flag=True, help="Print the launches of a training step.")
@_json
def net(net: str, params: str | None, batch: int | None, program: bool, as_json: bool) -> None:
    """Show a net: layers, shapes, parameters, operations, and the memory that training it will take."""
    from convjit.show.net import NetView, show_layers, show_memory
    from convjit.show.results import print_json

    with _display(as_json) as (screen, _):
        found, recipe = _load(net, params, screen)
        view = NetView.of(found, batch or recipe.minibatch)
        if as_json:
            print_json(view.record() | ({"program": view.program.text()} if program else {}))
            return
        show_layers(screen, found, view.counts)
        show_memory(screen, view.memory, view.batch)
    if program:
        click.echo(view.program.text(), nl=False)


@commands.command(short_help="Measure a training step and each of its launches.")
@_net
@_params
@_batch
@_threads
@click.option("--dtype", type=click.Choice(["fp32"]), default="fp32", show_default=True, help="Type of the numbers.")
@_json
def bench(net: str, params: str | None, batch: int | None, threads: int | None, dtype: str, as_json: bool) -> None:
    """Measure a training step on random data, each of its launches, and this machine's peak."""
    from convjit.show.results import bench_record, print_json, show_bench
    from convjit.train.benchmark import benchmark

    with _display(as_json) as (screen, bar):
        found, recipe = _load(net, params, screen)
        result = benchmark(found, batch or recipe.minibatch, threads, progress=bar.compiling)
    if as_json:
        print_json(bench_record(result))
    else:
        show_bench(screen, result)


@commands.command("check-grads", short_help="Check every gradient of a net.")
@_net
@_params
def check_grads(net: str, params: str | None) -> int:
    """Compare every gradient with differences, in double precision. The exit code is 1 if one is wrong."""
    from convjit.show.results import show_check
    from convjit.train.gradient_check import check_gradients

    with _display(False) as (screen, bar):
        found, _ = _load(net, params, screen)
        checked = count(1)
        arrays = len(found.learned()) + 1
        result = check_gradients(
            found, progress=lambda array: bar.update("checking gradients", next(checked), arrays, array.name)
        )
    show_check(screen, result)
    return 0 if result.passed else 1


@contextmanager
def _display(as_json: bool) -> Iterator[tuple[Screen, Bar]]:
    """A screen, and a bar that is taken away at the end."""
    from convjit.show.console import Bar, Screen

    screen = Screen(error=as_json)
    bar = Bar(screen)
    try:
        yield screen, bar
    finally:
        bar.close()


def _load(net: str, params: str | None, screen: Screen) -> tuple[Net, Recipe]:
    from convjit.train.job import Notes, net_of

    found, recipe, _ = net_of(net, params, notes=Notes(screen.warn))
    return found, recipe


def _complain(text: str) -> None:
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)


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
            _complain(f"{error.format_message()} ({where} --help says more)")
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
            _complain(str(error))
            return error.exit_code
        except MemoryError:
            if options["debug"]:
                raise
            _complain("there is not enough memory; a smaller --batch needs less")
            return 1
        except Exception as error:
            if options["debug"]:
                raise
            _complain(f"internal error, please report it with what --debug shows: {type(error).__name__}: {error}")
            return INTERNAL_ERROR
