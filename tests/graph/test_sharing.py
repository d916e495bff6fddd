"""weightSource: one array for several layers; its gradient is the sum of all, its update the owner's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from layer_samples import net_of
from steps import contents, run_reference

from convjit.errors import ConfigError
from convjit.graph import Net, lower
from convjit.layers import Conv, Fc, Layer, Local
from convjit.train.initial import initial_weights

Kind = type[Conv] | type[Local]


def layer(kind: Kind, name: str, inputs: str, **options: Any) -> Layer:
    return kind(name, inputs, filters=2, filter_size=3, padding=1, init_w=0.5, **options)


def nets(kind: Kind) -> tuple[Net, Net]:
    """Three layers that share, and the same without sharing."""
    shared, plain = (
        net_of(
            layer(kind, "a", "data"),
            layer(kind, "b", "a", neuron="relu"),
            layer(kind, "c", "b", **({"weight_source": "b"} if share else {})),
            layer(kind, "d", "c, b", **({"weight_source": "c[0], d[0]"} if share else {})),
        )
        for share in (True, False)
    )
    return shared, plain


@pytest.mark.parametrize("kind", [Conv, Local])
def test_the_gradient_is_the_sum(kind: Kind) -> None:
    shared, plain = nets(kind)
    owned = ["a.weights", "a.biases", "b.weights", "b.biases", "c.biases", "d.biases", "out.weights", "out.biases"]
    assert list(shared.learned()) == list(initial_weights(shared, 1)) == owned
    numbers = int(np.prod(plain.learned()["b.weights"].array.shape))
    assert shared.parameters == plain.parameters - 3 * numbers
    program, alone = lower(shared, 3, "gradients"), lower(plain, 3, "gradients")
    given = contents(program)
    copies = dict.fromkeys(("c.weights", "d.weights", "d.weights1"), given["b.weights"])
    together, apart = run_reference(program, given), run_reference(alone, given | copies)
    total = sum(apart[f"{name}.grad"] for name in ("b.weights", *copies))
    np.testing.assert_allclose(together["b.weights.grad"], total, rtol=1e-9)
    np.testing.assert_allclose(together["a.weights.grad"], apart["a.weights.grad"], rtol=1e-9)


def test_the_owner_updates() -> None:
    shared, _ = nets(Conv)
    program = lower(shared, 3, "train")
    assert [one.name for one in program.launches if ".update_" in one.name and "weights" in one.name] == [
        "out.update_weights",
        "b.update_weights",
        "a.update_weights",
    ]
    assert not {name for name in program.buffers() if name.startswith(("c.weights", "d.weights"))}


def test_what_a_frozen_owner_keeps() -> None:
    frozen = net_of(layer(Conv, "a", "data"), layer(Conv, "b", "a", eps_w=0), layer(Conv, "c", "b", weight_source="b"))
    assert not [
        one.name for one in lower(frozen, 3, "train").launches if one.name in ("c.backward_weights", "b.update_weights")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_source": "x"}, r"weightSource=x: no layer above has this name"),
        ({"weight_source": "c"}, r"weightSource=c\[0\]: a lower input of the layer itself has no such weights"),
        ({"weight_source": "b[1]"}, r"weightSource=b\[1\]: layer 'b' has no such weights"),
        ({"weight_source": "a"}, r"weightSource=a\[0\]: they are 2x2x3x3, but 2x3x3x3 is needed"),
        ({"weight_source": "f"}, r"weightSource=f: is of type fc; weights are shared by layers of one type"),
        ({"weight_source": "b, b"}, "2 items for 1 inputs; allowed is one for each input, which may be blank"),
        ({"weight_source": "b["}, r"weightSource=b\[: must be a layer, or layer\[index of its input\]"),
        ({"weight_source": "b", "init_w_func": "he"}, "initWFunc and weightSource exclude one another"),
    ],
)
def test_what_cannot_be_shared(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        net_of(
            layer(Conv, "a", "data"),
            Conv("b", "a", filters=3, filter_size=3, padding=1),
            Fc("f", "b", outputs=3),
            layer(Conv, "c", "b", **options),
            Fc("join", "f, c", outputs=2),
        )
    assert caught.value.layer == "c"
