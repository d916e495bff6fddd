"""What is said of a set that was looked at, as a table and as a page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from image_sets import picture, pictures, write_folder, write_tar

from convjit.cli import main
from convjit.data.scan import scan
from convjit.show.scan_page import scan_page

SCRIPT = "<script>alert(1)<"


def odd_set() -> dict[str, bytes]:
    """A set with copies, broken files and hostile names."""
    files = {name.replace("dog", SCRIPT): data for name, data in pictures().items()}
    files["train/cat/grey.png"] = picture(7, (30, 40), mode="L")
    files["train/cat/copy.png"] = files["train/cat/0001.png"]
    files[f"train/{SCRIPT}/wrong.png"] = files["train/cat/0000.png"]
    files["test/cat/seen.png"] = files["train/cat/0002.png"]
    files['test/cat/"><img src=x onerror=alert(1)>.jpg'] = b"<html>"
    files["train/cat/empty.jpg"] = files["train/cat/empty2.jpg"] = b""
    return files


def test_what_is_found(tmp_path: Path) -> None:
    for path in (write_folder(tmp_path / "x", odd_set()), write_tar(tmp_path / "x.tar.gz", odd_set(), "w:gz")):
        found = scan(path)
        assert (found.train, found.test, found.grey, found.kinds) == (13, 6, 1, {"PNG": 16})
        counts = {one.name: (one.train, one.test) for one in found.classes}
        assert counts == {SCRIPT: (5, 2), "cat": (8, 4)} and not any(one.pictures for one in found.classes)
        assert found.spread() == {"smallest": (5, 6), "median": (5, 6), "largest": (40, 30)}
        assert [set(one.names) for one in found.copies] == [
            {f"train/{SCRIPT}/wrong.png", "train/cat/0000.png"},
            {"train/cat/0002.png", "test/cat/seen.png"},
            {"train/cat/0001.png", "train/cat/copy.png"},
        ]
        assert [(one.conflict, one.leak) for one in found.copies] == [(True, False), (False, True), (False, False)]
        assert found.copied == 3
        assert len(found.broken) == 3
        assert found.broken[0] == "train/cat/empty.jpg: is none of JPEG, PNG, BMP, PPM, WEBP, but empty"
        json.dumps(found.record())


class Page(HTMLParser):
    """Which elements there are, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_escapes_every_name(tmp_path: Path) -> None:
    found = scan(write_folder(tmp_path / "<b>x", odd_set()), pictures=True)
    page = Page(scan_page(found))
    assert "script" not in page.tags and not any(name.startswith("on") for name in page.attributes)
    assert page.tags.count("img") == sum(len(one.pictures) for one in found.classes) > 10
    for text in ("<b>x", SCRIPT, "onerror=alert(1)", "different labels", "to train and to test on"):
        assert text in page.text
    assert "href" not in page.attributes and all(one.startswith("data:image/jpeg;base64,") for one in page.sources)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_folder(tmp_path / "x", odd_set())
    assert main(["data", "scan", str(path), "--html", str(tmp_path / "page.html")]) == 0
    out = capsys.readouterr().out
    for text in ("13 to train on, 6 to test on", "3 files are there again", "different labels", "is none of JPEG"):
        assert text in out
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")
    assert main(["data", "scan", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"]["cat"] == {"train": 8, "test": 4}
    assert main(["data", "pack", str(path), str(tmp_path / "packed"), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["images"] == 16 and captured.err.count("warning: skipped") == 3
    assert main(["data", "scan", str(tmp_path / "packed")]) == 0
    for wrong in (["data"], ["data", "skan"], ["data", "scan"], ["data", "pack", str(path)]):
        assert main(wrong) == 2
    capsys.readouterr()
    assert main(["data", "scan", str(tmp_path / "absent")]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/absent: no such file or folder; give the path of an image set\n"
    )
