"""Layers: one file per family. A new one is a file here and a line in LAYERS."""

from convjit.layers.base import Changes, Inner, Layer, Learned, Pass, Target
from convjit.layers.colour import RgbToLabLayer, RgbToYuvLayer
from convjit.layers.combine import ConcatLayer, Eltmax, Eltsum, PassLayer
from convjit.layers.conv import Conv
from convjit.layers.cost import Cost, Logreg
from convjit.layers.data import Data
from convjit.layers.dropout import Dropout, Dropout2
from convjit.layers.fc import Fc
from convjit.layers.initialisers import Initialiser
from convjit.layers.local import Local
from convjit.layers.neuron import NeuronLayer
from convjit.layers.norm import Cmrnorm, Cnorm, Norm, Rnorm
from convjit.layers.options import Option
from convjit.layers.pool import Cmpool, Pool
from convjit.layers.resample import BlurLayer, Crop, Href, NailbedLayer, ResizeLayer, Rscale
from convjit.layers.schedule import Schedule
from convjit.layers.sfc import Sfc
from convjit.layers.softmax import Softmax
from convjit.layers.target_cost import Bce, Crossent, Dce, Sum2
from convjit.layers.weights import WeightLayer
from convjit.layers.windows import WindowLayer

__all__ = [
    "LAYERS",
    "Bce",
    "BlurLayer",
    "Changes",
    "Cmpool",
    "Cmrnorm",
    "Cnorm",
    "ConcatLayer",
    "Conv",
    "Cost",
    "Crop",
    "Crossent",
    "Data",
    "Dce",
    "Dropout",
    "Dropout2",
    "Eltmax",
    "Eltsum",
    "Fc",
    "Href",
    "Initialiser",
    "Inner",
    "Layer",
    "Learned",
    "Local",
    "Logreg",
    "NailbedLayer",
    "NeuronLayer",
    "Norm",
    "Option",
    "Pass",
    "PassLayer",
    "Pool",
    "ResizeLayer",
    "RgbToLabLayer",
    "RgbToYuvLayer",
    "Rnorm",
    "Rscale",
    "Schedule",
    "Sfc",
    "Softmax",
    "Sum2",
    "Target",
    "WeightLayer",
    "WindowLayer",
]

LAYERS: dict[str, type[Layer]] = {
    layer.kind: layer
    for layer in (
        Data,
        Conv,
        Local,
        Fc,
        Sfc,
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
        Bce,
        Crossent,
        Dce,
        Sum2,
        BlurLayer,
        Crop,
        Href,
        NailbedLayer,
        ResizeLayer,
        Rscale,
        RgbToLabLayer,
        RgbToYuvLayer,
    )
}
"""Every layer by its `type=` in .cfg files."""
