"""Pickles: CIFAR's are read, every other kind is refused by name, and nothing is ever run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convjit.data.unpickle import unpickle
from convjit.errors import DataError


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.what = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.what


def old(*parts: bytes | str) -> bytes:
    """A pickle of protocol 2 from its instructions; text stands for a short string of Python 2."""
    body = b"".join(part if isinstance(part, bytes) else b"U" + bytes([len(part)]) + part.encode() for part in parts)
    return b"\x80\x02" + body + b"."


def python2_array(data: bytes, shape: bytes, kind: str = "u1", state: bytes | None = None) -> bytes:
    """The instructions with which Python 2 wrote an array."""
    return b"".join(
        [
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01" + shape,
            b"cnumpy\ndtype\nU" + bytes([len(kind)]) + kind.encode() + b"K\x00K\x01\x87R",
            state or b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + struct.pack("<i", len(data)) + data + b"tb",
        ]
    )


@pytest.mark.parametrize("protocol", range(2, 6))
def test_round_trip(protocol: int) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(4, 6)
    value = {"data": array, "labels": [0, 1, 300, 70000, -5], "names": ["a", "é"], b"key": b"bytes\xff", "n": 2**40}
    read = unpickle(pickle.dumps(value, protocol), "x")
    assert np.array_equal(read["data"], array)
    assert read["labels"] == value["labels"] and read["names"] == value["names"]
    assert read["key"] == b"bytes\xff" and read["n"] == 2**40


@pytest.mark.parametrize("kind", ["u1", "<i4", ">i4", "<f4", ">f8"])
def test_arrays_of_other_kinds_and_orders(kind: str) -> None:
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(kind))
    assert np.array_equal(unpickle(pickle.dumps({"a": array}, 2), "x")["a"], array)


def test_python_2() -> None:
    data = old(b"}(", "data", python2_array(bytes(range(6)), b"K\x02K\x03\x86"), "labels", b"](K\x05K\x07eu")
    read = unpickle(data, "x")
    assert read["data"].tolist() == [[0, 1, 2], [3, 4, 5]] and read["labels"] == [5, 7]


# Each is refused, and leaves no trace: the calls would write to the file of the name TRACE.
TRACE = "convjit-pickle-trace"
SHELL = f"echo > {TRACE}"
CODE = f"open({TRACE!r}, 'w')"
GADGETS: dict[str, object] = {
    "os.system": Call(os.system, SHELL),
    "eval": Call(eval, CODE),
    "exec": Call(exec, CODE),
    "open": Call(open, TRACE, "w"),
    "compile": Call(compile, CODE, "x", "exec"),
    "getattr": Call(getattr, "x", "upper"),
    "__import__": Call(__import__, "antigravity"),
    "subprocess": Call(__import__("subprocess").call, ["touch", TRACE]),
    "Popen": Call(__import__("subprocess").Popen, ["touch", TRACE]),
    "runpy": Call(__import__("runpy").run_path, TRACE),
    "importlib": Call(__import__("importlib").import_module, "antigravity"),
    "pty": Call(__import__("pty").spawn, ["touch", TRACE]),
    "webbrowser": Call(__import__("webbrowser").open, "http://127.0.0.1:9"),
    "socket": Call(__import__("socket").create_connection, ("127.0.0.1", 9)),
    "shutil": Call(__import__("shutil").rmtree, TRACE),
    "pathlib": Call(Path, TRACE),
    "numpy.load": Call(np.load, TRACE),
    "numpy.fromfile": Call(np.fromfile, TRACE),
    "numpy.memmap": Call(np.memmap, TRACE),
    "pickle.loads": Call(pickle.loads, pickle.dumps(1)),
    "bytearray bomb": Call(bytearray, 1 << 60),
    "builtins.range": Call(range, 3),
    "functools.partial": Call(__import__("functools").partial, os.system),
    "operator.attrgetter": Call(__import__("operator").attrgetter, "system"),
    "array": Call(__import__("array").array, "b", b"x"),
    "type": Call(type, "x", (), {}),
    "codecs.decode": Call(__import__("codecs").decode, b"x", "rot13"),
    "collections.OrderedDict": __import__("collections").OrderedDict(a=1),
    "float": {"a": 1.5},
    "set": {"a": {1}},
    "complex": {"a": 1j},
    "numpy scalar": {"a": np.float32(1)},
    "object array": {"a": np.array([Call(os.system, SHELL)], object)},
    "structured array": {"a": np.zeros(2, [("x", "u1")])},
    "text array": {"a": np.array(["x"])},
    "nested": {"a": {"b": [Call(os.system, SHELL)]}},
    "nested lists": {"a": [[1]]},
    "no dictionary": [1, 2],
    "tuple key": {(1, 2): 3},
}
RAW: dict[str, bytes] = {
    "posix.system": old(b"cposix\nsystem\n", SHELL, b"\x85R"),
    "persistent id": old(b"Pname\n"),
    "binary persistent id": old("x", b"Q"),
    "INST": b"(S'" + SHELL.encode() + b"'\nios\nsystem\n.",
    "OBJ": old(b"(cos\nsystem\n", SHELL, b"o"),
    "NEWOBJ": old(b"cnumpy\nndarray\n", b"K\x01\x85\x81"),
    "EXT1": old(b"\x82\x01"),
    "call of a string": old("x", "y", b"\x85R"),
    "call of ndarray": old(b"cnumpy\nndarray\nK\x04\x85R"),
    "state on a function": old(b"cnumpy\ndtype\n", b"}", "__code__", b"K\x01sb"),
    "codec by name": old(b"c_codecs\nencode\nX\x01\x00\x00\x00xU\x05rot13\x86R"),
    "attribute of an allowed module": old(b"cnumpy\nload\n"),
    "dotted name": old(b"cnumpy.core.multiarray\n_reconstruct.__globals__\n"),
    "array longer than its bytes": old(b"}", "d", python2_array(b"abc", b"J\xff\xff\xff\x7f\x85"), b"s"),
    "negative shape": old(b"}", "d", python2_array(b"abc", b"J\xfd\xff\xff\xff\x85"), b"s"),
    "array of objects": old(b"}", "d", python2_array(b"12345678", b"K\x01\x85", "O8"), b"s"),
    "dtype with fields": old(
        b"}", "d", python2_array(b"a", b"K\x01\x85", state=b"(K\x03U\x01|N}NK\x01K\x01K\x00tb"), b"s"
    ),
    "append to a dictionary": old(b"}K\x01a"),
    "memo far away": old(b"}r\xff\xff\xff\x7fj\xff\xff\xff\x00"),
    "two gigabytes": b"\x80\x04\x8e" + struct.pack("<Q", 2 << 30) + b"x.",
    "negative length": old(b"T\xff\xff\xff\xffabc"),
    "long integer of 2 GB": old(b"\x8b\xff\xff\xff\x7f"),
    "key of nested tuples": old(b"}", b"K\x01" + b"".join(b"q%c\x68%c\x86" % (i, i) for i in range(60)), b"K\x01s"),
    "nothing on the stack": old(),
    "no end": b"\x80\x02}",
    "no mark": old(b"K\x01u"),
    "odd entries": old(b"}(K\x01u"),
    "unknown instruction": b"\x80\x02\xff.",
    "empty": b"",
    "HTML": b"<!doctype html><html><body>404</body></html>",
    "bytearray": b"\x80\x05\x96" + struct.pack("<Q", 1) + b"x.",
    "out-of-band buffer": b"\x80\x05\x97.",
}


_HEARD: list[str] = []
_LISTENING = [False]
# Of these, none may happen while a pickle is read; files are opened by nothing in it.
_DEEDS = ("import", "exec", "compile", "open", "os.", "subprocess.", "socket.", "pickle.", "ctypes.", "shutil.")


def _listen(event: str, _: tuple[object, ...]) -> None:
    if _LISTENING[0] and event.startswith(_DEEDS):
        _HEARD.append(event)


sys.addaudithook(_listen)


def test_there_are_enough_gadgets() -> None:
    """Gate D7 asks for 50."""
    assert len(GADGETS) + len(RAW) >= 50


@pytest.mark.parametrize("name", [*GADGETS, *RAW])
def test_nothing_happens_while_it_is_read(name: str) -> None:
    data = [RAW[name]] if name in RAW else [pickle.dumps(GADGETS[name], protocol) for protocol in range(2, 6)]
    for one in data:
        _HEARD.clear()
        _LISTENING[0] = True
        try:
            unpickle(one, "x")
        except DataError:
            pass
        finally:
            _LISTENING[0] = False
        assert not _HEARD


@pytest.mark.parametrize("name", [*GADGETS, *RAW])
def test_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = RAW[name] if name in RAW else pickle.dumps(GADGETS[name], 2)
    modules = set(sys.modules)
    start = time.perf_counter()
    with pytest.raises(DataError) as caught:
        unpickle(data, "set: data_batch_1")
    assert time.perf_counter() - start < 2
    assert not list(tmp_path.glob(f"{TRACE}*"))
    assert "antigravity" not in set(sys.modules) - modules
    message = str(caught.value)
    assert message.startswith("set: data_batch_1: ") and "\n" not in message


@pytest.mark.parametrize("protocol", range(6))
def test_refused_in_every_protocol(protocol: int) -> None:
    with pytest.raises(DataError, match=r"asks for '.*\.system'"):
        unpickle(pickle.dumps(Call(os.system, SHELL), protocol), "x")


def test_the_refused_name_is_escaped() -> None:
    with pytest.raises(DataError) as caught:
        unpickle(old(b"\x8c\x04a\nb\x1b\x8c\x01c\x93"), "x")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


@given(st.data())
def test_damage_gives_one_kind_of_error(data: st.DataObject) -> None:
    good = bytearray(pickle.dumps({"data": np.arange(12, dtype=np.uint8), "labels": [1, 2, 3], "n": b"abc"}, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        unpickle(bytes(good[: data.draw(st.integers(1, len(good)))]), "x")
    except DataError as error:
        assert "\n" not in str(error)


def test_the_allowed_calls_need_no_import(monkeypatch: pytest.MonkeyPatch) -> None:
    value = pickle.dumps({"data": np.zeros(3, np.uint8), "labels": [1]}, 4)
    monkeypatch.setattr(pickle, "Unpickler", None)
    monkeypatch.setattr(io, "open", None)
    monkeypatch.setattr("builtins.__import__", None)
    read = unpickle(value, "x")
    monkeypatch.undo()
    assert read["labels"] == [1]
