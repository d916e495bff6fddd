"""Archives that are damaged or hostile: an error of one line, nothing written, bounded memory."""

from __future__ import annotations

import gzip
import lzma
import os
import tarfile
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_tars import MEMBERS, PACKERS, member, write_members
from image_sets import picture, pictures, write_tar

from convjit.data import open_dataset
from convjit.errors import DataError


def refused(path: Path, says: str) -> None:
    before = sorted(path.parent.rglob("*"))
    start = time.process_time()
    with pytest.raises(DataError, match=says) as caught:
        open_dataset(path)
    assert time.process_time() - start < 5
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(path))
    assert [name for name in sorted(path.parent.rglob("*")) if "cache" not in name.parts] == [
        name for name in before if "cache" not in name.parts
    ]


@pytest.mark.parametrize(("name", "fields", "says"), MEMBERS)
def test_members_refused(tmp_path: Path, name: str, fields: dict[str, Any], says: str) -> None:
    refused(write_members(tmp_path / "x.tar", member(name, b"", **fields)), says)


def test_sizes_are_not_trusted(tmp_path: Path) -> None:
    info, _ = member("train/cat/a.png")
    info.size = 8 << 30
    path = tmp_path / "x.tar"
    path.write_bytes(info.tobuf() + bytes(1024))
    refused(path, "8,589,934,592 bytes; allowed is up to 1 GB")
    info.size = 100 << 20
    path.write_bytes(
        write_members(tmp_path / "good.tar").read_bytes()[: -tarfile.RECORDSIZE] + info.tobuf() + bytes(4096)
    )
    refused(path, "damaged|cut short")


def test_a_member_of_an_image_set_has_a_limit(tmp_path: Path) -> None:
    dataset = open_dataset(write_members(tmp_path / "x.tar", member("train/cat/big.png", bytes((32 << 20) + 1))))
    assert dataset.skipped == ("train/cat/big.png: 33,554,433 bytes; allowed are 33,554,432",)


@pytest.mark.parametrize("end", PACKERS)
def test_truncated_at_any_place(tmp_path: Path, end: str) -> None:
    whole = PACKERS[end](write_members(tmp_path / "whole.tar").read_bytes())
    used = whole.rstrip(b"\0") if not end else whole
    path = tmp_path / f"cut.tar{end}"
    for cut in sorted({*np.linspace(600 if not end else 20, len(used) - 1, 25).astype(int).tolist(), len(used) - 1}):
        path.write_bytes(whole[: cut // 512 * 512 if not end and cut % 2 else cut])
        refused(path, "fetch it again")


def test_flipped_bits_never_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for end in ("", ".gz", ".xz"):
        whole = write_members(tmp_path / f"whole.tar{end}", mode=f"w:{end[1:]}" if end else "w").read_bytes()
        path = tmp_path / f"bad.tar{end}"
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(rng.integers(1, 6)):
                data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            path.write_bytes(data)
            try:
                open_dataset(path)
            except DataError as error:
                assert "\n" not in str(error)


def test_archives_in_a_row(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "one.tar", pictures()).read_bytes()
    path = tmp_path / "two.tar"
    path.write_bytes(one + one)
    refused(path, "data follow the archive's end mark")


def test_a_file_held_twice_counts_once(tmp_path: Path) -> None:
    newer = picture(77)
    dataset = open_dataset(write_members(tmp_path / "x.tar", member("train/cat/0000.png", newer)))
    assert len(dataset.train) == 8
    assert open_dataset(write_tar(tmp_path / "y.tar", pictures() | {"train/cat/0000.png": newer})).fingerprint == (
        dataset.fingerprint
    )


@pytest.mark.parametrize("end", [".gz", ".xz", ".bz2", ".zst"])
def test_bombs(tmp_path: Path, end: str) -> None:
    inner = b"".join(member(f"train/cat/{i}.png", bytes(1 << 20))[0].tobuf() + bytes(1 << 20) for i in range(80))
    path = tmp_path / f"x.tar{end}"
    path.write_bytes(PACKERS[end](inner))
    refused(path, "unpacks to more than 64 MB")


def test_bomb_in_a_header(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 60 << 20
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf() + bytes(60 << 20)))
    refused(path, "header in this archive is longer")


def test_a_chain_of_long_names(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 4
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress((info.tobuf() + b"abc\0" + bytes(508)) * 5000))
    refused(path, "damaged|longer than any real one")


def test_sparse_members(tmp_path: Path) -> None:
    info = tarfile.TarInfo("train/cat/a.png")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 29)}
    data = b"1\n0\n0\n".ljust(512, b"\0")
    info.size = len(data)
    refused(write_members(tmp_path / "x.tar", (info, data)), "sparse")


def test_memory_asked_for_by_an_xz_header(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    inner = write_members(tmp_path / "plain.tar").read_bytes()
    path = tmp_path / "x.tar.xz"
    packer = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{**filters[0], "dict_size": 1 << 20}])
    good = packer.compress(inner) + packer.flush()
    path.write_bytes(good)
    assert len(open_dataset(path).train) == 8
    # The size of the dictionary is one byte of the block header, whose checksum follows it.
    header = bytearray(good)
    start = 12
    size = (header[start] + 1) * 4
    place = header.index(b"\x21\x01", start, start + size) + 2
    header[place] = 36
    header[start + size - 4 : start + size] = zlib.crc32(header[start : start + size - 4]).to_bytes(4, "little")
    path.write_bytes(header)
    os.utime(path, ns=(1, 1))
    refused(path, "[Mm]emory")


def test_several_xz_streams(tmp_path: Path) -> None:
    whole = write_members(tmp_path / "plain.tar").read_bytes()
    path = tmp_path / "x.tar.xz"
    path.write_bytes(lzma.compress(whole[:5000]) + bytes(8) + lzma.compress(whole[5000:]) + bytes(4))
    assert len(open_dataset(path).train) == 8


def test_other_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(b"not a tar" * 1000))
    refused(path, "not a tar archive, or damaged at its start")
    refused(write_tar(tmp_path / "photos.tar", {"photos/a.png": picture(0)}), "holds photos; understood are")
    refused(write_tar(tmp_path / "nothing.tar", {}), "neither a folder, a tar")


def test_many_empty_members(tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    block = tarfile.TarInfo("x/y/z").tobuf()
    path.write_bytes(gzip.compress(block * 200_000))
    refused(path, "unpacks to more|holds x")
