"""Encoded images: brought to one size, upright, the same on any number of threads; broken ones named and replaced."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from photographs import TURNS, photograph, write_turned
from PIL import Image

from convjit.data import Augmentation, Batch, Dataset, Feeder, FileImages, Kept, Preprocessing, batches_in_order
from convjit.data.batch import drawn_labels
from convjit.data.decode import quiet
from convjit.data.decoder import MANY_IN_A_ROW, allowed, image_memory
from convjit.data.preprocessing import Window, cover
from convjit.data.statistics import colour_axes, mean_image
from convjit.errors import DataError, UsageError

SIDE = 24
TO = Preprocessing((3, SIDE, SIDE), (20, 20))
N = 30


class InMemory:
    """Image files that are bytes here."""

    def __init__(self, files: Sequence[bytes | OSError], targets: NDArray[np.uint8] | None = None) -> None:
        self.files, self.targets = files, targets
        self.labels = np.arange(len(files), dtype=np.int32)
        self.reads = 0

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> bytes:
        self.reads += 1
        data = self.files[index]
        if isinstance(data, OSError):
            raise data
        return data

    def name(self, index: int) -> str:
        return f"train/{index}.png"


def encoded(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def files() -> list[bytes | OSError]:
    rng = np.random.default_rng(0)
    sizes = rng.integers(20, 90, (N, 2)).tolist()
    return [encoded(photograph(rng, i, *size), "JPEG" if i % 2 else "PNG") for i, size in enumerate(sizes)]


def feed(images: Any, batch: int = 7, steps: int = 10, **options: Any) -> list[Batch]:
    drawn = Augmentation(crop=(20, 20), mirror=True, **options)
    with Feeder(images, batch, seed=3, stop_step=steps, shuffle=True, augmentation=drawn, preprocessing=TO) as feeder:
        return list(feeder)


WARPS = {"area": 0.3, "rotate": 15, "zoom": 0.2, "brightness": 0.3, "cutout": 5}


@pytest.mark.parametrize("options", [{}, WARPS], ids=["crops", "warps"])
def test_the_same_pixels_whatever_decodes_them(
    files: list[bytes | OSError], monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Any number of threads, with images kept or not, from any step."""
    found = []
    for threads, memory in (("1", "0"), ("3", "0"), ("3", "1000"), ("2", "1")):
        monkeypatch.setenv("CONVJIT_DECODERS", threads)
        monkeypatch.setenv("CONVJIT_IMAGE_MEMORY", memory)
        found.append(feed(InMemory(files), **options))
    monkeypatch.setenv("CONVJIT_IMAGE_MEMORY", "0")
    h, w = (20, 20) if not options else (SIDE, SIDE)
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            assert np.array_equal(one.pixels[:, :, :h, :w], two.pixels[:, :, :h, :w])
            for name in ("labels", "crops", "places", "colours", "cuts", "index"):
                assert np.array_equal(getattr(one, name), getattr(two, name)), name
    assert sorted(np.concatenate([b.index[: b.count] for b in found[0][:5]])) == list(range(N))


