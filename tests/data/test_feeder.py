"""Minibatches: a function of seed and step, complete, and never in the way of an exit."""

from __future__ import annotations

import gc
import threading
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import convjit.data.feeder
from convjit.data import Augmentation, Batch, Feeder, Images, batches_in_order
from convjit.errors import DataError

N = 23


def images(n: int = N, height: int = 8, width: int = 6) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, height, width), dtype=np.uint8)
    return Images(pixels, np.arange(n, dtype=np.int32))


def feed(batch: int = 5, **options: Any) -> list[Batch]:
    drawn = Augmentation(crop=options.pop("crop", (5, 4)), mirror=options.pop("mirror", True))
    settings: dict[str, Any] = {"seed": 7, "stop_step": 12, "shuffle": True, "augmentation": drawn}
    with Feeder(options.pop("images", None) or images(), batch, **(settings | options)) as feeder:
        return list(feeder)


def same(a: Batch, b: Batch) -> bool:
    arrays = all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("pixels", "labels", "crops"))
    return arrays and (a.count, a.step, a.epoch) == (b.count, b.step, b.epoch)


def test_every_epoch_holds_every_image_once() -> None:
    batches = feed(stop_step=10)
    assert [batch.count for batch in batches] == [5, 5, 5, 5, 3] * 2
    assert [batch.epoch for batch in batches] == [0] * 5 + [1] * 5 and [batch.step for batch in batches] == list(
        range(10)
    )
    orders = [np.concatenate([b.labels[: b.count] for b in batches[start : start + 5]]) for start in (0, 5)]
    for order in orders:
        assert sorted(order) == list(range(N)) and order.tolist() != list(range(N))
    assert orders[0].tolist() != orders[1].tolist()
    source = images()
    for batch in batches:
        assert batch.pixels.dtype == np.uint8 and batch.labels.dtype == batch.crops.dtype == np.int32
        assert np.array_equal(batch.pixels[: batch.count], source.pixels[batch.labels[: batch.count]])


def test_one_of_several_labels_is_drawn_in_every_epoch() -> None:
    plain = images()
    rng = np.random.default_rng(1)
    targets = rng.integers(0, 2, (N, 4), np.uint8)
    targets[0], targets[1], targets[2] = 0, (0, 0, 1, 0), (1, 0, 1, 1)
    several = Images(plain.pixels, np.where(targets.any(1), targets.argmax(1), -1).astype(np.int32), targets=targets)
    drawn = np.full((200, N), -2)
    for batch in feed(images=several, stop_step=1000):
        assert batch.targets is not None and np.array_equal(batch.targets, targets[batch.index])
        assert (batch.labels[batch.count :] == -1).all()
        drawn[batch.epoch, batch.index[: batch.count]] = batch.labels[: batch.count]
    assert (drawn[:, 0] == -1).all() and (drawn[:, 1] == 2).all()
    for image in range(1, N):
        assert set(drawn[:, image].tolist()) <= set(np.flatnonzero(targets[image]).tolist() or [-1])
    # Each as often as the others: 67 of 200, of which the deviation is 7.
    assert np.allclose(np.bincount(drawn[:, 2], minlength=4), [200 / 3, 0, 200 / 3, 200 / 3], atol=30)
    # A function of seed, epoch and image: neither of the order nor of the minibatch.
    for batch in feed(images=several, batch=23, shuffle=False, start_step=7, stop_step=8):
        assert np.array_equal(batch.labels, drawn[7])
    assert any(not np.array_equal(b.labels, drawn[7]) for b in feed(images=several, batch=23, seed=8, shuffle=False))
    for batch in batches_in_order(several, 23):
        assert np.array_equal(batch.labels, several.labels) and batch.targets is not None


def test_a_short_batch_repeats_its_first_image() -> None:
    last = feed(stop_step=5)[-1]
    assert last.pixels.shape == (5, 3, 8, 6) and last.labels[3:].tolist() == [-1, -1]
    assert np.array_equal(last.pixels[3], last.pixels[0]) and np.array_equal(last.pixels[4], last.pixels[0])
    (only,) = feed(batch=40, stop_step=1)
    assert only.count == N and (only.labels[N:] == -1).all()


def test_the_same_seed_gives_the_same_batches_from_any_step() -> None:
    whole = feed(stop_step=17)
    for start in range(18):
        rest = feed(start_step=start, stop_step=17)
        assert len(rest) == 17 - start and all(map(same, rest, whole[start:]))
    assert not any(map(same, feed(seed=8), whole))


def test_crops_lie_inside_and_cover_everything() -> None:
    crops = np.concatenate([batch.crops for batch in feed(batch=23, stop_step=40)])
    assert set(crops[:, 0]) == {0, 1, 2, 3} and set(crops[:, 1]) == {0, 1, 2} and set(crops[:, 2]) == {0, 1}
    assert 0.4 < crops[:, 2].mean() < 0.6
    again = np.concatenate([batch.crops for batch in feed(batch=23, stop_step=40, mirror=False)])
    assert np.array_equal(again[:, :2], crops[:, :2]) and not again[:, 2].any()
    whole = np.concatenate([batch.crops for batch in feed(batch=23, stop_step=40, crop=None)])
    assert np.array_equal(whole[:, 2], crops[:, 2]) and not whole[:, :2].any()


