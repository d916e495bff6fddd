"""Every reference against a second formulation that is as obvious, or against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convjit import random
from convjit.ops import (
    NEURONS,
    OPS,
    Array,
    AvgPoolBackward,
    AvgPoolForward,
    BiasBackward,
    ClearHalo,
    Copy,
    CostTotals,
    DropoutBackward,
    DropoutForward,
    Export,
    Input,
    LogregBackward,
    LogregForward,
    Maps,
    MaxPoolBackward,
    MaxPoolForward,
    Neuron,
    PoolShape,
    Reshape,
    Scale,
    SoftmaxBackward,
    SoftmaxForward,
    SoftmaxLogregBackward,
    Update,
)

POOLS = [
    "c2 h8 k3 s2",
    "c1 h7 w9 k3 s2 start-1",
    "c1 h6 k2 s2",
    "c2 h5 k3 s1 start-2",
    "c1 h4 k1 s3",
    "c1 h5 k2 s4 start-3",
]


def normal(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    """Random numbers, all different."""
    return np.random.default_rng(seed).normal(size=shape)


def slope(function: Callable[[NDArray[Any]], float], x: NDArray[np.float64], step: float = 1e-6) -> NDArray[np.float64]:
    """Gradient by two-sided differences."""
    found = np.zeros_like(x)
    for place in np.ndindex(*x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        found[place] = (function(up) - function(down)) / (2 * step)
    return found


def test_registry_knows_every_op_by_its_kind() -> None:
    assert OPS["max_pool_forward"] is MaxPoolForward
    assert all(op.kind() == kind for kind, op in OPS.items())


# Pooling


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("c1 h32 k3 s2", 16),
        ("c1 h55 k3 s2", 27),
        ("c1 h27 k3 s2", 13),
        ("c1 h13 k3 s2", 6),
        ("c1 h24 k3 s2 start-1", 12),
    ],
)
def test_pool_output_rounds_up(text: str, outputs: int) -> None:
    shape = PoolShape.parse(text)
    assert (shape.rows, shape.columns) == (outputs, outputs)
    assert PoolShape.parse(str(shape)) == shape


@pytest.mark.parametrize("text", POOLS)
def test_pool_forward_pixel_by_pixel(text: str) -> None:
    shape = PoolShape.parse(text)
    x = normal(*shape.input.logical(2))
    largest = MaxPoolForward(shape).reference({"x": x})["y"]
    mean, total = (AvgPoolForward(shape, s).reference({"x": x})["y"] for s in (False, True))
    for n, c, i, j in np.ndindex(*largest.shape):
        top, left = shape.start + i * shape.stride, shape.start + j * shape.stride
        inside = [
            x[n, c, u, v]
            for u in range(top, top + shape.size)
            for v in range(left, left + shape.size)
            if 0 <= u < shape.height and 0 <= v < shape.width
        ]
        assert largest[n, c, i, j] == max(inside, default=0)
        assert mean[n, c, i, j] == pytest.approx(sum(inside) / max(len(inside), 1))
        assert total[n, c, i, j] == pytest.approx(sum(inside))


@pytest.mark.parametrize("text", POOLS)
def test_pool_backward_is_the_slope_of_forward(text: str) -> None:
    shape = PoolShape.parse(text)
    x, dy = normal(*shape.input.logical(1)), normal(*shape.output.logical(1), seed=1)
    for forward, backward in (
        (MaxPoolForward(shape), MaxPoolBackward(shape)),
        (MaxPoolForward(shape, rectified=True), MaxPoolBackward(shape, rectified=True)),
        (AvgPoolForward(shape), AvgPoolBackward(shape)),
        (AvgPoolForward(shape, sum=True), AvgPoolBackward(shape, sum=True)),
    ):
        y = forward.reference({"x": x})["y"]
        dx = backward.reference({"x": x, "y": y, "dy": dy})["dx"]
        want = slope(lambda v, op=forward: float((op.reference({"x": v})["y"] * dy).sum()), x)  # type: ignore[misc]
        np.testing.assert_allclose(dx, want, atol=1e-8)


def test_every_tie_gets_the_whole_gradient() -> None:
    shape = PoolShape.parse("c1 h1 w5 k3 s2 rows1")
    x = np.array([[[[2.0, 7, 7, 1, 7]]]])
    y = MaxPoolForward(shape).reference({"x": x})["y"]
    np.testing.assert_array_equal(y, [[[[7, 7]]]])
    dx = MaxPoolBackward(shape).reference({"x": x, "y": y, "dy": np.array([[[[1.0, 10]]]])})["dx"]
    np.testing.assert_array_equal(dx, [[[[0, 1, 11, 0, 10]]]])


def test_mean_counts_pixels_inside_the_image() -> None:
    shape = PoolShape.parse("c1 h3 k2 s2 start-1")
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    y = AvgPoolForward(shape).reference({"x": x})["y"]
    np.testing.assert_array_equal(y, [[[[0, 1.5], [4.5, 6]]]])
    dx = AvgPoolBackward(shape).reference({"dy": np.full((1, 1, 2, 2), 4.0)})["dx"]
    np.testing.assert_array_equal(dx, [[[[4, 2, 2], [2, 1, 1], [2, 1, 1]]]])


# Neurons

AT = (-10.0, -4.5, -1.0, 0.0, 0.5, 1.0, 3.9, 4.1, 10.0)
FORWARD: dict[str, Callable[[float], float]] = {
    "ident": lambda x: x,
    "logistic": lambda x: (1 + math.tanh(x / 2)) / 2,
    "abs": lambda x: x if x > 0 else -x,
    "relu": lambda x: x if x > 0 else 0.0,
    "softrelu": lambda x: x if x > 4 else math.log(1 + math.exp(x)),
    "square": lambda x: x**2,
    "sqrt": lambda x: x**0.5,
    "tanh": lambda x: 1.5 * (1 - 2 / (math.exp(2 * 0.5 * x) + 1)),
    "brelu": lambda x: sorted((0.0, x, 1.5))[1],
    "linear": lambda x: 1.5 * x + 0.5,
    "log": lambda x: math.log(1.5 + x),
    "drelu": lambda x: x - 1.5 * math.tanh(x / 1.5),
}


@pytest.mark.parametrize("name", NEURONS)
def test_neurons(name: str) -> None:
    neuron, function = Neuron(name, 1.5, 0.5), FORWARD[name]
    kinks = {"relu": (0.0,), "brelu": (0.0,), "abs": (0.0,), "sqrt": (0.0,)}.get(name, ())
    for x in AT:
        if x < 0 and name in ("sqrt", "log"):
            continue
        y = neuron.forward(np.array([x]))
        assert y[0] == pytest.approx(function(x), abs=1e-12)
        if x not in kinks:
            want = (function(x + 1e-6) - function(x - 1e-6)) / 2e-6
            z = np.array([x]) if neuron.kind.from_input else y
            assert neuron.slope(z)[0] == pytest.approx(want, rel=1e-5, abs=1e-7)


def test_slopes_at_the_kinks() -> None:
    zero = np.zeros(1)
    assert Neuron("relu").slope(zero) == 0
    assert Neuron("abs").slope(zero) == -1
    assert Neuron("brelu", 2).slope(zero) == 0
    assert Neuron("brelu", 2).slope(zero + 2) == 0


# Softmax and costs


def test_softmax() -> None:
    x = np.log(np.array([1.0, 2, 5, 3, 3, 2])).reshape(2, 3, 1, 1) + 700
    y = SoftmaxForward(Maps(3)).reference({"x": x})["y"]
    np.testing.assert_allclose(y.reshape(2, 3), [[1 / 8, 2 / 8, 5 / 8], [3 / 8, 3 / 8, 2 / 8]])


def test_softmax_backward_is_the_slope_of_forward() -> None:
    maps = Maps(2, 1, 3)
    x, dy = normal(*maps.logical(2)), normal(*maps.logical(2), seed=1)
    y = SoftmaxForward(maps).reference({"x": x})["y"]
    dx = SoftmaxBackward(maps).reference({"dy": dy, "y": y})["dx"]
    want = slope(lambda v: float((SoftmaxForward(maps).reference({"x": v})["y"] * dy).sum()), x)
    np.testing.assert_allclose(dx, want, atol=1e-8)


@pytest.mark.parametrize(
    ("p", "label", "topk", "want"),
    [
        ([0.5, 0.25, 0.25], 0, 1, (math.log(2), 0, 0)),
        ([0.5, 0.25, 0.25], 1, 1, (math.log(4), 1, 1)),
        ([0.5, 0.25, 0.25], 1, 2, (math.log(4), 1, 1 / 2)),  # one place left for two classes
        ([0.4, 0.4, 0.2], 1, 1, (-math.log(0.4), 1 / 2, 1 / 2)),
        ([0.25, 0.25, 0.25, 0.25], 3, 3, (math.log(4), 3 / 4, 1 / 4)),
        ([0.4, 0.3, 0.2, 0.1], 2, 2, (-math.log(0.2), 1, 1)),
        ([0.4, 0.3, 0.2, 0.1], 2, 3, (-math.log(0.2), 1, 0)),
        ([0.5, 0.5], -1, 1, (0, 0, 0)),
        ([1.0, 0.0], 1, 2, (126 * math.log(2), 1, 0)),
    ],
)
def test_logreg(p: list[float], label: int, topk: int, want: tuple[float, ...]) -> None:
    arrays = {"p": np.array(p).reshape(1, -1, 1, 1), "labels": np.array([label], np.int32)}
    costs = LogregForward(len(p), topk).reference(arrays)["costs"]
    np.testing.assert_allclose(costs, [want], atol=1e-12)


def test_logreg_gradients_are_slopes() -> None:
    maps, labels = Maps(4), np.array([2, -1, 0], np.int32)
    x = normal(*maps.logical(3))

    def cost(p: NDArray[Any]) -> float:
        return 0.5 * float(LogregForward(4).reference({"p": p, "labels": labels})["costs"][:, 0].sum())

    def softmax(v: NDArray[Any]) -> NDArray[Any]:
        return SoftmaxForward(maps).reference({"x": v})["y"]

    p = softmax(x)
    arrays = {"p": p, "labels": labels}
    np.testing.assert_allclose(LogregBackward(4, 0.5).reference(arrays)["dx"], slope(cost, p), rtol=1e-6, atol=1e-8)
    through = slope(lambda v: cost(softmax(v)), x)
    np.testing.assert_allclose(SoftmaxLogregBackward(4, 0.5).reference(arrays)["dx"], through, rtol=1e-6, atol=1e-8)


def test_totals() -> None:
    costs = normal(7, 2)
    want = [math.fsum(costs[:, 0]), math.fsum(costs[:, 1])]
    np.testing.assert_allclose(CostTotals(2).reference({"costs": costs})["totals"], want)


# Update


def test_update_ten_steps_by_hand() -> None:
    """A gradient of 4 over 4 images, rate and momentum 1/2: the increments go to -1, each half as far away."""
    state = {"weights": np.array([10.0]), "increments": np.array([0.0])}
    fixed = {"gradient": np.array([4.0]), "rates": np.array([0.5, 0.5, 0, 0.25])}
    weights = []
    for _ in range(10):
        state = Update(Array((1,))).reference({**state, **fixed})
        weights.append(float(state["weights"][0]))
    steps = [-0.5, -0.75, -0.875, -0.9375, -0.96875]
    steps += [-0.984375, -0.9921875, -0.99609375, -0.998046875, -0.9990234375]
    assert weights == [10 + sum(steps[: i + 1]) for i in range(10)]


def test_decay_is_part_of_the_increment() -> None:
    arrays = {
        "weights": np.array([8.0]),
        "increments": np.array([2.0]),
        "gradient": np.array([0.0]),
        "rates": np.array([0.5, 0.25, 0.125, 1.0]),
    }
    found = Update(Array((1,))).reference(arrays)
    assert found["increments"] == 0.25 * 2 - 0.5 * 0.125 * 8
    assert found["weights"] == 8


# The rest


def test_input_pixel_by_pixel() -> None:
    rng = np.random.default_rng(0)
    op = Input(Maps(2, 5, 6), Maps(2, 3, 4))
    pixels = rng.integers(0, 256, (3, 2, 5, 6), dtype=np.uint8)
    crops = np.array([[0, 0, 0], [2, 1, 1], [1, 2, 1]], np.int32)
    mean = rng.normal(size=(2, 3, 4))
    x = op.reference({"pixels": pixels, "crops": crops, "mean": mean})["x"]
    for n, c, i, j in np.ndindex(*x.shape):
        top, left, mirror = crops[n]
        column = 3 - j if mirror else j
        assert x[n, c, i, j] == pixels[n, c, top + i, left + column] - mean[c, i, column]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("first", [0, 5])
def test_dropout_draws_number_by_number(inverted: bool, first: int) -> None:
    maps, key = Maps(3, 2, 2), random.derive_key(1, "dropout", 7)
    x = normal(*maps.logical(4))
    words = np.array([*key, first], np.uint32).view(np.int32)
    y = DropoutForward(maps, 0.25, inverted).reference({"x": x, "key": words})["y"]
    numbers = iter(random.uniform(key, (first + 4) * maps.features)[first * maps.features :])
    want = [v * (4 if inverted else 1) if next(numbers) < 0.25 else 0 for v in x.ravel()]
    np.testing.assert_array_equal(y.ravel(), want)
    dx = DropoutBackward(maps, 0.25, inverted).reference({"dy": x, "key": words})["dx"]
    np.testing.assert_array_equal(dx, y)


def test_moves() -> None:
    maps = Maps(2, 3, 4)
    x = normal(*maps.logical(2))
    np.testing.assert_array_equal(Copy(maps).reference({"x": x})["y"], x)
    np.testing.assert_array_equal(Copy(maps, accumulate=True).run({"x": x, "y": x})["y"], x + x)
    np.testing.assert_array_equal(Scale(maps, 0.5).reference({"x": x})["y"], x / 2)
    rows = Export(maps).reference({"x": x})["y"]
    flat = Reshape(maps, Maps(24)).reference({"x": x})["y"]
    for n, c, i, j in np.ndindex(*x.shape):
        assert rows[n, (c * 3 + i) * 4 + j] == flat[n, (c * 3 + i) * 4 + j, 0, 0] == x[n, c, i, j]
    assert ClearHalo(maps).reference({"x": x}) == {}


def test_bias_backward() -> None:
    maps = Maps(2, 3, 4)
    dy = normal(*maps.logical(2))
    shared = BiasBackward(maps).reference({"dy": dy})["db"]
    unshared = BiasBackward(maps, shared=False).reference({"dy": dy})["db"]
    np.testing.assert_allclose(shared, [math.fsum(dy[:, c].ravel()) for c in range(2)])
    np.testing.assert_allclose(unshared, dy[0] + dy[1])
