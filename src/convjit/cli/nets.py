"""Looking at a net before it is trained."""

from __future__ import annotations

from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

from convjit.cli.shared import (
    accumulate_option,
    batch_option,
    commands,
    display,
    dtype_option,
    json_option,
    lenient_option,
    load,
    memory_option,
    net_option,
    params_option,
    set_option,
    threads_option,
)

if TYPE_CHECKING:
    from convjit.graph.lower import Dtype

__all__ = ["bench", "check_grads", "net"]


@commands.command(short_help="Show a net: layers, shapes, operations, memory.")
@net_option
@params_option
@set_option
@lenient_option
@batch_option
@accumulate_option
@memory_option
@dtype_option
@click.option("--program", is_flag=True, help="Print the launches of a training step.")
@json_option
def net(
    net: str,
    params: str | None,
    overrides: tuple[str, ...],
    lenient: bool,
    batch: int | None,
    accumulate: int | None,
    memory: str | None,
    dtype: Dtype | None,
    program: bool,
    as_json: bool,
) -> None:
    """Show a net: layers, shapes, parameters, operations, and the memory that training it will take."""
    from convjit.runtime.fit import bytes_of
    from convjit.show.net import NetView, show_layers, show_memory
    from convjit.show.results import print_json
    from convjit.train.job import parts_of_minibatch

    with display(as_json) as (screen, _):
        found, recipe = load(net, params, overrides, screen, lenient=lenient)
        batch = batch or recipe.minibatch
        parts = parts_of_minibatch(batch, accumulate)
        limit = None if memory is None else bytes_of(memory)
        view = NetView.of(found, batch // parts, dtype=dtype or "fp32", accumulate=parts > 1, limit=limit)
        if as_json:
            print_json(view.record() | ({"program": view.program.text()} if program else {}))
            return
        show_layers(screen, found, view.counts)
        show_memory(screen, view.memory, view.batch)
        if view.fitted:
            screen.line(view.fitted.text())
    if program:
        click.echo(view.program.text(), nl=False)


@commands.command(short_help="Measure a training step and each of its launches.")
@net_option
@params_option
@set_option
@lenient_option
@batch_option
@memory_option
@threads_option
@dtype_option
@click.option("--forward", is_flag=True, help="Measure predictions instead of training steps.")
@click.option("--algorithms", is_flag=True, help="Measure every way to compute each launch instead.")
@click.option("--compare", metavar="FILE", help="Show what changed since a run whose --json line is in FILE.")
@json_option
def bench(
    net: str,
    params: str | None,
    overrides: tuple[str, ...],
    lenient: bool,
    batch: int | None,
    memory: str | None,
    threads: int | None,
    dtype: Dtype | None,
    forward: bool,
    algorithms: bool,
    compare: str | None,
    as_json: bool,
) -> None:
    """Measure a training step, or predictions, on random data.

    A row per launch says how near it comes to its roof: this machine's peak of multiply-adds, or the rate of the
    memory that its data fit into, both measured in the same run.
    """
    from convjit.errors import UsageError
    from convjit.runtime.fit import bytes_of
    from convjit.show.bench import bench_record, read_record, show_algorithms, show_bench, show_comparison
    from convjit.show.results import print_json
    from convjit.train.benchmark import benchmark
    from convjit.train.tuning import measure

    if algorithms and compare:
        raise UsageError("--algorithms measures single launches, which --compare knows nothing of; give one of them")
    if algorithms and memory:
        raise UsageError("--algorithms measures single launches, whatever memory a step takes; give no --memory")
    if forward and (algorithms or memory):
        given = "--algorithms" if algorithms else "--memory"
        raise UsageError(f"{given} is about training steps, --forward about predictions; give one of them")
    before = read_record(Path(compare)) if compare else None
    with display(as_json) as (screen, bar):
        found, recipe = load(net, params, overrides, screen, lenient=lenient)
        images, stored = batch or recipe.minibatch, dtype or "fp32"
        if algorithms:
            told = partial(bar.update, "measuring")
            measured = measure(found, images, threads, dtype=stored, errors=True, progress=told)
            if as_json:
                print_json({"algorithms": [vars(one) for one in measured]})
            else:
                show_algorithms(screen, measured)
            return
        limit = None if memory is None else bytes_of(memory)
        result = benchmark(found, images, threads, dtype=stored, limit=limit, forward=forward, progress=bar.compiling)
    if as_json:
        print_json(bench_record(result))
    else:
        show_bench(screen, result)
    if before:
        show_comparison(screen, before, result)


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
