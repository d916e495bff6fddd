"""Archives read at random: the same bytes as tarfile finds, from any thread, whatever they are packed with."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_sets import write_tar

from convjit.data import archives, unpacking
from convjit.data.archive_index import index_archives
from convjit.data.folder_index import index_folder
from convjit.data.index import Index
from convjit.errors import DataError

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def contents(index: Index) -> dict[str, bytes]:
    return {index.name(row): index.read(row) for row in range(len(index))}


def noise(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.mark.parametrize("end", ["", ".gz", ".xz", ".bz2"])
@pytest.mark.parametrize("form", FORMATS)
def test_as_tarfile_sees_it(tmp_path: Path, end: str, form: int) -> None:
    names = ["a/1", "a/2", "./a/3", "b//c/4", "é/ü", "x" * 90 + "/" + "y" * 90]
    names += ["z" * 200 + "/" + "w" * 150] if form != tarfile.USTAR_FORMAT else []
    files = {name: noise(i, 700 * i) for i, name in enumerate(names)}
    path = tmp_path / f"x.tar{end}"
    with tarfile.open(path, f"w:{end[1:]}" if end else "w", format=form) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        folder = tarfile.TarInfo("empty")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    index = index_archives([path], "x")
    expected = {"/".join(p for p in name.split("/") if p not in ("", ".")): data for name, data in files.items()}
    assert contents(index) == expected and "empty" in index.folders
    assert index.read(1, 100, 50) == files["a/2"][100:150]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8"), min_size=1, max_size=300), st.binary(max_size=2000))),
       st.sampled_from(FORMATS))  # fmt: skip
def test_any_names(tmp_path: Path, files: list[tuple[str, bytes]], form: int) -> None:
    path = tmp_path / "x.tar"
    kept = {}
    with tarfile.open(path, "w", format=form) as tar:
        for name, data in files:
            info = tarfile.TarInfo(f"f/{name}")
            info.size = len(data)
            parts = [part for part in name.split("/") if part not in ("", ".")]
            if "\0" in name or ".." in parts or not parts or name.endswith(("/", "/.")) or name == ".":
                continue
            try:
                tar.addfile(info, io.BytesIO(data))
            except ValueError:
                continue
            kept["/".join(("f", *parts))] = data
    hidden = {name for name in kept if any(part.startswith(".") for part in name.split("/"))}
    assert contents(index_archives([path], "x")) == {n: d for n, d in kept.items() if n not in hidden}


@pytest.mark.parametrize("streams", [1, 3])
def test_a_large_gzip_is_read_from_states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streams: int) -> None:
    monkeypatch.setattr(archives, "_SEEKABLE_FROM", 0)
    monkeypatch.setattr(unpacking, "_LEAST_BETWEEN", 100_000)
    files = {f"{i:03}": noise(i, 5000 + 97 * i) if i % 3 else bytes(20_000) for i in range(150)}
    whole = write_tar(tmp_path / "plain.tar", files).read_bytes()
    cut = len(whole) // streams + 1
    path = tmp_path / "x.tar.gz"
    path.write_bytes(b"".join(gzip.compress(whole[s : s + cut]) + bytes(7) for s in range(0, len(whole), cut)))
    index = index_archives([path], "x")
    archive = index.files._archives[0]  # type: ignore[attr-defined]
    assert type(archive) is unpacking.SeekableGzip and len(archive._states) > 3
    order = np.random.default_rng(0).permutation(len(index)).tolist()
    with ThreadPoolExecutor(4) as pool:
        for row, data in zip(order, pool.map(index.read, order), strict=True):
            assert data == files[index.name(row)]
    os.utime(path, ns=(1, 1))
    with pytest.raises(OSError, match="has changed"):
        index.read(3)


def test_what_is_kept_in_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "HELD", 100_000)
    files = {f"{i}": noise(i, 30_000) for i in range(3)}
    assert contents(index_archives([write_tar(tmp_path / "3.tar.xz", files, "w:xz")], "x")) == files
    two = [write_tar(tmp_path / f"{name}.tar.bz2", files, "w:bz2") for name in "ab"]
    with pytest.raises(DataError, match=r"b.tar.bz2: unpacks to more than .* unpack it to a plain .tar"):
        index_archives(two, "x")


def test_a_changed_archive_is_no_image(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {"a": b"one", "b": b"two"})
    index = index_archives([path], "x")
    assert index.read(1) == b"two"
    again = index_archives([path], "x")
    write_tar(path, {"a": b"three", "b": b"four"})
    os.utime(path, ns=(1, 1))
    with pytest.raises(OSError, match="has changed"):
        again.read(1)
    again = index_archives([path], "x")
    again.read(0)
    os.truncate(path, 600)
    with pytest.raises(OSError, match="become shorter"):
        again.read(1)


def test_many_archives_need_few_files(tmp_path: Path) -> None:
    paths = [write_tar(tmp_path / f"{i}.tar", {"a": b"%d" % i}) for i in range(300)]
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    index = index_archives(paths, "x")
    stop = threading.Event()

    def read() -> None:
        for row in range(300):
            assert index.read(row) == b"%d" % row
        stop.set()

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stop.is_set() and len(os.listdir("/proc/self/fd")) <= before + 257  # noqa: PTH208


def test_a_folder(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/x/1", "a/.hidden", ".git/x", "a/Thumbs.db", "c/d/e/f/g"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "link").symlink_to("../b/1")
    (tmp_path / "a" / "lost").symlink_to("nowhere")
    os.mkfifo(tmp_path / "a" / "pipe")
    index = index_folder(tmp_path)
    names = [index.name(row) for row in range(len(index))]
    assert names == ["a/link", "a/lost", "a/x/1", "b/1", "b/2"]
    assert index.folders == ("", "a", "a/loop", "a/x", "b", "c", "c/d", "c/d/e", "c/d/e/f")
    assert index.read(0) == b"b/1" and index.sorted
    with pytest.raises(FileNotFoundError):
        index.read(1)