def test_kept_images_are_decoded_once(files: list[bytes | OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    for memory, least, most in (("1000", N, 2 * N), ("0", 5 * N, 5 * N)):
        monkeypatch.setenv("CONVJIT_IMAGE_MEMORY", memory)
        images = InMemory(files)
        feed(images, steps=25)
        # The next epoch may begin before the images of the last batches are kept.
        assert least <= images.reads <= most
    monkeypatch.setenv("CONVJIT_IMAGE_MEMORY", "much")
    with pytest.raises(UsageError, match="CONVJIT_IMAGE_MEMORY=much"):
        image_memory()


def test_what_tests_see_is_kept_from_one_to_the_next(files: list[bytes | OSError]) -> None:
    window = 3 * SIDE * SIDE
    plain = list(batches_in_order(InMemory(files), 7, TO))
    for room, again in ((N * window, 0), (10 * window + 5, N - 10), (0, N)):
        images, kept = InMemory(files), Kept(room)
        for reads in (N, N + again):
            for one, two in zip(plain, batches_in_order(images, 7, TO, kept), strict=True):
                assert np.array_equal(one.pixels, two.pixels) and np.array_equal(one.labels, two.labels)
                two.pixels[:] = 0
            assert images.reads == reads
        # Of another set, or for another size, nothing is there.
        assert kept.room == room - min(N, room // window) * window
        other, wider = InMemory(files), Preprocessing((3, SIDE + 1, SIDE), (20, 20))
        assert [len(list(batches_in_order(*what, kept))) for what in ((other, 7, TO), (images, 7, wider))] == [5, 5]
        assert other.reads == N and images.reads == 2 * N + again


def test_broken_files_cost_no_steps(files: list[bytes | OSError]) -> None:
    """Two processes that each train on a half take as many steps, though all broken files are in one of them."""
    halves = files[:15], files[15:]
    halves[1][2] = halves[1][3] = halves[1][14] = b"broken"
    shapes = [[(b.count, b.step, b.epoch, b.pixels.shape) for b in feed(InMemory(half), 4, 12)] for half in halves]
    assert shapes[0] == shapes[1] and len(shapes[0]) == 12


def test_training_and_tests_share_the_memory(files: list[bytes | OSError]) -> None:
    drawn, kept = Augmentation(crop=(20, 20)), Kept(10**6)
    images = InMemory(files)
    with Feeder(images, 7, seed=3, stop_step=5, shuffle=True, augmentation=drawn, preprocessing=TO, kept=kept) as some:
        assert len(list(some)) == 5
    room = kept.room
    assert 0 < room < 10**6
    list(batches_in_order(images, 7, TO, kept))
    assert kept.room == room - N * 3 * SIDE * SIDE


def test_one_of_several_labels_is_drawn(files: list[bytes | OSError]) -> None:
    """As of images in memory, whatever source they are from; a test takes the first."""
    targets = np.random.default_rng(0).integers(0, 2, (N, 4), np.uint8)
    images = InMemory(files, targets)
    images.labels = np.where(targets.any(1), targets.argmax(1), -1).astype(np.int32)
    seen = np.zeros((N, 5), bool)
    for batch in feed(images, steps=50):
        index, count = batch.index, batch.count
        assert np.array_equal(batch.labels[:count], drawn_labels(targets[index], 3, batch.epoch, index)[:count])
        seen[index[:count], batch.labels[:count]] = True
    assert np.array_equal(seen[:, :4] <= (targets > 0), np.ones((N, 4), bool)) and (seen[:, :4].sum(1) > 1).any()
    assert all(np.array_equal(b.labels, images.labels[b.index]) for b in batches_in_order(images, 6, TO))


def test_crops_are_those_of_the_scaled_image() -> None:
    """Cutting and scaling in one step gives what scaling and then cutting gives, to a rounding."""
    rng = np.random.default_rng(1)
    pixels = photograph(rng, 0, 90, 61)
    rows, columns = cover(90, 61, (SIDE, SIDE))
    assert (rows, columns) == (35, 24)
    whole = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    seen = set()
    for batch in feed(InMemory([encoded(pixels)] * N), steps=15):
        for image in batch.pixels[:, :, :20, :20].astype(int):
            places = [
                (y, x) for y in range(16) for x in range(5) if abs(whole[:, y : y + 20, x : x + 20] - image).max() <= 1
            ]
            assert len(places) == 1
            seen.update(places)
    assert {y for y, _ in seen} >= {0, 15} and {x for _, x in seen} == {0, 1, 2, 3, 4}, "all of a long image is seen"


def test_what_needs_no_scaling_is_cut_out() -> None:
    """The filter would give the same bits, so that packed and larger images take one way."""
    pixels = photograph(np.random.default_rng(1), 1, 30, SIDE)
    found = np.empty((3, SIDE, SIDE), np.uint8)
    picture = TO.picture(encoded(pixels))
    for top, left in ((0, 0), (3, 4), (10, 2)):
        TO.take(picture, Window(30, SIDE, top, left, 20, 20), found)
        assert np.array_equal(found[:, :20, :20], pixels.transpose(2, 0, 1)[:, top : top + 20, left : left + 20])
        box = (left, top, left + 20, top + 20)
        scaled = np.asarray(picture.image.resize((20, 20), Image.Resampling.BILINEAR, box))
        assert np.array_equal(found[:, :20, :20], scaled.transpose(2, 0, 1))


def test_warped_crops_show_their_region() -> None:
    """A ramp of brightness: what the middle of the crop shows lies where the region's middle is."""
    y, x = np.mgrid[:80, :120]
    ramp = np.stack([y * 3, x * 2, 0 * x], axis=2).astype(np.uint8)
    wide = set()
    for batch in feed(InMemory([encoded(ramp)] * N), area=0.2, steps=8):
        assert batch.places is not None
        for pixels, (y0, yi, yj, x0, xi, xj) in zip(batch.pixels, batch.places.tolist(), strict=True):
            assert (yi, yj, xi, xj) == pytest.approx((1, 0, 0, 1), abs=1e-6), "scaled by the decoder, not the kernel"
            assert (y0, x0) == pytest.approx((round(y0), round(x0)), abs=1e-4)
            top, left = round(y0), round(x0)
            assert 0 <= top <= 4 and 0 <= left <= 4
            region = pixels[:, top : top + 20, left : left + 20].astype(float)
            height = (region[0, 15, 10] - region[0, 5, 10]) / 3 * 2
            width = (region[1, 10, 15] - region[1, 10, 5]) / 2 * 2
            wide.add((round(height), round(width)))
            assert 0.1 < height * width / (80 * 120) <= 1.1
    assert len(wide) > 20


@pytest.mark.parametrize("turn", TURNS)
def test_orientations(tmp_path: Path, turn: int) -> None:
    """D4: pixel for pixel what the upright picture gives."""
    upright = photograph(np.random.default_rng(2), 1, 40, 61)
    write_turned(tmp_path / "turned.png", upright, turn)
    stored = encoded(np.ascontiguousarray(TURNS[turn](upright)), "JPEG", quality=95)
    as_stored = np.asarray(Image.open(io.BytesIO(stored)))
    back = {6: 8, 8: 6}.get(turn, turn)
    write_turned(tmp_path / "turned.jpg", upright, turn, quality=95)
    pairs = [
        ((tmp_path / "turned.png").read_bytes(), encoded(upright)),
        ((tmp_path / "turned.jpg").read_bytes(), encoded(np.ascontiguousarray(TURNS[back](as_stored)))),
    ]
    for turned, reference in pairs:
        found, expected = (TO.centre(TO.picture(data)) for data in (turned, reference))
        assert np.array_equal(found, expected)
    # One that is reduced while it is decoded has been averaged in another order.
    large = photograph(np.random.default_rng(2), 0, 200, 310)
    write_turned(tmp_path / "large.jpg", large, turn, quality=95)
    reduced = TO.picture((tmp_path / "large.jpg").read_bytes())
    assert (reduced.height, reduced.width, min(reduced.image.size)) == (200, 310, 25)
    assert abs(TO.centre(reduced).astype(int) - TO.centre(TO.picture(encoded(large)))).mean() < 4


def test_broken_notes_on_orientation(files: list[bytes | OSError]) -> None:
    quiet()
    upright = photograph(np.random.default_rng(2), 1, 50, 81)
    for note in (b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x" * 70):
        broken = encoded(upright, "JPEG", exif=note)
        assert np.array_equal(TO.centre(TO.picture(broken)), TO.centre(TO.picture(encoded(upright, "JPEG"))))


def test_the_middle_is_what_a_test_sees(files: list[bytes | OSError]) -> None:
    (first, *_) = batches_in_order(InMemory(files), 8, TO)
    for pixels, data in zip(first.pixels, files, strict=False):
        assert isinstance(data, bytes) and np.array_equal(pixels, TO.centre(TO.picture(data)))
    assert not first.crops.any() and first.labels.tolist() == list(range(8))


def test_grey_and_colour(files: list[bytes | OSError]) -> None:
    grey = encoded(photograph(np.random.default_rng(0), 0, 40, 40)[:, :, 0])
    red, green, blue = TO.centre(TO.picture(grey))
    assert np.array_equal(red, green) and np.array_equal(red, blue)
    one = Preprocessing((1, SIDE, SIDE))
    assert np.array_equal(one.centre(one.picture(grey))[0], red)
    assert (one.colours, TO.colours) == ("grey", "RGB") and "4 channels" in Preprocessing((4, 8, 8)).check()


BAD = b"<html>not found</html>"


def test_broken_images_are_replaced_and_named_once(files: list[bytes | OSError]) -> None:
    mixed = [*files]
    mixed[3], mixed[4], mixed[20] = BAD, OSError(5, "Input/output error"), BAD
    found = feed(InMemory(mixed), steps=15)
    lines = [line for batch in found for line in batch.broken]
    assert sorted(lines) == [
        "train/20.png: is none of JPEG, PNG, BMP, PPM, WEBP",
        "train/3.png: is none of JPEG, PNG, BMP, PPM, WEBP",
        "train/4.png: cannot be read: Input/output error",
    ]
    good = feed(InMemory(files), steps=15)
    for one, two in zip(found, good, strict=True):
        stands_in = {3: 5, 4: 5, 20: 21}
        assert one.index.tolist() == [stands_in.get(i, i) for i in two.index.tolist()]
        assert one.labels[: one.count].tolist() == one.index[: one.count].tolist()


def test_a_test_leaves_broken_images_out(files: list[bytes | OSError]) -> None:
    images = InMemory([*files[:5], BAD, *files[5:9]], np.eye(10, dtype=np.uint8))
    (batch,) = batches_in_order(images, 16, TO)
    assert batch.index[:10].tolist() == [0, 1, 2, 3, 4, -1, 6, 7, 8, 9] and batch.labels[5] == -1
    assert batch.broken == ("train/5.png: is none of JPEG, PNG, BMP, PPM, WEBP",)


def test_too_many_broken_images() -> None:
    """D2: 1 % of 1,000 or more, 10 of fewer, 100 in a row; exactly."""
    assert [allowed(n) for n in (30, 999, 1000, 1099, 2000)] == [10, 10, 10, 10, 20]
    tiny = encoded(np.zeros((2, 2, 3), np.uint8))
    for size, broken, ends in ((40, 10, False), (40, 11, True), (1100, 11, False), (1100, 12, True)):
        files: list[bytes | OSError] = [tiny] * size
        for number in range(broken):
            files[3 * number] = BAD
        if not ends:
            assert sum(len(batch.broken) for batch in feed(InMemory(files), 50, -(-size // 50))) == broken
            continue
        with pytest.raises(DataError, match=f"{broken} of {size} images are broken, first train/.*: is none of"):
            feed(InMemory(files), 50, -(-size // 50))
    files = [*[BAD] * MANY_IN_A_ROW, *[tiny] * 20_000]
    with pytest.raises(DataError, match=r"100 broken images in a row, the last: train/99\.png"):
        list(batches_in_order(InMemory(files), 50, TO))
    with pytest.raises(DataError, match="no image of the set can be decoded, first train/"):
        feed(InMemory([BAD] * 5), 5, 1)


class Slow(InMemory):
    """Every read takes its time."""

    def read(self, index: int) -> bytes:
        time.sleep(0.02)
        return super().read(index)


def decoding() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(("convjit-decode", "convjit-feeder"))]


def test_an_end_does_not_wait_for_decoding(files: list[bytes | OSError]) -> None:
    """D9: a feeder closed in the midst of a batch that takes a minute."""
    drawn = Augmentation(crop=(20, 20))
    feeder = Feeder(Slow(files * 200), 3000, seed=0, stop_step=9, shuffle=True, augmentation=drawn, preprocessing=TO)
    time.sleep(0.2)
    feeder.close()
    for _ in range(1000):
        if not decoding():
            return
        time.sleep(0.01)
    pytest.fail(f"{len(decoding())} threads are left")


def test_memory_is_bounded_by_a_few_batches(files: list[bytes | OSError], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVJIT_IMAGE_MEMORY", "0")
    images = InMemory(files * 100)
    with Feeder(
        images, 10, seed=0, stop_step=300, shuffle=True, augmentation=Augmentation(), preprocessing=TO
    ) as feeder:
        next(feeder)
        time.sleep(0.5)
        # One taken, two waiting, one held by the thread, two or three being decoded.
        assert images.reads <= 70
        assert sum(batch.count for batch in feeder) == 2990


def test_the_mean_and_the_colours_of_a_sample(files: list[bytes | OSError]) -> None:
    images = InMemory([*files[:4], BAD])
    dataset = Dataset("x", images, images, tuple("abcde"), "")
    pixels = np.stack([TO.centre(TO.picture(data)) for data in files[:4] if isinstance(data, bytes)])
    assert np.allclose(mean_image(dataset, TO), pixels.mean(0), atol=1e-4) and dataset.shape is None
    axes = colour_axes(dataset, TO)
    flat = pixels.transpose(1, 0, 2, 3).reshape(3, -1).astype(float)
    assert np.allclose(axes.T @ axes, np.cov(flat, bias=True), rtol=1e-3, atol=1e-2)
    with pytest.raises(UsageError, match="preprocessing"):
        mean_image(dataset)


def test_files_are_read_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(np.zeros((30, 30, 3), np.uint8)))
    path.chmod(0o400)
    images = FileImages([path] * 4, np.zeros(4, np.int32))
    before = (path.stat().st_mtime_ns, path.read_bytes(), sorted(tmp_path.iterdir()))
    assert next(iter(batches_in_order(images, 4, TO))).count == 4 and images.name(0) == str(path)
    assert (path.stat().st_mtime_ns, path.read_bytes(), sorted(tmp_path.iterdir())) == before


def test_the_record_of_the_preprocessing() -> None:
    record = TO.record()
    assert record["shortest_side"] == SIDE and Preprocessing.parse({**record, "image": [3, SIDE, SIDE]}) == TO
    for change in (
        {"filter": "nearest"},
        {"image": [3, -1, 4]},
        {"orientation": "as stored"},
        {"more": 1},
        {"mean": 3},
    ):
        with pytest.raises(ValueError, match=r"preprocessing|prepared"):
            Preprocessing.parse({**record, **change})
    with pytest.raises(ValueError, match="preprocessing"):
        Preprocessing.parse([1, 2])
