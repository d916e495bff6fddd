"""Compiled kernels on disk: nothing that is not exactly what was put there ever comes back."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from convjit.codegen.cache import Compiled, KernelCache

KEY = "0123456789abcdef" * 4
ENTRY = Compiled("conv_forward_0123", 128, 4096, bytes(range(256)) * 8 + b"\n\n{}\n")


@pytest.fixture
def store(tmp_path: Path) -> KernelCache:
    return KernelCache(tmp_path / "kernels")


def test_what_was_put_comes_back(store: KernelCache) -> None:
    assert store.get(KEY) is None
    store.put(KEY, ENTRY)
    assert store.get(KEY) == ENTRY
    assert KernelCache(store.folder).get(KEY) == ENTRY
    store.put(KEY, Compiled("other", 1, 0, b""))
    assert store.get(KEY) == Compiled("other", 1, 0, b"")
    assert [path.name for path in store.folder.iterdir()] == [KEY]
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert (store.folder / KEY).stat().st_mode & 0o077 == 0


def test_corrupt_entries_are_no_entries(store: KernelCache) -> None:
    store.put(KEY, ENTRY)
    path = store.folder / KEY
    whole = path.read_bytes()
    rng = random.Random(5)
    for _ in range(200):
        data = bytearray(whole)
        match rng.randrange(5):
            case 0:
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            case 1:
                del data[rng.randrange(len(data)) :]
            case 2:
                start = rng.randrange(len(data))
                del data[start : start + rng.randrange(1, 50)]
            case 3:
                data += rng.randbytes(rng.randrange(1, 50))
            case 4:
                start = rng.randrange(len(data))
                data[start:start] = rng.randbytes(rng.randrange(1, 50))
        path.write_bytes(data)
        assert store.get(KEY) is None
    for content in (b"", b"\0" * len(whole), whole[:17], whole[:81], whole[:82]):
        path.write_bytes(content)
        assert store.get(KEY) is None
    path.write_bytes(whole)
    assert store.get(KEY) == ENTRY


def test_an_entry_of_another_key_is_no_entry(store: KernelCache) -> None:
    store.put(KEY, ENTRY)
    other = KEY[::-1]
    (store.folder / KEY).rename(store.folder / other)
    assert store.get(other) is None


def test_a_folder_instead_of_an_entry(store: KernelCache) -> None:
    (store.folder / KEY).mkdir()
    assert store.get(KEY) is None
    store.put(KEY, ENTRY)
    assert store.get(KEY) is None
    assert [path.name for path in store.folder.iterdir()] == [KEY]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702])
def test_folders_that_others_may_write_are_not_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "kernels"
    KernelCache(folder).put(KEY, ENTRY)
    folder.chmod(mode)
    store = KernelCache(folder)
    assert not store.usable
    assert store.get(KEY) is None
    store.put("f" * 64, ENTRY)
    assert not (folder / ("f" * 64)).exists()


def test_a_link_is_not_used(tmp_path: Path) -> None:
    real = KernelCache(tmp_path / "real")
    real.put(KEY, ENTRY)
    (tmp_path / "link").symlink_to(real.folder)
    assert KernelCache(tmp_path / "link").get(KEY) is None


def test_folders_of_other_users_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    KernelCache(tmp_path / "kernels").put(KEY, ENTRY)
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    assert KernelCache(tmp_path / "kernels").get(KEY) is None


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file", tmp_path / "file" / "kernels"):
        store = KernelCache(folder)
        store.put(KEY, ENTRY)
        assert not store.usable and store.get(KEY) is None
    # The disk is full: the superuser, as whom tests may run, is not stopped by modes.
    store = KernelCache(tmp_path / "kernels")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    store.put(KEY, ENTRY)
    assert store.get(KEY) is None
    assert list(store.folder.iterdir()) == []


def test_the_folder_is_that_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVJIT_CACHE", str(tmp_path / "mine"))
    assert KernelCache().folder == tmp_path / "mine" / "kernels"
    monkeypatch.delenv("CONVJIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert KernelCache().folder == tmp_path / "xdg" / "convjit" / "kernels"
