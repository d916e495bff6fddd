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
from image_sets import write_folder, write_tar

from convjit.data import archives, unpacking
from convjit.data.archive_index import index_archives
from convjit.data.folder_index import FolderFiles, index_folder
from convjit.data.index import Collector, Index
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


@pytest.mark.parametrize("end", ["", ".gz", ".xz"])
@pytest.mark.parametrize("way", ["read whole", "read from states"])
def test_reading_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, way: str) -> None:
    """The same bytes as at random, from archives and a folder, without unpacking from a state for every file."""
    monkeypatch.setattr(archives, "_SEEKABLE_FROM", 0 if way == "read from states" else 1 << 40)
    files = [{f"{i % 3}/{i:03}": noise(i, 300 * i) for i in range(first, first + 40)} for first in (0, 40)]
    paths = [write_tar(tmp_path / f"{n}.tar{end}", one, f"w:{end[1:]}") for n, one in enumerate(files)]
    for n, one in enumerate(files):
        write_folder(tmp_path / "folder" / f"{n}.tar{end}", one)
    monkeypatch.setattr(unpacking.SeekableGzip, "read", None)
    found = []
    for index in (index_archives(paths, "x"), index_folder(tmp_path / "folder")):
        with index.reading() as reader:
            order = range(len(index))
            whole = {index.name(row): reader.read(row, 0, int(index.sizes[row])) for row in order}
        with index.reading() as reader:
            # Some only, and of these a part.
            few = [reader.read(row, 100, 50) for row in order[9:70:3]]
        assert few == [list(whole.values())[row][100:150] for row in order[9:70:3]]
        found.append(whole)
    assert found[0] == found[1] == {f"{n}.tar{end}/{k}": d for n, one in enumerate(files) for k, d in one.items()}
    os.utime(paths[1], ns=(1, 1))
    if not end or (end == ".gz" and way == "read from states"):
        index = index_archives(paths, "x")
        os.utime(paths[1], ns=(2, 2))
        with index.reading() as reader:
            reader.read(3, 0, 10)
            with pytest.raises(OSError, match="has changed"):
                reader.read(50, 0, 10)


def test_files_of_a_folder_that_go_away(tmp_path: Path) -> None:
    write_folder(tmp_path / "x", dict.fromkeys(("a/1", "a/2", "b/1", "c/1"), b"1234"))
    index = index_folder(tmp_path / "x")
    (tmp_path / "x/a/1").unlink()
    (tmp_path / "x/a/2").write_bytes(b"1")
    (tmp_path / "x/b").rename(tmp_path / "x/d")
    with index.reading() as reader:
        for row, says in ((0, "No such file"), (1, "become shorter"), (2, "No such file")):
            with pytest.raises(OSError, match=says):
                reader.read(row, 0, 4)
        assert reader.read(3, 0, 4) == b"1234"


def test_links_to_one_file(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a/1": b"one", "a/2": b"two", "b/9": b"one"})
    assert index_folder(tmp_path).originals is None
    for name, target in (("a/3", "2"), ("b/1", "../a/1"), ("b/2", "../a/3"), ("b/lost", "nowhere"), ("b/gone", "no")):
        (tmp_path / name).symlink_to(target)
    os.link(tmp_path / "b" / "9", tmp_path / "b" / "hard")
    index = index_folder(tmp_path)
    assert index.originals is not None
    firsts = {index.name(row): index.name(int(first)) for row, first in enumerate(index.originals)}
    same = {"a/3": "a/2", "b/1": "a/1", "b/2": "a/2", "b/hard": "b/9"}
    assert firsts == {name: same.get(name, name) for name in firsts} and len(firsts) == 9


def test_numbers_of_files_count_on_one_device_only() -> None:
    collector = Collector()
    for device, inode in ((1, 5), (2, 5), (1, 6), (1, 5), (-1, -1), (-1, -1), (2, 5), (2, 6)):
        collector.add("", b"x", 0, 0, device, inode)
    index = collector.finish("x", FolderFiles(Path()))
    assert index.originals is not None and index.originals.tolist() == [0, 1, 2, 0, 4, 5, 1, 7]


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
