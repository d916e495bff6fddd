"""Who may import whom: the packages are layers, in the order that data flows, and nothing points back."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import convjit

SOURCE = Path(convjit.__file__).parent
LEAVES = {"errors", "settings", "random"}

_TRAIN = {"runtime", "graph", "data", "cfg", "program", "layers"}
ARROWS: dict[str, set[str]] = {
    "__init__": {"cfg", "data", "graph", "layers", "runtime", "show", "train"},
    "__main__": {"cli"},
    "cli": {"train", "show", "cfg", "graph", "data", "runtime"},
    "errors": set(),
    "settings": set(),
    "random": set(),
    "cfg": {"graph", "layers"},
    "graph": {"layers", "program", "ops"},
    "layers": {"program", "ops"},
    "program": {"ops"},
    "ops": set(),
    "kernels": {"codegen", "ops"},
    "codegen": set(),
    "runtime": {"program", "kernels", "codegen", "ops"},
    "data": set(),
    "train": _TRAIN,
    "show": {"train", *_TRAIN},
}
"""What each may import of convjit, itself and the leaves apart."""

OUTSIDE = {"codegen": {"llvmlite"}, "ops": {"numpy"}, "random": {"numpy"}, "kernels": set[str](), "layers": set[str]()}
"""What some may import beyond the standard library; of the others only llvmlite is forbidden."""

LAZY = {
    "convjit",
    "convjit.cli",
    *(f"convjit.cli.{name}" for name in ("data", "nets", "original", "run", "shared", "use")),
    "convjit.train.api",
}
"""What a user imports or starts: these import the rest when it is needed, so that they are there at once."""

FILES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    """convjit.ops.conv, convjit.ops for its __init__.py."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def package_of(module: str) -> str:
    """The part of convjit that a module belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of everything imported; `from package import module` gives the module. The version is no arrow."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"line {node.lineno}: imports are absolute"
            for alias in node.names:
                if (node.module, alias.name) == ("convjit", "__version__"):
                    continue
                inner = f"{node.module}.{alias.name}"
                yield node.lineno, inner if inner in MODULES else node.module


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@pytest.mark.parametrize("module", MODULES)
def test_arrows(module: str) -> None:
    package = package_of(module)
    assert package in ARROWS, f"{package} is new: say in ARROWS what it may import"
    wrong = []
    for line, imported in imports(tree_of(MODULES[module])):
        where = f"{module}:{line} imports {imported}"
        first = imported.split(".")[0]
        if first == "convjit":
            to = package_of(imported)
            # The leaves import nothing of convjit, not even one another.
            allowed = {package, *ARROWS[package], *(LEAVES if package not in LEAVES else ())}
            if to == "__init__" or to not in allowed:
                wrong.append(where)
        elif first not in sys.stdlib_module_names and (
            first not in OUTSIDE.get(package, {first}) | {"numpy"} or (first == "llvmlite" and package != "codegen")
        ):
            wrong.append(where)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("module", [module for module in MODULES if module not in LAZY])
def test_imports_stand_at_the_top(module: str) -> None:
    """An import inside a function hides an arrow."""
    tree = tree_of(MODULES[module])
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    hidden = [f"{module}:{line} imports {name} in a function" for f in functions for line, name in imports(f)]
    assert not hidden, "\n".join(hidden)


def test_no_circles() -> None:
    graph = {
        module: {imported for _, imported in imports(tree_of(path)) if imported in MODULES} - {module}
        for module, path in MODULES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))
