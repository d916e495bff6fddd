"""How each op is made fast: generators of kernels, registered by the op that they serve."""

from convjit.kernels import (
    bias,
    conv,
    conv_weights,
    copy,
    cost,
    dropout,
    export,
    fc,
    halo,
    input,  # noqa: A004
    neuron,
    pool,
    pool_backward,
    reshape,
    softmax,
    update,
)
from convjit.kernels.base import GENERATORS, Generated, Problem, generate, has_kernel

__all__ = [
    "GENERATORS",
    "Generated",
    "Problem",
    "bias",
    "conv",
    "conv_weights",
    "copy",
    "cost",
    "dropout",
    "export",
    "fc",
    "generate",
    "halo",
    "has_kernel",
    "input",
    "neuron",
    "pool",
    "pool_backward",
    "reshape",
    "softmax",
    "update",
]
