"""The grammar of values, from text and from Python."""

from __future__ import annotations

from typing import Any

import pytest

from convjit.errors import ConfigError
from convjit.layers import Conv, Dropout, Fc, NeuronLayer, Schedule, WindowLayer
from convjit.layers.values import (
    neuron_text,
    number_text,
    parse_flag,
    parse_flag_item,
    parse_integer,
    parse_neuron,
    parse_number,
    split_list,
)
from convjit.ops.neuron import NEURONS, Neuron


def conv(inputs: str = "a", **options: Any) -> Any:
    return Conv("conv", inputs, **{"filters": 4, "filter_size": 3, **options})


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-3", -3), ("+12", 12), ("007", 7), ("2147483647", 2**31 - 1)])
def test_integers(text: str, value: int) -> None:
    assert parse_integer(text) == value


WRONG_INTEGERS = [
    "",
    " 1",
    "1.0",
    "1e3",
    "0x10",
    "1_000",
    "\uff11\uff12",
    "\u0663",
    "2147483648",
    "9" * 5000,
    "nan",
    "--1",
]


@pytest.mark.parametrize("text", WRONG_INTEGERS)
def test_no_integers(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        parse_integer(text)


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1.0), (".5", 0.5), ("5.", 5.0), ("-2.5e-3", -0.0025), ("1E2", 100.0), ("+.1", 0.1)]
)
def test_numbers(text: str, value: float) -> None:
    assert parse_number(text) == value


WRONG_NUMBERS = ["", ".", "e5", "nan", "inf", "-Infinity", "1e400", "1e39", "0x10", "1_0.0", "\uff11.5", "1,5", "1 2"]


@pytest.mark.parametrize("text", WRONG_NUMBERS)
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        parse_number(text)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e-4, 1e30, 123456789.125, 1 / 3, -7.0])
def test_number_text(value: float) -> None:
    assert parse_number(number_text(value)) == value


def test_flags() -> None:
    assert all(parse_flag(text) for text in ("1", "yes", "True", "ON"))
    assert not any(parse_flag(text) for text in ("0", "no", "FALSE", "off"))
    for text in ("", "2", "y", "t"):
        with pytest.raises(ValueError, match="must be one of 1, yes, true, on, 0, no, false, off"):
            parse_flag(text)


def test_items_of_flag_lists() -> None:
    """The original takes anything but true and 1 for false."""
    assert [parse_flag_item(t) for t in ("true", "1", "TRUE", "yes", "on", "0", "x")] == [True] * 3 + [False] * 4


def test_lists() -> None:
    assert split_list("a, b ,c") == ["a", "b", "c"]
    assert split_list("steps[base=1;factor=2;epochs=3,4], 5") == ["steps[base=1;factor=2;epochs=3,4]", "5"]
    assert split_list("a,,b") == ["a", "", "b"]


@pytest.mark.parametrize("name", NEURONS)
def test_neuron_text(name: str) -> None:
    neuron = Neuron(name, *(1.7159, 0.6666666666666666)[: NEURONS[name].parameters])
    assert parse_neuron(neuron_text(neuron)) == neuron


