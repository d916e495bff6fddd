"""A set of images as a table."""

from __future__ import annotations

from convjit.data.scan import Scan
from convjit.data.stream import shown
from convjit.show.console import Screen, megabytes

__all__ = ["describe", "show_scan"]

_CLASSES = 40
_LINES = 10


def describe(scan: Scan) -> list[tuple[str, str]]:
    """What there is to say of a set in a few words: heading and text."""
    tested = f"{scan.train:,} to train on, {scan.test:,} to test on"
    facts = [
        ("images", tested if scan.test else f"{scan.train:,}, of which a tenth will be set apart to test on"),
        ("classes", f"{len(scan.classes):,}"),
        ("files", megabytes(scan.bytes) + ", " + ", ".join(f"{count:,} {kind}" for kind, count in scan.kinds.items())),
    ]
    if spread := scan.spread():
        sizes = ", ".join(f"{word} {width}x{height}" for word, (width, height) in spread.items())
        facts.append(("sizes", "all " + sizes.split()[1].rstrip(",") if len(set(spread.values())) == 1 else sizes))
    if scan.grey:
        facts.append(("grey", f"{scan.grey:,}"))
    facts.append(("copies", f"{scan.copied:,} files are there again" if scan.copied else "none"))
    facts.append(("broken", f"{len(scan.broken):,}" if scan.broken else "none"))
    return facts


def show_scan(screen: Screen, scan: Scan) -> None:
    """Print it: facts, classes, and what is wrong."""
    facts = screen.table("", "")
    for heading, text in describe(scan):
        facts.add_row(heading, text)
    facts.show_header = False
    screen.line(f"{shown(scan.name)}")
    screen.show(facts)
    screen.line()
    table = screen.table("class", ">train", ">test")
    for one in scan.classes[:_CLASSES]:
        table.add_row(shown(one.name), f"{one.train:,}", f"{one.test:,}" if scan.test else "")
    screen.show(table)
    if len(scan.classes) > _CLASSES:
        screen.line(f"and {len(scan.classes) - _CLASSES:,} more")
    if scan.copies:
        screen.line()
        screen.line("equal files:")
        for group in scan.copies[:_LINES]:
            more = f" and {group.count - 2} more" if group.count > 2 else ""
            screen.line(f"  {' = '.join(group.names[:2])}{more}{note_on(group.leak, group.conflict)}")
        if len(scan.copies) > _LINES:
            screen.line(f"  and {len(scan.copies) - _LINES:,} more groups")
    if scan.broken:
        screen.line()
        screen.line("broken:")
        for line in scan.broken[:_LINES]:
            screen.line(f"  {line}")
        if len(scan.broken) > _LINES:
            screen.line(f"  and {len(scan.broken) - _LINES:,} more")


def note_on(leak: bool, conflict: bool) -> str:
    """What is bad about equal files."""
    notes = ["different labels"] * conflict + ["to train and to test on"] * leak
    return f"  ({', '.join(notes)})" if notes else ""
