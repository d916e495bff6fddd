"""Small nets, at least one for every type of layer and for every neuron: tests run over these tables."""

from __future__ import annotations

from collections.abc import Sequence

from convjit.graph import Net
from convjit.layers import (
    Cmpool,
    Cmrnorm,
    Cnorm,
    ConcatLayer,
    Conv,
    Data,
    Dropout,
    Dropout2,
    Eltmax,
    Eltsum,
    Fc,
    Layer,
    Logreg,
    NeuronLayer,
    Norm,
    PassLayer,
    Pool,
    Rnorm,
    Softmax,
)
from convjit.ops.neuron import NEURONS

IMAGE = (2, 7, 6)
CLASSES = 3


def net_of(*layers: Layer, image: Sequence[int] = IMAGE, classes: int = CLASSES, crop: Sequence[int] = (0, 0)) -> Net:
    """A whole net around some layers: data before them; fc, softmax and cost behind the last."""
    last = layers[-1].name if layers else "data"
    ends = (Fc("out", last, outputs=classes), Softmax("probs", "out"), Logreg("cost", "labels, probs"))
    return Net([Data("data"), Data("labels", data_idx=1), *layers, *ends], image=image, classes=classes, crop=crop)


def _conv(name: str = "conv", inputs: str = "data", filters: int = 4, size: int = 3, **options: object) -> Conv:
    return Conv(name, inputs, filters=filters, filter_size=size, init_w=0.5, **options)  # type: ignore[arg-type]


def neuron_sample(name: str) -> Net:
    """The neuron behind a convolution; where it needs positive numbers, behind a logistic one."""
    text = name + ("", "[1.3]", "[1.7,0.6]")[NEURONS[name].parameters]
    before = "logistic" if name in ("sqrt", "log") else "linear[1,0.1]"
    return net_of(_conv(neuron=before), NeuronLayer("neuron", "conv", neuron=text))


SAMPLES: dict[str, dict[str, Net]] = {
    "data": {"plain": net_of(), "cropped": net_of(_conv(), image=(3, 9, 8), crop=(6, 5))},
    "conv": {
        "plain": net_of(_conv()),
        "padded": net_of(_conv(padding=2, neuron="relu")),
        "strided, with overhang": net_of(_conv(stride=2, padding=1), image=(1, 8, 8)),
        "stride above the filter's side": net_of(_conv(size=2, stride=3, modules_x=3), image=(1, 8, 8)),
        "groups": net_of(_conv(groups=2, filters=3)),
        "unshared biases": net_of(_conv(shared_biases=False)),
        "two inputs": net_of(
            _conv("a", filters=2, padding=1),
            _conv("b", filters=3, padding=1),
            _conv("both", "a, b", filters=2, size=(3, 5), padding=(1, 2)),  # type: ignore[arg-type]
        ),
        "one input twice": net_of(_conv("a", filters=2), _conv("both", "a, a", filters=2)),
        "on the outputs of fc": net_of(Fc("fc", "data", outputs=18, init_w=0.3), _conv(inputs="fc", channels=2)),
        "second reader of fc": net_of(
            Fc("fc", "data", outputs=9, init_w=0.3),
            _conv(inputs="fc", channels=1, size=2, padding=0),
            Fc("join", "conv, fc", outputs=4, init_w=0.3),
        ),
        "frozen weights": net_of(_conv("a", eps_w=0), _conv("b", "a", eps_b=0)),
        "frozen below": net_of(_conv("a", eps_w=0, eps_b=0), _conv("b", "a")),
    },
    "fc": {
        "plain": net_of(Fc("fc", "data", outputs=5, neuron="tanh[1,1]")),
        "two inputs": net_of(_conv(), Fc("fc", "conv, data", outputs=5)),
    },
    "pool": {
        "max": net_of(_conv(), Pool("pool", "conv", pool="max", size_x=3, stride=2, neuron="relu")),
        "avg": net_of(_conv(), Pool("pool", "conv", pool="avg", size_x=3, stride=2)),
        "sum": net_of(_conv(), Pool("pool", "conv", pool="avg", sum=True, size_x=2, stride=2)),
        "start": net_of(_conv(), Pool("pool", "conv", pool="max", size_x=3, stride=2, start=-1)),
        "outputs": net_of(_conv(), Pool("pool", "conv", pool="avg", size_x=2, stride=1, outputs_x=2)),
        "two readers": net_of(
            _conv("a"),
            Pool("pool", "a", pool="max", size_x=2, stride=2),
            Pool("other", "a", pool="avg", size_x=2, stride=2),
            Fc("join", "pool, other, a", outputs=4),
        ),
    },
    "neuron": {"twice": net_of(_conv(neuron="tanh[1,1]"), NeuronLayer("n", "conv", neuron="square"))},
    "dropout": {
        "plain": net_of(_conv(), Dropout("drop", "conv", keep=0.7)),
        "off": net_of(_conv(), Dropout("drop", "conv", enable=False)),
    },
    "dropout2": {
        "plain": net_of(_conv(), Dropout2("drop", "conv", keep=0.7)),
        "off": net_of(_conv(), Dropout2("drop", "conv", keep=0.7, enable=False), Fc("join", "drop, conv", outputs=3)),
    },
    "softmax": {"inside": net_of(_conv(), Softmax("soft", "conv"))},
    "cost.logreg": {
        "coeff": Net(
            [
                Data("data"),
                Data("labels", data_idx=1),
                Fc("fc", "data", outputs=4, init_w=0.2),
                Softmax("probs", "fc"),
                Logreg("cost", "labels, probs", coeff=0.3, topk=2),
                Logreg("again", "labels, probs", coeff=2.5),
                Logreg("shown", "labels, probs", coeff=0),
            ],
            image=IMAGE,
            classes=4,
        )
    },
}
"""By type: nets that show what the type can do, each with a word on what that is."""

