"""A set of images as a page of HTML, one file that needs no other: facts, sizes, and pictures of every class.

Names of files and classes come from outside: every one is escaped.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from convjit.data.scan import ClassCount, Scan
from convjit.data.stream import shown
from convjit.show.scan import describe, note_on

__all__ = ["scan_page"]

_MOST_LINES = 200
_BARS = 24
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --ink: #1d1f23; --soft: #6b7079; --line: #e4e1db; --card: #fff;
  --train: #2f6f8f; --test: #d98f3e; --bad: #b3402e; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --ink: #e8e6e1; --soft: #9a9fa8; --line: #2c3037;
  --card: #1d2025; --train: #5aa3c6; --test: #e0a35c; --bad: #e27d6b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 44px 0 14px; }
.path { color: var(--soft); margin: 4px 0 28px; overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 1px; margin: 0;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; overflow: hidden; }
.facts div { box-shadow: 0 0 0 1px var(--line); padding: 14px 16px; }
.facts dt { color: var(--soft); font-size: 13px; }
.facts dd { margin: 2px 0 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.bad { color: var(--bad); }
svg { display: block; width: 100%; height: auto; }
svg rect { fill: var(--train); }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.class { display: grid; grid-template-columns: minmax(150px, 230px) 1fr; gap: 6px 24px; padding: 16px 0;
  border-top: 1px solid var(--line); align-items: start; }
.class h3 { font-size: 15px; margin: 0 0 4px; overflow-wrap: anywhere; }
.numbers { color: var(--soft); font-size: 13px; font-variant-numeric: tabular-nums; }
.bar { display: flex; height: 6px; border-radius: 3px; background: var(--line); overflow: hidden; margin: 8px 0 0; }
.bar i { background: var(--train); } .bar i + i { background: var(--test); }
.pictures { display: flex; flex-wrap: wrap; gap: 6px; }
.pictures img { width: 84px; height: 84px; border-radius: 5px; display: block; background: var(--line); }
.key { color: var(--soft); font-size: 13px; margin: -8px 0 12px; }
.key b { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin: 0 6px 0 14px; }
.key b:first-child { margin-left: 0; }
ul { list-style: none; margin: 0; padding: 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden;
  background: var(--card); }
li { padding: 8px 16px; overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, monospace; }
li + li { border-top: 1px solid var(--line); }
footer { color: var(--soft); font-size: 13px; margin-top: 48px; }
@media (max-width: 640px) { .class { grid-template-columns: 1fr; } main { padding: 24px 16px 48px; } }
"""


def scan_page(scan: Scan) -> str:
    """The whole page."""
    name = escape(shown(scan.name))
    bad = {heading for heading, wrong in (("broken", scan.broken), ("copies", scan.copied)) if wrong}
    facts = "".join(
        f"<div><dt>{heading}</dt><dd{' class=bad' if heading in bad else ''}>{escape(text)}</dd></div>"
        for heading, text in describe(scan)
    )
    most = max((one.train + one.test for one in scan.classes), default=1)
    key = '<p class=key><b style="background:var(--train)"></b>to train on'
    key += '<b style="background:var(--test)"></b>to test on</p>' if scan.test else "</p>"
    parts = [
        f"<h1>{name}</h1><p class=path>{escape(scan.where)}</p><dl class=facts>{facts}</dl>",
        _sizes(scan),
        f"<h2>Classes</h2>{key}",
        *(_class(one, max(1, most), bool(scan.test)) for one in scan.classes),
        _copies(scan),
        _list("Broken files", map(escape, scan.broken), len(scan.broken)),
        "<footer>made by convjit data scan</footer>",
    ]
    return (
        f"<!doctype html>\n<html lang=en><head><meta charset=utf-8><title>{name}</title>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">'
        f"<style>{_STYLE}</style></head>\n<body><main>\n" + "\n".join(parts) + "\n</main></body></html>\n"
    )


def _class(one: ClassCount, most: int, tested: bool) -> str:
    numbers = f"{one.train:,}" + (f" + {one.test:,}" if tested else "")
    bar = "".join(f'<i style="width:{100 * count / most:.2f}%"></i>' for count in (one.train, one.test))
    pictures = "".join(
        f'<img alt="" loading=lazy src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
        for data in one.pictures
    )
    return (
        f"<section class=class><div><h3>{escape(shown(one.name))}</h3><div class=numbers>{numbers}</div>"
        f"<div class=bar>{bar}</div></div><div class=pictures>{pictures}</div></section>"
    )


def _sizes(scan: Scan) -> str:
    """A histogram of the shorter sides, by powers of the square root of two; nothing if they are all the same."""
    sides = scan.sizes.min(1) if len(scan.sizes) else np.zeros(0, np.int32)
    if not len(sides) or sides.min() == sides.max():
        return ""
    steps = np.floor(2 * np.log2(np.maximum(sides, 1))).astype(int)
    first, last = int(steps.min()), int(steps.max())
    counts = np.bincount(steps - first, minlength=last - first + 1)[:_BARS]
    wide, high, top = 44, 120, int(counts.max())
    bars = []
    for place, count in enumerate(counts.tolist()):
        x, height = place * wide, max(1 if count else 0, round(high * count / top))
        label = round(2 ** ((first + place) / 2))
        bars.append(
            f'<rect x="{x + 3}" y="{high - height + 16}" width="{wide - 6}" height="{height}" rx="3"/>'
            f'<text x="{x + wide / 2}" y="{high + 32}" text-anchor="middle">{label}</text>'
            + (f'<text x="{x + wide / 2}" y="{high - height + 11}" text-anchor="middle">{count:,}</text>' * bool(count))
        )
    width = wide * len(counts)
    style = f"max-width:{width}px"
    return (
        "<h2>Pixels of the shorter side</h2><p class=key>each bar from its number to the next</p>"
        f'<svg viewBox="0 0 {width} {high + 38}" style="{style}" role=img>{"".join(bars)}</svg>'
    )


def _copies(scan: Scan) -> str:
    lines = []
    for group in scan.copies:
        more = f" and {group.count - len(group.names)} more" if group.count > len(group.names) else ""
        note = note_on(group.leak, group.conflict)
        lines.append(
            f"{' = '.join(map(escape, group.names))}{more}" + (f"<span class=bad>{escape(note)}</span>" if note else "")
        )
    return _list("Equal files", lines, len(scan.copies))


def _list(heading: str, lines: Iterable[str], count: int) -> str:
    shown_lines: Sequence[str] = list(lines)[:_MOST_LINES]
    if not shown_lines:
        return ""
    more = f"<li>and {count - _MOST_LINES:,} more" if count > _MOST_LINES else ""
    return f"<h2>{heading}</h2><ul>" + "".join(f"<li>{line}</li>" for line in shown_lines) + more + "</ul>"
