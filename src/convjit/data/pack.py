"""Packing a set once: every image resized and written to tar shards, which a trainer then reads quickly.

    classes.json              names of the classes in order
    train-000000.tar ...      00000000.jpg with 00000000.cls (the number of its class), in a mixed order
    val-000000.tar ...        the same, of the images to test on
    skipped.txt               broken images, each with the reason
    pack.json                 what was packed, and how

The shards follow the WebDataset convention. A shard is written under another name, and gets its own when it is whole: a
pack that was killed goes on after the last whole shard, and the bytes are those that it would have written at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from convjit import random
from convjit.data.decode import BrokenImageError, decode_picture
from convjit.data.layouts import Contents, read_contents
from convjit.data.layouts.shards import CLASSES
from convjit.data.samples import Samples, fingerprint
from convjit.data.source import Progress
from convjit.data.split import VALIDATION, with_test
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["Form", "Packed", "pack"]

_RECORD, _SKIPPED, _WORK = "pack.json", "skipped.txt", ".pack"
_MAGIC = {b"\xff\xd8": "jpg", b"\x89P": "png", b"RI": "webp", b"BM": "bmp"}
_FEW = 10


@dataclass(frozen=True)
class Form:
    """How images are packed: pixels of the shorter side, JPEG quality, images to a shard.

    Smaller images are kept as they are, byte for byte.
    """

    side: int = 256
    quality: int = 90
    per_shard: int = 2000


@dataclass(frozen=True)
class Packed:
    """What came of it. `fresh` counts the images that were packed now, not before an interruption."""

    folder: Path
    images: int
    fresh: int
    shards: int
    bytes: int
    skipped: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Shard:
    """Some samples of a split, in the order in which they are written; `start` is the number of the first."""

    path: Path
    samples: Samples
    order: NDArray[np.int64]
    start: int


def pack(
    source: Path,
    destination: Path,
    form: Form | None = None,
    *,
    workers: int = 4,
    validation: float = VALIDATION,
    progress: Progress | None = None,
) -> Packed:
    """Pack the set at `source` into a folder, or go on with it. The source is only read.

    A set without images to test on is divided as in `open_dataset`. `progress` counts images. Raises DataError, also
    for more than 1 % of broken images (ten in a set below 1,000).
    """
    form = form or Form()
    _check_places(source, destination)
    contents = with_test(read_contents(source, progress), validation, progress)
    record = {"format": 1, "set": fingerprint(contents), **asdict(form), "pillow": PIL.__version__}
    try:
        with _hold(destination, record):
            _write(destination / CLASSES, json.dumps(contents.classes, indent=0).encode())
            shards = _plan(contents, destination, form)
            fresh = _Packing(shards, form, destination / _WORK, progress).run(workers)
            skipped = tuple(_skipped(shards, destination))
            _write(destination / _SKIPPED, "".join(f"{line}\n" for line in skipped).encode())
    except OSError as error:
        raise DataError(
            f"{shown(destination)}: cannot be written: {error.strerror or error}; make room, or choose another folder"
        ) from None
    total = sum(len(shard.order) for shard in shards)
    size = sum(shard.path.stat().st_size for shard in shards)
    return Packed(destination, total - len(skipped), fresh, len(shards), size, skipped)


def _check_places(source: Path, destination: Path) -> None:
    """Nothing is written into the source, nor among files of somebody else's."""
    inner, outer = destination.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise DataError(
            f"{shown(destination)}: lies in the set itself, which is never written to; choose another folder"
        )
    if destination.exists() and not destination.is_dir():
        raise DataError(f"{shown(destination)}: is no folder; choose another one")
    if destination.is_dir() and any(destination.iterdir()) and not (destination / _RECORD).is_file():
        raise DataError(f"{shown(destination)}: is not empty, and nothing was packed into it; choose another folder")


