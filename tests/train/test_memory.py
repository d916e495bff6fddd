"""Training within a limit of memory: the same bits where activations are computed again, after a resume too."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_trainer import interrupt_at, same
from tiny_runs import NET, PARAMS, kernels, tiny_data, train_tiny, write_net

from convjit.errors import UsageError
from convjit.runtime import Ways
from convjit.runtime.fit import Fitted, fit
from convjit.train.api import load
from convjit.train.checkpoint import newest
from convjit.train.run_folder import RunFolder
from convjit.train.session import Session
from convjit.train.watch import Watcher

__all__ = ["kernels"]

CONV = NET[NET.index("[conv1]") : NET.index("[pool1]")]
WIDE = NET.replace(
    CONV,
    CONV
    + "".join(
        CONV.replace("conv1", f"conv{i}").replace("=data", f"=conv{i - 1}").replace("channels=1", "channels=4")
        for i in (2, 3, 4)
    ),
).replace("inputs=conv1\npool", "inputs=conv4\npool")
"""Enough activations to be worth a limit."""
WIDE_PARAMS = PARAMS + "".join(f"[conv{i}]\nepsW=0.0002\nepsB=0.0004\nmomW=0.9\nmomB=0.9\nwc=0\n\n" for i in (2, 3, 4))


class Listener(Watcher):
    """Keeps what was done for the limit, and what the programs take."""

    def starting(self, session: Session, step: int) -> None:
        self.fitted: Fitted | None = session.fitted
        self.taken = session.executor("train").memory_bytes()
        self.test = session.executor("test")


def trained(folder: Path, **options: Any) -> tuple[Any, Listener]:
    listener = Listener()
    net = None if "resume" in options else write_net(folder, net=WIDE, params=WIDE_PARAMS)
    return train_tiny(folder, net=net, watcher=listener, **options), listener


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, int]:
    """A run without a limit, and what it takes."""
    result, listener = trained(tmp_path_factory.mktemp("whole"))
    assert listener.fitted is None
    return result, listener.taken


def test_the_bits_of_a_run_without_a_limit(tmp_path: Path, whole: tuple[Any, int]) -> None:
    again: set[int] = set()
    for share in (1, 0.95, 0.9, 0.85):
        limit = int(whole[1] * share)
        result, listener = trained(tmp_path / str(share), memory=limit)
        assert listener.fitted
        assert listener.taken == listener.fitted.total <= limit
        assert not listener.fitted.plainer
        again.add(len(listener.fitted.again))
        same(result, whole[0])
        assert RunFolder(result.run).read_settings()["settings"]["memory"] == limit
    assert max(again) > min(again) == 0


def test_a_run_keeps_to_its_limit(tmp_path: Path, whole: tuple[Any, int]) -> None:
    limit = int(whole[1] * 0.9)
    net = write_net(tmp_path, net=WIDE, params=WIDE_PARAMS)
    stopped = train_tiny(tmp_path, net=net, memory=limit, watcher=interrupt_at(3))
    state = newest(stopped.run / "checkpoints", lambda text: None).state
    assert state.memory == limit
    result, listener = trained(tmp_path, resume=stopped.run)
    assert listener.fitted
    assert listener.fitted.limit == limit
    same(result, whole[0])


def test_a_run_goes_on_within_another_limit(tmp_path: Path, whole: tuple[Any, int]) -> None:
    net = write_net(tmp_path, net=WIDE, params=WIDE_PARAMS)
    stopped = train_tiny(tmp_path, net=net, watcher=interrupt_at(3))
    result, listener = trained(tmp_path, resume=stopped.run, memory=str(int(whole[1] * 0.9)))
    assert listener.fitted
    assert listener.fitted.again
    same(result, whole[0])


def test_tests_share_the_arena(tmp_path: Path) -> None:
    _, listener = trained(tmp_path)
    test = listener.test
    assert test.shares_arena
    assert test.own_bytes == test.plan.transfer + test.kernel_bytes


def test_limits_and_parts_together(tmp_path: Path) -> None:
    parted, free = trained(tmp_path / "free", accumulate=2)
    result, listener = trained(tmp_path / "limited", accumulate=2, memory=int(free.taken * 0.95))
    assert listener.fitted
    assert listener.fitted.again
    same(result, parted)


def test_a_limit_that_is_too_small_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--memory 1 kB: 32 images at a time take at least "):
        train_tiny(tmp_path, memory=1000)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UsageError, match="--memory much: a size such as "):
        train_tiny(tmp_path, memory="much")


def test_algorithms_taken_for_a_limit_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the search has changed is in the checkpoint, and tests of the run use it too."""

    def changed(program: Any, limit: int, ways: Any, **options: Any) -> Fitted:
        found = fit(program, limit, ways, **options)
        assert options["fixed"] == bool(ways.chosen)
        ways = ways if options["fixed"] else Ways({"fc3.forward": "direct"})
        return replace(found, ways=ways)

    monkeypatch.setattr(sys.modules["convjit.train.programs"], "fit", changed)
    stopped = train_tiny(tmp_path, memory="1GB", watcher=interrupt_at(3))
    assert newest(stopped.run / "checkpoints", lambda text: None).state.ways == {"fc3.forward": "direct"}
    assert RunFolder(stopped.run).read_settings()["settings"]["algorithms"] == {"fc3.forward": "direct"}
    result = train_tiny(tmp_path, resume=stopped.run)
    with load(result.run) as run:
        assert run.test(tiny_data()).error == result.test_error
