"""The gradient of a convolution's weights on maps stored as bfloat16, where a processor multiplies these in pairs.

The sum runs over images and pixels, in any order. So the pairs are those that lie in memory: neighbouring images. A
register holds two pixels, and nothing is put together or rounded for the purpose.
"""

from __future__ import annotations

from convjit.codegen.bf16 import Bf16Pointer
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Pointer, Value
from convjit.kernels.base import Algorithm, Problem, algorithm
from convjit.kernels.conv_pairs import PAIRS, product
from convjit.kernels.conv_weights import Pixels, backward_weights
from convjit.ops.conv import ConvBackwardWeights

__all__: list[str] = []

_FASTER = 1.85
"""Than the multiply-adds of the direct way, where no pixel is left over."""


def _gain(problem: Problem) -> float:
    op = problem.op
    assert isinstance(op, ConvBackwardWeights)
    able = problem.target.bf16 and {"x", "dy"} <= set(problem.narrow)
    pairs = -(-op.shape.columns // 2)
    return _FASTER * op.shape.columns / (2 * pairs) if able else 0.0


def _add(k: Kernel, problem: Problem) -> int:
    """Task: that of the direct way."""

    def load(pointer: Pointer, index: Index, distance: int, many: int) -> Value:
        assert isinstance(pointer, Bf16Pointer)
        return pointer.two(index, distance if many == 2 else None)

    return backward_weights(k, problem, Pixels(load, 2, product(k)))


algorithm(ConvBackwardWeights, PAIRS, Algorithm((_add,), _gain, lambda problem: 0))
