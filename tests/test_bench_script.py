"""scripts/bench, with processes that only pretend to measure."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from convjit.cfg import load_net

SCRIPT = Path(__file__).parents[1] / "scripts" / "bench"
PAGE = "# By hand\n\n<!-- scripts/bench: begin -->\nold\n<!-- scripts/bench: end -->\n\nand more\n"
LAUNCHES = [
    {"name": "a.forward", "op": "conv_forward", "ms": 8.0, "roof_ms": 6.0, "lost_ms": 2.0, "gflops": 50.0},
    {"name": "b.forward", "op": "conv_forward", "ms": 2.0, "roof_ms": 2.0, "lost_ms": 0.0, "gflops": 150.0},
    {"name": "a.update", "op": "update", "ms": 0.01, "roof_ms": 0.01, "lost_ms": 0.0, "gflops": 1.0},
]
OURS = {"peak_gflops": 100.0, "gflops": 80.0, "processor": "Some Core", "target": "avx2", "threads": 2, "batch": 128}
OURS |= {"barrier_ns": 99.0}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's names; our rates are 100, 110, 120 ..., 60 on one thread, the peer's 50."""
    names = runpy.run_path(str(SCRIPT))
    rates = iter(range(90, 1000, 10))

    def run(command: list[str], environment: dict[str, str] | None = None) -> dict[str, Any]:
        if "torch_peer.py" in command[1]:
            return {"img_s": 50.0}
        if "--threads" in command:
            return OURS | {"images_per_s": 60.0}
        return OURS | {"images_per_s": next(rates), "memory_gbps": {"L1": [9.0, 8.0]}, "launches": LAUNCHES}

    monkeypatch.setitem(names["main"].__globals__, "run", run)
    return names


def test_only_what_is_between_the_markers_changes(
    script: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    (tmp_path / "torch_peer.py").write_text("")
    options = ["--peers", str(tmp_path), "--rounds", "3", "--page", str(page), "lenet5"]
    monkeypatch.setattr(sys, "argv", ["bench", *options])
    script["main"]()
    text = page.read_text()
    assert text.startswith("# By hand\n\n<!-- ") and text.endswith("end -->\n\nand more\n") and "old" not in text
    assert "Some Core (avx2), 2 threads, batch 128" in text and "L1 9 and 8" in text and "99 to 99 ns" in text
    assert "| lenet5 | 110.0 | 80 | 1.83 (1.67 to 2.00) | 50.0 | 2.20 (2.00 to 2.40) |" in text
    assert "| lenet5 | 150.0 | 80 | 2.50 (2.33 to 2.67) | 50.0 | 3.00 (2.80 to 3.20) |" in text
    assert text.index("float32:") < text.index("bfloat16:") and text.count("| lenet5 |") == 2
    assert "| a | 8.00 ms, 50 % |  |  |\n| b | 2.00 ms, 150 % |  |  |\n" in text
    assert "| conv_forward | 10.00 | 99.9 % | 80 % | 2.00 |" in text and "| update" not in text


def test_a_page_without_markers_is_left_alone(script: dict[str, Any], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(SystemExit, match="markers"):
        script["write"](page, "text")
    assert page.read_text() == "nothing here\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("nonet", "unknown: nonet"),
        ("--rounds 0", "1 or more"),
        ("--peers .", "no torch_peer.py"),
        ("--env x", "NAME=VALUE"),
    ],
)
def test_wrong_arguments(options: str, message: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SCRIPT, *options.split()], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr


def test_alexnet_without_norms_is_a_net(script: dict[str, Any], tmp_path: Path) -> None:
    path = script["named"](script["BARE"], tmp_path)
    net = load_net(path).net
    assert not [layer.name for layer in net.layers if "norm" in layer.name]
    assert len(net.layers) == len(load_net("alexnet").net.layers) - 2


def test_the_nets_are_ours_and_the_page_has_its_markers(script: dict[str, Any]) -> None:
    nets = {path.name.removesuffix(".cfg") for path in (SCRIPT.parents[1] / "src" / "convjit" / "nets").glob("*.cfg")}
    assert set(script["PEER"]) - {script["BARE"]} <= nets
    page = script["PAGE"].read_text(encoding="utf-8")
    assert 0 <= page.find(script["BEGIN"]) < page.find(script["END"])


def test_the_last_line_of_json_counts() -> None:
    program = "print('note'); print('{}'); print('" + json.dumps({"img_s": 3}) + "')"
    assert runpy.run_path(str(SCRIPT))["run"]([sys.executable, "-c", program]) == {"img_s": 3}
    with pytest.raises(SystemExit, match="exit code 3"):
        runpy.run_path(str(SCRIPT))["run"]([sys.executable, "-c", "exit(3)"])
