"""The folder of a run.

net.cfg, params.cfg      as given; with --set, as it was trained, and net.given.cfg, params.given.cfg beside them
original.json, .cfg      of `convjit legacy`: its options, and the definition of a net that surgery has changed since
run.json                 settings, versions, data
metrics.jsonl            one object per report: step, epoch, train_loss, train_error, images_per_s, waiting; where
                         tested also test_loss, test_error
checkpoints/             see checkpoint.py
run.lock                 who works on it
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convjit.errors import RunError
from convjit.train.disk import Lock, remove_litter, write_file

__all__ = ["RunFolder", "check_new"]

Json = dict[str, Any]

_MOST_BYTES = 1 << 28


def check_new(out: Path) -> None:
    """RunError unless a new run can have this folder: one that is not there, or an empty one."""
    try:
        if not out.exists():
            return
        if not out.is_dir():
            raise RunError(f"{out}: is a file; a run needs a folder")
        names = {path.name for path in out.iterdir()}
    except OSError as error:
        raise RunError(f"{out}: cannot be used: {error.strerror or error}") from None
    if "run.json" in names:
        raise RunError(f"{out}: holds a run; go on with --resume {out}, or choose another folder")
    if names:
        raise RunError(f"{out}: is not empty and holds no run; choose a new folder")


class RunFolder:
    """A run's folder, by its path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self._metrics = path / "metrics.jsonl"

    @classmethod
    def create(cls, out: Path | None, name: str) -> RunFolder:
        """A new folder: `out`, or the first of runs/<name>-1, -2 ... that is free."""
        if out is not None:
            check_new(out)
        folder = cls(out or _free(name))
        try:
            folder.checkpoints.mkdir(parents=True)
        except OSError as error:
            raise RunError(f"{folder.path}: cannot be made: {error.strerror or error}") from None
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of a run that was started before."""
        folder = cls(path)
        if not path.is_dir():
            raise RunError(f"{path}: no such folder; a run is the folder that 'convjit train' has made")
        if not (path / "run.json").is_file():
            raise RunError(
                f"{path}: holds no run (run.json is missing); a run is the folder that 'convjit train' has made"
            )
        return folder

    def lock(self) -> Lock:
        """Keep every other process out, and remove what dead ones have left unfinished."""
        lock = Lock(self.path / "run.lock")
        try:
            for folder in (self.path, self.checkpoints):
                if folder.is_dir():
                    remove_litter(folder)
        except OSError as error:
            lock.release()
            raise RunError(f"{self.path}: cannot be used: {error.strerror or error}") from None
        return lock

    def write_text(self, name: str, text: str | bytes) -> None:
        """Make or replace a file of text."""
        write_file(self.path / name, (text if isinstance(text, bytes) else text.encode(),))

    def read_text(self, name: str) -> bytes | None:
        """A file's contents; None if it is not there."""
        path = self.path / name
        try:
            with path.open("rb") as file:
                return file.read(_MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror or error}") from None

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """run.json."""
        self.write_text("run.json", json.dumps(settings, indent=2) + "\n")

    def read_settings(self) -> Json:
        """run.json."""
        try:
            found = json.loads(self.read_text("run.json") or b"")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise RunError(f"{self.path / 'run.json'}: is no JSON object; put back the file that convjit has written")
        return found

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """One line, brought to the disk: a checkpoint that follows it never knows of a line that is not there."""
        try:
            with self._metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(f"{self._metrics}: cannot be written: {error.strerror or error}") from None

    def read_metrics(self) -> list[Json]:
        """Every whole line, in order."""
        records: list[Json] = []
        for line in (self.read_text("metrics.jsonl") or b"").splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue  # the torn line of a crash
            if isinstance(record, dict) and isinstance(record.get("step"), int):
                records.append(record)
        return records

    def cut_metrics(self, step: int) -> None:
        """Drop the lines of steps after `step`, which a resumed run writes again."""
        kept = [json.dumps(record) + "\n" for record in self.read_metrics() if record["step"] <= step]
        self.write_text("metrics.jsonl", "".join(kept))


def _free(name: str) -> Path:
    runs = Path("runs")
    plain = re.sub(r"[^\w.-]+", "-", name) or "run"
    number = 1
    while (runs / f"{plain}-{number}").exists():
        number += 1
    return runs / f"{plain}-{number}"
