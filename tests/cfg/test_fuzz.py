"""Broken files raise ConfigError and nothing else, quickly, and nothing in them is executed or imported."""

from __future__ import annotations

import random
import sys
import time
from typing import Any

import pytest

from convjit.cfg import find_net, net_names, parse_net
from convjit.errors import ConfigError

CASES = 2000
WORDS = [
    "0", "-1", "1e400", "nan", "inf", "0x10", "2147483647", "9" * 30, "1e9", "\uff11\uff12", "true", "", "data",
    "labels", "conv", "fc", "relu", "tanh[1,2]", "tanh[", "dexp[base=1;tgtFactor=2;numSteps=3]",
    "steps[base=1;factor=2;epochs=1,2]", "%(inputs)s", "%", "%%", "[", "]", "[data]", "[recipe]", "[DEFAULT]", "=",
    ":", ";", " ;", "#", ",", ",,", "\n", "\n ", "\t", "\0", "\r", "\u2028", "\ud7ff", "../x", "a" * 300,
    "__import__('os').system('false')", "const[base=__import__('os')]",
]  # fmt: skip


def mutated(text: str, generator: random.Random) -> str:
    """A text with one to four changes that know a little of the grammar."""
    for _ in range(generator.randint(1, 4)):
        lines = text.split("\n")
        i, j = generator.randrange(len(lines)), generator.randrange(len(lines))
        match generator.randrange(8):
            case 0:
                del lines[i]
            case 1:
                lines.insert(j, lines[i])
            case 2:
                lines[i], lines[j] = lines[j], lines[i]
            case 3:
                key, sep, _ = lines[i].partition("=")
                lines[i] = key + sep + generator.choice(WORDS)
            case 4:
                place = generator.randint(0, len(lines[i]))
                lines[i] = lines[i][:place] + generator.choice(WORDS) + lines[i][place:]
            case 5:
                lines[i] = generator.choice(WORDS) + "=" + lines[j].partition("=")[2]
            case 6:
                place = generator.randint(0, len(lines[i]))
                lines[i] = lines[i][:place] + chr(generator.randrange(0x3000)) + lines[i][place + 1 :]
            case _:
                lines = lines[:i] + lines[j:]
        text = "\n".join(lines)
    return text


FORBIDDEN = ("import", "exec", "compile", "os.system", "subprocess.Popen", "socket.connect", "open")
_heard: list[str] = []
_listening = False


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event in FORBIDDEN:
        _heard.append(f"{event} {arguments}")


def test_mutated_files() -> None:
    global _listening
    texts = [(t.definition.decode(), t.parameters.decode()) for t in map(find_net, net_names())]
    generator = random.Random(7)
    parse_net(*texts[0])
    sys.addaudithook(_listen)
    outcomes = {"net": 0, "error": 0}
    _listening = True
    try:
        for case in range(CASES):
            definition, parameters = generator.choice(texts)
            which = generator.randrange(3)
            definition = mutated(definition, generator) if which != 1 else definition
            parameters = mutated(parameters, generator) if which != 0 else parameters
            start = time.process_time()
            try:
                parse_net(definition, parameters, lenient=bool(case % 2))
                outcomes["net"] += 1
            except ConfigError as error:
                assert "\n" not in str(error) and len(str(error)) < 700
                assert error.where
                outcomes["error"] += 1
            assert time.process_time() - start < 1
    finally:
        _listening = False
    assert not _heard
    assert min(outcomes.values()) > CASES // 20, outcomes


@pytest.mark.parametrize("seed", range(3))
def test_bytes_of_any_kind(seed: int) -> None:
    generator = random.Random(seed)
    for _ in range(100):
        data = bytearray(find_net("default").definition)
        for _ in range(generator.randint(1, 5)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            parse_net(bytes(data), find_net("default").parameters)
        except ConfigError as error:
            assert error.where
