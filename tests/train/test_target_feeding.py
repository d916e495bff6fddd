"""Targets are fed from labels: a step against one-hot targets is, bit for bit, a step against the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convjit.data import Batch
from convjit.graph import Net
from convjit.layers import Bce, Crossent, Data, Dce, Fc, Layer, Logreg, Softmax, Sum2
from convjit.train.session import Session

CLASSES, SIZE, REAL = 5, 6, 4


def batch() -> Batch:
    """Six images, of which the last two only fill the batch."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (SIZE, 1, 4, 4)).astype(np.uint8)
    pixels[REAL:] = pixels[0]
    labels = np.array([3, 0, 4, 3, -1, -1], np.int32)
    return Batch(pixels, labels, np.zeros((SIZE, 3), np.int32), REAL, 0, 0, np.arange(SIZE))


def step(*ends: Layer) -> tuple[dict[str, NDArray[Any]], float]:
    """Weights after a step from 0, and the mean cost."""
    labels = [Data("labels", data_idx=1)] if any("labels" in end.inputs for end in ends) else []
    targets = [Data("targets", data_idx=2)] if any("targets" in end.inputs for end in ends) else []
    net = Net([Data("data"), *labels, *targets, *ends], image=(1, 4, 4), classes=CLASSES)
    mean = np.full((1, 4, 4), 120, np.float32)
    with Session(net, SIZE, mean, threads=1) as session:
        session.executor("train")
        sums = session.step(batch(), seed=1, progress=0, epoch=0)
        return {name: array.copy() for name, array in session.arrays().items()}, sums.mean_loss


def test_cross_entropy_is_logistic_regression() -> None:
    probs = (Fc("fc", "data", outputs=CLASSES), Softmax("probs", "fc"))
    hard, loss = step(*probs, Logreg("cost", "labels, probs"))
    soft, same_loss = step(*probs, Crossent("cost", "targets, probs"))
    assert loss == pytest.approx(np.log(CLASSES), rel=1e-6) and same_loss == pytest.approx(loss, rel=1e-6)
    assert np.count_nonzero(hard["fc.weights"]) > 0
    for name, array in hard.items():
        np.testing.assert_array_equal(soft[name], array, err_msg=name)


@pytest.mark.parametrize("cost", [Bce("cost", "targets, out"), Dce("cost", "targets, out"), Sum2("cost", "out")])
def test_images_that_fill_a_batch_count_for_nothing(cost: Layer) -> None:
    """From weights of 0 every output is 1/2, and the biases' gradient a sum over the real images."""
    arrays, _ = step(Fc("out", "data", outputs=CLASSES, neuron="logistic", eps_b=1, mom_b=0), cost)
    counts = np.bincount([3, 0, 4, 3], minlength=CLASSES)
    slope = np.full(CLASSES, 0.25 * REAL) if isinstance(cost, Sum2) else 0.5 * REAL - counts
    np.testing.assert_allclose(arrays["out.biases"], -slope / REAL, rtol=1e-6)
