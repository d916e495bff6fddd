"""From sections to a net: every error says where in the file, which layer, what was found and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from convjit.cfg.overrides import apply_overrides
from convjit.cfg.reader import Entry, Section, read
from convjit.errors import ConfigError, near
from convjit.graph.net import Net
from convjit.graph.recipe import Recipe
from convjit.layers import LAYERS, Layer, Option
from convjit.layers.values import shown

__all__ = ["Loaded", "layer_class", "parse_net"]

T = TypeVar("T")
_FILES = {"net": "the net file", "params": "the parameter file"}
_DROPPED = {"sum": "it never had a kernel in cuda-convnet; use eltsum"}


@dataclass(frozen=True)
class Loaded:
    """A net, its recipe, and what the user should know though it is no error; unpacks as those three."""

    net: Net
    recipe: Recipe
    warnings: tuple[str, ...]

    def __iter__(self) -> Any:
        return iter((self.net, self.recipe, self.warnings))


def parse_net(
    definition: str | bytes,
    parameters: str | bytes,
    *,
    origins: tuple[str, str] = ("net.cfg", "params.cfg"),
    image: Sequence[int] | None = None,
    classes: int | None = None,
    numbers: bool = False,
    overrides: Sequence[str] = (),
    lenient: bool = False,
) -> Loaded:
    """A net from the texts of its two files, which messages call `origins`.

    `image` (C, H, W), `classes` and `numbers` (see `Net`) are those of the data at hand; without the first two the
    recipe's count. `overrides` are texts LAYER.KEY=VALUE. `lenient` turns unknown keys from errors into warnings.
    """
    sections, params = read(definition, origins[0]), read(parameters, origins[1])
    apply_overrides(sections, params, overrides)
    return _Builder(sections, params, origins, lenient).build(image, classes, numbers)


def layer_class(section: Section) -> type[Layer]:
    """The class that a section's type names."""
    entry = section.entries.get("type")
    if entry is None:
        raise ConfigError(f"type is missing; there are {', '.join(LAYERS)}", where=section.where, layer=section.name)
    if entry.value not in LAYERS:
        why = _DROPPED.get(entry.value)
        found = (
            f"type '{shown(entry.value)}' is not supported: {why}" if why else f"unknown type '{shown(entry.value)}'"
        )
        hint = "" if why else near(entry.value, LAYERS) or f"; there are {', '.join(LAYERS)}"
        raise ConfigError(found + hint, where=entry.where, layer=section.name, key="type")
    return LAYERS[entry.value]


