"""Surgery on trained nets: outputs stay, arrays become as many as the new net has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_samples import net_of
from numpy.typing import NDArray
from steps import contents, give, run_reference

from convjit.errors import ConfigError, UsageError
from convjit.graph import Net, lower
from convjit.layers import Conv, Fc, Layer, Local
from convjit.program import Role
from convjit.runtime import Executor, Store
from convjit.train.surgery import conv_to_local, unshare_weights


def conv(name: str, inputs: str, **options: Any) -> Conv:
    return Conv(name, inputs, **{"filters": 4, "filter_size": 3, "padding": 1, "init_w": 0.5, **options})


def chain(**options: Any) -> Net:
    """b owns what c, d and the second input of d use."""
    layers: list[Layer] = [
        conv("a", "data", stride=2, groups=2, filters=2, **options),
        conv("b", "a", neuron="relu", init_w_func="he", init_b_func="const[0.5]"),
        conv("c", "b", weight_source="b"),
        conv("d", "c, a", weight_source="c, d[0]", shared_biases=False),
        Fc("e", "d", outputs=4, weight_source=""),
        Fc("f", "e", outputs=4),
        Fc("g", "f", outputs=4, weight_source="f"),
    ]
    return net_of(*layers, image=(2, 9, 8))


def learned(net: Net) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(3)
    arrays = {n: rng.normal(size=one.array.shape).astype(np.float32) for n, one in net.learned().items()}
    return arrays | {f"{n}.inc": np.ones_like(a) for n, a in arrays.items()}


def outputs(net: Net, arrays: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The rows of all layers, natively."""
    program = lower(net, 5, "predict", exports=["a", "b", "c", "d", "g"])
    with Executor(program, Store(), threads=1) as executor:
        images = contents(lower(chain(), 5, "predict"))
        give(executor, {n: a for n, a in images.items() if n in executor.host})
        for name in program.of_role(Role.WEIGHTS):
            executor.store[name][...] = arrays[name]
        executor.run()
        return np.concatenate([executor.host[f"{n}.rows"][:5] for n in ("a", "b", "c", "d", "g", "probs")], axis=1)


def test_local_layers_compute_the_same() -> None:
    net, arrays = chain(), learned(chain())
    before = {n: a.copy() for n, a in arrays.items()}
    made = conv_to_local(net, arrays, ["a", "c"])
    assert made.layers == ("a", "b", "c", "d"), "those that share become local as well"
    assert [type(layer) for layer in made.net.written[2:6]] == [Local] * 4
    assert isinstance(net.nodes["b"].layer, Conv) and all((arrays[n] == before[n]).all() for n in before)
    kept = set(made.net.learned())
    assert set(made.arrays) == kept | {f"{n}.inc" for n in kept}
    assert all(made.arrays[n].shape == one.array.shape for n, one in made.net.learned().items())
    for name in ("a.weights", "b.weights", "d.biases"):
        assert not made.arrays[f"{name}.inc"].any()
    assert made.arrays["f.weights.inc"].all()
    found, expected = outputs(made.net, made.arrays), outputs(net, arrays)
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


def test_weights_of_ones_own() -> None:
    net, arrays = chain(), learned(chain())
    made = unshare_weights(net, arrays, ["c", "d[1]", "g"])
    assert made.layers == ("c", "d", "g")
    assert set(made.net.learned()) - set(net.learned()) == {"c.weights", "d.weights1", "g.weights"}
    # The first input of d took its weights from c, and still does.
    assert next(one.owner for one in made.net.nodes["d"].learned if one.name == "weights") == "c.weights"
    assert not made.arrays["c.weights.inc"].any() and made.arrays["b.weights.inc"].all()
    assert not np.shares_memory(made.arrays["c.weights"], arrays["b.weights"])
    assert outputs(made.net, made.arrays).tobytes() == outputs(net, arrays).tobytes()
    program = lower(made.net, 2, "train")
    run_reference(program, contents(program))


def test_all_inputs_of_a_layer() -> None:
    made = unshare_weights(chain(), learned(chain()), ["d"])
    assert {"d.weights", "d.weights1"} <= set(made.net.learned())


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["b"], "'b' does not share another layer's weights"),
        (["d[2]"], r"'d\[2\]' does not share"),
        (["e"], "'e' does not share"),
        (["data"], "'data' does not share"),
        (["dd"], "there is no layer 'dd'"),
        (["d["], r"'d\[': must be a layer, or layer\[index of its input\]"),
    ],
)
def test_what_cannot_be_unshared(items: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        unshare_weights(chain(), learned(chain()), items)


def test_what_cannot_become_local() -> None:
    arrays = learned(chain())
    with pytest.raises(UsageError, match="layer 'e' is of type fc; conv layers can become local ones"):
        conv_to_local(chain(), arrays, ["a", "e"])
    with pytest.raises(ConfigError, match="wcNormMax holds for conv alone"):
        conv_to_local(chain(wc_norm_max=1), arrays, ["a"])
