"""Small nets, at least one for every type of layer and for every neuron: tests run over these tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convjit.graph import Net
from convjit.layers import (
    Bce,
    BlurLayer,
    Cmpool,
    Cmrnorm,
    Cnorm,
    ConcatLayer,
    Conv,
    Crop,
    Crossent,
    Data,
    Dce,
    Dropout,
    Dropout2,
    Eltmax,
    Eltsum,
    Fc,
    Href,
    Layer,
    Local,
    Logreg,
    NailbedLayer,
    NeuronLayer,
    PassLayer,
    Pool,
    ResizeLayer,
    RgbToLabLayer,
    RgbToYuvLayer,
    Rnorm,
    Rscale,
    Sfc,
    Softmax,
    Sum2,
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


def _local(name: str = "local", inputs: str = "data", filters: int = 3, size: int = 3, **options: object) -> Local:
    return Local(name, inputs, filters=filters, filter_size=size, init_w=0.5, **options)  # type: ignore[arg-type]


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
        "inputs in groups of their own": net_of(
            _conv("a", filters=4, padding=1),
            _conv("both", "a, data", filters="1, 2", groups=(4, 2), padding=1),  # type: ignore[arg-type]
        ),
        "one input twice": net_of(_conv("a", filters=2), _conv("both", "a, a", filters=2)),
        "on the outputs of fc": net_of(Fc("fc", "data", outputs=18, init_w=0.3), _conv(inputs="fc", channels=2)),
        "second reader of fc": net_of(
            Fc("fc", "data", outputs=9, init_w=0.3),
            _conv(inputs="fc", channels=1, size=2, padding=0),
            Fc("join", "conv, fc", outputs=4, init_w=0.3),
        ),
        "shared weights": net_of(
            _conv("a", filters=2, padding=1),
            _conv("b", "a", filters=2, padding=1, neuron="relu"),
            _conv("c", "b, a", filters=2, padding=1, weight_source="b, c[0]"),
        ),
        "the rate of a sharer has no effect": net_of(
            _conv("a", filters=2, padding=1),
            _conv("b", "a", filters=2, padding=1),
            _conv("c", "b", filters=2, padding=1, weight_source="b", eps_w=0),
            Fc("join", "b, c", outputs=3),
        ),
        "sparse connections": net_of(
            _conv("a", filters=6, padding=1, size=1),
            _conv("b", "a", filters=2, groups=4, rand_sparse=True, filter_channels=3),
            _conv("c", "a", filters=4, groups=2, rand_sparse=True, init_c_func="vec[5,3,1,0,2,4]"),
            Fc("join", "b, c", outputs=3),
        ),
        "frozen weights": net_of(_conv("a", eps_w=0), _conv("b", "a", eps_b=0)),
        "frozen below": net_of(_conv("a", eps_w=0, eps_b=0), _conv("b", "a")),
    },
    "local": {
        "plain": net_of(_local()),
        "padded": net_of(_local(padding=2, neuron="relu")),
        "strided, with overhang": net_of(_local(stride=2, padding=1), image=(1, 8, 8)),
        "groups": net_of(_local(groups=2, filters=3)),
        "two inputs": net_of(
            _conv("a", filters=2, padding=1),
            _local("both", "data, a", filters=2, size=(3, 5), padding=(1, 2)),  # type: ignore[arg-type]
        ),
        "shared weights": net_of(
            _conv("a", filters=2, padding=1),
            _local("b", "a", filters=2, padding=1),
            _local("c", "b", 2, padding=1, weight_source="b"),
        ),
    },
    "sfc": {
        "plain": net_of(Sfc("sfc", "data", parts=3, outputs=4, neuron="tanh[1,1]")),
        "two inputs": net_of(_conv(), Sfc("sfc", "conv, data", parts=2, outputs=3)),
    },
    "fc": {
        "plain": net_of(Fc("fc", "data", outputs=5, neuron="tanh[1,1]")),
        "two inputs": net_of(_conv(), Fc("fc", "conv, data", outputs=5)),
        "shared weights": net_of(
            Fc("a", "data", outputs=4),
            Fc("b", "a", outputs=4),
            Fc("c", "b", outputs=4, weight_source="b", neuron="relu"),
        ),
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

NORM: dict[str, Any] = {"scale": 0.8, "pow": 0.75}
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
TARGETS = Data("targets", data_idx=2)


def _against(cost: Layer, *layers: Layer, classes: int = CLASSES) -> Net:
    """A net whose only cost compares with targets, or with nothing."""
    given = [TARGETS] if any("targets" in one.inputs for one in (*layers, cost)) else []
    return Net([Data("data"), *given, *layers, cost], image=IMAGE, classes=classes)


def _logistic(name: str = "out", inputs: str = "data", outputs: int = CLASSES) -> Fc:
    return Fc(name, inputs, outputs=outputs, init_w=0.2, neuron="logistic")


_PROBS = (Fc("fc", "data", outputs=CLASSES, init_w=0.2), Softmax("probs", "fc"))
SAMPLES |= {
    "cost.crossent": {
        "plain": _against(Crossent("cost", "targets, probs", coeff=0.7), *_PROBS),
        "with logreg": Net(
            [
                *(Data("data"), Data("labels", data_idx=1), TARGETS, *_PROBS),
                *(Logreg("cost", "labels, probs"), Crossent("soft", "targets, probs", coeff=0.3, children="shown")),
                Crossent("shown", "targets, probs", coeff=0),
            ],
            image=IMAGE,
            classes=CLASSES,
        ),
    },
    "cost.bce": {
        "plain": _against(Bce("cost", "targets, out", coeff=1.5), _logistic()),
        "weighted": _against(Bce("cost", "targets, out", pos_weight=2.5), _logistic()),
        "another neuron": _against(
            Bce("cost", "targets, soft"), Fc("out", "data", outputs=CLASSES, init_w=0.2), Softmax("soft", "out")
        ),
        "of maps": _against(
            Bce("cost", "part, conv"),
            Data("part", data_idx=2, start=1),
            Conv("conv", "data", filters=1, filter_size=6, init_w=0.2, neuron="logistic"),
        ),
    },
    "cost.dce": {"plain": _against(Dce("cost", "targets, out", pos_weight=0.5), _logistic())},
    "cost.sum2": {
        "plain": _against(Sum2("cost", "conv", coeff=0.1), _conv(neuron="tanh[1,1]")),
        "autoencoder": _against(
            Sum2("cost", "error", coeff=0.5),
            Fc("code", "data", outputs=5, init_w=0.3, neuron="logistic"),
            Fc("image", "code", outputs=84, init_w=0.3),
            Eltsum("error", "data, image", coeffs="1, -1"),
        ),
    },
}
SAMPLES |= {
    "nailbed": {"plain": net_of(_conv(padding=1), NailbedLayer("nails", "conv", stride=2))},
    "blur": {"plain": net_of(_conv(), BlurLayer("blur", "conv", filter_size=5, stdev=0.8, neuron="relu"))},
    "resize": {
        "smaller": net_of(ResizeLayer("small", "data", scale=1.3), _conv(inputs="small")),
        "larger": net_of(ResizeLayer("large", "data", scale=0.6), _conv(inputs="large", size=5, stride=3)),
    },
    "rscale": {
        "plain": net_of(Rscale("scaled", "data", max_scale=1.5), _conv(inputs="scaled")),
        "target": net_of(Rscale("scaled", "data", max_scale=2, tgt_size=5), _conv(inputs="scaled")),
    },
    "crop": {
        "plain": net_of(Crop("part", "data", start_x=1, size_x=5), _conv(inputs="part")),
        "both starts": net_of(Crop("part", "data", start_x=2, start_y=3, size_x=4), _conv(inputs="part")),
    },
    "href": {"plain": net_of(Href("back", "data", neuron="relu"), _conv(inputs="back"))},
    "rgb2yuv": {"plain": net_of(RgbToYuvLayer("yuv", "data"), _conv(inputs="yuv"), image=(3, 6, 6))},
    "rgb2lab": {
        "plain": net_of(RgbToLabLayer("lab", "data", neuron="linear[0.01,0]"), _conv(inputs="lab"), image=(3, 6, 6)),
        "centred": net_of(
            RgbToLabLayer("lab", "data", center=True, neuron="linear[0.01,0]"), _conv(inputs="lab"), image=(3, 6, 6)
        ),
    },
}
SAMPLES["data"] |= {
    "a channel": net_of(Data("part", start=42, end=84), _conv(inputs="part"), Fc("join", "conv, data", outputs=3)),
    "features": net_of(Data("part", start=5, end=50), Fc("join", "part, data", outputs=3)),
}
SAMPLES["pool"]["largest magnitude"] = net_of(_conv(), Pool("pool", "conv", pool="maxabs", size_x=3, stride=2))

NETS = {f"{kind}: {what}": net for kind, nets in SAMPLES.items() for what, net in nets.items()}
NETS |= {f"neuron {name}": neuron_sample(name) for name in NEURONS}
