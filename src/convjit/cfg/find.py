"""Where nets come from: a file with its parameter file beside it, or one of the nets that come with convjit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from convjit.cfg.build import Loaded, parse_net
from convjit.cfg.reader import MOST_BYTES
from convjit.errors import ConfigError, near
from convjit.layers.values import shown

__all__ = ["NetTexts", "find_net", "load_net", "net_names"]

_PARAMS = ".params.cfg"


@dataclass(frozen=True)
class NetTexts:
    """The two files of a net, as they are, and what messages call them. `name` is the net's own."""

    name: str
    definition: bytes
    parameters: bytes
    origins: tuple[str, str]


def net_names() -> list[str]:
    """Names of the nets that come with convjit."""
    files = [entry.name for entry in (resources.files("convjit") / "nets").iterdir()]
    return sorted(f.removesuffix(".cfg") for f in files if f.endswith(".cfg") and not f.endswith(_PARAMS))


def find_net(net: str | Path, params: str | Path | None = None) -> NetTexts:
    """The texts of a net, by its name or the path of its file.

    Without `params`, the parameters are those that come with the net: the file <stem>.params.cfg beside it.
    """
    path = Path(net)
    own = _bytes(Path(params)) if params is not None else None
    if _is_file(path):
        beside = path.with_name(path.stem + _PARAMS)
        if own is None:
            own = _bytes(beside) if beside.is_file() else b""
        origins = (str(path), str(params if params is not None else beside))
        return NetTexts(path.stem, _bytes(path), own, origins)
    names = net_names()
    if str(net) not in names:
        what = "file" if path.suffix == ".cfg" or len(path.parts) > 1 else "file and no net"
        raise ConfigError(f"there is no {what} '{shown(net)}'{near(str(net), names)}; nets are {', '.join(names)}")
    folder = resources.files("convjit") / "nets"
    if own is None:
        own = (folder / f"{net}{_PARAMS}").read_bytes()
    origins = (f"{net}.cfg", str(params if params is not None else f"{net}{_PARAMS}"))
    return NetTexts(str(net), (folder / f"{net}.cfg").read_bytes(), own, origins)


def load_net(
    net: str | Path,
    params: str | Path | None = None,
    *,
    image: Sequence[int] | None = None,
    classes: int | None = None,
    overrides: Sequence[str] = (),
    lenient: bool = False,
) -> Loaded:
    """A net with its recipe and warnings; the arguments are those of `find_net` and `parse_net`."""
    texts = find_net(net, params)
    return parse_net(
        texts.definition,
        texts.parameters,
        origins=texts.origins,
        image=image,
        classes=classes,
        overrides=overrides,
        lenient=lenient,
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A name that no file can have, because it is too long for one.
        return False


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}", where=str(path)) from None
