"""Gate D1: thousands of damaged and odd images are decoded or refused with a reason, quickly, and in little memory.

    python scripts/broken_images.py [--count 10000] [--seed 1] [--keep FOLDER]

Every image is made from one of 100 good ones. None may take more than 2 s of CPU, or raise anything but the one error
that says why an image cannot be used; the process may grow by 200 MB. What is odd but right must be decoded, what is no
image must be refused. Then all of them lie in one set: each broken one is named once, and the run stops past the limit.
"""

from __future__ import annotations

import argparse
import io
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from convjit.data import FileImages, Preprocessing, batches_in_order
from convjit.data.decode import BrokenImageError, quiet
from convjit.errors import DataError

TO = Preprocessing((3, 64, 64))
MOST_SECONDS, MOST_GROWTH = 2.0, 200 << 20
Make = Callable[[np.random.Generator, Image.Image, bytes], bytes]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def good(rng: np.random.Generator) -> Image.Image:
    """A smooth picture of some size."""
    height, width = (int(side) for side in rng.integers(40, 400, 2))
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def flipped(rng: np.random.Generator, data: bytes) -> bytes:
    """With 1 to 100 bits flipped."""
    found = np.frombuffer(data, np.uint8).copy()
    for place in rng.integers(0, len(found), int(rng.integers(1, 101))):
        found[place] ^= 1 << int(rng.integers(0, 8))
    return found.tobytes()


def zeroed(rng: np.random.Generator, data: bytes) -> bytes:
    """With a stretch of zeros."""
    start = int(rng.integers(0, len(data)))
    length = int(rng.integers(1, len(data)))
    return (data[:start] + b"\0" * length + data[start + length :])[: len(data)]


def png(width: int, height: int, depth: int = 8, colour: int = 2, rows: int = 1) -> bytes:
    """A PNG whose header says any size, with few rows."""
    row = b"\0" + b"\0" * (width * depth * {0: 1, 2: 3}[colour] // 8)
    body = zlib.compress(row * rows) if len(row) < 1 << 20 else zlib.compress(b"\0" * (1 << 20))

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", body) + part(b"IEND", b"")


def resized_jpeg(data: bytes, width: int, height: int) -> bytes:
    """A JPEG whose header says any size."""
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))
    return data[: at + 5] + struct.pack(">2H", height, width) + data[at + 9 :]


def text_bomb(image: Image.Image) -> bytes:
    """A PNG with 50 MB of compressed text."""
    about = PngImagePlugin.PngInfo()
    about.add_text("comment", "x" * 50_000_000, zip=True)
    return saved(image, "PNG", pnginfo=about)


def deep(image: Image.Image) -> bytes:
    """Grey of 16 bits."""
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return saved(Image.fromarray(grey), "PNG")


def animated(image: Image.Image, kind: str) -> bytes:
    frames = [image.rotate(angle) for angle in (90, 180)]
    return saved(image, kind, save_all=True, append_images=frames)


