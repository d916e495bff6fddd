"""The text of .cfg files, as Python 2's SafeConfigParser read it."""

from __future__ import annotations

import pytest

from convjit.cfg import read
from convjit.errors import ConfigError


def values(text: str | bytes) -> dict[str, dict[str, str]]:
    sections = read(text, "f")
    return {name: {key: entry.value for key, entry in s.entries.items()} for name, s in sections.items()}


def test_sections_and_keys() -> None:
    text = "[a]\nOne=1\ntwo: 2\nthree = 3 = x\nempty=\n[b c]\nepsW=\tconst[base=1;x=2]\n"
    assert values(text) == {
        "a": {"one": "1", "two": "2", "three": "3 = x", "empty": ""},
        "b c": {"epsw": "const[base=1;x=2]"},
    }


def test_keys_in_other_case_are_one_key_and_the_last_counts() -> None:
    assert values("[a]\nEPSW=1\nepsw=2\n") == {"a": {"epsw": "2"}}
    assert values("[a]\nx=1\n[A]\nx=2\n") == {"a": {"x": "1"}, "A": {"x": "2"}}


def test_a_section_that_comes_back_is_merged() -> None:
    assert values("[a]\nx=1\ny=1\n[b]\n[a]\ny=2\n") == {"a": {"x": "1", "y": "2"}, "b": {}}


def test_defaults_are_inherited() -> None:
    sections = read("[a]\nx=1\n[DEFAULT]\nx=0\ny=2\n", "f")
    entries = sections["a"].entries
    assert (entries["x"].value, entries["x"].inherited) == ("1", False)
    assert (entries["y"].value, entries["y"].inherited, entries["y"].where) == ("2", True, "f:5")


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("x=1 ; note", "1"),
        ("x=1\t;note", "1"),
        ("x=a;b", "a;b"),
        ("x=dexp[base=1;numSteps=2] ; note", "dexp[base=1;numSteps=2]"),
        ("x=1 # 2", "1 # 2"),
        ("x= ;note", ""),
        ('x=""', ""),
        ("x=5%%", "5%"),
        ("x=%(y)s%(Y)s", "77"),
    ],
)
def test_comments_and_percent_signs(line: str, value: str) -> None:
    assert values(f"# first\n;second\n[a] trailing text\nrem third\n  # fourth\n{line}\ny=7\n")["a"]["x"] == value


def test_indented_lines_continue_a_value() -> None:
    assert values("[a]\nx=1,\n  2,\n\n\t3\ny=4\n") == {"a": {"x": "1,\n2,\n3", "y": "4"}}


def test_line_ends_and_byte_order_mark() -> None:
    assert values(b"\xef\xbb\xbf[a]\r\nx=1\r[b]\ny=\xc3\xa9") == {"a": {"x": "1"}, "b": {"y": "\u00e9"}}


def test_places() -> None:
    sections = read("\n[a]\n\nx=1\n", "net.cfg")
    assert sections["a"].where == "net.cfg:2"
    assert (sections["a"].entries["x"].where, sections["a"].entries["x"].key) == ("net.cfg:4", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x=1\n", "f:1: 'x' stands before the first [section]"),
        ("[a]\nhello\n", "f:2: 'hello' is neither [section], key=value nor a comment"),
        ("  [a]\n", "f:1: '[a]' is neither [section], key=value nor a comment"),
        ("[]\n", "f:1: '[]' is neither [section], key=value nor a comment"),
        ("[a]\n=1\n", "f:2: '=1' is neither [section], key=value nor a comment"),
        ("[a]\nx=5%\n", "f:2: a percent sign is written %%"),
        ("[a]\nx=%(z)s\n", "f:2: %(z)s refers to a key that is not there"),
        ("[a]\nx=%(y)s\ny=%(x)s\n", "f:2: 'x' refers to keys that refer to one another"),
        (f"[a]\nx={'1' * 10001}\n", "f:2: a value of 10001 characters; at most 10000 are possible"),
        ("[a]\nx=1\0\n", "f:2: control character 0 in the text"),
        (b"[a]\nx=\xff\n", "f:2: not UTF-8 text"),
        (b" " * ((1 << 20) + 1), "f: 1048577 bytes; a net file has at most 1048576"),
        ("".join(f"[{i}]\n" for i in range(10001)), "f:10001: more than 10000 sections"),
    ],
)
def test_errors(text: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text, "f")
    assert str(error.value) == message


def test_references_cannot_grow_without_end() -> None:
    doubling = "".join(f"x{i}=%(x{i + 1})s%(x{i + 1})s\n" for i in range(9)) + f"x9={'a' * 100}\n"
    with pytest.raises(ConfigError, match="characters; at most 10000 are possible"):
        read(f"[a]\n{doubling}", "f")
