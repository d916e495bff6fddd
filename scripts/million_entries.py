"""Open sets of very many images, and say how long it took and how much memory.

    python scripts/million_entries.py --entries 1000000

Sets are made in a temporary folder: one plain tar of class folders, tar shards of .jpg and .cls, class folders of
symbolic links to 64 photographs, class folders of as many files, and a list of these. The folders have no validation
set, so that one is chosen by contents. Each set is opened in a process of its own, from nothing to a first image read;
then once more, when hashes of its contents are remembered. The exit code is 1 if one took more than --seconds or
--megabytes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 1000


def photographs() -> tuple[bytes, bytes]:
    """Two small JPEG files of different sizes, so that the set is not decoded as a whole."""
    files = []
    for side in (16, 24):
        file = io.BytesIO()
        Image.fromarray(np.random.default_rng(side).integers(0, 255, (side, side, 3), np.uint8)).save(file, "JPEG")
        files.append(file.getvalue())
    return files[0], files[1]


def member(name: str, data: bytes) -> bytes:
    """A file in a tar archive."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512)


def make_tar(folder: Path, count: int) -> Path:
    """One archive of train/<class>/<image>, the classes mixed, and a small val/."""
    path = folder / "classes.tar"
    photos = photographs()
    with path.open("wb") as file:
        for i in range(count):
            file.write(member(f"train/n{i % CLASSES:08}/{i:08}.JPEG", photos[i % 2]))
        for i in range(CLASSES):
            file.write(member(f"val/n{i:08}/{i:08}.JPEG", photos[i % 2]))
        file.write(bytes(1024))
    return path


def make_shards(folder: Path, count: int) -> Path:
    """Shards of 10,000 images with their labels; the last is for validation."""
    shards = folder / "shards"
    shards.mkdir()
    photos = photographs()
    for number, start in enumerate(range(0, count, 10_000)):
        with (shards / f"{'val' if start + 10_000 >= count else 'train'}-{number:04}.tar").open("wb") as file:
            for i in range(start, min(count, start + 10_000)):
                file.write(member(f"{i:08}.cls", str(i % CLASSES).encode()))
                file.write(member(f"{i:08}.jpg", photos[i % 2]))
            file.write(bytes(1024))
    return shards


def make_links(folder: Path, count: int) -> Path:
    """Class folders of links to a few files."""
    links = folder / "links"
    photos = [folder / f"photo-{i}.jpg" for i in range(64)]
    for i, path in enumerate(photos):
        path.write_bytes(photographs()[i % 2] + bytes([i]))
    for c in range(CLASSES):
        (links / f"n{c:08}").mkdir(parents=True)
    for i in range(count):
        (links / f"n{i % CLASSES:08}" / f"{i:08}.jpg").symlink_to(photos[i // CLASSES % 64])
    return links


def make_files(folder: Path, count: int) -> Path:
    """Class folders of files that all differ."""
    files = folder / "files"
    for c in range(CLASSES):
        (files / f"n{c:08}").mkdir(parents=True)
    photos = photographs()
    for i in range(count):
        (files / f"n{i % CLASSES:08}" / f"{i:08}.jpg").write_bytes(photos[i % 2] + i.to_bytes(4))
    return files


def make_list(folder: Path, count: int) -> Path:
    """A list of paths and labels, beside the same files in one folder."""
    listed = folder / "listed"
    (listed / "images").mkdir(parents=True)
    photos = photographs()
    with (listed / "labels.csv").open("w") as file:
        file.write("path,label\n")
        for i in range(count):
            (listed / "images" / f"{i:08}.jpg").write_bytes(photos[i % 2] + i.to_bytes(4))
            file.write(f"images/{i:08}.jpg,n{i % CLASSES:08}\n")
    return listed


MAKERS = {"tar": make_tar, "shards": make_shards, "links": make_links, "files": make_files, "list": make_list}


def opened(path: Path) -> dict[str, float]:
    """Open a set in this process."""
    from convjit.data import open_dataset

    before = resident()
    start, cpu = time.perf_counter(), time.process_time()
    dataset = open_dataset(path)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    assert not hasattr(dataset.train, "pixels"), "the set was decoded"
    read = dataset.train.read(len(dataset.train) // 2)  # type: ignore[union-attr]
    assert read.startswith(b"\xff\xd8")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "images": len(dataset.train) + len(dataset.test),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "megabytes": round(resident() - before, 1),
        "peak_megabytes": round(peak - before, 1),
    }


def resident() -> float:
    """Megabytes of memory that this process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def results(folder: Path, count: int, kinds: list[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """What opening each kind of set took."""
    for kind in kinds:
        path = MAKERS[kind](folder, count)
        environment = {**os.environ, "CONVJIT_CACHE": str(folder / "cache")}
        command = [sys.executable, __file__, "--open", str(path)]
        for name in (kind, f"{kind}, again"):
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            if done.returncode:
                raise SystemExit(done.stderr)
            yield name, json.loads(done.stdout)


def main() -> int:
    """0 if every set was opened within the limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--megabytes", type=float, default=500)
    parser.add_argument("--kinds", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--folder", type=Path, default=None, help="where the sets are made; they are removed again")
    parser.add_argument("--open", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opened(options.open)))
        return 0
    code = 0
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        for kind, result in results(Path(temporary), options.entries, options.kinds):
            slow = result["seconds"] > options.seconds or result["peak_megabytes"] > options.megabytes
            print(f"{kind}: {json.dumps(result)}{'  TOO MUCH' if slow else ''}", flush=True)
            code |= slow
    return code


if __name__ == "__main__":
    sys.exit(main())
