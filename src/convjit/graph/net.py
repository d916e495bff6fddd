"""Net: layers that feed one another, checked, with every shape known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from convjit.errors import ConfigError, UsageError, near
from convjit.layers import Changes, Cost, Data, Inner, Layer, Learned, Logreg, NeuronLayer, Softmax, WeightLayer
from convjit.layers.data import LABELS
from convjit.layers.values import shown
from convjit.ops.base import Maps

__all__ = ["Net", "Node"]

# Beyond these, an index or a byte count of a kernel would overflow long before memory ended.
_MOST_FEATURES = 2**28
_MOST_SIDE = 2**16
_MOST_WEIGHTS = 2**31

NO_CHANGES = Changes()


@dataclass(frozen=True)
class Node:
    """A layer in its place: the shapes it gets, as it takes them, and gives; and what it learns."""

    layer: Layer
    inputs: tuple[Maps, ...]
    views: tuple[Maps, ...]
    output: Maps
    learned: tuple[Learned, ...]

    @property
    def parameters(self) -> int:
        """Number of learned numbers."""
        return sum(math.prod(learned.array.shape) for learned in self.learned if not learned.owner)


class Net:
    """A directed graph of layers, each after the layers that feed it, for images of one size.

        net = Net(
            [
                Data("data"), Data("labels", data_idx=1),
                Conv("conv1", "data", filters=16, filter_size=5, padding=2, neuron="relu"),
                Pool("pool1", "conv1", pool="max", size_x=2, stride=2),
                Fc("fc10", "pool1", outputs=10), Softmax("probs", "fc10"), Logreg("logprob", "labels, probs"),
            ],
            image=(1, 28, 28), classes=10,
        )

    `image` is (C, H, W) of the stored images; `crop` the (h, w) that the net sees of them, (0, 0) for all. `classes` is
    that of the data, 0 if unknown; `changes` is what is done to training images at random, as a recipe says it.
    `numbers` says that the images are float32, such as the features of another net, and seen as they are.
    ConfigError names the layer and option at fault.

    written     the layers as they were given, with what was left to their inputs filled in
    nodes       the layers of the graph by name, in order: a `neuron=` has become a layer <layer>_neuron behind its own,
                which the consumers of <layer> are fed from
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        image: Sequence[int],
        classes: int = 0,
        crop: Sequence[int] = (0, 0),
        changes: Changes = NO_CHANGES,
        numbers: bool = False,
    ) -> None:
        self.image = _image(image)
        self.changes, self.numbers = changes, numbers
        self.input = _cropped(self.image, crop)
        self.classes = classes
        self.nodes: dict[str, Node] = {}
        # Where the consumers of a layer as written are fed from.
        self._ends: dict[str, str] = {}
        self.written = tuple(self._add(layer, layers) for layer in layers)
        self._check_use()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the graph, in order."""
        return tuple(node.layer for node in self.nodes.values())

    @property
    def crop(self) -> tuple[int, int]:
        """(h, w) of the crop; (0, 0) if the net sees whole images."""
        return (0, 0) if self.input == self.image else (self.input.height, self.input.width)

    @property
    def costs(self) -> tuple[Cost, ...]:
        """The cost layers."""
        return tuple(layer for layer in self.layers if isinstance(layer, Cost))

    @property
    def reported(self) -> dict[str, tuple[Cost, ...]]:
        """Every cost that is nobody's child, in order, each with those that are added to it: children and theirs."""
        children = {child for cost in self.costs for child in cost.children}
        return {cost.name: self._family(cost) for cost in self.costs if cost.name not in children}

    @property
    def counts_errors(self) -> bool:
        """Whether the main cost says of an image that it is right or wrong, and not only how much it costs."""
        return any("error" in family[0].columns for family in list(self.reported.values())[:1])

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the layers that say what the net thinks of an image: softmax layers, else what the costs read."""
        if found := tuple(layer.name for layer in self.layers if isinstance(layer, Softmax)):
            return found
        read = [name for cost in self.costs for name in cost.inputs]
        return tuple(dict.fromkeys(name for name in read if not isinstance(self.nodes[name].layer, Data)))

    def learned(self) -> dict[str, Learned]:
        """Every learned array by its name in checkpoints, "<layer>.<array>", in the order of the layers.

        An array that a layer shares with another is listed once, as that of its owner.
        """
        nodes = self.nodes.items()
        return {f"{name}.{array.name}": array for name, node in nodes for array in node.learned if not array.owner}

    @property
    def parameters(self) -> int:
        """Number of learned numbers."""
        return sum(node.parameters for node in self.nodes.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Net) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"<Net of {len(self.nodes)} layers, {self.parameters} parameters, for {self.input} images>"

    def _key(self) -> tuple[Any, ...]:
        return (self.written, self.image, self.input, self.classes, self.changes, self.numbers)

    def _add(self, layer: Layer, all_layers: Sequence[Layer]) -> Layer:
        """Append a layer and its neuron; return it as it is to be written."""
        if layer.name in self._ends:
            raise layer.error("another layer has this name")
        for name in layer.inputs:
            self._check_input(layer, name, all_layers)
        sources = tuple(self._ends[name] for name in layer.inputs)
        neuron = layer.neuron if isinstance(layer, Inner) else None
        own = replace(layer, inputs=sources)
        if isinstance(own, Inner):
            own = replace(own, neuron=None)
        fitted = self._place(own)
        self._ends[layer.name] = layer.name
        written: Any = replace(fitted, inputs=layer.inputs)
        if neuron is not None:
            taken = {one.name for one in all_layers} | set(self.nodes)
            wish = f"{layer.name}_neuron"
            name = next(n for n in (wish, *(f"{wish}{i}" for i in range(1, len(taken) + 2))) if n not in taken)
            self._place(NeuronLayer(name, layer.name, neuron=neuron))
            self._ends[layer.name] = name
            written = replace(written, neuron=neuron)
        found: Layer = written
        return found

    def _check_input(self, layer: Layer, name: str, all_layers: Sequence[Layer]) -> None:
        names = [one.name for one in all_layers]
        if name not in self._ends:
            if name in names:
                found = "is the layer itself" if name == layer.name else "is defined further down"
                raise layer.error(f"input '{shown(name)}' {found}; a layer is fed by layers above it", "inputs")
            raise layer.error(f"input '{shown(name)}' is not defined{near(name, self._ends)}", "inputs")
        source = self.nodes[name].layer
        if source.is_cost:
            raise layer.error(f"input '{shown(name)}' is a cost, which feeds no layer", "inputs")
        if isinstance(source, Data) and source.data_idx == LABELS and not layer.is_cost:
            raise layer.error(f"input '{shown(name)}' holds labels, which feed costs only", "inputs")

    def _place(self, layer: Layer) -> Layer:
        """Find the shapes of a layer and append its node."""
        sources = [self.nodes[name] for name in layer.inputs]
        inputs = tuple(source.output for source in sources)
        layer = layer.fitted(inputs)
        views = layer.views(inputs)
        layer.check([source.layer for source in sources], inputs, self.classes)
        if not layer.passes_gradient and (below := self._learning_below(layer.inputs)):
            found = f"{layer.kind} has no gradient, but layer '{below}' below it learns; it belongs next to the data"
            raise layer.error(found, "inputs")
        output = layer.shape((self.input, Maps(1), Maps(self.classes)) if isinstance(layer, Data) else views)
        if max(output.height, output.width) > _MOST_SIDE or output.features > _MOST_FEATURES:
            raise layer.error(f"its output would be {output}; at most {_MOST_FEATURES} numbers per image are possible")
        learned = self._shared(layer, layer.learned(views))
        for one in learned:
            if (size := math.prod(one.array.shape)) > _MOST_WEIGHTS:
                raise layer.error(f"its {one.name} would be {size} numbers; at most {_MOST_WEIGHTS} are possible")
        self.nodes[layer.name] = Node(layer, inputs, views, output, learned)
        return layer

    def _shared(self, layer: Layer, arrays: Sequence[Learned]) -> tuple[Learned, ...]:
        """The arrays, those that are another's with the name of their owner."""
        found: list[Learned] = []
        for one in arrays:
            if one.source is None:
                found.append(one)
                continue
            name, index = one.source
            wanted = WeightLayer.weights_name(index)
            if name == layer.name:
                others = [other for other in found if other.name != "biases"]
                where = "a lower input of the layer itself"
            elif name in self.nodes:
                node = self.nodes[name]
                if node.layer.kind != layer.kind:
                    message = (
                        f"weightSource={name}: is of type {node.layer.kind}; weights are shared by layers of one type"
                    )
                    raise layer.error(message, "weightSource")
                others, where = list(node.learned), f"layer '{name}'"
            else:
                message = f"weightSource={name}: no layer above has this name{near(name, self.nodes)}"
                raise layer.error(message, "weightSource")
            source = next((other for other in others if other.name == wanted), None)
            if source is None:
                raise layer.error(f"weightSource={name}[{index}]: {where} has no such weights", "weightSource")
            if source.array != one.array:
                message = f"weightSource={name}[{index}]: they are {source.array}, but {one.array} is needed"
                raise layer.error(message, "weightSource")
            # The update is the owner's, with its rate; the gradient is the sum of all.
            found.append(replace(one, owner=source.owner or f"{name}.{wanted}", epsilon=source.epsilon))
        return tuple(found)

    def _learning_below(self, names: Sequence[str]) -> str:
        """A layer that learns among these and what feeds them; "" if there is none."""
        todo, seen = list(names), set[str]()
        while todo:
            name = todo.pop()
            if self.nodes[name].learned:
                return name
            todo += [source for source in self.nodes[name].layer.inputs if source not in seen]
            seen.update(self.nodes[name].layer.inputs)
        return ""

    def logreg(self, name: str = "") -> tuple[Logreg, ...]:
        """A cost of probabilities, by default the main cost, with its children; UsageError if it is none."""
        chosen = name or next(iter(self.reported))
        node = self.nodes.get(chosen)
        if node is None or not isinstance(node.layer, Logreg):
            known = [cost.name for cost in self.costs if isinstance(cost, Logreg)]
            found = (
                f"'{shown(chosen)}' is of type {node.layer.kind}" if node else f"there is no layer '{shown(chosen)}'"
            )
            there = f"; there are {', '.join(known)}" if known else ""
            raise UsageError(f"probabilities are averaged for a cost.logreg: {found}{near(chosen, known)}{there}")
        return tuple(cost for cost in self._family(node.layer) if isinstance(cost, Logreg))

    def _family(self, cost: Cost) -> tuple[Cost, ...]:
        """A cost and the children below it."""
        costs = {one.name: one for one in self.costs}
        found: dict[str, Cost] = {}
        todo = [cost.name]
        while todo:
            name = todo.pop()
            if name not in found:
                found[name] = costs[name]
                todo += costs[name].children
        return tuple(found.values())

    def _check_use(self) -> None:
        used = {name for node in self.nodes.values() for name in node.layer.inputs}
        for layer in self.layers:
            if not layer.is_cost and layer.name not in used:
                raise layer.error("nothing uses its output; every layer but a cost must feed another")
            for child in layer.children if isinstance(layer, Cost) else ():
                other = self.nodes[child].layer if child in self.nodes else None
                if other is None or other.kind != layer.kind or child == layer.name:
                    known = [one.name for one in self.layers if one.kind == layer.kind and one is not layer]
                    found = f"children: '{child}' is not another layer of type {layer.kind}"
                    raise layer.error(f"{found}{near(child, known)}", "children")
        counted = {cost.name for family in self.reported.values() for cost in family}
        if circle := [cost for cost in self.costs if cost.name not in counted]:
            raise circle[0].error("children: it is, by way of its children, its own child", "children")
        if not self.nodes:
            raise ConfigError("a net needs layers, and this one has none")


def _image(image: Sequence[int]) -> Maps:
    if len(image) != 3 or not all(0 < side <= _MOST_SIDE for side in image) or math.prod(image) > _MOST_FEATURES:
        raise ConfigError(f"image={'x'.join(map(str, image))}: must be CxHxW, such as 3x32x32", key="image")
    return Maps(*image)


def _cropped(image: Maps, crop: Sequence[int]) -> Maps:
    height, width = crop
    if (height, width) == (0, 0):
        return image
    if not (0 < height <= image.height and 0 < width <= image.width):
        raise ConfigError(f"crop={height}x{width}: must fit into the image of {image}", key="crop")
    return Maps(image.channels, height, width)
