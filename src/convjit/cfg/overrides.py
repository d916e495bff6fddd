"""Options from the command line, LAYER.KEY=VALUE, put in the place of what the files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from convjit.cfg.reader import Entry, Section
from convjit.errors import ConfigError, near
from convjit.graph.recipe import Recipe
from convjit.layers import LAYERS, Option
from convjit.layers.values import shown

__all__ = ["apply_overrides"]


def apply_overrides(sections: Mapping[str, Section], params: dict[str, Section], overrides: Sequence[str]) -> None:
    """Change sections in place; the last of several overrides of one key counts."""
    for text in overrides:
        where = f"--set {shown(text)}"
        target, equals, value = text.partition("=")
        name, dot, key = (part.strip() for part in target.rpartition("."))
        if not equals or not dot or not name or not key:
            raise ConfigError("must be LAYER.KEY=VALUE, such as conv1.epsW=0.01 or recipe.epochs=20", where=where)
        if name != "recipe" and name not in sections:
            found = f"there is no layer '{shown(name)}'{near(name, [*sections, 'recipe'])}"
            raise ConfigError(found, where=where)
        options = _options(name, sections)
        if key.lower() not in (*options, "type", "inputs"):
            known = [option.key for option in options.values()]
            hint = near(key, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"unknown key '{shown(key)}'{hint}", where=where, layer=name)
        option = options.get(key.lower())
        given = name in params and key.lower() in params[name].entries
        if option is not None and (option.file == "params" or (option.file == "either" and given)):
            place = params.setdefault(name, Section(name, where))
        else:
            place = sections[name]
        place.entries[key.lower()] = Entry(key, value.strip(), where)


def _options(name: str, sections: Mapping[str, Section]) -> dict[str, Option]:
    """Options by key in lower case; none if the layer's type is wrong, of which the builder will speak."""
    if name == "recipe":
        return {option.key.lower(): option for option in Recipe.options().values()}
    kind = sections[name].entries.get("type")
    layer = LAYERS.get(kind.value) if kind else None
    return {option.key.lower(): option for option in layer.options().values()} if layer else {}