DECODED: dict[str, Make] = {
    "untouched JPEG": lambda rng, image, data: data,
    "progressive JPEG": lambda rng, image, data: saved(image, "JPEG", progressive=True),
    "PNG called .jpg": lambda rng, image, data: saved(image, "PNG"),
    "WebP": lambda rng, image, data: saved(image, "WEBP"),
    "BMP": lambda rng, image, data: saved(image, "BMP"),
    "PPM": lambda rng, image, data: saved(image, "PPM"),
    "CMYK JPEG": lambda rng, image, data: saved(image.convert("CMYK"), "JPEG"),
    "grey JPEG": lambda rng, image, data: saved(image.convert("L"), "JPEG"),
    "16-bit PNG": lambda rng, image, data: deep(image),
    "palette PNG": lambda rng, image, data: saved(image.convert("P"), "PNG", transparency=3),
    "LA PNG": lambda rng, image, data: saved(image.convert("LA"), "PNG"),
    "RGBA PNG": lambda rng, image, data: saved(image.convert("RGBA"), "PNG"),
    "one-bit PNG": lambda rng, image, data: saved(image.convert("1"), "PNG"),
    "animated WebP": lambda rng, image, data: animated(image, "WEBP"),
    "animated PNG": lambda rng, image, data: animated(image, "PNG"),
    "one pixel": lambda rng, image, data: saved(image.resize((1, 1)), "PNG"),
    "one pixel high": lambda rng, image, data: saved(image.resize((2000, 1)), "PNG"),
    "65,500 pixels wide": lambda rng, image, data: saved(image.resize((65_500, 2)), "JPEG"),
    "wrong note of orientation": lambda rng, image, data: saved(image, "JPEG", exif=b"Exif\0\0MM\0*" + rng.bytes(60)),
}
REFUSED: dict[str, Make] = {
    "zero bytes": lambda rng, image, data: b"",
    "zeros": lambda rng, image, data: bytes(int(rng.integers(1, 9999))),
    "noise": lambda rng, image, data: rng.bytes(int(rng.integers(1, 9999))),
    "HTML called .jpg": lambda rng, image, data: b"<!DOCTYPE html><title>404 Not Found</title>" + data[:50],
    "half a JPEG": lambda rng, image, data: data[: int(len(data) * rng.uniform(0.01, 0.6))],
    "PNG bomb": lambda rng, image, data: png(50_000, 50_000, *((1, 0) if rng.random() < 0.5 else (8, 2))),
    "JPEG bomb": lambda rng, image, data: resized_jpeg(data, 50_000, 50_000),
    "progressive JPEG bomb": lambda rng, image, data: resized_jpeg(saved(image, "JPEG", progressive=True), 8000, 8000),
    "GIF": lambda rng, image, data: saved(image, "GIF"),
    "TIFF": lambda rng, image, data: saved(image, "TIFF"),
}
EITHER: dict[str, Make] = {
    "flipped JPEG": lambda rng, image, data: flipped(rng, data),
    "flipped progressive JPEG": lambda rng, image, data: flipped(rng, saved(image, "JPEG", progressive=True)),
    "flipped PNG": lambda rng, image, data: flipped(rng, saved(image, "PNG")),
    "flipped WebP": lambda rng, image, data: flipped(rng, saved(image, "WEBP")),
    "flipped BMP": lambda rng, image, data: flipped(rng, saved(image, "BMP")),
    "zeros in a JPEG": lambda rng, image, data: zeroed(rng, data),
    "zeros in a PNG": lambda rng, image, data: zeroed(rng, saved(image, "PNG")),
    "cut JPEG": lambda rng, image, data: data[: int(rng.integers(0, len(data)))],
    "cut PNG": lambda rng, image, data: (cut := saved(image, "PNG"))[: int(rng.integers(0, len(cut)))],
    # Its data end as they should, too early: Pillow leaves the rest black.
    "few rows of many": lambda rng, image, data: png(3000, 3000),
    "another size in the header": lambda rng, image, data: resized_jpeg(data, *map(int, rng.integers(1, 9000, 2))),
    "text bomb": lambda rng, image, data: text_bomb(image.resize((9, 9))),
}
KINDS = {**DECODED, **REFUSED, **EITHER}
RARE = {"text bomb": 20}
"""Kinds that take long to make: one in so many of their turns."""


def made(count: int, seed: int) -> list[tuple[str, bytes]]:
    """(kind, contents) of so many images."""
    rng = np.random.default_rng(seed)
    pictures = [good(rng) for _ in range(100)]
    jpegs = [saved(image, "JPEG", quality=int(rng.integers(40, 100))) for image in pictures]
    names = list(KINDS)
    found = []
    for number in range(count):
        name = names[number % len(names)]
        if number // len(names) % RARE.get(name, 1):
            name = "flipped JPEG"
        which = int(rng.integers(0, 100))
        found.append((name, KINDS[name](rng, pictures[which], jpegs[which])))
    return found