@contextlib.contextmanager
def _hold(folder: Path, record: dict[str, object]) -> Iterator[None]:
    """A folder of this record, made or found, which no other process packs into."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _WORK).mkdir(exist_ok=True)
    with (folder / _WORK / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{shown(folder)}: another process packs into it; wait for it, or stop it") from None
        if (folder / _RECORD).exists():
            _check_record(folder / _RECORD, record)
        else:
            _write(folder / _RECORD, json.dumps(record, indent=2).encode())
        for litter in (folder / _WORK).glob("new-*"):
            litter.unlink()
        yield


def _check_record(path: Path, record: dict[str, object]) -> None:
    try:
        before = json.loads(path.read_bytes())
        changed = [key for key in record if before[key] != record[key]]
    except (ValueError, LookupError, TypeError):
        raise DataError(f"{shown(path)}: damaged, or not from packing; choose another folder") from None
    if changed:
        key = changed[0]
        what = "other images" if key == "set" else f"{key} {shown(before[key])}, now {shown(record[key])}"
        raise DataError(f"{shown(path.parent)}: was begun with {what}; give the same, or another folder")


def _plan(contents: Contents, folder: Path, form: Form) -> list[_Shard]:
    """The shards in order; images of all classes are mixed, always in the same way."""
    shards = []
    for use, part in (("train", contents.train), ("val", contents.test)):
        if part is None:
            continue
        order = random.permutation(random.derive_key(0, f"pack {use}"), len(part))
        for number, start in enumerate(range(0, len(order), form.per_shard)):
            path = folder / f"{use}-{number:06}.tar"
            shards.append(_Shard(path, Samples(contents.index, part), order[start : start + form.per_shard], start))
    return shards


class _Packing:
    """Writes the shards that are missing."""

    def __init__(self, shards: list[_Shard], form: Form, work: Path, progress: Progress | None) -> None:
        self.shards, self.form, self.work, self.progress = shards, form, work, progress
        self.total = sum(len(shard.order) for shard in shards)
        self.done = sum(len(shard.order) for shard in shards if shard.path.exists())
        self.stopped = False

    def run(self, workers: int) -> int:
        """How many images were packed."""
        broken = 0
        missing = [shard for shard in self.shards if not shard.path.exists()]
        # Decoding, resizing and encoding run outside of Python's lock.
        with ThreadPoolExecutor(workers, "convjit-pack") as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            futures: set[Future[int]] = {pool.submit(self._shard, shard) for shard in missing}
            try:
                while futures:
                    finished, futures = wait(futures, timeout=0.2, return_when=FIRST_COMPLETED)
                    broken += sum(future.result() for future in finished)
                    if broken > max(_FEW, self.total // 100):
                        raise DataError(
                            f"{broken} of {self.done} images are broken; allowed are 1 %: convjit data scan names them"
                        )
                    if self.progress:
                        self.progress(self.done, self.total)
            finally:
                self.stopped = True
                pool.shutdown(cancel_futures=True)
        return sum(len(shard.order) for shard in missing)

    def _shard(self, shard: _Shard) -> int:
        """Write one shard; how many of its images are broken."""
        reasons: list[str] = []
        handle, name = tempfile.mkstemp(prefix="new-", dir=self.work)
        try:
            with os.fdopen(handle, "wb") as file:
                with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                    for number, place in enumerate(shard.order.tolist(), shard.start):
                        if self.stopped:
                            return 0
                        self._image(tar, shard.samples, place, number, reasons)
                        self.done += 1
                file.flush()
                os.fsync(file.fileno())
            if reasons:
                _write(self.work / f"{shard.path.name}.txt", "".join(f"{one}\n" for one in reasons).encode())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).rename(shard.path)
        finally:
            Path(name).unlink(missing_ok=True)
        return len(reasons)

    def _image(self, tar: tarfile.TarFile, samples: Samples, place: int, number: int, reasons: list[str]) -> None:
        try:
            data, end = packed_image(samples.read(place), self.form)
        except (BrokenImageError, OSError) as error:
            reason = f"cannot be read: {error.strerror or error}" if isinstance(error, OSError) else error
            reasons.append(f"{samples.name(place)}: {reason}")
            return
        label = str(samples.labels[place]).encode(), "cls"
        if samples.targets is not None:
            label = json.dumps({"labels": np.flatnonzero(samples.targets[place]).tolist()}).encode(), "json"
        for content, suffix in ((data, end), label):
            member = tarfile.TarInfo(f"{number:08}.{suffix}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def packed_image(data: bytes, form: Form) -> tuple[bytes, str]:
    """An image's bytes in the shard, and how its name ends; BrokenImageError if it is none.

    The shorter side becomes `form.side` pixels, filtered by Lanczos' window of three lobes; what is no larger stays.
    """

    def size(height: int, width: int) -> tuple[int, int]:
        scale = min(1.0, form.side / min(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    picture = decode_picture(data, size)
    height, width = size(picture.height, picture.width)
    if (height, width) == (picture.height, picture.width):
        return data, next((end for magic, end in _MAGIC.items() if data.startswith(magic)), "ppm")
    file = io.BytesIO()
    picture.image.resize((width, height), Image.Resampling.LANCZOS).save(file, "JPEG", quality=form.quality)
    return file.getvalue(), "jpg"


def _skipped(shards: list[_Shard], folder: Path) -> Iterator[str]:
    """The reasons that stand beside the shards."""
    for shard in shards:
        with contextlib.suppress(FileNotFoundError):
            yield from (folder / _WORK / f"{shard.path.name}.txt").read_text("utf-8").splitlines()


def _write(path: Path, data: bytes) -> None:
    """A small file that is whole or not there."""
    handle, name = tempfile.mkstemp(prefix=".new-", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    Path(name).chmod(0o666 & ~_umask())
    Path(name).replace(path)


def _umask() -> int:
    """What this process takes off the rights of new files; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
