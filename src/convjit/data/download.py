"""Fetching a data set over HTTP: resumed when it breaks off, used only when its checksum is right."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from convjit import settings
from convjit.data.cache import private_folder
from convjit.data.source import Progress
from convjit.data.stream import shown
from convjit.errors import DataError

__all__ = ["cifar10", "fetch"]

_CIFAR10 = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_CIFAR10_SIZE = 170_498_071
_CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"

_TIMEOUT = 30.0
_BLOCK = 1 << 16
# Seconds before the second attempt, doubled for every further one.
_PAUSE = 0.5
# Answers of a server that may be better in a moment.
_PASSING = {408, 425, 429, 500, 502, 503, 504}


class _BrokeOffError(Exception):
    """The transfer ended early; what came is kept, and the next attempt goes on from there."""


@dataclass(frozen=True)
class _Order:
    url: str
    part: Path
    size: int | None
    progress: Progress | None
    way_out: str


def fetch(
    url: str,
    destination: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
    attempts: int = 5,
) -> Path:
    """Download `url` to `destination` unless it is there already, and return it.

    At least one checksum must be given. Bytes go to "<destination>.part", which a later attempt or call continues if
    the server can; only a file of the right checksum gets its name. `progress(done, total)` counts bytes. Raises
    DataError.
    """
    if sha256 is None and md5 is None:
        raise ValueError("fetch needs a checksum")
    way_out = f"download it by hand from {url} and pass its path with --data"
    if not url.startswith(("http://", "https://")):
        raise DataError(f"{shown(url)}: not an address of the web; allowed are http:// and https://")
    if destination.exists():
        if found := _mismatch(destination, sha256, md5):
            raise DataError(f"{destination}: {found}; remove this file and try again, or {way_out}")
        return destination
    part = destination.with_name(destination.name + ".part")
    order = _Order(url, part, size, progress, way_out)
    for attempt in range(attempts):
        try:
            _transfer(order)
            break
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answered {error.code} {shown(error.reason)}"
            if error.code not in _PASSING:
                raise DataError(f"{url}: {reason}; {way_out}") from None
        except (_BrokeOffError, http.client.HTTPException, OSError) as error:
            reason = shown(getattr(error, "reason", None) or error) or type(error).__name__
        if attempt + 1 == attempts:
            raise DataError(f"{url}: {reason}, {attempts} attempts; try again to go on, or {way_out}") from None
        time.sleep(_PAUSE * 2**attempt)
    if found := _mismatch(part, sha256, md5):
        part.unlink()
        raise DataError(f"{url}: {found}; what came was removed: try again, or {way_out}")
    with _disk(order):
        part.replace(destination)
    return destination


def cifar10(progress: Progress | None = None) -> Path:
    """The official CIFAR-10 archive, 170 MB, downloaded to the cache folder at the first call."""
    folder = settings.cache_folder() / "downloads"
    try:
        private_folder(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made: {error.strerror}; set CONVJIT_CACHE to a folder that can be written"
        ) from None
    return fetch(
        _CIFAR10, folder / "cifar-10-python.tar.gz", sha256=_CIFAR10_SHA256, size=_CIFAR10_SIZE, progress=progress
    )


def _transfer(order: _Order) -> None:
    """One attempt, from where the part ends; _BrokeOffError, HTTPError and OSError may be tried again."""
    start = order.part.stat().st_size if order.part.exists() else 0
    if start and start == order.size:
        return
    request = urllib.request.Request(order.url, headers={"User-Agent": "convjit", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        error.close()
        # The part is longer than the file: not a part of it.
        order.part.unlink(missing_ok=True)
        raise _BrokeOffError("the server has less than what is here already") from None
    with response:
        length = response.headers.get("Content-Length")
        rest = int(length) if length and length.isdecimal() else None
        resumed = re.match(rf"bytes {start}-\d+/(\d+|\*)$", response.headers.get("Content-Range", ""))
        if start and response.status == 206 and resumed:
            _receive(order, response, start, rest)
        elif response.status == 200:
            _receive(order, response, 0, rest)
        else:
            order.part.unlink(missing_ok=True)
            raise _BrokeOffError(f"the server answered {response.status} with another part than the one asked for")


def _receive(order: _Order, response: http.client.HTTPResponse, start: int, rest: int | None) -> None:
    total = order.size if order.size is not None else (start + rest if rest is not None else None)
    if total is not None and rest is not None and start + rest != total:
        raise DataError(
            f"{order.url}: the server offers {start + rest:,} bytes; expected are {total:,}: {order.way_out}"
        )
    done = start
    with _disk(order):
        file = order.part.open("ab" if start else "wb")
    with file:
        while block := response.read(_BLOCK):
            done += len(block)
            if total is not None and done > total:
                file.truncate(0)
                raise DataError(f"{order.url}: the server sends more than {total:,} bytes; {order.way_out}")
            with _disk(order):
                file.write(block)
            if order.progress:
                order.progress(done, max(done, total or 0))
        with _disk(order):
            file.flush()
    if total is not None and done < total:
        raise _BrokeOffError(f"the transfer broke off at {done:,} of {total:,} bytes")


@contextlib.contextmanager
def _disk(order: _Order) -> Iterator[None]:
    """Errors of our own disk are not tried again."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{order.part}: cannot be written: {error.strerror}; make room, or set CONVJIT_CACHE to another folder"
        ) from None


def _mismatch(path: Path, sha256: str | None, md5: str | None) -> str:
    """What is wrong with a file's checksum; empty if nothing is."""
    for kind, expected in (("sha256", sha256), ("md5", md5)):
        if expected is not None:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, kind).hexdigest()
            if found != expected.lower():
                return f"its {kind} is {found}, expected is {expected.lower()}"
    return ""