def memory(field: str) -> int:
    """What Linux says of this process: VmRSS, its memory, or VmHWM, the most that it has had; in bytes."""
    text = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{field}:"))) * 1024


def check(images: list[tuple[str, bytes]], show: Callable[[str], object]) -> list[str]:
    """What is wrong; [] if nothing is."""
    quiet()
    # From here on the peak is counted anew.
    Path("/proc/self/clear_refs").write_text("5")
    before, slowest, wrong = memory("VmRSS"), (0.0, ""), list[str]()
    counts: Counter[tuple[str, bool]] = Counter()
    for number, (name, data) in enumerate(images):
        start = time.thread_time()
        try:
            pixels = TO.centre(TO.picture(data))
            decoded = True
            if pixels.shape != TO.image:
                wrong.append(f"image {number}, {name}: came out as {pixels.shape}")
        except BrokenImageError as error:
            decoded = False
            if not str(error):
                wrong.append(f"image {number}, {name}: refused without a reason")
        except Exception as error:
            wrong.append(f"image {number}, {name}: {type(error).__name__}: {error}")
            continue
        seconds = time.thread_time() - start
        slowest = max(slowest, (seconds, name))
        if seconds > MOST_SECONDS:
            wrong.append(f"image {number}, {name}: took {seconds:.1f} s of CPU")
        if (name in DECODED and not decoded) or (name in REFUSED and decoded):
            wrong.append(f"image {number}, {name}: {'decoded' if decoded else 'refused'}")
        counts[name, decoded] += 1
    grown = memory("VmHWM") - before
    if grown > MOST_GROWTH:
        wrong.append(f"memory grew by {grown / 1e6:.0f} MB; allowed are {MOST_GROWTH / 1e6:.0f}")
    for name in KINDS:
        show(f"{name:28} {counts[name, True]:5} decoded {counts[name, False]:5} refused")
    show(f"slowest {slowest[0]:.2f} s ({slowest[1]}), memory grew by {grown / 1e6:.0f} MB")
    return wrong


def check_set(images: list[tuple[str, bytes]], folder: Path) -> list[str]:
    """As one set on disk, with so many good ones that 1 % is just not passed, and then with one less."""
    folder.mkdir(parents=True, exist_ok=True)
    broken = [data for name, data in images if name in REFUSED][:12]
    plain = saved(Image.new("RGB", (8, 8)), "PNG")
    paths = [folder / f"{number}.jpg" for number in range(1201)]
    for path, data in zip(paths, [*broken, *[plain] * (len(paths) - len(broken))], strict=True):
        path.write_bytes(data)
    wrong = []
    for size, ends in ((1201, False), (1199, True)):
        # Bad ones lie far apart.
        order = [paths[i * 7 % len(paths)] for i in range(len(paths))]
        files = FileImages([*order[: size - 1], order[-1]] if size < 1201 else order, np.zeros(size, np.int32))
        bad = {str(path) for path in files.paths if int(path.stem) < len(broken)}
        try:
            lines = [line for batch in batches_in_order(files, 50, TO) for line in batch.broken]
        except DataError as error:
            if not ends or f"of {size} images are broken" not in str(error):
                wrong.append(f"a set of {size}: {error}")
            continue
        if ends and len(bad) > size // 100:
            wrong.append(f"a set of {size} with {len(bad)} broken images was read to its end")
        if sorted(line.partition(": ")[0] for line in lines) != sorted(bad):
            wrong.append(f"a set of {size}: {len(lines)} lines about {len(bad)} broken images")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True, help="where a small set of files is written")
    options = parser.parse_args()
    images = made(options.count, options.seed)
    wrong = check(images, print) + check_set(images, options.folder)
    for line in wrong[:20]:
        print(f"WRONG: {line}")
    print(f"{len(images):,} images: {f'{len(wrong)} faults' if wrong else 'each decoded or refused with a reason'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
