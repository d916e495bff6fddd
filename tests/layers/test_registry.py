"""What holds for every layer, present and future."""

from __future__ import annotations

import dataclasses

import pytest
from layer_samples import NETS, SAMPLES

import convjit.layers
from convjit.cfg import definition_text, parameter_text, parse_net
from convjit.graph import Net
from convjit.layers import LAYERS, Inner, Layer


def test_every_layer_has_a_sample() -> None:
    assert set(SAMPLES) == set(LAYERS), "add a net to tests/layer_samples.py"
    for kind, nets in SAMPLES.items():
        assert all(any(layer.kind == kind for layer in net.layers) for net in nets.values())


@pytest.mark.parametrize("kind", LAYERS)
def test_what_documentation_needs(kind: str) -> None:
    layer = LAYERS[kind]
    assert layer.kind == kind
    assert layer.formula and "\n" not in layer.formula
    assert layer.__doc__ and layer.__name__ in convjit.layers.__all__
    keys = [option.key.lower() for option in layer.options().values()]
    assert len(set(keys)) == len(keys) and not {"type", "inputs"} & set(keys)
    assert not set(keys) & {key.lower() for key in layer.ignored}
    declared = {f.name for f in dataclasses.fields(layer)} - {"name", "inputs"}
    assert set(layer.options()) == declared, "every field is an option"
    assert issubclass(layer, Inner) != (kind == "data" or kind == "neuron" or layer.is_cost)


@pytest.mark.parametrize("name", NETS)
def test_text_round_trip(name: str) -> None:
    net = NETS[name]
    again = parse_net(definition_text(net), parameter_text(net))
    assert again.net == net
    assert again.warnings == ()
    assert (definition_text(again.net), parameter_text(again.net)) == (definition_text(net), parameter_text(net))


@pytest.mark.parametrize("name", NETS)
def test_layers_are_values(name: str) -> None:
    net = NETS[name]
    again = Net(
        [dataclasses.replace(layer) for layer in net.written],
        image=(net.image.channels, net.image.height, net.image.width),
        classes=net.classes,
        crop=net.crop,
    )
    assert again == net and hash(again) == hash(net)
    assert all(isinstance(layer, Layer) for layer in again.layers)