NORM = {"scale": 0.8, "pow": 0.75}
SAMPLES |= {
    "rnorm": {
        "odd": net_of(_conv(), Rnorm("norm", "conv", size=3, **NORM, neuron="relu")),
        "even": net_of(_conv(), Rnorm("norm", "conv", size=2, scale=2, pow=0.6, min_div=2)),
        "two readers": net_of(_conv(), Rnorm("norm", "conv", size=3, **NORM), Fc("join", "norm, conv", outputs=3)),
    },
    "cnorm": {
        "odd": net_of(_conv(), Cnorm("norm", "conv", size=3, **NORM)),
        "even": net_of(_conv(), Cnorm("norm", "conv", size=4, scale=3, pow=1.5, min_div=2)),
        "two readers": net_of(_conv(), Cnorm("norm", "conv", size=3, **NORM), Fc("join", "norm, conv", outputs=3)),
    },
    "cmrnorm": {
        "odd": net_of(_conv(filters=6), Cmrnorm("norm", "conv", size=5, **NORM)),
        "even": net_of(_conv(filters=5), Cmrnorm("norm", "conv", size=4, scale=2, pow=0.6, min_div=2)),
        "blocked": net_of(_conv(filters=5), Cmrnorm("norm", "conv", size=3, blocked=True, **NORM, neuron="relu")),
        "two readers": net_of(_conv(), Cmrnorm("norm", "conv", size=3, **NORM), Fc("join", "norm, conv", outputs=3)),
    },
    "eltsum": {
        "coefficients": net_of(_conv("a"), _conv("b"), _conv("c"), Eltsum("sum", "a, b, c", coeffs="1, -0.5, 2")),
        "the same twice": net_of(_conv("a"), Eltsum("sum", "a, a", coeffs=(0.5, 2), neuron="tanh[1,1]")),
        "flat and maps": net_of(Fc("fc", "data", outputs=84), Eltsum("sum", "fc, data"), _conv(inputs="sum")),
        "one": net_of(_conv("a"), Eltsum("sum", "a", coeffs=3)),
    },
    "eltmax": {"three": net_of(_conv("a"), _conv("b"), _conv("c"), Eltmax("max", "a, b, c", neuron="relu"))},
    "concat": {
        "channels": net_of(_conv("a"), _conv("b", filters=3), ConcatLayer("join", "a, b, a"), _conv("c", "join")),
        "of several sizes": net_of(_conv("a"), Fc("b", "a", outputs=5), ConcatLayer("join", "b, a, b", neuron="relu")),
        "one": net_of(_conv("a"), ConcatLayer("join", "a")),
    },
    "pass": {"two": net_of(_conv("a"), _conv("b"), PassLayer("join", "a, b"))},
    "cmpool": {
        "plain": net_of(_conv(filters=7), Cmpool("pool", "conv", size=3, stride=2, outputs=3)),
        "start": net_of(_conv(filters=7), Cmpool("pool", "conv", size=3, stride=2, start=-1, outputs=4, neuron="relu")),
    },
}
SAMPLES["pool"]["largest magnitude"] = net_of(_conv(), Pool("pool", "conv", pool="maxabs", size_x=3, stride=2))

NETS = {f"{kind}: {what}": net for kind, nets in SAMPLES.items() for what, net in nets.items()}
NETS |= {f"neuron {name}": neuron_sample(name) for name in NEURONS}