def test_without_shuffle_the_order_is_the_set_s() -> None:
    batches = feed(stop_step=5, shuffle=False)
    assert np.concatenate([b.labels[: b.count] for b in batches]).tolist() == list(range(N))


def test_the_batches_are_pinned() -> None:
    (first,) = feed(stop_step=1)
    assert first.labels.tolist() == [1, 2, 0, 9, 7]
    assert first.crops.tolist() == [[3, 0, 1], [3, 2, 0], [3, 2, 0], [2, 0, 1], [1, 2, 1]]


def test_what_is_drawn_depends_on_image_and_epoch_alone() -> None:
    """Neither the size of a batch, nor the order, nor the size of the set, nor whatever else is drawn."""
    rest: dict[str, Any] = {"rotate": 20, "brightness": 0.5, "cutout": 3, "area": 0.5}

    def drawn(batch: int, n: int = N, **options: Any) -> dict[tuple[int, int], list[int]]:
        one = Augmentation(crop=(5, 4), mirror=True, **options)
        steps = 3 * -(-n // batch)
        with Feeder(images(n), batch, seed=7, stop_step=steps, shuffle=n == N, augmentation=one) as feeder:
            return {
                (b.epoch, int(index)): [int(crop[2]), *(crop[:2] if one.area == 1 else ())]
                for b in feeder
                for index, crop in zip(b.index, b.crops.tolist(), strict=True)
            }

    first = drawn(5)
    assert len(first) == 3 * N and drawn(7) == first
    assert drawn(4, 12) == {key: value for key, value in first.items() if key[1] < 12}
    assert {key: value[:1] for key, value in first.items()} == drawn(5, **rest)
    epochs = [[first[epoch, index] for index in range(N)] for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]


def test_batches_in_order() -> None:
    batches = list(batches_in_order(images(), 5))
    assert np.concatenate([b.labels[: b.count] for b in batches]).tolist() == list(range(N))
    assert all(not batch.crops.any() and batch.places is None and batch.colours is None for batch in batches)
    assert [(b.count, b.step, b.epoch) for b in batches[-2:]] == [(5, 3, 0), (3, 4, 0)]
    assert batches[-1].labels[3:].tolist() == [-1, -1] and batches[-1].index.tolist() == [20, 21, 22, 20, 20]


def test_batches_do_not_share_memory() -> None:
    batches = feed(stop_step=6)
    for a, b in pairwise(batches):
        assert not np.shares_memory(a.pixels, b.pixels) and a.pixels.flags.writeable


def test_refused() -> None:
    for batch, crop in ((0, None), (-1, None), (4, (9, 6)), (4, (8, 7)), (4, (0, 1))):
        with pytest.raises(DataError):
            Feeder(images(), batch, seed=0, stop_step=1, shuffle=False, augmentation=Augmentation(crop=crop))


def test_nothing_to_do() -> None:
    assert feed(start_step=3, stop_step=3) == []


def feeders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "convjit-feeder"]


def test_close_ends_the_thread_at_once() -> None:
    feeder = Feeder(images(), 2, seed=0, stop_step=10**9, shuffle=True)
    next(feeder)
    time.sleep(0.05)
    start = time.perf_counter()
    feeder.close()
    assert time.perf_counter() - start < 0.5 and not feeders()
    feeder.close()
    assert list(feeder) == []


def test_a_forgotten_feeder_ends_its_thread() -> None:
    feeder = Feeder(images(), 2, seed=0, stop_step=10**9, shuffle=True)
    next(feeder)
    del feeder
    gc.collect()
    deadline = time.perf_counter() + 1
    while feeders() and time.perf_counter() < deadline:
        time.sleep(0.02)
    assert not feeders()


def test_only_a_few_batches_are_prepared_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    gather = convjit.data.feeder._gather

    def spy(*arguments: Any) -> Batch:
        made.append(arguments[1].step)
        return gather(*arguments)

    monkeypatch.setattr(convjit.data.feeder, "_gather", spy)
    with Feeder(images(), 2, seed=0, stop_step=100, shuffle=True) as feeder:
        time.sleep(0.1)
        assert len(made) == 3
        next(feeder)
        time.sleep(0.1)
        assert made == [0, 1, 2, 3]


def test_what_goes_wrong_in_the_thread_is_raised_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    gather = convjit.data.feeder._gather

    def broken(*arguments: Any) -> Batch:
        if arguments[1].step == 3:
            raise OSError("the disk is gone")
        return gather(*arguments)

    monkeypatch.setattr(convjit.data.feeder, "_gather", broken)
    with Feeder(images(), 5, seed=0, stop_step=9, shuffle=True) as feeder:
        assert [next(feeder).step for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="the disk is gone"):
            next(feeder)
        with pytest.raises(StopIteration):
            next(feeder)
