"""Looking at a net before it is trained."""

from __future__ import annotations

from itertools import count

import click

from convjit.cli.shared import (
    batch_option,
    commands,
    display,
    json_option,
    lenient_option,
    load,
    net_option,
    params_option,
    set_option,
    threads_option,
)

__all__ = ["bench", "check_grads", "net"]


@commands.command(short_help="Show a net: layers, shapes, operations, memory.")
@net_option
@params_option
@set_option
@lenient_option
@batch_option
@click.option("--program", is_flag=True, help="Print the launches of a training step.")
@json_option
def net(
    net: str,
    params: str | None,
    overrides: tuple[str, ...],
    lenient: bool,
    batch: int | None,
    program: bool,
    as_json: bool,
) -> None:
    """Show a net: layers, shapes, parameters, operations, and the memory that training it will take."""
    from convjit.show.net import NetView, show_layers, show_memory
    from convjit.show.results import print_json

    with display(as_json) as (screen, _):
        found, recipe = load(net, params, overrides, screen, lenient=lenient)
        view = NetView.of(found, batch or recipe.minibatch)
        if as_json:
            print_json(view.record() | ({"program": view.program.text()} if program else {}))
            return
        show_layers(screen, found, view.counts)
        show_memory(screen, view.memory, view.batch)
    if program:
        click.echo(view.program.text(), nl=False)


@commands.command(short_help="Measure a training step and each of its launches.")
@net_option
@params_option
@set_option
@lenient_option
@batch_option
@threads_option
@click.option("--dtype", type=click.Choice(["fp32"]), default="fp32", show_default=True, help="Type of the numbers.")
@json_option
def bench(
    net: str,
    params: str | None,
    overrides: tuple[str, ...],
    lenient: bool,
    batch: int | None,
    threads: int | None,
    dtype: str,
    as_json: bool,
) -> None:
    """Measure a training step on random data, each of its launches, and this machine's peak."""
    from convjit.show.results import bench_record, print_json, show_bench
    from convjit.train.benchmark import benchmark

    with display(as_json) as (screen, bar):
        found, recipe = load(net, params, overrides, screen, lenient=lenient)
        result = benchmark(found, batch or recipe.minibatch, threads, progress=bar.compiling)
    if as_json:
        print_json(bench_record(result))
    else:
        show_bench(screen, result)


@commands.command("check-grads", short_help="Check every gradient of a net.")
@net_option
@params_option
@set_option
@lenient_option
def check_grads(net: str, params: str | None, overrides: tuple[str, ...], lenient: bool) -> int:
    """Compare every gradient with differences, in double precision. The exit code is 1 if one is wrong."""
    from convjit.show.results import show_check
    from convjit.train.gradient_check import check_gradients

    with display(False) as (screen, bar):
        found, _ = load(net, params, overrides, screen, lenient=lenient)
        checked = count(1)
        arrays = len(found.learned()) + 1
        result = check_gradients(
            found, progress=lambda array: bar.update("checking gradients", next(checked), arrays, array.name)
        )
    show_check(screen, result)
    return 0 if result.passed else 1
