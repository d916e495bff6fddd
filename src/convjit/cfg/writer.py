"""From a net to the texts of its two files; what is read from them equals the net."""

from __future__ import annotations

from convjit.graph.net import Net
from convjit.graph.recipe import Recipe
from convjit.layers import Layer, Option

__all__ = ["definition_text", "parameter_text"]


def definition_text(net: Net) -> str:
    """The net file."""
    parts = []
    for layer in net.written:
        lines = [f"[{layer.name}]", f"type={layer.kind}"]
        if layer.inputs:
            lines.append(f"inputs={', '.join(layer.inputs)}")
        parts.append("\n".join(lines + _options(layer, layer.options(), "net")))
    return "\n\n".join(parts) + "\n"


def parameter_text(net: Net, recipe: Recipe | None = None) -> str:
    """The parameter file; without a recipe one is written that holds what the net knows."""
    recipe = recipe or Recipe(
        image=(net.image.channels, net.image.height, net.image.width), classes=net.classes, crop=net.crop
    )
    parts = ["\n".join(["[recipe]", *_recipe(recipe)])]
    for layer in net.written:
        lines = _options(layer, layer.options(), "params")
        if lines or layer.needs_parameters:
            parts.append("\n".join([f"[{layer.name}]", *lines]))
    return "\n\n".join(parts) + "\n"


def _recipe(recipe: Recipe) -> list[str]:
    """All that is known, defaults too: a recipe is there to be read."""
    values = {option: getattr(recipe, attribute) for attribute, option in Recipe.options().items()}
    return [f"{option.key}={option.text(value)}" for option, value in values.items() if value not in ("", ())]


def _options(layer: Layer, options: dict[str, Option], file: str) -> list[str]:
    """Lines of the options that must be there or are not at their default."""
    lines = []
    for attribute, option in options.items():
        value = getattr(layer, attribute)
        if not option.belongs(file) or (option.file == "either" and file != "net") or value is None:
            continue
        if option.required or value != _default(option, value):
            lines.append(f"{option.key}={option.text(value).replace('%', '%%')}")
    return lines


def _default(option: Option, value: object) -> object:
    """The default in the form that `value` has; None, which equals no value, where there is none."""
    try:
        return option.accept(option.default, len(value) if option.each and isinstance(value, tuple) else 1)
    except ValueError:
        return None
