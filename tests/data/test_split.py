"""The validation set that is made where there is none."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_sets import encoded, picture, write_folder, write_tar

from convjit.data import Dataset, digests, open_dataset, open_place
from convjit.data.split import split
from convjit.errors import ConvjitError, DataError


def sides(dataset: Dataset) -> tuple[set[str], set[str]]:
    """Names of the images to train on and to test on."""
    train, test = ({one.name(i) for i in range(len(one))} for one in (encoded(dataset.train), encoded(dataset.test)))
    return train, test


def files(count: int, start: int = 0) -> dict[str, bytes]:
    """Images of two classes and of two sizes."""
    return {
        f"{name}/{i:04}.png": picture(1000 * c + i, (6, 5 + i % 2))
        for c, name in enumerate(("cat", "dog"))
        for i in range(start, start + count)
    }


def test_about_a_tenth_of_every_class_and_stable(tmp_path: Path) -> None:
    train, test = sides(open_dataset(write_folder(tmp_path / "x", files(300))))
    assert not train & test and len(train | test) == 600
    for name in ("cat", "dog"):
        assert 15 <= sum(one.startswith(name) for one in test) <= 45
    # More files, other names, another form: nothing changes sides.
    more = files(300) | {f"{name[:4]}new-{name[4:]}": data for name, data in files(200, 300).items()}
    later_train, later_test = sides(open_dataset(write_tar(tmp_path / "x.tar", more)))
    assert train <= later_train and test <= later_test


def test_equal_files_stand_on_one_side(tmp_path: Path) -> None:
    copies = {f"{name.replace('cat', 'dog')[:-4]}-copy.png": data for name, data in files(300).items()}
    train, test = sides(open_dataset(write_folder(tmp_path / "x", files(300) | copies)))
    data = files(300) | copies
    assert not {data[name] for name in train} & {data[name] for name in test}


def test_what_links_lead_to_is_hashed_once(tmp_path: Path, hashed: list[int]) -> None:
    """And stands where it would stand without links."""
    plain = sides(open_dataset(write_folder(tmp_path / "x", files(60))))
    write_folder(tmp_path / "pool", {name.replace("/", "-"): data for name, data in files(60).items()})
    for name in files(60):
        for place in (name, name.replace("/", "/more-")):
            (tmp_path / "links" / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "links" / place).symlink_to(tmp_path / "pool" / name.replace("/", "-"))
    hashed.clear()
    linked = sides(open_dataset(tmp_path / "links"))
    assert len(hashed) == 120
    for part, once in zip(linked, plain, strict=True):
        assert part == once | {name.replace("/", "/more-") for name in once}


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Files that are hashed, of sets of any size that remember them."""
    rows: list[int] = []
    digest = digests._digest

    def counting(*arguments: Any) -> int:
        rows.append(arguments[2])
        return digest(*arguments)

    monkeypatch.setattr(digests, "_digest", counting)
    monkeypatch.setattr(digests, "_LEAST", 10)
    return rows


def age(path: Path) -> None:
    """As if all had been there for an hour."""
    for one in (path, *path.rglob("*")):
        os.utime(one, (time.time() - 3600,) * 2)


@pytest.mark.parametrize("form", ["folder", "tar", "tar.gz", "shards"])
def test_hashes_are_remembered(tmp_path: Path, hashed: list[int], form: str) -> None:
    made = files(30)
    path = tmp_path / form
    if form == "folder":
        write_folder(path, made)
    elif form == "shards":
        path = tmp_path / "*.tar"
        for name in ("cat", "dog"):
            write_tar(tmp_path / f"{name}.tar", {one: data for one, data in made.items() if one.startswith(name)})
    else:
        write_tar(path, made, f"w:{form[4:]}")
    first = sides(open_dataset(path))
    assert sides(open_dataset(path)) == first
    assert len(hashed) == 120, "not remembered: the files may still change"
    hashed[:60] = []
    age(tmp_path)
    assert sides(open_dataset(path)) == first and len(hashed) == 120
    assert sides(open_dataset(path)) == first and len(hashed) == 120
    (kept,) = (Path(os.environ["CONVJIT_CACHE"]) / "digests").iterdir()
    data = bytearray(kept.read_bytes())
    data[100] ^= 1
    kept.write_bytes(data)
    assert sides(open_dataset(path)) == first and len(hashed) == 180, "a damaged cache is none"
    kept.write_bytes(b"")
    assert sides(open_dataset(path)) == first and len(hashed) == 240


