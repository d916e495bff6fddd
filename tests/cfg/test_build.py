"""From text to net, and every message that a user may meet on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from net_files import DEFINITION, PARAMETERS, changed, loaded

from convjit.cfg import load_net, parse_net
from convjit.errors import ConfigError
from convjit.layers import LAYERS, Conv, Fc, Schedule

TYPES = ", ".join(LAYERS)


def test_a_net() -> None:
    net, recipe, warnings = loaded()
    assert warnings == ()
    assert recipe.image == (3, 8, 8) and recipe.classes == net.classes == 10
    conv = net.nodes["conv1"].layer
    assert isinstance(conv, Conv)
    assert conv.filters == (4,) and net.nodes["fc10"].output.channels == 10
    assert net.learned()["conv1.weights"].decay == 0.004
    assert net.learned()["fc10.biases"].epsilon == Schedule.const(0.002)


def test_keys_are_case_insensitive() -> None:
    assert (
        loaded(DEFINITION.replace("filterSize", "FILTERsize"), PARAMETERS.replace("epsW", "EpSw")).net == loaded().net
    )


def test_the_data_count_more_than_the_recipe() -> None:
    made = parse_net(DEFINITION, PARAMETERS, image=(3, 12, 10), classes=10)
    assert made.recipe.image == (3, 12, 10) and made.net.nodes["pool1"].output.width == 4


def test_defaults_are_for_those_that_know_them() -> None:
    common = "[DEFAULT]\nepsW=0.5\nepsB=0.25\nmomW=0.9\nmomB=0\nfilterSize=9\n"
    parameters = common + "[recipe]\nimage=3x8x8\nclasses=10\n[conv1]\n[fc10]\nepsW=1\n[logprob]\ncoeff=1\n"
    learned = loaded(DEFINITION, parameters).net.learned()
    assert [learned[n].epsilon.base for n in ("conv1.weights", "fc10.weights", "fc10.biases")] == [0.5, 1, 0.25]


def test_keys_without_effect_are_said() -> None:
    definition = changed(DEFINITION, "filters=4\n", "filters=4\nsumWidth=4\npartialSum=2\ngpu=0\n")
    warnings = loaded(definition, changed(PARAMETERS, "wc=0.004\n", "superEps=1\n")).warnings
    kernels = "it chose among the original's kernels and does not change results"
    assert warnings == (
        f"net.cfg:12: layer 'conv1': sumWidth is ignored: {kernels}",
        f"net.cfg:13: layer 'conv1': partialSum is ignored: {kernels}",
        "net.cfg:14: layer 'conv1': gpu is ignored: devices are chosen when a run starts, not in a net",
        "params.cfg:9: layer 'conv1': superEps is ignored: the original reads it and never uses it",
    )
    again = changed(definition, "initW=0.1\n[probs]", "initW=0.1\ngpu=1\n[probs]")
    assert loaded(again).warnings[2] == (
        "net.cfg:14: gpu is ignored in conv1, fc10: devices are chosen when a run starts, not in a net"
    )


def test_parameters_of_no_layer_are_said() -> None:
    assert loaded(parameters=PARAMETERS + "[conv2]\nepsW=1\n").warnings == (
        "params.cfg:17: there is no layer 'conv2' (did you mean 'conv1'?)",
    )


def test_lenient_reading() -> None:
    definition = changed(DEFINITION, "filters=4\n", "filters=4\nfilterSze=9\nwc=1\n")
    made = loaded(definition, lenient=True)
    assert made.net == loaded().net
    assert made.warnings == (
        "net.cfg:12: layer 'conv1': unknown key 'filterSze' (did you mean 'filterSize'?)",
        "net.cfg:13: layer 'conv1': wc belongs in the parameter file",
    )


D, P = "definition", "parameters"
ERRORS = [
    (D, "type=conv\n", "", f"net.cfg:7: layer 'conv1': type is missing; there are {TYPES}"),
    (D, "type=conv\n", "type=konv\n", "net.cfg:8: layer 'conv1': unknown type 'konv' (did you mean 'conv'?)"),
    (D, "type=conv\n", "type=xyz\n", f"net.cfg:8: layer 'conv1': unknown type 'xyz'; there are {TYPES}"),
    (
        D,
        "type=conv\n",
        "type=sum\n",
        "net.cfg:8: layer 'conv1': type 'sum' is not supported: it never had a kernel in cuda-convnet; use eltsum",
    ),
    (D, "inputs=data\n", "", "net.cfg:7: layer 'conv1': inputs is missing"),
    (D, "filterSize=3\n", "", "net.cfg:7: layer 'conv1': filterSize is missing"),
    (P, "epsB=0.002\n", "", "params.cfg:4: layer 'conv1': epsB is missing"),
    (P, "coeff=1\n", "", "params.cfg:15: layer 'logprob': coeff is missing"),
    (
        P,
        "[fc10]\n",
        "[fc11]\n",
        "net.cfg:22: layer 'fc10': type fc needs a section [fc10] in the parameter file params.cfg",
    ),
    (D, "filters=4", "filters=0", "net.cfg:11: layer 'conv1': filters=0: must be at least 1"),
    (
        D,
        "filters=4",
        "filters=four",
        "net.cfg:11: layer 'conv1': filters=four: must be a whole number, at most 2147483647",
    ),
    (D, "stride=2", "stride=3", "net.cfg:21: layer 'pool1': stride=3: must be 1 to sizeX=2"),
    (D, "sizeX=2", "sizeX=7", "net.cfg:20: layer 'pool1': sizeX=7: must be 1 to 6, the side of the image"),
    (D, "pool=max", "pool=median", "net.cfg:18: layer 'pool1': pool=median: must be max, avg or maxabs"),
    (P, "momW=0.9", "momW=9", "params.cfg:7: layer 'conv1': momW=9: must be 0 to 1"),
    (
        P,
        "epsW=0.001",
        "epsW=exp[base=1]",
        "params.cfg:5: layer 'conv1': epsW=exp[base=1]: must be written exp[base=...;tgtFactor=...]",
    ),
    (D, "filters=4", "filters=4\ngroups=2", "net.cfg:12: layer 'conv1': channels=3 is not divisible by groups=2"),
    (D, "channels=3", "channels=1", "net.cfg:10: layer 'conv1': channels=1, but input 'data' has 3 (3x8x8)"),
    (
        D,
        "initW=0.1",
        "initW=0.1, 0.2",
        "net.cfg:13: layer 'conv1': initW=0.1, 0.2: 2 values for 1 inputs; allowed is one value, or one for each input",
    ),
    (D, "inputs=fc10", "inputs=fc", "net.cfg:29: layer 'probs': input 'fc' is not defined (did you mean 'fc10'?)"),
    (
        D,
        "inputs=conv1",
        "inputs=fc10",
        "net.cfg:17: layer 'pool1': input 'fc10' is defined further down; a layer is fed by layers above it",
    ),
    (
        D,
        "inputs=pool1",
        "inputs=conv1",
        "net.cfg:15: layer 'pool1': nothing uses its output; every layer but a cost must feed another",
    ),
    (D, "inputs=fc10", "inputs=fc10, pool1", "net.cfg:29: layer 'probs': 2 inputs; softmax takes exactly 1"),
    (
        D,
        "outputs=10",
        "outputs=9",
        "net.cfg:32: layer 'logprob': 'probs' has 9 outputs, but the data have 10 classes; "
        "change fc10 (as by --set fc10.outputs=10)",
    ),
    (
        D,
        "inputs=labels, probs",
        "inputs=labels, fc10",
        "net.cfg:32: layer 'logprob': the second input must be a softmax layer, not 'fc10' of type fc",
    ),
    (
        D,
        "neuron=relu",
        "neuron=tanh[1]",
        "net.cfg:14: layer 'conv1': neuron=tanh[1]: has 1 parameters; it is written tanh[a,b]",
    ),
    (D, "neuron=relu", "neurn=relu", "net.cfg:14: layer 'conv1': unknown key 'neurn' (did you mean 'neuron'?)"),
    (D, "dataIdx=1", "dataIdx=3", "net.cfg:6: layer 'labels': dataIdx=3: must be 0 to 2"),
    (D, "initW=0.1\n", "epsW=1\n", "net.cfg:13: layer 'conv1': epsW belongs in the parameter file"),
    (P, "wc=0.004", "filters=4", "params.cfg:9: layer 'conv1': filters belongs in the net file"),
    (
        D,
        "[pool1]",
        "[pool.1]",
        "net.cfg:15: 'pool.1' cannot name a layer: allowed are letters, digits, _, - and +, blanks between them, "
        "at most 80; not 'recipe' or 'default'",
    ),
    (P, "image=3x8x8", "image=3x8", "params.cfg:2: layer 'recipe': image=3x8: must be CxHxW, such as 3x32x32"),
    (
        P,
        "image=3x8x8",
        "crop=4",
        "params.cfg: the size of the images is not known: "
        "say image=CxHxW in a section [recipe], or --set recipe.image=CxHxW",
    ),
    (P, "classes=10", "classes=10\ncrop=9", "params.cfg:4: crop=9x9: must fit into the image of 3x8x8"),
    (P, "classes=10", "clases=10", "params.cfg:3: layer 'recipe': unknown key 'clases' (did you mean 'classes'?)"),
]


@pytest.mark.parametrize(("file", "before", "after", "message"), ERRORS, ids=[message for *_, message in ERRORS])
def test_errors(file: str, before: str, after: str, message: str) -> None:
    definition = changed(DEFINITION, before, after) if file == D else DEFINITION
    parameters = changed(PARAMETERS, before, after) if file == P else PARAMETERS
    with pytest.raises(ConfigError) as error:
        loaded(definition, parameters)
    assert str(error.value) == message
    assert "\n" not in message


def test_empty_files() -> None:
    with pytest.raises(ConfigError, match=r"net\.cfg: no layers in the file"):
        loaded("", PARAMETERS)
    with pytest.raises(ConfigError, match=r"net\.cfg:7: layer 'conv1': type conv needs a section \[conv1\]"):
        loaded(parameters="")


def test_files(tmp_path: Path) -> None:
    definition, beside, other = (tmp_path / name for name in ("my.cfg", "my.params.cfg", "other.cfg"))
    with pytest.raises(ConfigError, match=f"there is no file '{tmp_path}/my.cfg'; nets are alexnet, "):
        load_net(definition)
    definition.write_text(DEFINITION)
    with pytest.raises(ConfigError, match=r"needs a section \[conv1\] in the parameter file .*/my\.params\.cfg"):
        load_net(definition)
    beside.write_text(PARAMETERS)
    other.write_text(PARAMETERS.replace("wc=0.004", "wc=1"))
    assert load_net(definition) == load_net(str(definition)) == loaded()
    assert load_net(definition, other).net.learned()["conv1.weights"].decay == 1
    with pytest.raises(ConfigError, match=r"missing\.cfg: cannot be read: No such file or directory"):
        load_net(definition, tmp_path / "missing.cfg")
    definition.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"my\.cfg:1: not UTF-8 text"):
        load_net(definition)


def test_names() -> None:
    with pytest.raises(
        ConfigError, match=r"there is no file and no net 'lenet' \(did you mean 'lenet5'\?\); nets are alexnet"
    ):
        load_net("lenet")
    with pytest.raises(ConfigError, match="there is no file and no net"):
        load_net("x" * 5000)


def _set(*overrides: str) -> tuple[Conv, Fc]:
    nodes = parse_net(DEFINITION, PARAMETERS, overrides=overrides).net.nodes
    conv, fc = nodes["conv1"].layer, nodes["fc10"].layer
    assert isinstance(conv, Conv) and isinstance(fc, Fc)
    return conv, fc


def test_overrides() -> None:
    conv, _ = _set("conv1.filters=6", "conv1.epsw = exp[base=1;tgtFactor=2]", "conv1.filters=8", "pool1.channels=8")
    assert conv.filters == (8,)
    net, recipe, _ = parse_net(DEFINITION, PARAMETERS, overrides=["recipe.epochs=3", "recipe.crop=6", "conv1.wc=0"])
    assert recipe.epochs == 3 and net.crop == (6, 6) and net.learned()["conv1.weights"].decay == 0
    made = parse_net(DEFINITION, PARAMETERS, overrides=["conv1.padding=1", "fc10.inputs=conv1, pool1"]).net
    assert made.nodes["fc10"].layer.inputs == ("conv1_neuron", "pool1")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("conv1", "must be LAYER.KEY=VALUE, such as conv1.epsW=0.01 or recipe.epochs=20"),
        ("epsW=1", "must be LAYER.KEY=VALUE, such as conv1.epsW=0.01 or recipe.epochs=20"),
        ("conv2.epsW=1", "there is no layer 'conv2' (did you mean 'conv1'?)"),
        ("conv1.epsV=1", "layer 'conv1': unknown key 'epsV' (did you mean 'epsW'?)"),
        ("conv1.filters=x", "layer 'conv1': filters=x: must be a whole number, at most 2147483647"),
        ("recipe.epochs=0", "layer 'recipe': epochs=0: must be at least 1"),
    ],
)
def test_wrong_overrides(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        _set(override)
    assert str(error.value) == f"--set {override}: {message}"
