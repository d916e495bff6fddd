"""The command line of cuda-convnet (cc1) and cuda-convnet2 (cc2): every option of both, and what becomes of it here.

Written `--name=value` or `--name value`; `-f FILE` is --load-file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from convjit.data import Range
from convjit.data.stream import shown
from convjit.errors import UsageError, near
from convjit.settings import original_seed

__all__ = ["OPTIONS", "RESTORED", "Option", "Original", "parse_original", "restored"]


@dataclass(frozen=True)
class Option:
    """One option: of which program (both: ""), what its values are, and why it has no effect, if it has none."""

    kind: str
    """text, count, number, flag, range, names, or ints (a list of whole numbers)."""
    default: str = ""
    program: str = ""
    ignored: str = ""
    once: bool = False
    """Fixed when a run begins."""


_NO_DEVICES = "devices are not chosen yet; everything runs on this machine's processor"

OPTIONS: Mapping[str, Option] = {
    "data-path": Option("text"),
    "data-provider": Option("text"),
    "train-range": Option("range"),
    "test-range": Option("range"),
    "layer-def": Option("text", once=True),
    "layer-params": Option("text"),
    "layer-path": Option("text"),
    "save-path": Option("text"),
    "save-file": Option("text", program="cc2"),
    "load-file": Option("text"),
    "gpu": Option("ints", ignored=_NO_DEVICES),
    "num-gpus": Option("count", "1", "cc1", _NO_DEVICES),
    "mini": Option("count", "128", once=True),
    "epochs": Option("count", "50000"),
    "test-freq": Option("count"),
    "test-one": Option("flag", "1"),
    "test-only": Option("flag", "0"),
    "multiview-test": Option("flag", "0"),
    "crop-border": Option("count", "4", "cc1", once=True),
    "inner-size": Option("count", "0", "cc2", once=True),
    "color-noise": Option("number", "0", "cc2", once=True),
    "scalar-mean": Option("number", "-1", "cc2", once=True),
    "conv-to-local": Option("names", program="cc2"),
    "unshare-weights": Option("names", program="cc2"),
    "check-grads": Option("flag", "0"),
    "write-features": Option("text"),
    "feature-path": Option("text"),
    "test-out": Option("text", program="cc2"),
    "logreg-name": Option("text"),
    "conserve-mem": Option("flag", "0", "cc2", "the planner already gives buffers that are done with to others"),
    "force-save": Option("flag", "0", "cc2", "a run that is stopped is always saved"),
    "max-filesize": Option("count", "0", "cc1", "the last two checkpoints are kept"),
    "zip-save": Option("flag", "0", "cc1", "checkpoints are not packed"),
    # Ours.
    "compat": Option("text"),
    "seed": Option("count", once=True),
    "threads": Option("count"),
    "allow-code": Option("flag", "0"),
}
"""By name; those at the end are ours: which program to follow, what random numbers come from, how many threads,
and whether the functions of initWFunc are run."""

RESTORED = (
    *("data-path", "data-provider", "train-range", "test-range", "layer-def", "layer-params", "layer-path", "mini"),
    *("epochs", "test-freq", "test-one", "multiview-test", "crop-border", "inner-size", "color-noise", "scalar-mean"),
    *("seed", "compat", "threads", "logreg-name"),
)
"""Options that what is gone on with may bring along. It may come from anybody, so none that writes or runs anything."""

_PROVIDERS = {
    "cifar": "", "cifar-cropped": "cc1", "image": "cc2", "dummy-cn": "cc1", "dummy-lr": "cc2",
    "default": "", "memory": "", "labeled": "",
}  # fmt: skip


@dataclass(frozen=True)
class Original:
    """A command line, read. `program` is cc1 or cc2; `given` the options that were said, as text by name."""

    program: str
    given: Mapping[str, str]
    kept: Mapping[str, str] = field(default_factory=dict)
    """Options of the run or checkpoint that is gone on with."""

    def text(self, name: str) -> str:
        """The value of an option, or its default; empty if it has none."""
        found = self.given.get(name, self.kept.get(name, OPTIONS[name].default))
        if not found and name == "test-freq":
            return "50" if self.program == "cc1" else "57"
        if not found and name == "seed":
            return _checked("seed", original_seed() or "1")
        return found

    def count(self, name: str) -> int:
        """A whole number."""
        return int(self.text(name) or 0)

    def number(self, name: str) -> float:
        """A number."""
        return float(self.text(name) or 0)

    def flag(self, name: str) -> bool:
        """0 or 1."""
        return self.text(name) == "1"

    def names(self, name: str) -> list[str]:
        """A list of names."""
        return [item.strip() for item in self.text(name).split(",") if item.strip()]

    def range(self, name: str) -> Range:
        """A range of batches."""
        return Range.parse(self.text(name))

    @property
    def provider(self) -> tuple[str, int]:
        """Name of the data provider, and the number at the end of a dummy's."""
        name = self.text("data-provider")
        head, _, tail = name.rpartition("-")
        return (head, int(tail)) if head in ("dummy-cn", "dummy-lr") and tail.isdigit() else (name, 0)

    def layer_files(self) -> tuple[str, str]:
        """Definition and parameters, both beneath --layer-path."""
        prefix = self.text("layer-path")
        return prefix + self.text("layer-def"), prefix + self.text("layer-params")

    def need(self, *names: str) -> None:
        """UsageError for the first of these options that is not there."""
        for name in names:
            if not self.text(name):
                raise UsageError(f"--{name} is missing; the original command line asks for it")

    def ignored(self) -> list[str]:
        """One line for every option that was given and has no effect."""
        return [f"--{n} has no effect: {OPTIONS[n].ignored}" for n in self.given if OPTIONS[n].ignored]


