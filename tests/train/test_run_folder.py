"""A run's folder: made new, found again, locked."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convjit.errors import RunError
from convjit.train.disk import Lock, need_space
from convjit.train.run_folder import RunFolder, check_new


def test_the_default_place_is_the_first_free_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [str(RunFolder.create(None, "my net/../x").path) for _ in range(2)] == [
        "runs/my-net-..-x-1",
        "runs/my-net-..-x-2",
    ]


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    check_new(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    check_new(tmp_path / "empty")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is a file"):
        check_new(tmp_path / "file")
    with pytest.raises(RunError, match="not empty"):
        check_new(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(RunError, match="--resume"):
        check_new(tmp_path)


def test_what_is_no_run_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such folder"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"run\.json is missing"):
        RunFolder.open(tmp_path)


def test_settings_must_be_an_object(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_settings({"a": 1})
    assert folder.read_settings() == {"a": 1}
    for text in ("", "[]", "{", "[" * 100_000):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(RunError, match=r"run\.json"):
            folder.read_settings()


def test_metrics_are_cut_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for step in (2, 4, 6):
        folder.append_metrics({"step": step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "tra')
    assert [record["step"] for record in folder.read_metrics()] == [2, 4, 6]
    folder.cut_metrics(4)
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 2}\n{"step": 4}\n'


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Lock(tmp_path / "run.lock"):
        with pytest.raises(RunError, match=r"in use by process \d+ on host"):
            Lock(tmp_path / "run.lock")
        with pytest.raises(RunError, match="in use"):
            RunFolder(tmp_path).lock()
    Lock(tmp_path / "run.lock").release()


def test_a_dead_process_holds_no_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from convjit.train.disk import Lock\n"
        "lock = Lock(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    path = tmp_path / "run.lock"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match=f"process {holder.pid} "):
            Lock(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert json.loads(path.read_text())["pid"] == holder.pid
    Lock(path).release()


def test_the_lock_of_another_host_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    with pytest.raises(RunError, match=r"on host elsewhere; if that has ended, remove .*run\.lock"):
        Lock(path)
    path.write_text("{broken")
    Lock(path).release()


def test_room_is_looked_for_before_the_first_step(tmp_path: Path) -> None:
    need_space(tmp_path, 1)
    with pytest.raises(RunError, match="make room"):
        need_space(tmp_path, 1 << 60)
