"""The habits of users of cuda-convnet."""

from __future__ import annotations

from pathlib import Path

import click

from convjit.cli.shared import (
    batch_option,
    commands,
    display,
    lenient_option,
    net_option,
    params_option,
    threads_option,
)

__all__ = ["import_checkpoint", "legacy"]


@commands.command("import-checkpoint", short_help="Make a run of a checkpoint of cuda-convnet.")
@click.argument("original", metavar="CHECKPOINT")
@net_option
@params_option
@lenient_option
@click.option("--data", metavar="PATH", required=True, help="What it was trained on; PATH#train=1-5,test=6 for ranges.")
@click.option(
    "--epochs", type=click.IntRange(1), help="Times that every image is seen, in all.  [default: the recipe's]"
)
@batch_option
@click.option("--set", "overrides", metavar="LAYER.KEY=VALUE", multiple=True, help="Change an option of the net files.")
@click.option("--out", metavar="DIR", help="Folder of the run.  [default: a new one in runs/]")
@threads_option
def import_checkpoint(
    original: str,
    net: str,
    params: str | None,
    lenient: bool,
    data: str,
    epochs: int | None,
    batch: int | None,
    overrides: tuple[str, ...],
    out: str | None,
    threads: int | None,
) -> None:
    """Make a run of a checkpoint of cuda-convnet or cuda-convnet2: its weights, increments and position.

    CHECKPOINT is a file, or the folder that holds it; NET its layer definition. Nothing in it is executed.
    """
    from convjit.show.training import notes_on
    from convjit.train.original_import import import_original

    with display(False) as (screen, bar):
        folder = import_original(
            Path(original), net, data, params=params, epochs=epochs, batch=batch, overrides=overrides,
            out=None if out is None else Path(out), threads=threads, notes=notes_on(screen, bar),
            lenient=lenient, progress=bar.compiling,
        )  # fmt: skip
        screen.line(f"run {folder.path}; go on with: convjit train --resume {folder.path}")


@commands.command(
    short_help="Carry out a command line of cuda-convnet.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
@click.argument("arguments", metavar="[-- OPTIONS]", nargs=-1, type=click.UNPROCESSED)
def legacy(arguments: tuple[str, ...]) -> int:
    """Carry out a command line of cuda-convnet or cuda-convnet2, as in: convjit legacy -- --layer-def=layers.cfg ...

    docs/original.md lists its options, and says what becomes of each.
    """
    from convjit.show.legacy import run_legacy

    with display(False) as (screen, bar):
        return run_legacy(arguments, screen, bar)
