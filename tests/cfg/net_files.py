"""A small net in its two files, for tests that change a line of them."""

from __future__ import annotations

from convjit.cfg import Loaded, parse_net

DEFINITION = """\
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[conv1]
type=conv
inputs=data
channels=3
filters=4
filterSize=3
initW=0.1
neuron=relu
[pool1]
type=pool
inputs=conv1
pool=max
channels=4
sizeX=2
stride=2
[fc10]
type=fc
inputs=pool1
outputs=10
initW=0.1
[probs]
type=softmax
inputs=fc10
[logprob]
type=cost.logreg
inputs=labels, probs
"""

PARAMETERS = """\
[recipe]
image=3x8x8
classes=10
[conv1]
epsW=0.001
epsB=0.002
momW=0.9
momB=0.9
wc=0.004
[fc10]
epsW=0.001
epsB=0.002
momW=0.9
momB=0.9
[logprob]
coeff=1
"""


def changed(text: str, before: str, after: str) -> str:
    """`text` with one line or part of it, which must be there, replaced."""
    assert before in text
    return text.replace(before, after, 1)


def loaded(definition: str = DEFINITION, parameters: str = PARAMETERS, lenient: bool = False) -> Loaded:
    """The net of two texts."""
    return parse_net(definition, parameters, lenient=lenient)
