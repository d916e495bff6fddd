"""Layers: one file per family. A new one is a file here and a line in LAYERS."""

from convjit.layers.base import Inner, Layer, Learned, Pass, Target
from convjit.layers.combine import ConcatLayer, Eltmax, Eltsum, PassLayer
from convjit.layers.conv import Conv
from convjit.layers.cost import Cost, Logreg
from convjit.layers.data import Data
from convjit.layers.dropout import Dropout, Dropout2
from convjit.layers.fc import Fc
from convjit.layers.neuron import NeuronLayer
from convjit.layers.norm import Cmrnorm, Cnorm, Norm, Rnorm
from convjit.layers.options import Option
from convjit.layers.pool import Cmpool, Pool
from convjit.layers.schedule import Schedule
from convjit.layers.softmax import Softmax
from convjit.layers.weights import WeightLayer

__all__ = [
    "LAYERS",
    "Cmpool",
    "Cmrnorm",
    "Cnorm",
    "ConcatLayer",
    "Conv",
    "Cost",
    "Data",
    "Dropout",
    "Dropout2",
    "Eltmax",
    "Eltsum",
    "Fc",
    "Inner",
    "Layer",
    "Learned",
    "Logreg",
    "NeuronLayer",
    "Norm",
    "Option",
    "Pass",
    "PassLayer",
    "Pool",
    "Rnorm",
    "Schedule",
    "Softmax",
    "Target",
    "WeightLayer",
]

LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        Data,
        Conv,
        Fc,
        Pool,
        NeuronLayer,
        Dropout,
        Dropout2,
        Softmax,
        Logreg,
        Cmrnorm,
        Cnorm,
        Rnorm,
        ConcatLayer,
        Eltmax,
        Eltsum,
        PassLayer,
        Cmpool,
    )
}
"""Every layer by its `type=` in .cfg files."""