def parse_original(arguments: Sequence[str]) -> Original:
    """A command line of one of the programs; UsageError names the option at fault."""
    given: dict[str, str] = {}
    items = list(arguments)
    while items:
        item = items.pop(0)
        if item in ("-f", "--f"):
            item = "--load-file"
        if not item.startswith("--"):
            raise UsageError(f"'{shown(item)}' is no option; they are written --name=value or --name value")
        name, equals, value = item.removeprefix("--").partition("=")
        if name not in OPTIONS:
            raise UsageError(f"there is no option --{shown(name)}{near(name, OPTIONS)}")
        if not equals:
            if not items:
                raise UsageError(f"--{name} needs a value")
            value = items.pop(0)
        given[name] = _checked(name, value)
    original = Original(_program(given), given)
    _check_provider(original)
    for one, other in (("write-features", "feature-path"), ("feature-path", "write-features")):
        if given.get(one) and not given.get(other):
            raise UsageError(f"--{one} needs --{other}")
    if given.get("test-out") and not (given.get("logreg-name") and given.get("multiview-test") == "1"):
        raise UsageError("--test-out needs --logreg-name and --multiview-test=1")
    return original


def restored(found: Mapping[str, object]) -> dict[str, str]:
    """Of options from a file those that may be gone on with, if their values are what they should be."""
    kept = {}
    for name, value in found.items():
        if name in RESTORED and isinstance(value, str):
            try:
                kept[name] = _checked(name, value)
            except UsageError:
                continue
    return kept


def _checked(name: str, value: str) -> str:
    """A value in plain form."""
    kinds: dict[str, tuple[Callable[[str], object], str]] = {
        "count": (_natural, "a whole number"),
        "number": (float, "a number"),
        "range": (Range.parse, "a or a-b"),
        "ints": (lambda text: [int(item) for item in text.split(",")], "whole numbers with commas between them"),
    }
    kind = OPTIONS[name].kind
    if kind == "flag":
        flags = {"1": "1", "true": "1", "yes": "1", "on": "1", "0": "0", "false": "0", "no": "0", "off": "0"}
        if value.lower() not in flags:
            raise UsageError(f"--{name}={shown(value)}: must be 0 or 1")
        return flags[value.lower()]
    if kind in kinds:
        read, allowed = kinds[kind]
        try:
            read(value)
        except (ValueError, UsageError):
            raise UsageError(f"--{name}={shown(value)}: must be {allowed}") from None
    return value


def _natural(text: str) -> int:
    if not text.isdecimal() or not text.isascii() or len(text) > 18:
        raise ValueError(text)
    return int(text)


def _program(given: Mapping[str, str]) -> str:
    """Which program a command line is for: what only one of them knows tells, else --gpu, which cc2 needs."""
    if asked := given.get("compat"):
        if asked not in ("cc1", "cc2"):
            raise UsageError(f"--compat={shown(asked)}: must be cc1 (cuda-convnet) or cc2 (cuda-convnet2)")
        return asked
    told = {OPTIONS[name].program: name for name in given if OPTIONS[name].program}
    provider = given.get("data-provider", "")
    if program := _PROVIDERS.get(provider, _PROVIDERS.get(provider.rpartition("-")[0], "")):
        told.setdefault(program, f"data-provider={provider}")
    if len(told) == 2:
        raise UsageError(
            f"--{told['cc1']} is of cuda-convnet, --{told['cc2']} of cuda-convnet2; "
            "leave one, or say --compat=cc1 or --compat=cc2"
        )
    return next(iter(told), "cc2" if "gpu" in given else "cc1")


def _check_provider(original: Original) -> None:
    name, _ = original.provider
    if name and name not in _PROVIDERS:
        known = ", ".join(_PROVIDERS)
        found = f"--data-provider={shown(name)} is not known{near(name, _PROVIDERS)}; there are {known}"
        raise UsageError(f"{found}; providers of your own are Python, which no option runs")
