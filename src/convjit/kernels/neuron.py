"""Neurons: forward, backward, and the function itself for the kernels that apply it at their end."""

from __future__ import annotations

from collections.abc import Callable

from convjit.codegen import math
from convjit.codegen.kernel import Kernel
from convjit.codegen.values import Index, Value
from convjit.kernels.base import Problem, generator
from convjit.kernels.sweep import Place, sweep
from convjit.ops.neuron import Neuron, NeuronBackward, NeuronForward

__all__ = ["apply_neuron", "neuron_gradient"]

SIMPLE = ("ident", "relu", "brelu", "abs", "square", "linear", "sqrt")
"""Neurons of a few instructions, for which unrolling the loop pays."""


def apply_neuron(k: Kernel, neuron: Neuron, x: Value) -> Value:
    """f(x), for a vector."""
    a, b = neuron.a, neuron.b
    forward: dict[str, Callable[[], Value]] = {
        "ident": lambda: x,
        "logistic": lambda: math.logistic(k, x),
        "abs": lambda: k.absolute(x),
        "relu": lambda: k.maximum(x, 0.0),
        "softrelu": lambda: k.select(x > 4.0, x, math.log1p(k, math.exp(k, k.minimum(x, 4.0)))),
        "square": lambda: x * x,
        "sqrt": lambda: k.sqrt(x),
        "tanh": lambda: a * math.tanh(k, b * x),
        "brelu": lambda: k.minimum(k.maximum(x, 0.0), a),
        "linear": lambda: k.fma(x, k.number(a), k.number(b)),
        "log": lambda: math.log(k, a + x),
        "drelu": lambda: k.fma(math.tanh(k, x / a), k.number(-a), x),
    }
    return forward[neuron.name]()


def neuron_gradient(k: Kernel, neuron: Neuron, dy: Value, z: Value) -> Value:
    """dy * f', from what the neuron's slope is formed of: its output, or its input."""
    a, b = neuron.a, neuron.b
    backward: dict[str, Callable[[], Value]] = {
        "ident": lambda: dy,
        "logistic": lambda: dy * (z * (1.0 - z)),
        "abs": lambda: k.select(z > 0.0, dy, -dy),
        "relu": lambda: k.select(z > 0.0, dy, 0.0),
        "softrelu": lambda: k.select(z > 4.0, dy, -dy * math.expm1(k, -z)),
        "square": lambda: dy * (z + z),
        "sqrt": lambda: dy / (z + z),
        "tanh": lambda: dy * (b * (a - z * z / a)),
        "brelu": lambda: k.select(z > 0.0, k.select(z < a, dy, 0.0), 0.0),
        "linear": lambda: dy * a,
        "log": lambda: dy / (a + z),
        "drelu": lambda: dy * math.power(k, math.tanh(k, z / a), 2.0),
    }
    return backward[neuron.name]()


@generator(NeuronForward)
def neuron_forward(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, NeuronForward)
    neuron = op.neuron
    x, y = problem.view(k, "x"), problem.view(k, "y")

    def body(place: Place, block: Value, feature: Index) -> None:
        y.store(apply_neuron(k, neuron, x.load(place("x"))), place("y"))

    return sweep(k, problem, ("x", "y"), body, unroll=4 if neuron.name in SIMPLE else 1)


@generator(NeuronBackward)
def neuron_backward(k: Kernel, problem: Problem) -> int:
    """Task: a share of the channels of a block."""
    op = problem.op
    assert isinstance(op, NeuronBackward)
    neuron, accumulate = op.neuron, op.accumulate
    dy, z, dx = (problem.view(k, name) for name in ("dy", "z", "dx"))

    def body(place: Place, block: Value, feature: Index) -> None:
        gradient = neuron_gradient(k, neuron, dy.load(place("dy")), z.load(place("z")))
        where = place("dx")
        dx.store(dx.load(where) + gradient if accumulate else gradient, where)

    return sweep(k, problem, ("dy", "z", "dx"), body, unroll=4 if neuron.name in SIMPLE else 1)
