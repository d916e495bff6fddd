"""Minibatches in parts: whole numbers give the bits of the whole minibatch, others differ by rounding alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_samples import net_of
from numpy.typing import NDArray
from test_trainer import interrupt_at, metrics, same
from tiny_runs import PARAMS, Recorder, kernels, tiny_data, train_tiny, write_net

from convjit.data import Batch
from convjit.errors import UsageError
from convjit.graph import Net, lower
from convjit.layers import Conv, Data, Dropout2, Fc, Sum2
from convjit.program import Role
from convjit.runtime import Ways
from convjit.runtime.planned import planned
from convjit.train.api import load
from convjit.train.run_folder import RunFolder
from convjit.train.session import Session

__all__ = ["kernels"]

DIRECT = {f"{layer}.{which}": "direct" for layer in ("conv", "fc") for which in ("forward", "backward_weights")}
IMAGE = (1, 3, 4)


def whole_numbers(period: int) -> Net:
    """A net whose step from whole numbers has no rounding: products and sums alone, rates that are powers of two."""
    exact: dict[str, Any] = {"eps_w": 2**-9, "eps_b": 2**-9, "mom_w": 0.5, "mom_b": 0.5, "wc": 0.5}
    exact |= {"update_period": period}
    layers = [
        Data("data"),
        Conv("conv", "data", filters=3, filter_size=2, **exact),
        Dropout2("drop", "conv", keep=0.5),
        Fc("fc", "drop", outputs=2, **exact),
        Sum2("cost", "fc"),
    ]
    return Net(layers, image=IMAGE, classes=2)


def batch(size: int, real: int) -> Batch:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4, (size, *IMAGE)).astype(np.uint8)
    pixels[real:] = pixels[0]
    labels = np.where(np.arange(size) < real, 0, -1).astype(np.int32)
    return Batch(pixels, labels, np.zeros((size, 3), np.int32), real, 0, 0, np.arange(size))


def stepped(size: int, real: int, parts: int, period: int = 1) -> tuple[dict[str, NDArray[Any]], float, int]:
    """What the steps up to the first update leave of learned arrays, and the loss and images of the last one."""
    net, mean = whole_numbers(period), np.zeros(IMAGE, np.float32)
    rng = np.random.default_rng(1)
    with Session(net, size // parts, mean, accumulate=parts > 1, ways=Ways(DIRECT), threads=1) as session:
        session.executor("train")
        session.set_arrays((n, rng.integers(-2, 3, a.shape).astype(np.float32)) for n, a in session.arrays().items())
        for number in range(4 - period, 4):
            sums = session.step(replace(batch(size, real), step=number), seed=1, progress=0, epoch=0, divisor=16)
        assert session.costs and session.costs.images == real
        return {name: array.copy() for name, array in session.arrays().items()}, sums.loss, sums.images


@pytest.mark.parametrize(("size", "real"), [(24, 24), (24, 13), (24, 5), (30, 29)])
@pytest.mark.parametrize("period", [1, 2])
def test_whole_numbers_come_out_bit_for_bit(size: int, real: int, period: int) -> None:
    whole, loss, _ = stepped(size, real, 1, period)
    assert all(np.count_nonzero(array) for name, array in whole.items() if not name.endswith(".sum"))
    for parts in (2, 3, 6):
        arrays, part_loss, images = stepped(size, real, parts, period)
        assert arrays.keys() == whole.keys()
        for name, array in whole.items():
            np.testing.assert_array_equal(arrays[name], array, err_msg=f"{parts} parts: {name}")
        assert (part_loss, images) == (loss, real)


def test_runs_differ_by_rounding_alone(tmp_path: Path) -> None:
    """Everything that is drawn is drawn alike: crops, mirrors, dropout, noise of colours; the last batch is short."""
    net = write_net(tmp_path, params=PARAMS.replace("mirror=true", "mirror=true\ncolourNoise=0.1"))
    found = []
    for parts in (1, 4):
        recorder = Recorder()
        result = train_tiny(tmp_path / str(parts), net=net, watcher=recorder, accumulate=parts)
        found.append((recorder.losses, result.train_error, result.test_error, metrics(result.run)))
    (whole, *errors, lines), (parted, *same_errors, part_lines) = found
    np.testing.assert_allclose(parted, whole, rtol=1e-4)
    assert same_errors == errors
    assert [line["step"] for line in part_lines] == [line["step"] for line in lines]


def test_resumed_bit_for_bit(tmp_path: Path) -> None:
    whole = train_tiny(tmp_path / "whole", accumulate=2)
    stopped = train_tiny(tmp_path, accumulate=2, watcher=interrupt_at(3))
    same(train_tiny(tmp_path, resume=stopped.run), whole)
    assert RunFolder(whole.run).read_settings()["settings"]["accumulate"] == 2
    with load(whole.run) as run:
        assert run.test(tiny_data()).error == whole.test_error
    with pytest.raises(UsageError, match="--accumulate cannot be given with --resume"):
        train_tiny(tmp_path, resume=whole.run, accumulate=2)


def test_threads_make_no_difference(tmp_path: Path) -> None:
    same(*(train_tiny(tmp_path / str(threads), accumulate=2, threads=threads) for threads in (1, 2)))


def test_parts_are_equal(tmp_path: Path) -> None:
    message = "--accumulate 5: a minibatch of 32 images does not divide into 5 equal parts, but into 2 or 4 or 8; "
    with pytest.raises(UsageError, match=message):
        train_tiny(tmp_path, accumulate=5)
    with pytest.raises(UsageError, match="--accumulate 0: "):
        train_tiny(tmp_path, accumulate=0)


def test_sums_are_kept_but_not_saved(tmp_path: Path) -> None:
    net = net_of(Fc("fc", "data", outputs=7))
    program = lower(net, 4, accumulate=True)
    sums = program.of_role(Role.GRADIENTS)
    assert set(sums) == {f"{name}.grad" for name in net.learned()}
    plan, *_ = planned(program)
    assert plan.gradients == sum(4 * np.prod(one.array.shape) for one in net.learned().values())
    assert all(
        b.role is not Role.ARENA for launch in program.launches[program.update :] for b in launch.buffers.values()
    )
    with Session(net, 4, np.zeros((2, 7, 6), np.float32), accumulate=True, threads=1) as session:
        session.executor("train")
        assert not any(name.endswith(".grad") for name in session.arrays())
