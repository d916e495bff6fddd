"""Reading compressed bytes that nobody vouches for: bounded in size, in growth and in memory."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from typing import BinaryIO, Protocol

from convjit.errors import DataError

try:
    import zstandard
except ImportError:  # An optional package.
    zstandard = None  # type: ignore[assignment]

__all__ = ["GZIP", "Limited", "check_growth", "compression", "gunzip", "shown"]

GZIP = b"\x1f\x8b"
_MAGIC = {GZIP: "gz", b"\xfd7zXZ\0": "xz", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zst"}

# Images and labels shrink by 3 to 20 times; a bomb by 1,000. Small archives may grow to FLOOR whatever their ratio.
_RATIO = 200
_FLOOR = 64 << 20
_CEILING = 20 << 30
_XZ_MEMORY = 256 << 20
_ZSTD_MEMORY = 128 << 20

_DAMAGE: tuple[type[Exception], ...] = (EOFError, OSError, ValueError, zlib.error, lzma.LZMAError)
if zstandard is not None:
    _DAMAGE = (*_DAMAGE, zstandard.ZstdError)


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class Limited:
    """The decompressed bytes of an archive of `size` bytes, read in order and never more than `allow` has granted."""

    def __init__(self, where: str, raw: BinaryIO, size: int) -> None:
        packing = compression(raw.read(8))
        raw.seek(0)
        self._where = where
        self._inner: _Readable = raw
        if packing == "gz":
            self._inner = gzip.GzipFile(fileobj=raw)
        elif packing == "bz2":
            self._inner = bz2.BZ2File(raw)
        elif packing == "xz":
            self._inner = _Xz(raw)
        elif packing == "zst":
            self._inner = _unzstd(raw, where)
        self._size = size
        self._granted = self._count = 0

    def allow(self, size: int) -> None:
        """Grant `size` bytes from here on, in place of what was granted before."""
        self._granted = self._count + size

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end; DataError for damage and beyond the limits."""
        try:
            data = self._inner.read(size)
        except MemoryError:
            raise DataError(f"{self._where}: unpacking needs more memory than there is") from None
        except _DAMAGE as error:
            raise DataError(f"{self._where}: damaged or cut short ({shown(error)}); fetch it again") from None
        self._count += len(data)
        check_growth(self._where, self._size, self._count)
        if self._count > self._granted:
            raise DataError(
                f"{self._where}: a header in this archive is longer than any real one; it is damaged or hostile"
            )
        return data


class _Xz:
    """lzma.LZMAFile with a bound on the memory that a header can ask for."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._decoder = self._fresh()

    def read(self, size: int = -1, /) -> bytes:
        while True:
            data = b""
            if self._decoder.eof:
                # Streams may follow one another, with zeros in between.
                data = self._decoder.unused_data.lstrip(b"\0")
                while not data:
                    block = self._raw.read(1 << 16)
                    if not block:
                        return b""
                    data = block.lstrip(b"\0")
                self._decoder = self._fresh()
            elif self._decoder.needs_input:
                data = self._raw.read(1 << 16)
                if not data:
                    raise EOFError("the end of the stream is missing")
            if out := self._decoder.decompress(data, size):
                return out

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _unzstd(raw: BinaryIO, where: str) -> _Readable:
    """What the optional package zstandard reads, with a bound on the memory that a header can ask for."""
    if zstandard is None:
        raise DataError(
            f"{where}: zstandard needs a package more: pip install 'convjit[zstd]'; or pack it as .tar.gz or .tar.xz"
        )
    return zstandard.ZstdDecompressor(max_window_size=_ZSTD_MEMORY).stream_reader(raw, read_across_frames=True)


def check_growth(where: str, size: int, count: int) -> None:
    """DataError if `count` unpacked bytes are more than an honest archive of `size` bytes holds."""
    # What is larger than half the ceiling itself holds something that hardly shrinks.
    allowed = min(max(_FLOOR, _RATIO * size), max(_CEILING, 2 * size))
    if count > allowed:
        raise DataError(
            f"{where}: unpacks to more than {allowed >> 20} MB; allowed is {_RATIO} times its size, "
            f"at most {_CEILING >> 30} GB: unpack it yourself if you trust it"
        )


def compression(start: bytes) -> str | None:
    """ "gz", "xz", "bz2" or "zst", told by a file's first 8 bytes."""
    return next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)


def gunzip(data: bytes, where: str, start: int, size: int) -> bytes:
    """Up to `size` bytes of a gzip file's contents from `start` on; DataError naming `where` for damage."""
    try:
        decoder = zlib.decompressobj(wbits=31)
        out = decoder.decompress(data, start + size)
        while len(out) < start + size and decoder.eof and decoder.unused_data.startswith(GZIP):
            data, decoder = decoder.unused_data, zlib.decompressobj(wbits=31)
            out += decoder.decompress(data, start + size - len(out))
        if len(out) < start + size and not decoder.eof:
            raise EOFError("the end of the stream is missing")
    except (EOFError, zlib.error) as error:
        raise DataError(f"{where}: damaged or cut short ({shown(error)}); fetch it again") from None
    return out[start:]


def shown(what: object) -> str:
    """A name or reason from outside, fit for a one-line message: control characters escaped, length bounded."""
    text = str(what)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= 400 else f"{text[:200]}...{text[-180:]}"
