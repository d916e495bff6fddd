"""What the commands share: the group that they belong to, options, and the screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from convjit import __version__
from convjit.errors import near

if TYPE_CHECKING:
    from convjit.graph import Net, Recipe
    from convjit.show.console import Bar, Screen

__all__ = [
    "Commands",
    "accumulate_option",
    "batch_option",
    "commands",
    "complain",
    "display",
    "dtype_option",
    "json_option",
    "lenient_option",
    "load",
    "memory_option",
    "net_option",
    "params_option",
    "set_option",
    "threads_option",
]


class Commands(click.Group):
    """A group that suggests the nearest command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            there_are = f"there are {', '.join(self.commands)}"
            ctx.fail(f"no such command '{args[0]}'{near(args[0], self.commands)}; {there_are}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="convjit")
@click.option("--debug", is_flag=True, help="Show where in the program an error arose.")
@click.pass_obj
def commands(options: dict[str, bool], debug: bool) -> None:
    """Train convolutional nets on the cores you have.

    NET is the path of a .cfg file, or the name of a net that comes with convjit: default, lenet5, cifar10-80sec,
    cifar10-19pct, alexnet. RUN is a folder that "convjit train" has made.
    """
    options["debug"] = debug


net_option = click.argument("net", metavar="NET")
params_option = click.option("--params", metavar="FILE", help="Parameter file.  [default: the one beside NET]")
batch_option = click.option(
    "--batch", type=click.IntRange(1, 2**20), help="Images a step.  [default: the recipe's, 128]"
)
accumulate_option = click.option(
    "--accumulate",
    type=click.IntRange(1, 2**20),
    metavar="N",
    help="Compute each minibatch in N equal parts, in the memory of one.  [default: 1]",
)
memory_option = click.option(
    "--memory", metavar="LIMIT", help="What a step may take, such as 500MB or 2GiB: activations are computed again."
)
dtype_option = click.option(
    "--dtype",
    type=click.Choice(["fp32", "bf16"]),
    help="What activations and gradients are stored as: bf16 takes half the memory.  [default: fp32]",
)
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), help="Threads.  [default: what the machine allows]"
)
set_option = click.option(
    "--set", "overrides", metavar="LAYER.KEY=VALUE", multiple=True, help="Change an option of the net files."
)
lenient_option = click.option("--lenient", is_flag=True, help="Only warn of unknown keys in the net files.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one line of JSON.")


@contextmanager
def display(as_json: bool) -> Iterator[tuple[Screen, Bar]]:
    """A screen, and a bar that is taken away at the end."""
    from convjit.show.console import Bar, Screen

    screen = Screen(error=as_json)
    bar = Bar(screen)
    try:
        yield screen, bar
    finally:
        bar.close()


def load(
    net: str, params: str | None, overrides: tuple[str, ...], screen: Screen, *, lenient: bool = False
) -> tuple[Net, Recipe]:
    """A net by name or file; its warnings are shown."""
    from convjit.train.job import Notes, net_of

    found, recipe, _ = net_of(net, params, overrides, notes=Notes(screen.warn), lenient=lenient)
    return found, recipe


def complain(text: str) -> None:
    """An error, on one line."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)