def test_neurons_of_the_original() -> None:
    assert parse_neuron("tanh[1.7159, -.6667]") == Neuron("tanh", 1.7159, -0.6667)
    assert parse_neuron("ReLU") == Neuron("relu")
    assert parse_neuron("brelu[1e1]") == Neuron("brelu", 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rellu", f"must be one of {', '.join(NEURONS)} (did you mean 'relu'?)"),
        ("", f"must be one of {', '.join(NEURONS)}"),
        ("relu[1]", "has 1 parameters; it is written relu"),
        ("tanh", "has 0 parameters; it is written tanh[a,b]"),
        ("tanh[1]", "has 1 parameters; it is written tanh[a,b]"),
        ("tanh[0,1]", "tanh divides by its first parameter, which must not be 0"),
        ("brelu[0]", "the ceiling of brelu must be above 0"),
        ("linear[a,1]", "must be a number, such as 0.01 or 1e-4"),
        ("nrelu", "'nrelu' is not supported: the noisy rectifier never had a kernel in cuda-convnet; use relu"),
        ("abstanh", "'abstanh' is not supported: it never had a kernel in cuda-convnet; use tanh or abs"),
    ],
)
def test_wrong_neurons(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        NeuronLayer("n", "a", neuron=text)
    assert str(error.value) == f"layer 'n': neuron={text}: {message}"


def test_one_value_stands_for_all_inputs() -> None:
    assert conv("a, b, c").filter_size == conv("a, b, c", filter_size=(3,)).filter_size == (3, 3, 3)
    assert conv("a, b", filter_size="3", padding="1, 2", init_w=[0.1, 2]).padding == (1, 2)
    assert conv("a, b", init_w=[0.1, 2]).init_w == (0.1, 2.0)
    rates = conv("a, b", eps_w="steps[base=1;factor=2;epochs=3,4], 0.5").eps_w
    assert [rate.text() for rate in rates] == ["steps[base=1;factor=2;epochs=3,4]", "0.5"]


def test_python_values() -> None:
    layer = Fc("fc", ["a"], outputs=3, eps_b=1, eps_w=Schedule.const(2), neuron=Neuron("relu"), init_b="0.5")  # type: ignore[arg-type]
    assert layer.eps_b == Schedule.const(1) and layer.eps_w == (Schedule.const(2),) and layer.init_b == 0.5
    assert Fc("fc", "a", outputs=3, neuron="tanh[1,2]").neuron == Neuron("tanh", 1, 2)
    assert Fc("fc", "a", outputs=3).neuron is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": 0}, "filters=0: must be at least 1"),
        ({"filters": "0x10"}, "filters=0x10: must be a whole number, at most 2147483647"),
        ({"filters": 2.0}, "filters=2.0: must be a whole number"),
        ({"filters": True}, "filters=True: must be a whole number"),
        ({"filters": 10**30}, f"filters={10**30}: must be a whole number, at most 2147483647"),
        (
            {"filter_size": (3, 5)},
            "filterSize=(3, 5): 2 values for 1 inputs; allowed is one value, or one for each input",
        ),
        ({"filter_size": ()}, "filterSize=(): 0 values for 1 inputs; allowed is one value, or one for each input"),
        ({"padding": -1}, "padding=-1: must be at least 0"),
        ({"mom_w": 1.5}, "momW=1.5: must be 0 to 1"),
        ({"wc": float("nan")}, "wc=nan: must be a finite number"),
        ({"shared_biases": "maybe"}, "sharedBiases=maybe: must be one of 1, yes, true, on, 0, no, false, off"),
        ({"shared_biases": 1}, "sharedBiases=1: must be True or False"),
        ({"neuron": 3}, "neuron=3: must be a neuron, such as relu"),
        ({"neuron": Neuron("tanh")}, "neuron=tanh[0,0]: tanh divides by its first parameter, which must not be 0"),
        ({"eps_b": "1e-2x"}, "epsB=1e-2x: must be a number, or a schedule such as exp[base=0.01;tgtFactor=10]"),
        ({"init_w": "x" * 100}, f"initW={'x' * 57}...: must be a number, such as 0.01 or 1e-4"),
    ],
)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        conv(**options)
    assert str(error.value) == f"layer 'conv': {message}"
    assert error.value.layer == "conv" and error.value.key == message.partition("=")[0]


def test_numbers_of_inputs() -> None:
    with pytest.raises(ConfigError, match="layer 'd': 2 inputs; dropout takes exactly 1"):
        Dropout("d", "a, b")
    with pytest.raises(ConfigError, match="layer 'conv': 0 inputs; conv takes at least 1"):
        Conv("conv", filters=1, filter_size=1)


@pytest.mark.parametrize("name", ["", "a.b", "a,b", "a/b", "a=b", " a", "a ", "recipe", "DEFAULT", "a\nb", "x" * 81])
def test_names_that_no_layer_can_have(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name a layer"):
        Dropout(name, "a")


def test_options_are_declared_once_and_in_order() -> None:
    assert list(Conv.options())[:1] == ["shared_biases"], "what conv alone has comes first"
    assert list(WindowLayer.options())[:3] == ["filters", "filter_size", "padding"]
    assert Conv.options()["eps_w"].key == "epsW" and Conv.options()["eps_w"].file == "params"
    assert Conv.options()["channels"].required and not Conv.options()["padding"].required
