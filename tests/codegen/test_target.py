"""The choice of the target, and the driver on all of them."""

from __future__ import annotations

import platform
import re
from dataclasses import replace

import llvmlite.binding as llvm
import pytest

from convjit.codegen import target as module
from convjit.codegen.crew import LEAD, POST, SERVE, crew_text
from convjit.codegen.driver import DRIVER, driver_text
from convjit.codegen.jit import assembly, compile_object, machine_text
from convjit.codegen.target import TARGETS, Target, host_target, initialise_llvm, runnable_targets
from convjit.errors import TargetError


def test_the_widest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CONVJIT_TARGET", raising=False)
    assert host_target() == max(runnable_targets(), key=lambda target: target.lanes)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda target: target.name)
def test_one_can_be_asked_for(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    monkeypatch.setenv("CONVJIT_TARGET", target.name)
    assert host_target() == target


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("avx-512", "CONVJIT_TARGET=avx-512: known are avx512, avx2, sse, neon (did you mean 'avx512'?)"),
        ("AVX2", "CONVJIT_TARGET=AVX2: known are avx512, avx2, sse, neon (did you mean 'avx2'?)"),
        ("cuda", "CONVJIT_TARGET=cuda: known are avx512, avx2, sse, neon"),
    ],
)
def test_unknown_names(monkeypatch: pytest.MonkeyPatch, asked: str, said: str) -> None:
    monkeypatch.setenv("CONVJIT_TARGET", asked)
    with pytest.raises(TargetError) as caught:
        host_target()
    assert str(caught.value) == said


def test_targets_of_other_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    other = next(name for name in TARGETS if name not in [target.name for target in runnable_targets()])
    monkeypatch.setenv("CONVJIT_TARGET", other)
    names = ", ".join(target.name for target in runnable_targets())
    with pytest.raises(TargetError) as caught:
        host_target()
    assert str(caught.value) == f"CONVJIT_TARGET={other}: this processor cannot run it; it runs {names}"


def test_features_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    without_512_parts = {"sse2", "avx2", "fma", "avx512f"}
    for features, names in (({"sse2"}, ["sse"]), (without_512_parts, ["avx2", "sse"]), (set[str](), [])):
        monkeypatch.setattr(module, "_host_features", lambda features=frozenset(features): features)
        assert [target.name for target in runnable_targets()] == names
    with pytest.raises(TargetError, match=r"this processor .* runs none of convjit's targets: avx512"):
        host_target()
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    monkeypatch.setattr(module, "_host_features", lambda: frozenset({"neon"}))
    assert [target.name for target in runnable_targets()] == ["neon"]


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_driver_compiles(target: Target) -> None:
    text = assembly(driver_text(target), target)
    assert re.search(rf"^{DRIVER}:", text, re.MULTILINE)
    assert len(compile_object(driver_text(target), target)) > 500
    crew = assembly(crew_text(target), target)
    assert all(re.search(rf"^{name}:", crew, re.MULTILINE) for name in (POST, LEAD, SERVE))
    set_and_restored = r"\bv?ldmxcsr\b" if target.is_x86 else r"\bmsr\s+fpcr\b"
    assert len(re.findall(set_and_restored, text, re.IGNORECASE)) == 2


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_llvm_knows_what_targets_name(target: Target) -> None:
    """An unknown processor or feature would only be a warning, and slow code."""
    initialise_llvm()
    machine = llvm.Target.from_triple(target.triple).create_target_machine(cpu=target.cpu, features=target.features)
    assert machine.triple == target.triple
    assert machine_text(target).strip()
    assert replace(target) == target
