"""Training a net, and using a trained one."""

from __future__ import annotations

from pathlib import Path

import click

from convjit.cli.shared import (
    accumulate_option,
    batch_option,
    commands,
    complain,
    display,
    dtype_option,
    json_option,
    lenient_option,
    memory_option,
    params_option,
    set_option,
    threads_option,
)
from convjit.errors import ConvjitError

__all__ = ["features", "predict", "test", "train"]


@commands.command(short_help="Train a net.")
@click.argument("net", metavar="[NET]", required=False)
@params_option
@click.option("--data", metavar="PATH", help="Images: a folder or an archive.  [default: what the recipe names]")
@click.option("--epochs", type=click.IntRange(1), help="Times that every image is seen.  [default: the recipe's]")
@batch_option
@accumulate_option
@memory_option
@click.option("--seed", type=click.IntRange(0, 2**64 - 1), help="What all random numbers come from.  [default: 1]")
@dtype_option
@threads_option
@click.option("--out", metavar="DIR", help="Folder of the run.  [default: a new one in runs/]")
@click.option("--resume", metavar="DIR", help="Go on with the run in this folder.")
@set_option
@lenient_option
@click.option("--tune", is_flag=True, help="Measure every way to compute each launch, and keep to the fastest.")
@click.option("--allow-code", is_flag=True, help="Run functions named by initWFunc, from the present folder.")
@json_option
def train(
    net: str | None,
    params: str | None,
    data: str | None,
    epochs: int | None,
    batch: int | None,
    accumulate: int | None,
    memory: str | None,
    seed: int | None,
    dtype: str | None,
    threads: int | None,
    out: str | None,
    resume: str | None,
    overrides: tuple[str, ...],
    lenient: bool,
    tune: bool,
    allow_code: bool,
    as_json: bool,
) -> int:
    """Train a net; without NET, a small one on images that come with convjit.

    Ctrl-C stops after the current step and keeps everything; --resume goes on from there, bit for bit.
    """
    from convjit.show.results import print_json
    from convjit.show.training import TrainingView, notes_on, show_result
    from convjit.train.api import carry_out

    with display(as_json) as (screen, bar):
        result = carry_out(
            net, data, params=params, overrides=overrides, epochs=epochs, batch=batch, seed=seed, dtype=dtype,
            accumulate=accumulate, memory=memory, threads=threads, out=out, resume=resume, lenient=lenient,
            allow_code=allow_code, tune=tune, watcher=TrainingView(screen, bar), notes=notes_on(screen, bar),
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
@click.option("--views", type=click.IntRange(1, 10), help="Views of an image: 1, 9 or 10.  [default: the recipe's, 1]")
@click.option("--test-out", metavar="FILE", help="Write the probabilities to FILE, an .npz.")
@click.option("--confusion", is_flag=True, help="Show which classes are taken for which.")
@threads_option
@json_option
def test(
    run: str,
    data: str | None,
    views: int | None,
    test_out: str | None,
    confusion: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Test a trained net on the test images of its data, or of others with the same classes.

    Of several views (10: corners and centre, mirrored too; 9: a grid of 3x3) the probabilities are averaged.
    """
    from convjit.show.results import print_json, show_confusion, show_test, test_record
    from convjit.show.training import notes_on
    from convjit.train.evaluate import Run
    from convjit.train.features import write_predictions

    with (
        display(as_json) as (screen, bar),
        Run.load(run, threads=threads, warn=screen.warn, progress=bar.compiling) as loaded,
    ):
        images = loaded.open_data(data, notes_on(screen, bar))
        if test_out is not None:
            write_predictions(loaded, images, Path(test_out), views=views or loaded.recipe.views)
        result = loaded.test(images, views=views)
        counts = loaded.confusion(images, views=views) if confusion else None
        classes = loaded.classes
    if as_json:
        print_json(test_record(run, result, classes, counts))
        return
    show_test(screen, result, classes)
    if counts is not None:
        show_confusion(screen, classes, counts)


@commands.command(short_help="Say what a trained net sees in images.")
@click.argument("run", metavar="RUN")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@threads_option
@json_option
def predict(run: str, images: tuple[str, ...], threads: int | None, as_json: bool) -> int:
    """Say what a trained net sees in images.

    Files that cannot be used are named, and the others still looked at; the exit code is 1 then.
    """
    from convjit.show.results import prediction_record, print_json, show_prediction
    from convjit.train.evaluate import Run

    code = 0
    with (
        display(as_json) as (screen, bar),
        Run.load(run, threads=threads, warn=screen.warn, progress=bar.compiling) as loaded,
    ):
        for found in loaded.predict_files(images):
            if isinstance(found, ConvjitError):
                complain(str(found))
                code = found.exit_code
            elif as_json:
                print_json(prediction_record(found))
            else:
                show_prediction(screen, found)
    return code


@commands.command(short_help="Write what a layer makes of images.")
@click.argument("run", metavar="RUN")
@click.argument("layer", metavar="LAYER")
@click.option("--out", metavar="DIR", required=True, help="Folder of the files.")
@click.option("--data", metavar="PATH", help="Images: a folder or an archive.  [default: those of the run]")
@click.option("--split", type=click.Choice(["test", "train"]), default="test", show_default=True, help="Which images.")
@threads_option
def features(run: str, layer: str, out: str, data: str | None, split: str, threads: int | None) -> None:
    """Write the outputs of a layer, one row per image, with the labels, as .npz and .safetensors.

    A layer with a neuron gives what goes into it; LAYER_neuron gives what comes out.
    """
    from convjit.show.training import notes_on
    from convjit.train.evaluate import Run
    from convjit.train.features import write_features

    with (
        display(False) as (screen, bar),
        Run.load(run, threads=threads, warn=screen.warn, progress=bar.compiling) as loaded,
    ):
        for path in write_features(
            loaded, layer, loaded.open_data(data, notes_on(screen, bar)), Path(out), split=split
        ):
            screen.line(f"wrote {path}")
