"""Looking at a set of images, and packing it."""

from __future__ import annotations

from pathlib import Path

import click

from convjit.cli.shared import Commands, commands, display, json_option
from convjit.errors import UsageError

__all__ = ["data"]


@commands.group(cls=Commands, short_help="Look at a set of images, or pack it.")
def data() -> None:
    """Look at a set of images, or pack it to be read quickly.

    SRC is whatever --data takes: a folder, archives, a list (docs/data.md). It is only read.
    """


@data.command(short_help="Count images, classes, sizes, copies and broken files.")
@click.argument("source", metavar="SRC")
@click.option("--html", metavar="FILE", help="Write a page with pictures of every class.")
@json_option
def scan(source: str, html: str | None, as_json: bool) -> None:
    """Look at every image of SRC: counts, sizes, classes, equal and broken files."""
    from convjit.data.scan import scan as scan_set
    from convjit.show.results import print_json
    from convjit.show.scan import show_scan
    from convjit.show.scan_page import scan_page
    from convjit.train.disk import write_file

    if html is not None and not Path(html).absolute().parent.is_dir():
        raise UsageError(f"--html {html}: there is no folder {Path(html).absolute().parent}")
    with display(as_json) as (screen, bar):
        found = scan_set(
            Path(source),
            pictures=html is not None,
            progress=lambda done, total: bar.update("looking at images", done, total, f"{done:,} of {total:,}"),
        )
        bar.close()
        if html is not None:
            write_file(Path(html), [scan_page(found).encode()])
        if as_json:
            print_json(found.record())
        else:
            show_scan(screen, found)
            if html is not None:
                screen.line(f"\nwrote {html}")


@data.command(short_help="Write resized images to tar shards.")
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="DST")
@click.option(
    "--size", type=click.IntRange(8, 4096), default=256, show_default=True, help="Pixels of the shorter side."
)
@click.option("--quality", type=click.IntRange(50, 100), default=90, show_default=True, help="JPEG quality.")
@click.option("--per-shard", type=click.IntRange(1, 10**6), default=2000, show_default=True, help="Images to a shard.")
@click.option("--workers", type=click.IntRange(1, 256), default=4, show_default=True, help="Threads.")
@json_option
def pack(source: str, destination: str, size: int, quality: int, per_shard: int, workers: int, as_json: bool) -> None:
    """Write the images of SRC, resized, to tar shards in the folder DST, which --data takes then.

    Smaller images are kept byte for byte. Called again after an interruption, it goes on where it was.
    """
    from convjit.data.pack import Form
    from convjit.data.pack import pack as pack_set
    from convjit.show.console import megabytes
    from convjit.show.results import print_json

    with display(as_json) as (screen, bar):
        packed = pack_set(
            Path(source),
            Path(destination),
            Form(size, quality, per_shard),
            workers=workers,
            progress=lambda done, total: bar.update("packing", done, total, f"{done:,} of {total:,}"),
        )
        bar.close()
        for line in packed.skipped[:10]:
            screen.warn(f"skipped {line}")
        if len(packed.skipped) > 10:
            screen.warn(f"{len(packed.skipped) - 10} more were skipped: {packed.folder / 'skipped.txt'}")
        if as_json:
            print_json(
                {
                    "folder": str(packed.folder),
                    "images": packed.images,
                    "packed_now": packed.fresh,
                    "shards": packed.shards,
                    "bytes": packed.bytes,
                    "skipped": len(packed.skipped),
                }
            )
        else:
            before = f", {packed.images - packed.fresh:,} of them before" if packed.fresh < packed.images else ""
            what = f"{packed.images:,} images in {packed.shards:,} shards, {megabytes(packed.bytes)}"
            screen.line(f"{what}{before}; use it as --data {destination}")
