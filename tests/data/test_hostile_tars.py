"""Hostile archives (gate D6), as the index reads them: an error of one line, nothing written, bounded memory, time."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hostile_tars import MEMBERS, PACKERS, member, write_members
from image_sets import picture, write_tar

from convjit.data import archives, open_dataset, stream
from convjit.data.archive_index import index_archives
from convjit.errors import DataError

written: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Notes files that are opened to be written, folders that are made, and programs that are started."""
    if watch_on and (event in _EVENTS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3)):
        written.append(f"{event} {arguments[0]}")


watch_on = False
_EVENTS = {"os.mkdir", "os.symlink", "os.link", "os.rename", "os.remove", "os.chmod", "subprocess.Popen", "os.system"}
sys.addaudithook(watch)


@pytest.fixture(autouse=True)
def nothing_is_written() -> Iterator[None]:
    global watch_on
    yield
    watch_on = False


@pytest.fixture(params=["read whole", "read from states"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways in which a gzip archive is read."""
    if request.param == "read from states":
        monkeypatch.setattr(archives, "_SEEKABLE_FROM", 0)
    return str(request.param)


def refused(path: Path, says: str) -> None:
    global watch_on
    written.clear()
    start = time.process_time()
    watch_on = True
    with pytest.raises(DataError, match=says) as caught:
        index_archives([path], str(path))
    watch_on = False
    assert time.process_time() - start < 10 and not written
    assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))


@pytest.mark.parametrize("end", PACKERS)
@pytest.mark.parametrize(("name", "fields", "says"), MEMBERS)
def test_members(tmp_path: Path, name: str, fields: dict[str, Any], says: str, end: str, way: str) -> None:
    plain = write_members(tmp_path / "plain.tar", member(name, b"", **fields))
    path = tmp_path / f"x.tar{end}"
    path.write_bytes(PACKERS[end](plain.read_bytes()))
    refused(path, says)


def test_a_known_folder_vouches_for_nothing(tmp_path: Path) -> None:
    """Most members are files in folders that are known already, which are checked in fewer steps."""
    big = member("a/big.png")[0]
    big.size = (1 << 30) + 1
    first = [member("top.png", b"1"), member("a/1.png", b"1"), member(".git/x", b"1")]
    for bad, says in (
        (member("/evil.png"), "'/evil.png' points outside"),
        (member("a/.."), "points outside"),
        (member("a/2.png", type=tarfile.SYMTYPE, linkname="x"), "link, a device"),
        ((big, b""), "1,073,741,825 bytes; allowed is up to 1 GB"),
    ):
        path = tmp_path / "x.tar"
        with tarfile.open(path, "w") as tar:
            for info, data in [*first, bad]:
                tar.addfile(info, io.BytesIO(data) if data else None)
        refused(path, says)
    more = ("a/.hidden", "a/Thumbs.db", ".x", "a/2.png", ".git/y", "b/", "a/3.png", "a/" + "n" * 150, "./top2.png")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for info, data in [*first, *(member(name, b"1") for name in more)]:
            tar.addfile(info, io.BytesIO(data))
    index = index_archives([tmp_path / "x.tar"], "x")
    names = {index.name(row) for row in range(len(index))}
    assert names == {"top.png", "a/1.png", "a/2.png", "a/3.png", "a/" + "n" * 150, "top2.png"}


@pytest.mark.parametrize("end", PACKERS)
def test_truncated_at_any_place(tmp_path: Path, end: str, way: str) -> None:
    whole = PACKERS[end](write_members(tmp_path / "plain.tar").read_bytes())
    used = whole.rstrip(b"\0") if not end else whole
    path = tmp_path / f"x.tar{end}"
    for cut in sorted({*np.linspace(600 if not end else 20, len(used) - 1, 40).astype(int).tolist(), len(used) - 1}):
        path.write_bytes(whole[: cut // 512 * 512 if not end and cut % 2 else cut])
        refused(path, "fetch it again")


@pytest.mark.parametrize("end", PACKERS)
def test_flipped_bits(tmp_path: Path, end: str, way: str) -> None:
    rng = np.random.default_rng(0)
    whole = PACKERS[end](write_members(tmp_path / "plain.tar").read_bytes())
    path = tmp_path / f"x.tar{end}"
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            index = index_archives([path], str(path))
            for row in range(len(index)):
                index.read(row)
        except (DataError, OSError) as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("end", PACKERS)
def test_archives_in_a_row(tmp_path: Path, end: str, way: str) -> None:
    one = write_tar(tmp_path / "one.tar", {"a": b"1"}).read_bytes()
    path = tmp_path / f"two.tar{end}"
    for packed in (PACKERS[end](one + one), PACKERS[end](one) + PACKERS[end](one)):
        path.write_bytes(packed)
        refused(path, "data follow the archive's end mark")


@pytest.mark.parametrize("end", [".gz", ".xz", ".bz2", ".zst"])
def test_bombs(tmp_path: Path, end: str, way: str) -> None:
    inner = b"".join(member(f"{i}", bytes(1 << 20))[0].tobuf() + bytes(1 << 20) for i in range(80))
    path = tmp_path / f"x.tar{end}"
    path.write_bytes(PACKERS[end](inner))
    tracemalloc.start()
    refused(path, "unpacks to more than 64 MB")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 << 20


def test_zeros_without_end(tmp_path: Path, way: str) -> None:
    """The end mark, followed by gigabytes of nothing: packed, and as a file with holes."""
    start = write_tar(tmp_path / "one.tar", {"a": b"1"}).read_bytes()
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(start + bytes(80 << 20)))
    refused(tmp_path / "x.tar.gz", "MB")
    with (tmp_path / "holes.tar").open("wb") as file:
        file.write(start)
        file.truncate(1 << 40)
    refused(tmp_path / "holes.tar", "more than 64 MB follow the archive's end mark")


def test_sizes_are_not_trusted(tmp_path: Path) -> None:
    info, _ = member("a.png")
    for size, says in ((8 << 30, "8,589,934,592 bytes; allowed is up to 1 GB"), (100 << 20, "cut short at byte 512")):
        info.size = size
        (tmp_path / "x.tar").write_bytes(info.tobuf() + bytes(1024))
        refused(tmp_path / "x.tar", says)
    header = bytearray(member("a.png")[0].tobuf())
    for field in (b"\xff" * 12, b"-0000000001\0", b"9999999999 \0", b"\x80" + b"\xff" * 11):
        header[124:136] = field
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(1024))
        refused(tmp_path / "x.tar", "damaged|1 GB")


def test_headers_without_end(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4
    (tmp_path / "x.tar").write_bytes((info.tobuf() + b"abc\0" + bytes(508)) * 5000)
    refused(tmp_path / "x.tar", "longer than any real one")
    info.type, info.size = tarfile.XHDTYPE, 60 << 20
    (tmp_path / "x.tar").write_bytes(info.tobuf() + bytes(61 << 20))
    refused(tmp_path / "x.tar", "longer than any real one")
    for text in (b"9999999999 path=x\n", b"x path=x\n", b"12 path\n", b"0 path=x\n", b"6 a=\n\n\n", b"14 size=many!\n"):
        info.size = len(text)
        (tmp_path / "x.tar").write_bytes(info.tobuf() + text.ljust(512, b"\0") + member("a")[0].tobuf() + bytes(1024))
        refused(tmp_path / "x.tar", "damaged")


def test_a_sparse_file_of_newer_kinds(tmp_path: Path) -> None:
    info = tarfile.TarInfo("train/cat/a.png")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
    refused(write_members(tmp_path / "x.tar", (info, b"")), "sparse")


def test_zstandard_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600))
    refused(tmp_path / "x.tar.zst", "cut short")
    monkeypatch.setattr(stream, "zstandard", None)
    refused(tmp_path / "x.tar.zst", "pip install 'convjit")


def test_memory_asked_for_by_a_zstandard_header(tmp_path: Path) -> None:
    inner = write_tar(tmp_path / "one.tar", {"train/cat/a.png": b"1"}).read_bytes()
    greedy = zstandard.ZstdCompressionParameters.from_level(3, window_log=30, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=greedy).compressobj()
    (tmp_path / "x.tar.zst").write_bytes(packer.compress(inner) + packer.flush())
    refused(tmp_path / "x.tar.zst", "damaged or cut short .*memory")


def test_very_many_members(tmp_path: Path) -> None:
    """The long form, with a million, is scripts/million_entries.py."""
    path = tmp_path / "x.tar"
    path.write_bytes(b"".join(tarfile.TarInfo(f"{i % 7}/{i}").tobuf() for i in range(30_000)) + bytes(1024))
    tracemalloc.start()
    index = index_archives([path], "x")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == 30_000 and peak < 10 << 20


def test_hostile_shards_are_refused_too(tmp_path: Path) -> None:
    """Behind the first members, at which a set's form is told."""
    good = {f"{i:04}.{end}": picture(i) if end == "png" else b"1" for i in range(600) for end in ("png", "cls")}
    path = tmp_path / "train-0.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in good.items():
            tar.addfile(*_file(name, data))
        link = tarfile.TarInfo("0600.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    for place in (path, tmp_path / "train-*.tar"):
        with pytest.raises(DataError, match=r"train-0.tar: member '0600.png' is a link"):
            open_dataset(place)


def _file(name: str, data: bytes) -> tuple[tarfile.TarInfo, Any]:
    return member(name, data)[0], io.BytesIO(data)
