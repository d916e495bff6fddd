"""Initial weights: their distribution, and that they depend on seed and name alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_samples import net_of
from numpy.typing import NDArray

from convjit.cfg import load_net
from convjit.errors import ConfigError
from convjit.layers import Conv, Fc, Initialiser, Local
from convjit.train.checkpoint import State, save
from convjit.train.initial import initial_weights


def test_distribution() -> None:
    net = load_net("cifar10-80sec").net
    weights = initial_weights(net, 1)
    assert list(weights) == list(net.learned())
    for name, learned in net.learned().items():
        array = weights[name]
        assert array.dtype == np.float32 and array.shape == learned.array.shape
        if learned.deviation:
            assert abs(array.std() / learned.deviation - 1) < 0.1
            assert abs(array.mean()) < 4 * learned.deviation / np.sqrt(array.size)
        else:
            assert (array == np.float32(learned.value)).all()


def test_dependence() -> None:
    first = net_of(Conv("conv", "data", filters=3, filter_size=3), Fc("fc", "conv", outputs=4))
    other = net_of(
        Fc("fc", "data", outputs=2), Conv("conv", "data", filters=3, filter_size=3), Fc("end", "conv, fc", outputs=1)
    )
    a, b, c = initial_weights(first, 1), initial_weights(other, 1), initial_weights(first, 2)
    np.testing.assert_array_equal(a["conv.weights"], b["conv.weights"])
    assert not (a["conv.weights"] == c["conv.weights"]).any()
    assert not np.isin(a["conv.weights"], a["fc.weights"]).any()


def filters(how: str, **options: Any) -> NDArray[np.float32]:
    """The weights of a convolution as (filters, weights)."""
    layer = Conv("conv", "data", **{"filters": 40, "filter_size": 5, "init_w_func": how, **options})
    weights = initial_weights(net_of(layer), 1)["conv.weights"]
    return weights.reshape(len(weights), -1)


def test_he_and_xavier() -> None:
    assert filters("he").std() == pytest.approx(np.sqrt(2 / 50), rel=0.05)
    drawn, bound = filters("xavier"), np.sqrt(6 / (50 + 40 * 25))
    assert drawn.min() < -0.98 * bound and drawn.max() > 0.98 * bound and np.abs(drawn).max() <= bound
    assert drawn.mean() == pytest.approx(0, abs=0.05 * bound)


@pytest.mark.parametrize("count", [40, 60])
def test_orthogonal(count: int) -> None:
    drawn = filters("orthogonal", filters=count).astype(np.float64)
    product = drawn @ drawn.T if count < 50 else drawn.T @ drawn
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)


def test_orthogonal_at_every_pixel() -> None:
    layer = Local("local", "data", filters=3, filter_size=2, groups=2, init_w_func="orthogonal")
    weights = initial_weights(net_of(layer), 1)["local.weights"]
    for one in weights.reshape(-1, 3, 4):
        np.testing.assert_allclose(one @ one.T, np.eye(3), atol=1e-6)


def test_given_numbers() -> None:
    assert (filters("const[0.25]") == 0.25).all()
    net = net_of(Fc("fc", "data", outputs=3, init_b_func="vec[1,-2,3.5]", init_w_func="const(2)"))
    assert initial_weights(net, 1)["fc.biases"].tolist() == [1, -2, 3.5]
    with pytest.raises(ConfigError, match=r"initBFunc=vec\[1,2\]: 2 numbers for an array of 3"):
        initial_weights(net_of(Fc("fc", "data", outputs=3, init_b_func="vec[1,2]")), 1)


def test_code_is_not_run() -> None:
    net = net_of(Fc("fc", "data", outputs=3, init_w_func="os.system(x, 1)", init_b_func="my.bias"))
    with pytest.raises(ConfigError, match=r"initWFunc=os.system\(x,1\): .* needs --allow-code") as caught:
        initial_weights(net, 1)
    assert caught.value.layer == "fc"

    def run(how: Initialiser, layer: str, index: int | None, shape: tuple[int, ...]) -> NDArray[np.float32]:
        assert (layer, how.words) in (("fc", ("os.system", "x", "1")), ("fc", ("my.bias",)))
        return np.full(shape, 3 if index is None else index, np.float32)

    found = initial_weights(net, 1, run)
    assert (found["fc.biases"] == 3).all() and (found["fc.weights"] == 0).all()
    with pytest.raises(ConfigError, match="it made float32 1; float32 3x84 is needed"):
        initial_weights(net, 1, lambda how, layer, index, shape: np.ones(1, np.float32))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hee", "'hee' is not built in .did you mean 'he'.*needs --allow-code"),
        ("he[2]", "he has no parameters"),
        ("const", r"must be written const\[value\]"),
        ("vec[]", r"must be written vec\[v1,v2,...\]"),
        ("vec[a]", "must be a number"),
        ("load(x)", r"must be written load\(checkpoint, layer\)"),
        ("a b", "must be one of he, xavier"),
        ("const[1](2)", "must be one of he, xavier"),
    ],
)
def test_what_is_no_initialiser(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Fc("fc", "data", outputs=3, init_w_func=text)
    with pytest.raises(ConfigError, match="biases can start as"):
        Fc("fc", "data", outputs=3, init_b_func="he")


@pytest.mark.parametrize(
    "text", ["he", "const[0.5]", "vec[1,2]", "load(runs/a b/x.safetensors, conv1, conv2)", "m.f(a,b)", "m.f()"]
)
def test_texts_of_initialisers(text: str) -> None:
    found = Initialiser.parse(text)
    assert found is not None and found.text() == text


def test_load(tmp_path: Path) -> None:
    state = State(
        definition="", parameters="", step=3, reported=0, epochs=1, batch=1, seed=0, data="", fingerprint="",
        train_images=1, classes=(), image=(2, 7, 6), crop=(0, 0), mirror=False, mean="image", target="", version="",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    arrays = {n: rng.normal(size=(2, 84)).astype(np.float32) for n in ("a.weights", "b.weights")}
    path = save(tmp_path, state, arrays | {"a.biases": np.ones(2, np.float32), "b.biases": np.zeros(2, np.float32)})
    for where in (path, tmp_path):
        how = f"load({where}, b, a)"
        found = initial_weights(net_of(Fc("fc", "data", outputs=4, init_w_func=how, init_b_func=how)), 1)
        np.testing.assert_array_equal(found["fc.weights"], np.concatenate([arrays["b.weights"], arrays["a.weights"]]))
        assert found["fc.biases"].tolist() == [0, 0, 1, 1]
    for how, message in (
        (f"load({path}, a)", "has 2x84, but 4x84 is needed"),
        (f"load({path}, a, x)", "has no weights of a layer 'x'"),
        (f"load({tmp_path / 'none'}, a)", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=message):
            initial_weights(net_of(Fc("fc", "data", outputs=4, init_w_func=how)), 1)
