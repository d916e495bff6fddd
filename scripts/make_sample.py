"""Cut the sample images of convjit's first run from Fashion-MNIST (Debian: dataset-fashion-mnist)."""

from __future__ import annotations

import argparse
import gzip
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convjit.data.idx import parse_idx

TARGET = Path(__file__).parents[1] / "src" / "convjit" / "sample"
CLASSES = 10
COUNTS = {"train": 10_000, "t10k": 2_000}
MAX_BYTES = 7_000_000

README = """\
# The sample images

The first 1,000 training images and the first 200 test images of each of the ten classes of Fashion-MNIST, in the order
of the original files: 28x28 grey pictures of clothes (Xiao, Rasul, Vollgraf, "Fashion-MNIST: a novel image dataset for
benchmarking machine learning algorithms", 2017, https://github.com/zalandoresearch/fashion-mnist). The licence is in
`LICENSE`. Made by `scripts/make_sample.py`; read with `convjit.data.sample()`.
"""

LICENSE = """\
The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"), help="folder of the set"
    )
    parser.add_argument("--target", type=Path, default=TARGET, help="folder to write")
    options = parser.parse_args()
    options.target.mkdir(parents=True, exist_ok=True)
    for split, count in COUNTS.items():
        images, labels = (_read(options.source, split, kind) for kind in ("images", "labels"))
        chosen = _first_of_each(labels, count // CLASSES)
        _write(options.target, split, "images", images[chosen])
        _write(options.target, split, "labels", labels[chosen])
    (options.target / "README.md").write_text(README, "utf-8")
    (options.target / "LICENSE").write_text(LICENSE, "utf-8")
    size = sum(file.stat().st_size for file in options.target.iterdir())
    if size > MAX_BYTES:
        raise SystemExit(f"error: {options.target} has {size:,} bytes; allowed are {MAX_BYTES:,}")
    print(f"{options.target}: {size:,} bytes")


def _first_of_each(labels: NDArray[np.uint8], count: int) -> NDArray[np.int64]:
    """Indices of the first `count` images of each class, in the order of the file."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(CLASSES)]))


def _name(split: str, kind: str) -> str:
    return f"{split}-{kind}-idx{3 if kind == 'images' else 1}-ubyte.gz"


def _read(folder: Path, split: str, kind: str) -> NDArray[np.uint8]:
    path = folder / _name(split, kind)
    return parse_idx(path.read_bytes(), str(path), kind)


def _write(folder: Path, split: str, kind: str, array: NDArray[np.uint8]) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    # No time in the file, so that the same images give the same bytes.
    (folder / _name(split, kind)).write_bytes(gzip.compress(header + array.tobytes(), 9, mtime=0))


if __name__ == "__main__":
    main()
