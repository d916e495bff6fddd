"""What every op means. One file per family: a frozen spec, its formula, a slow and obvious reference in NumPy float64.

The letters of all formulas and shapes:

    N  images of a step                     F  filters, or outputs
    C  channels                             K  side of a filter or window
    H  height of a map in pixels            S  stride, in pixels
    W  width of a map in pixels             P  padding, in pixels, on every side
    G  groups                               V  lanes: float32 numbers in a vector, one per image

In formulas n, c, f count images, channels, filters; y and x (or i and j in an output) rows and columns; ky and kx the
rows and columns of a filter. x and y name what an op reads and writes, w and b weights and biases, dx, dy, dw, db the
gradients of the cost with respect to them. Maps are (N, C, H, W) to NumPy and [N/V][C][H][W][V] in memory.
"""

from convjit.ops.base import NO_HALO, Array, Arrays, Halo, Maps, Op, Operand, PerImage
from convjit.ops.channels import SelectChannels, SelectChannelsBackward
from convjit.ops.colour import RgbToLab, RgbToYuv
from convjit.ops.combine import Concat, Cut, Maximum, MaximumBackward, WeightedSum
from convjit.ops.constraint import Constrain, Rule
from convjit.ops.conv import BiasBackward, ConvBackwardData, ConvBackwardWeights, ConvForward, ConvShape
from convjit.ops.copy import Copy
from convjit.ops.cost import CostTotals, LogregBackward, LogregForward, SoftmaxLogregBackward
from convjit.ops.cross_pool import CrossPoolBackward, CrossPoolForward, CrossPoolShape
from convjit.ops.dropout import DropoutBackward, DropoutForward, Scale
from convjit.ops.export import Export
from convjit.ops.fc import FcBackwardData, FcBackwardWeights, FcForward, FcShape
from convjit.ops.halo import ClearHalo
from convjit.ops.input import Input
from convjit.ops.local import LocalBackwardData, LocalBackwardWeights, LocalForward, LocalShape
from convjit.ops.neuron import NEURONS, Neuron, NeuronBackward, NeuronForward
from convjit.ops.norm import (
    ContrastNormBackward,
    ContrastNormForward,
    CrossMapNormBackward,
    CrossMapNormForward,
    NormShape,
    ResponseNormBackward,
    ResponseNormForward,
)
from convjit.ops.numbers import Numbers
from convjit.ops.pool import (
    AvgPoolBackward,
    AvgPoolForward,
    MaxAbsPoolForward,
    MaxPoolBackward,
    MaxPoolForward,
    PoolShape,
)
from convjit.ops.resample import Blur, Mirror, Nailbed, NailbedBackward, Rescale, Resize
from convjit.ops.reshape import Reshape
from convjit.ops.softmax import SoftmaxBackward, SoftmaxForward
from convjit.ops.target_cost import (
    BinaryBackward,
    BinaryCounts,
    BinaryForward,
    CrossEntropyBackward,
    CrossEntropyForward,
    LogisticBinaryBackward,
    SoftmaxCrossEntropyBackward,
    SquaresBackward,
    SquaresForward,
)
from convjit.ops.targets import Targets
from convjit.ops.update import PeriodicUpdate, Update

__all__ = [
    "NEURONS",
    "NO_HALO",
    "OPS",
    "Array",
    "Arrays",
    "AvgPoolBackward",
    "AvgPoolForward",
    "BiasBackward",
    "BinaryBackward",
    "BinaryCounts",
    "BinaryForward",
    "Blur",
    "ClearHalo",
    "Concat",
    "Constrain",
    "ContrastNormBackward",
    "ContrastNormForward",
    "ConvBackwardData",
    "ConvBackwardWeights",
    "ConvForward",
    "ConvShape",
    "Copy",
    "CostTotals",
    "CrossEntropyBackward",
    "CrossEntropyForward",
    "CrossMapNormBackward",
    "CrossMapNormForward",
    "CrossPoolBackward",
    "CrossPoolForward",
    "CrossPoolShape",
    "Cut",
    "DropoutBackward",
    "DropoutForward",
    "Export",
    "FcBackwardData",
    "FcBackwardWeights",
    "FcForward",
    "FcShape",
    "Halo",
    "Input",
    "LocalBackwardData",
    "LocalBackwardWeights",
    "LocalForward",
    "LocalShape",
    "LogisticBinaryBackward",
    "LogregBackward",
    "LogregForward",
    "Maps",
    "MaxAbsPoolForward",
    "MaxPoolBackward",
    "MaxPoolForward",
    "Maximum",
    "MaximumBackward",
    "Mirror",
    "Nailbed",
    "NailbedBackward",
    "Neuron",
    "NeuronBackward",
    "NeuronForward",
    "NormShape",
    "Numbers",
    "Op",
    "Operand",
    "PerImage",
    "PeriodicUpdate",
    "PoolShape",
    "Rescale",
    "Reshape",
    "Resize",
    "ResponseNormBackward",
    "ResponseNormForward",
    "RgbToLab",
    "RgbToYuv",
    "Rule",
    "Scale",
    "SelectChannels",
    "SelectChannelsBackward",
    "SoftmaxBackward",
    "SoftmaxCrossEntropyBackward",
    "SoftmaxForward",
    "SoftmaxLogregBackward",
    "SquaresBackward",
    "SquaresForward",
    "Targets",
    "Update",
    "WeightedSum",
]

OPS: dict[str, type[Op]] = {
    op.kind(): op
    for op in (
        AvgPoolBackward,
        AvgPoolForward,
        BiasBackward,
        BinaryBackward,
        BinaryCounts,
        BinaryForward,
        Blur,
        ClearHalo,
        Concat,
        Constrain,
        ContrastNormBackward,
        ContrastNormForward,
        ConvBackwardData,
        ConvBackwardWeights,
        ConvForward,
        Copy,
        CostTotals,
        CrossEntropyBackward,
        CrossEntropyForward,
        CrossMapNormBackward,
        CrossMapNormForward,
        CrossPoolBackward,
        CrossPoolForward,
        Cut,
        DropoutBackward,
        DropoutForward,
        Export,
        FcBackwardData,
        FcBackwardWeights,
        FcForward,
        Input,
        LocalBackwardData,
        LocalBackwardWeights,
        LocalForward,
        LogisticBinaryBackward,
        LogregBackward,
        LogregForward,
        MaxAbsPoolForward,
        MaxPoolBackward,
        MaxPoolForward,
        Maximum,
        MaximumBackward,
        Mirror,
        Nailbed,
        NailbedBackward,
        NeuronBackward,
        NeuronForward,
        Numbers,
        PeriodicUpdate,
        Rescale,
        Reshape,
        Resize,
        ResponseNormBackward,
        ResponseNormForward,
        RgbToLab,
        RgbToYuv,
        Scale,
        SelectChannels,
        SelectChannelsBackward,
        SoftmaxBackward,
        SoftmaxCrossEntropyBackward,
        SoftmaxForward,
        SoftmaxLogregBackward,
        SquaresBackward,
        SquaresForward,
        Targets,
        Update,
        WeightedSum,
    )
}
"""Every op by its name in texts."""
