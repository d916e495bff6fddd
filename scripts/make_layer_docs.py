"""Write docs/layers.md from the registry of layers: keys, the file they belong to, defaults, constraints, formula."""

from __future__ import annotations

import inspect
from pathlib import Path

from convjit.layers import LAYERS, Layer, Option, WeightLayer

TARGET = Path(__file__).parents[1] / "docs" / "layers.md"
FILES = {"net": "net", "params": "parameters", "either": "either"}

HEAD = """\
# Layers

Made by `scripts/make_layer_docs.py` from `convjit.layers.LAYERS`; a test says when it is out of date.

A layer is a section `[name]` of the net file with `type=` and, but for `data`, `inputs=`: names of layers above it. A
key belongs in the net file or in the section of the same name of the parameter file. Where a key takes one value per
input, a single value stands for all of them. C, H, W are channels, height and width of an input, K, S, P the side,
stride and padding of windows; x is the input, y the output. In Python the class takes the same options under the names
in the column "Python".

"""


def constraint(option: Option) -> str:
    """What values are allowed, in words."""
    if option.kind.name == "word":
        try:
            option.kind.parse("")
        except ValueError as error:
            return str(error).removeprefix("must be ")
    return " ".join(filter(None, (option.kind.name, option.bounds())))


def default(option: Option) -> str:
    """The default as it would be written."""
    if option.required:
        return "required"
    if option.default is None or option.default in ("", ()):
        return "none"
    value = option.accept(option.default, 1)
    return f"`{option.text(value)}`"


def row(option: Option) -> str:
    """One line of the table of options."""
    allowed = constraint(option) + (", per input" if option.each else "")
    cells = (f"`{option.key}`", f"`{option.attribute}`", FILES[option.file], default(option), allowed)
    return f"| {' | '.join(cells)} |"


def inputs(layer: type[Layer]) -> str:
    """How many inputs the layer takes."""
    few, many = layer.fewest_inputs, layer.most_inputs
    if many == 0:
        return "no inputs"
    if few == many:
        return "one input" if few == 1 else f"{few} inputs"
    return f"at least {few} input{'s' if few > 1 else ''}" if many is None else f"{few} to {many} inputs"


def section(layer: type[Layer]) -> str:
    """Everything about one layer."""
    facts = [inputs(layer)]
    if layer.is_cost:
        facts.append(f"reports {', '.join(getattr(layer, 'columns', ()))}")
    if issubclass(layer, WeightLayer):
        facts.append("learns")
    if layer.needs_parameters:
        facts.append("needs a section in the parameter file")
    if not layer.passes_gradient:
        facts.append("has no gradient: nothing below it may learn")
    parts = [
        f"## {layer.kind}",
        f"`convjit.layers.{layer.__name__}`: {'; '.join(facts)}.",
        f"    {layer.formula}",
        inspect.cleandoc(layer.__doc__ or ""),
    ]
    options = list(layer.options().values())
    if options:
        head = ["| key | Python | file | default | allowed |", "|---|---|---|---|---|"]
        parts.append("\n".join([*head, *map(row, options)]))
    known = {**layer.ignored}
    parts.append("Ignored: " + "; ".join(f"`{key}` ({why})" for key, why in known.items()) + ".")
    return "\n\n".join(parts) + "\n"


def text() -> str:
    """The whole page."""
    contents = ", ".join(f"[{kind}](#{kind.replace('.', '')})" for kind in LAYERS)
    return HEAD + contents + ".\n\n" + "\n".join(section(LAYERS[kind]) for kind in LAYERS)


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="utf-8")
