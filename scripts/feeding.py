"""What decoding costs a training: images/s with image files beside images/s with arrays that are ready.

    python scripts/feeding.py FOLDER [--net alexnet] [--batch 128] [--steps 3] [--rounds 3] [--threads N]

FOLDER holds JPEG files, searched below it too; they are repeated as often as the steps need, and none is kept decoded.
Rounds with and without decoding alternate, since a machine is seldom alone, and are compared pair by pair. Then every
stage by itself, on one core: reading, decoding, scaling and cutting. Nothing is written.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from convjit.data import Augmentation, Encoded, Feeder, FileImages, Images, Preprocessing
from convjit.data.decode import Picture
from convjit.data.preprocessing import Window, cover
from convjit.train.initial import initial_weights
from convjit.train.job import net_of
from convjit.train.prepare import augmentation_of, preprocessing_of
from convjit.train.session import Session


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--net", default="alexnet")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    os.environ["CONVJIT_IMAGE_MEMORY"] = "0"
    found = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    net, recipe, _ = net_of(options.net)
    paths = (found * -(-options.batch * (options.steps + 1) // len(found)))[: options.batch * (options.steps + 1)]
    files = FileImages(paths, (np.arange(len(paths)) % net.classes).astype(np.int32))
    preprocessing = preprocessing_of(net, recipe)
    unique = [preprocessing.centre(preprocessing.picture(path.read_bytes())) for path in found[: len(paths)]]
    ready = Images(np.stack(unique)[np.arange(len(paths)) % len(unique)], files.labels)
    mean = np.full((net.input.channels, net.input.height, net.input.width), 120, np.float32)
    drawn = augmentation_of(net, recipe, mean)
    axes = 20 * np.eye(net.input.channels, dtype=np.float32) if recipe.colour_noise else None
    with Session(net, options.batch, mean, axes=axes, preprocessing=preprocessing, threads=options.threads) as session:
        session.executor("train")
        session.set_arrays(initial_weights(net, 1).items())
        rates: dict[str, list[float]] = {"ready": [], "decoded": []}
        waits: list[float] = []
        for _ in range(options.rounds):
            for name, images in (("ready", ready), ("decoded", files)):
                rate, wait = _round(session, images, options.batch, options.steps, drawn, preprocessing)
                rates[name].append(rate)
                if name == "decoded":
                    waits.append(wait)
                print(f"{name}: {rate:.2f} images/s, {wait:.1%} of the time waiting for data", flush=True)
    plain, real = (statistics.median(rates[name]) for name in ("ready", "decoded"))
    pairs = sorted(b / a for a, b in zip(rates["ready"], rates["decoded"], strict=True))
    print(f"images/s, medians: {plain:.2f} with ready arrays, {real:.2f} with decoding")
    print(f"pair by pair: {statistics.median(pairs):.1%}, from {pairs[0]:.1%} to {pairs[-1]:.1%}")
    for stage, seconds in _stages(files, preprocessing).items():
        print(f"{stage}: {1e3 * seconds:.2f} ms of a core for an image, {seconds * real:.1%} of a core while training")


def _round(
    session: Session, images: Images | Encoded, batch: int, steps: int, drawn: Augmentation, to: Preprocessing
) -> tuple[float, float]:
    """Images per second over some steps after a first one, and the share of the time spent waiting for data."""
    waited = 0.0
    with Feeder(
        images, batch, seed=1, stop_step=steps + 1, shuffle=True, augmentation=drawn, preprocessing=to
    ) as feeder:
        first = next(feeder)
        session.step(first, seed=1, progress=0, epoch=0)
        start = time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            one = next(feeder)
            waited += time.perf_counter() - asked
            session.step(one, seed=1, progress=0, epoch=0)
        seconds = time.perf_counter() - start
    return batch * steps / seconds, waited / seconds


def _stages(files: FileImages, to: Preprocessing) -> dict[str, float]:
    """Seconds of a core that an image takes, by stage: the least of three passes over up to 200 images."""
    count = min(len(files), 200)
    data = [files.read(i) for i in range(count)]
    pictures = [to.picture(one) for one in data]
    out = np.empty(to.image, np.uint8)
    (height, width), seen = to.size, to.seen

    def cut(picture: Picture) -> None:
        rows, columns = cover(picture.height, picture.width, (height, width))
        to.take(picture, Window(rows, columns, (rows - seen[0]) // 2, (columns - seen[1]) // 2, *seen), out)

    stages: dict[str, Callable[[int], object]] = {
        "reading": files.read,
        "decoding": lambda i: to.picture(data[i]),
        "scaling and cutting": lambda i: cut(pictures[i]),
    }
    return {name: min(_timed(stage, count) for _ in range(3)) / count for name, stage in stages.items()}


def _timed(stage: Callable[[int], object], count: int) -> float:
    start = time.thread_time()
    for index in range(count):
        stage(index)
    return time.thread_time() - start


if __name__ == "__main__":
    main()
