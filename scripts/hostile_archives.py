"""Damage archives at random, open them, and see that nothing but one-line errors comes of it (gate D6, long form).

    python scripts/hostile_archives.py --cases 10000

Bases are class folders and shards in all three forms of tar, plain and packed. A case flips bits, overwrites, cuts,
doubles or exchanges pieces, and mends the checksums of headers in half of the cases, so that the damage is believed.
The exit code is 1 if a case raised anything else, wrote anything, or took more than two seconds or 200 MB.
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import resource
import sys
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PACKERS = {"": bytes, ".gz": lambda data: gzip.compress(data, 1), ".xz": lzma.compress, ".bz2": bz2.compress}
with contextlib.suppress(ImportError):
    import zstandard

    PACKERS[".zst"] = zstandard.compress
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
DEEDS = {"os.mkdir", "os.symlink", "os.link", "os.rename", "os.remove", "os.rmdir", "os.chmod", "subprocess.Popen"}
SECONDS, MEGABYTES = 2.0, 200.0

watching = [False]
seen: list[str] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Notes what is written or started while a set is opened."""
    if watching[0] and (event in DEEDS or (event == "open" and isinstance(arguments[2], int) and arguments[2] & 3)):
        seen.append(f"{event} {arguments[0]}")


def base(form: int, shards: bool) -> bytes:
    """A good archive of eight images."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for i in range(8):
            file = io.BytesIO()
            pixels = np.random.default_rng(i).integers(0, 255, (5 + i % 2, 6, 3), np.uint8)
            Image.fromarray(pixels).save(file, "PNG")
            padding = "n" * (120 if i % 2 and form != tarfile.USTAR_FORMAT else 60)
            name = f"{i:04}" if shards else f"{('train', 'val')[i // 4]}/{'ab'[i % 2]}/{padding}{i}"
            for end, data in ((".png", file.getvalue()), *([(".cls", b"%d" % (i % 2))] * shards)):
                info = tarfile.TarInfo(name + end)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The archive after one to six mishaps."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        place = chance.randrange(max(1, len(made) // 512)) * 512 + chance.choice((0, 100, 124, 148, 156, 257, 345, 511))
        place = min(place, len(made) - 1)
        kind = chance.randrange(7)
        if kind == 0:
            made[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            made[place : place + chance.randrange(1, 13)] = chance.randbytes(chance.randrange(1, 13))
        elif kind == 2:
            del made[place // 512 * 512 : place // 512 * 512 + 512]
        elif kind == 3:
            made[place:place] = made[place // 512 * 512 : place // 512 * 512 + 512]
        elif kind == 4 and chance.random() < 0.3:
            del made[place:]
        elif kind == 5:
            made[place // 512 * 512 + 156 : place // 512 * 512 + 157] = chance.choice(b"01234567LKxgSDVMX\0").to_bytes()
        elif kind == 6:
            digits = chance.choice((b"77777777777", b"00000000000", b"\x80" + b"\xff" * 10, b"-1", b" 1 "))
            made[place // 512 * 512 + 124 : place // 512 * 512 + 124 + len(digits)] = digits
        made = made or bytearray(b"x")
    if chance.random() < 0.5:
        for start in range(0, len(made) - 511, 512):
            if made[start + 257 : start + 262] == b"ustar":
                made[start + 148 : start + 156] = b" " * 8
                made[start + 148 : start + 156] = b"%06o\0 " % sum(made[start : start + 512])
    return bytes(made)


def case(path: Path) -> str:
    """How opening a set and reading it whole ended."""
    from convjit.data.layouts import read_contents
    from convjit.data.split import digests
    from convjit.errors import DataError

    try:
        contents = read_contents(path)
        digests(contents.index, contents.train.rows)
        for row in range(len(contents.index)):
            contents.index.read(row)
    except DataError as error:
        assert "\n" not in str(error), f"more than one line: {error!r}"
        return "refused"
    except OSError:
        return "unreadable"
    return "read"


def main() -> int:
    """0 if every case ended well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    bases = [base(form, shards) for form in FORMATS for shards in (False, True)]
    sys.addaudithook(watch)
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["CONVJIT_CACHE"] = f"{temporary}/cache"
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(options.cases):
            end, packer = chance.choice(list(PACKERS.items()))
            data = packer(damaged(chance.choice(bases), chance))
            if end and chance.random() < 0.2:
                data = damaged(data, chance)
            path = Path(temporary) / f"x.tar{end}"
            path.write_bytes(data)
            began = time.process_time()
            watching[0] = True
            try:
                ends[case(path)] += 1
            except Exception as error:
                kept = Path(f"hostile-{options.seed}-{number}.tar{end}")
                watching[0] = False
                kept.write_bytes(data)
                raise SystemExit(f"case {number}: {error!r}; the archive is {kept}") from error
            finally:
                watching[0] = False
            if seen or time.process_time() - began > SECONDS:
                raise SystemExit(f"case {number}: {seen or 'too slow'}")
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) / 1024
    print(f"{options.cases} archives: {dict(ends)}; memory grew by {grown:.0f} MB")
    return int(grown > MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
