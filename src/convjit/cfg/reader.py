"""The text of .cfg files, with the semantics of Python 2's SafeConfigParser, which cuda-convnet used.

    [name]                  a section; one that appears twice is merged; [DEFAULT] is inherited by all
    key=value  key: value   keys are case-insensitive; the last of several equal ones counts
      more                  an indented line continues the value
    # ...  ; ...            comments; after a value only with a blank before the ;
    %%  %(key)s             a percent sign; the value of another key of the section

Beyond the original, an indented # or ; starts a comment, and a blank before any ; after a value does. Whatever a file
holds, nothing but ConfigError comes out, with file and line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from convjit.errors import ConfigError
from convjit.layers.values import shown

__all__ = ["MOST_BYTES", "Entry", "Section", "read"]

MOST_BYTES = 1 << 20
_MOST_SECTIONS = 10_000
_MOST_VALUE = 10_000
_MOST_DEPTH = 10

_SECTION = re.compile(r"\[([^\[\]]+)\]")
_OPTION = re.compile(r"([^:=\s][^:=]*?)\s*[:=](.*)", re.DOTALL)
_COMMENT = re.compile(r"\s;.*", re.DOTALL)
_PERCENT = re.compile(r"%(?:%|\(([^()]*)\)s|)")


@dataclass(frozen=True)
class Entry:
    """A value and the place it was read from; `inherited` if that is [DEFAULT]. `key` is as it was written."""

    key: str
    value: str
    where: str
    inherited: bool = False


@dataclass(frozen=True)
class Section:
    """A section: entries by key in lower case."""

    name: str
    where: str
    entries: dict[str, Entry] = field(default_factory=dict)


def read(text: str | bytes, origin: str) -> dict[str, Section]:
    """The sections of a file by name, in order; `origin` is what messages call the file."""
    defaults = Section("DEFAULT", origin)
    sections: dict[str, Section] = {}
    current: Section | None = None
    last = ""
    for number, line in enumerate(_lines(text, origin), 1):
        where = f"{origin}:{number}"
        stripped = line.strip()
        if not stripped or stripped[0] in "#;" or line.split(None, 1)[0].lower() == "rem":
            continue
        if line[0].isspace() and current is not None and last:
            before = current.entries[last]
            current.entries[last] = replace(before, value=_limited(f"{before.value}\n{stripped}", where))
        elif match := _SECTION.match(line):
            name, last = match[1].strip(), ""
            current = defaults if name == "DEFAULT" else sections.setdefault(name, Section(name, where))
            if len(sections) > _MOST_SECTIONS:
                raise ConfigError(f"more than {_MOST_SECTIONS} sections", where=where)
        elif not (option := _OPTION.match(line)):
            raise ConfigError(f"'{shown(stripped)}' is neither [section], key=value nor a comment", where=where)
        elif current is None:
            raise ConfigError(f"'{shown(option[1])}' stands before the first [section]", where=where)
        else:
            last = option[1].lower()
            value = _COMMENT.sub("", option[2]).strip()
            current.entries[last] = Entry(option[1], _limited("" if value == '""' else value, where), where)
    return {name: _complete(section, defaults) for name, section in sections.items()}


def _lines(text: str | bytes, origin: str) -> list[str]:
    if len(text) > MOST_BYTES:
        raise ConfigError(f"{len(text)} bytes; a net file has at most {MOST_BYTES}", where=origin)
    lines = re.split(r"\r\n|\n|\r", text if isinstance(text, str) else _decoded(text, origin))
    for number, line in enumerate(lines, 1):
        if bad := next((c for c in line if ord(c) < 32 and c != "\t"), None):
            raise ConfigError(f"control character {ord(bad)} in the text", where=f"{origin}:{number}")
    return lines


def _decoded(data: bytes, origin: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError("not UTF-8 text", where=f"{origin}:{line}") from None


def _complete(section: Section, defaults: Section) -> Section:
    """With what it inherits, and percent signs resolved."""
    inherited = {key: replace(entry, inherited=True) for key, entry in defaults.entries.items()}
    raw = inherited | section.entries
    entries = {key: replace(entry, value=_resolved(entry, entry.value, raw, 0)) for key, entry in raw.items()}
    return replace(section, entries=entries)


def _resolved(entry: Entry, value: str, entries: dict[str, Entry], depth: int) -> str:
    if depth > _MOST_DEPTH:
        raise ConfigError(f"'{shown(entry.key)}' refers to keys that refer to one another", where=entry.where)

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "%%":
            return "%"
        if match[0] == "%":
            raise ConfigError("a percent sign is written %%", where=entry.where)
        other = entries.get(match[1].lower())
        if other is None:
            raise ConfigError(f"%({shown(match[1])})s refers to a key that is not there", where=entry.where)
        return _resolved(entry, other.value, entries, depth + 1)

    return _limited(_PERCENT.sub(replaced, value), entry.where)


def _limited(value: str, where: str) -> str:
    if len(value) > _MOST_VALUE:
        raise ConfigError(f"a value of {len(value)} characters; at most {_MOST_VALUE} are possible", where=where)
    return value
