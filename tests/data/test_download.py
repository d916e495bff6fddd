"""Downloads from a server on this machine that misbehaves in every way."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import convjit.data.download as download
from convjit.data import cifar10, fetch
from convjit.errors import DataError

BODY = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()


class Server:
    """What the server does: its answers in order, the last one for ever; and what it was asked."""

    def __init__(self) -> None:
        self.answers = ["good"]
        self.ranges: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.ranges.append(self.headers["Range"])
                answer = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                outer.answer(self, answer)

            def log_message(self, *_: object) -> None:
                pass

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.httpd.server_address[1]}/set.tar.gz"

    def answer(self, handler: BaseHTTPRequestHandler, answer: str) -> None:
        if answer.isdecimal():
            handler.send_error(int(answer))
            return
        start = 0
        body = {"garbage": b"<html>" * 100, "same size garbage": bytes(len(BODY)), "too long": BODY + b"x"}.get(
            answer, BODY
        )
        asked = handler.headers["Range"]
        if asked and answer != "ignores range":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                handler.send_error(416)
                return
            handler.send_response(206)
            shift = 1 if answer == "wrong range" else 0
            handler.send_header("Content-Range", f"bytes {start + shift}-{len(body) - 1}/{len(body)}")
        else:
            handler.send_response(200)
        if answer not in ("no length", "no length, breaks off"):
            handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        rest = body[start:]
        handler.wfile.write(rest[: len(rest) // 2] if "breaks off" in answer else rest)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "_PAUSE", 0.001)
    monkeypatch.setattr(download, "_TIMEOUT", 5.0)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.httpd.shutdown()
    thread.join()
    server.httpd.server_close()


def get(server: Server, tmp_path: Path, **options: Any) -> Path:
    return fetch(server.url, tmp_path / "set.tar.gz", **({"sha256": SHA256} | options))


def refused(server: Server, tmp_path: Path, says: str, **options: Any) -> None:
    with pytest.raises(DataError, match=says) as caught:
        get(server, tmp_path, **options)
    assert "\n" not in str(caught.value) and "--data" in str(caught.value)
    assert not (tmp_path / "set.tar.gz").exists()


def part(tmp_path: Path) -> Path:
    return tmp_path / "set.tar.gz.part"


@pytest.mark.parametrize("sums", [{"sha256": SHA256}, {"md5": MD5}, {"sha256": SHA256.upper(), "md5": MD5}])
def test_a_download(server: Server, tmp_path: Path, sums: dict[str, str]) -> None:
    calls: list[tuple[int, int]] = []
    path = get(server, tmp_path, size=len(BODY), progress=lambda *call: calls.append(call), **{"sha256": None} | sums)
    assert path.read_bytes() == BODY and calls[-1] == (len(BODY), len(BODY)) and not part(tmp_path).exists()
    get(server, tmp_path)
    assert len(server.ranges) == 1


def test_it_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.answers = ["breaks off", "breaks off", "503", "good"]
    assert get(server, tmp_path).read_bytes() == BODY
    half = len(BODY) // 2
    assert server.ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-", f"bytes={half + half // 2}-"]


def test_a_later_call_goes_on(server: Server, tmp_path: Path) -> None:
    server.answers = ["breaks off"]
    refused(server, tmp_path, "broke off at 256,000 of 512,000 bytes, 1 attempts; try again to go on", attempts=1)
    assert part(tmp_path).read_bytes() == BODY[:256000]
    server.answers = ["good"]
    assert get(server, tmp_path).read_bytes() == BODY and server.ranges[-1] == "bytes=256000-"


@pytest.mark.parametrize("answer", ["ignores range", "wrong range"])
def test_servers_that_cannot_resume(server: Server, tmp_path: Path, answer: str) -> None:
    part(tmp_path).write_bytes(BODY[:1000])
    server.answers = [answer, "good"]
    assert get(server, tmp_path).read_bytes() == BODY


def test_a_part_longer_than_the_file(server: Server, tmp_path: Path) -> None:
    part(tmp_path).write_bytes(BODY + b"more")
    assert get(server, tmp_path).read_bytes() == BODY
    assert server.ranges == [f"bytes={len(BODY) + 4}-", None]


def test_a_whole_part_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    part(tmp_path).write_bytes(BODY)
    assert get(server, tmp_path, size=len(BODY)).read_bytes() == BODY and not server.ranges


def test_a_part_of_something_else_is_removed(server: Server, tmp_path: Path) -> None:
    part(tmp_path).write_bytes(b"x" * 1000)
    refused(server, tmp_path, "its sha256 is .* what came was removed")
    assert get(server, tmp_path).read_bytes() == BODY


@pytest.mark.parametrize("answer", ["garbage", "same size garbage"])
def test_garbage_is_removed(server: Server, tmp_path: Path, answer: str) -> None:
    server.answers = [answer]
    refused(server, tmp_path, "its sha256 is [0-9a-f]{64}, expected is " + SHA256)
    refused(server, tmp_path, "its md5 is", sha256=None, md5=MD5)
    assert not part(tmp_path).exists()


def test_the_wrong_size_is_refused_at_once(server: Server, tmp_path: Path) -> None:
    server.answers = ["garbage"]
    refused(server, tmp_path, "offers 600 bytes; expected are 512,000", size=len(BODY))
    server.answers = ["too long"]
    refused(server, tmp_path, "offers 512,001 bytes", size=len(BODY))
    assert len(server.ranges) == 2


def test_a_server_without_lengths(server: Server, tmp_path: Path) -> None:
    server.answers = ["no length, breaks off", "good"]
    assert get(server, tmp_path, size=len(BODY)).read_bytes() == BODY
    assert server.ranges == [None, "bytes=256000-"]


@pytest.mark.parametrize("code", ["404", "403", "410"])
def test_final_answers_are_not_tried_again(server: Server, tmp_path: Path, code: str) -> None:
    server.answers = [code]
    refused(server, tmp_path, f"the server answered {code}")
    assert len(server.ranges) == 1


def test_passing_answers_are_tried_again(server: Server, tmp_path: Path) -> None:
    server.answers = ["503"]
    refused(server, tmp_path, "answered 503 .*, 5 attempts")
    assert len(server.ranges) == 5


def test_no_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"refused.*2 attempts"):
        fetch("http://127.0.0.1:1/x", tmp_path / "x", sha256=SHA256, attempts=2)
    for url in ("file:///etc/passwd", "ftp://host/x", "x"):
        with pytest.raises(DataError, match="allowed are http"):
            fetch(url, tmp_path / "x", sha256=SHA256)
    with pytest.raises(ValueError, match="checksum"):
        fetch(server.url, tmp_path / "x")


def test_a_file_of_the_user_is_left_alone(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "set.tar.gz"
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match="remove this file"):
        get(server, tmp_path)
    assert path.read_bytes() == b"mine" and not server.ranges


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be written: No such file or directory"):
        fetch(server.url, tmp_path / "absent" / "x", sha256=SHA256)
    assert len(server.ranges) == 1


def test_cifar10_goes_to_the_cache(
    server: Server, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (download._CIFAR10_SIZE, len(download._CIFAR10_SHA256)) == (170498071, 64)
    for name, value in (("_CIFAR10", server.url), ("_CIFAR10_SIZE", len(BODY)), ("_CIFAR10_SHA256", SHA256)):
        monkeypatch.setattr(download, name, value)
    path = cifar10()
    assert path == cache / "downloads" / "cifar-10-python.tar.gz" and path.read_bytes() == BODY
    assert cifar10() == path and len(server.ranges) == 1
    monkeypatch.setenv("CONVJIT_CACHE", "/proc/convjit")
    with pytest.raises(DataError, match="CONVJIT_CACHE"):
        cifar10()