def test_what_changes_is_hashed_anew(tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_folder(tmp_path / "x", files(40))
    age(path)
    open_dataset(path)
    hashed.clear()
    # One of the same size and age, in its place; one that is touched; one that is new.
    a, b, c = path / "cat" / "0001.png", path / "cat" / "0003.png", path / "dog" / "new.png"
    a.rename(path / "cat" / "moved.png")
    a.write_bytes(picture(5000, (6, 6))[:100].ljust((path / "cat" / "moved.png").stat().st_size, b"x"))
    b.write_bytes(picture(5001))
    c.write_bytes(picture(5002))
    os.utime(a, ns=((path / "cat" / "moved.png").stat().st_mtime_ns,) * 2)
    now = sides(open_dataset(path))
    assert len(hashed) == 3
    monkeypatch.setenv("CONVJIT_CACHE", str(tmp_path / "elsewhere"))
    assert now == sides(open_dataset(path))


def test_a_few_sets_are_remembered(tmp_path: Path, hashed: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_MOST_SETS", 3)
    for i in range(5):
        age(write_folder(tmp_path / str(i), files(6)))
        open_dataset(tmp_path / str(i))
    assert len(list((Path(os.environ["CONVJIT_CACHE"]) / "digests").iterdir())) == 3
    hashed.clear()
    for i in (4, 3, 0):
        open_dataset(tmp_path / str(i))
    assert len(hashed) == 12
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CONVJIT_CACHE", str(tmp_path / "file"))
    assert open_dataset(tmp_path / "1"), "a cache that cannot be written is done without"


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 2.0])
def test_shares_that_are_none(tmp_path: Path, share: float) -> None:
    with pytest.raises(DataError, match="a share between 0 and 1"):
        open_dataset(write_folder(tmp_path / "x", files(3)), validation=share)


def test_large_files_are_told_apart_by_their_middle(tmp_path: Path) -> None:
    # Photographs of products on white: start and end are alike.
    made = {}
    for i in range(200):
        data = bytearray(b"P6 200 100 255\n" + b"\xff" * 60_000)
        data[30_000:30_100] = np.random.default_rng(i).bytes(100)
        made[f"{'ab'[i % 2]}/{i}.ppm"] = bytes(data)
    made["a/odd.ppm"] = b"P6 1 1 255\n123"
    _, test = sides(open_dataset(write_folder(tmp_path / "x", made)))
    assert 5 <= len(test) <= 45


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_every_class_is_trained_on(samples: list[tuple[int, int]], share: float) -> None:
    labels = np.array([label for label, _ in samples], np.int32)
    digests = np.array([number * 2**58 + 7 for _, number in samples], np.uint64)
    chosen = split(digests, labels, share)
    assert not set(digests[chosen].tolist()) & set(digests[~chosen].tolist())
    for label in set(labels.tolist()):
        several = len(set(digests[labels == label].tolist())) > 1
        shared = set(digests[labels == label].tolist()) & set(digests[labels != label].tolist())
        if not shared:
            assert not chosen[labels == label].all()
            assert not several or chosen[labels == label].any()


def test_the_share_stands_in_the_place(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "x", files(100))
    counts = [len(open_place(f"{path}{end}").test) for end in ("", "#validation=0.1", "#validation=0.5")]
    assert counts[0] == counts[1] < 50 < counts[2] < 150
    for wrong in ("#validation=half", "#validation=1.5"):
        with pytest.raises(ConvjitError, match="share between 0 and 1"):
            open_place(f"{path}{wrong}")