class _Builder:
    def __init__(
        self, sections: Mapping[str, Section], params: Mapping[str, Section], origins: tuple[str, str], lenient: bool
    ) -> None:
        self._sections, self._params, self._origins, self._lenient = sections, params, origins, lenient
        self._warnings: list[str] = []
        self._ignored: dict[tuple[str, str], list[tuple[str, str]]] = {}
        """By key and reason: where it stands, and in which layer."""

    def build(self, image: Sequence[int] | None, classes: int | None, numbers: bool) -> Loaded:
        recipe = self._recipe(image, classes)
        if numbers:
            self._located(recipe.check_numbers)
        layers = [self._layer(section) for section in self._sections.values()]
        for name, section in self._params.items():
            if name not in self._sections and name != "recipe":
                self._warn(section.where, f"there is no layer '{shown(name)}'{near(name, self._sections)}")
        for (key, why), places in self._ignored.items():
            layers_of = [layer for _, layer in places]
            several = f" in {', '.join(map(shown, layers_of))}" if len(places) > 1 else ""
            self._warn(places[0][0], f"{key} is ignored{several}: {why}", "" if several else layers_of[0])
        if not self._sections:
            raise ConfigError("no layers in the file", where=self._origins[0])
        if not recipe.image:
            found = "the size of the images is not known"
            way = "say image=CxHxW in a section [recipe], or --set recipe.image=CxHxW"
            raise ConfigError(f"{found}: {way}", where=self._origins[1])
        net = self._located(
            lambda: Net(
                layers,
                image=recipe.image,
                classes=recipe.classes,
                crop=recipe.crop,
                changes=recipe.changes,
                numbers=numbers,
            )
        )
        return Loaded(net, recipe, tuple(self._warnings))

    def _recipe(self, image: Sequence[int] | None, classes: int | None) -> Recipe:
        section = self._params.get("recipe", Section("recipe", self._origins[1]))
        values = self._values(section, "params", {o.key.lower(): o for o in Recipe.options().values()}, {})
        recipe = self._located(lambda: Recipe(**values))
        found: dict[str, Any] = {"image": tuple(image)} if image is not None else {}
        found |= {"classes": classes} if classes is not None else {}
        return replace(recipe, **found)

    def _layer(self, section: Section) -> Layer:
        kind = layer_class(section)
        params = self._params.get(section.name)
        if params is None and kind.needs_parameters:
            found = f"type {kind.kind} needs a section [{section.name}] in the parameter file {self._origins[1]}"
            if not self._params:
                found += ", which is empty or not there; --params names another"
            raise ConfigError(found, where=section.where, layer=section.name)
        options = {option.key.lower(): option for option in kind.options().values()}
        values = self._values(section, "net", options, kind.ignored)
        if params is not None:
            values |= self._values(params, "params", options, kind.ignored)
        for option in options.values():
            place = section if option.file == "net" else params
            if option.required and option.attribute not in values and place is not None:
                raise ConfigError(f"{option.key} is missing", where=place.where, layer=section.name)
        inputs = section.entries.get("inputs")
        if inputs is None and kind.fewest_inputs:
            raise ConfigError("inputs is missing", where=section.where, layer=section.name)
        return self._located(lambda: kind(section.name, inputs.value if inputs else (), **values), section.where)

    def _values(
        self, section: Section, file: str, options: Mapping[str, Option], ignored: Mapping[str, str]
    ) -> dict[str, Any]:
        """Texts by attribute, of the keys that belong in this file."""
        found: dict[str, Any] = {}
        reasons = {key.lower(): why for key, why in ignored.items()}
        for key, entry in section.entries.items():
            option = options.get(key)
            if option is not None and option.belongs(file):
                found[option.attribute] = entry.value
            elif key in reasons and not entry.inherited:
                self._ignored.setdefault((shown(entry.key), reasons[key]), []).append((entry.where, section.name))
            elif not (entry.inherited or (file == "net" and key in ("type", "inputs"))):
                self._unknown(section, entry, option, options, file)
        return found

    def _unknown(
        self, section: Section, entry: Entry, option: Option | None, options: Mapping[str, Option], file: str
    ) -> None:
        if option is not None:
            message = f"{option.key} belongs in {_FILES[option.file]}"
        else:
            names = [o.key for o in options.values() if o.belongs(file)] + (["type", "inputs"] if file == "net" else [])
            hint = near(entry.key, names) or (f"; there are {', '.join(names)}" if names else "")
            message = f"unknown key '{shown(entry.key)}'{hint}"
        if not self._lenient:
            raise ConfigError(message, where=entry.where, layer=section.name, key=entry.key)
        self._warn(entry.where, message, section.name)

    def _warn(self, where: str, message: str, layer: str = "") -> None:
        self._warnings.append(str(ConfigError(message, where=where, layer=layer)))

    def _located(self, make: Callable[[], T], where: str = "") -> T:
        """What `make` gives; an error of it gets the place of the key, or of the section, that it names."""
        try:
            return make()
        except ConfigError as error:
            # What no layer is to blame for, the recipe is: the size of the images or of the crop.
            key, name = error.key.lower(), error.layer or ("recipe" if error.key else "")
            places = [place for place in (self._sections.get(name), self._params.get(name)) if place]
            keys = [place.entries[key].where for place in places if key in place.entries]
            found = error.where or next(iter((*keys, *(place.where for place in places))), where) or self._origins[0]
            raise ConfigError(error.message, where=found, layer=error.layer, key=error.key) from None
