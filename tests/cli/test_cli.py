"""The commands: what they print, their exit codes, and every error as one line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_runs import NET, PARAMS, kernels, tiny_data, write_idx, write_net

import convjit
from convjit.cli import main
from convjit.data.dataset import in_memory
from convjit.train import benchmark as bench_module
from convjit.train import gradient_check

__all__ = ["kernels"]

COMMANDS = [
    "train",
    "test",
    "predict",
    "features",
    "net",
    "bench",
    "check-grads",
    "import-checkpoint",
    "legacy",
    "data",
]
RESULT = ["run", "seconds", "images_per_s", "train_error", "test_error", "test_loss", "weights_sha256", "waiting"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with tiny.cfg, its parameters, the images in "data" and the picture image.png."""
    monkeypatch.chdir(tmp_path)
    write_net(tmp_path)
    data = tiny_data(classes=("0", "1", "2"))
    write_idx(tmp_path / "data", data)
    Image.fromarray(in_memory(data.test).pixels[0, 0]).save("image.png")
    return tmp_path


class Command:
    """Runs the command in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: str, code: int = 0) -> tuple[str, str]:
        self._capsys.readouterr()
        found = main(args)
        out, err = self._capsys.readouterr()
        assert found == code, out + err
        assert "Traceback" not in out + err
        return out, err

    def error(self, *args: str, code: int = 1) -> str:
        """The one line of an error."""
        _, err = self(*args, code=code)
        lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
        assert len(lines) == 1 and lines[0].startswith("error: "), err
        return lines[0].removeprefix("error: ")


@pytest.fixture
def convjit_(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


def environment() -> dict[str, str]:
    """In which a process finds the convjit under test from any folder."""
    return {**os.environ, "PYTHONPATH": str(Path(convjit.__file__).parents[1])}


def process(*args: str, **options: Any) -> subprocess.Popen[str]:
    """The command as a process."""
    command = [sys.executable, "-m", "convjit", *args]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), **options
    )


TRAIN = ("train", "tiny.cfg", "--data", "data", "--threads", "1")


def test_train_test_predict(place: Path, convjit_: Command) -> None:
    out, err = convjit_(*TRAIN)
    assert not err
    for expected in (
        "conv1",
        "parameters",
        "memory at 32 images",
        "epoch 3/3",
        "images/s",
        "run runs/tiny-1",
        "predict",
    ):
        assert expected in out
    assert len(re.findall(r"^epoch \d/3  loss \d+\.\d+  error +\d+\.\d+ %  test +\d+\.\d+ %", out, re.M)) == 3
    error = re.search(r"test error (\d+\.\d\d) %", out)
    assert error
    out, _ = convjit_("test", "runs/tiny-1")
    assert f"test error {error[1]} %" in out and "60 images" in out
    out, _ = convjit_("predict", "runs/tiny-1", "image.png")
    said = [line for line in out.splitlines() if not line.startswith("compiling")]
    assert said[0] == "image.png" and re.fullmatch(r" +\d+\.\d\d %  [012]", said[1])


def test_machines_get_one_line(place: Path, convjit_: Command) -> None:
    out, err = convjit_(*TRAIN, "--json")
    assert len(out.splitlines()) == 1 and "epoch 3/3" in err
    result = json.loads(out)
    assert list(result) == RESULT and re.fullmatch("[0-9a-f]{64}", result["weights_sha256"])
    assert 0 <= result["test_error"] <= 1
    out, _ = convjit_("test", result["run"], "--json", "--data", "data")
    found = json.loads(out)
    assert list(found) == ["run", "step", "images", "test_error", "test_loss"]
    assert (found["test_error"], found["test_loss"]) == (result["test_error"], result["test_loss"])
    out, _ = convjit_("predict", result["run"], "image.png", "image.png", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines[0] == lines[1] and list(lines[0]) == ["image", "classes"]
    assert list(lines[0]["classes"][0]) == ["class", "probability"]


def test_a_run_goes_on(place: Path, convjit_: Command) -> None:
    whole = json.loads(convjit_(*TRAIN, "--json", "--epochs", "4")[0])
    convjit_(*TRAIN, "--out", "here", "--set", "fc3.epsW=0.001", "--seed", "3")
    assert (place / "here" / "net.given.cfg").read_text() == NET
    assert "epsW=0.001" in (place / "here" / "params.cfg").read_text()
    # One epoch less: the schedule of fc3 is not the same, so only a resumed run with a constant rate can be compared.
    out, _ = convjit_("train", "--resume", "here", "--epochs", "4", "--threads", "1")
    assert "going on after step 21 of 28" in out and "epoch 4/4" in out
    again = json.loads(convjit_(*TRAIN, "--json", "--epochs", "4", "--set", "fc3.epsW=0.001", "--seed", "3")[0])
    out, _ = convjit_("train", "--resume", "here", "--json")
    assert json.loads(out)["weights_sha256"] == again["weights_sha256"] != whole["weights_sha256"]


def test_the_recipe_names_the_data(
    place: Path, convjit_: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from convjit.train import job

    monkeypatch.setattr(job, "NAMED_DATA", {"sample": lambda notes: tiny_data()})
    write_net(place, params=PARAMS.replace("[recipe]", "[recipe]\ndataset=sample"))
    convjit_("train", "tiny.cfg", "--epochs", "1")
    assert "test error" in convjit_("test", "runs/tiny-1")[0]


def test_net(place: Path, convjit_: Command) -> None:
    out, _ = convjit_("net", "default")
    for expected in ("conv1", "16 x 28 x 28", "parameters", "memory at 128 images", "arena", "nothing shared"):
        assert expected in out
    out, _ = convjit_("net", "cifar10-80sec", "--batch", "64", "--json", "--program")
    found = json.loads(out)
    assert list(found) == ["image", "batch", "parameters", "step_flops", "layers", "memory", "program"]
    assert found["batch"] == 64 and found["parameters"] == 145_578
    assert found["step_flops"] == sum(layer["step_flops"] for layer in found["layers"])
    assert found["program"].startswith("program of 64 images")
    memory = found["memory"]
    parts = ("weights", "increments", "arena", "transfer", "scratch")
    assert memory["total"] == sum(memory[part] for part in parts) and memory["arena"] < memory["unshared"]
    assert convjit_("net", "tiny.cfg", "--program")[0].count("\n") > 30


def test_bench(place: Path, convjit_: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench_module.benchmark
    monkeypatch.setattr(bench_module, "benchmark", lambda *args, **options: real(*args, **options, seconds=0.05))
    out, _ = convjit_("bench", "tiny.cfg", "--threads", "1", "--dtype", "fp32")
    assert "conv1.forward" in out and "images/s" in out and "of the peak" in out
    assert "\nlost: " in out and "GB/s reading and copying: L1" in out
    line = convjit_("bench", "tiny.cfg", "--threads", "1", "--json")[0]
    found = json.loads(line)
    assert line.count("\n") == 1 and list(found) == [
        *("images_per_s", "ms", "gflops", "peak_gflops", "batch", "dtype", "barrier_ns", "threads", "processor"),
        *("target", "memory_gbps", "launches"),
    ]
    launches = {launch["name"]: launch for launch in found["launches"]}
    conv, pool = launches["conv1.forward"], launches["pool1.forward"]
    assert conv["flops"] > 0 and pool["flops"] == 0 and conv["bytes"] > 0
    assert conv["intensity"] == pytest.approx(conv["flops"] / conv["bytes"])
    assert pool["bound"] in found["memory_gbps"]
    for launch in launches.values():
        assert launch["share"] == pytest.approx(launch["roof_ms"] / launch["ms"])
        assert launch["lost_ms"] == pytest.approx(max(launch["ms"] - launch["roof_ms"], 0))


def test_bench_beside_an_earlier_run(place: Path, convjit_: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    real = bench_module.benchmark
    monkeypatch.setattr(bench_module, "benchmark", lambda *args, **options: real(*args, **options, seconds=0.05))
    record = json.loads(convjit_("bench", "tiny.cfg", "--threads", "1", "--json")[0])
    record["launches"][0]["name"] = "old.forward"
    record |= {"images_per_s": record["images_per_s"] * 1e-6, "batch": 7}
    before = place / "before.json"
    before.write_text(f"compiling kernels ...\n{json.dumps(record)}\n")
    out, _ = convjit_("bench", "tiny.cfg", "--threads", "1", "--compare", "before.json")
    assert "times as fast" in out and "warning: not the same: batch was 7 and is" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert rows["old.forward"][-1] == "gone" and rows["data.halo"][-1] == "new"
    out, err = convjit_("bench", "tiny.cfg", "--threads", "1", "--compare", "before.json", "--json")
    assert out.count("\n") == 1 and json.loads(out)["images_per_s"] > 0 and "times as fast" in err


def test_check_grads(place: Path, convjit_: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = convjit_("check-grads", "tiny.cfg")
    assert "conv1.weights" in out and "every gradient is right" in out
    monkeypatch.setattr(gradient_check, "TOLERANCE", 0.0)
    out, _ = convjit_("check-grads", "tiny.cfg", code=1)
    assert "WRONG" in out and "gradients are wrong" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_help(convjit_: Command, command: str) -> None:
    out, _ = convjit_(command, "--help")
    assert out.startswith(f"Usage: convjit {command} ") and "--help" in out
    assert convjit_(command, "-h")[0] == out


def test_help_lists_the_commands(convjit_: Command) -> None:
    out, _ = convjit_("--help")
    assert all(command in out for command in COMMANDS) and "..." not in out.split("Commands:")[1]
    assert convjit_("--version")[0] == f"convjit, version {convjit.__version__}\n"


def nothing(place: Path) -> None:
    pass


def full(place: Path) -> None:
    (place / "full").mkdir()
    (place / "full" / "thesis.tex").write_text("mine")


def image_of_zeros(place: Path) -> None:
    (place / "zeros.png").write_bytes(bytes(1000))


ERRORS: list[tuple[str, int, str, Callable[[Path], Any]]] = [
    ("trian", 2, r"no such command 'trian' \(did you mean 'train'\?\)", nothing),
    ("train --epochs 0", 2, "--epochs", nothing),
    ("train --batch x", 2, "--batch", nothing),
    ("train --threads 0", 2, "--threads", nothing),
    ("train --seed -1", 2, "--seed", nothing),
    ("train --sed 1", 2, "--se", nothing),
    ("train a b", 2, "unexpected extra argument", nothing),
    ("test", 2, "RUN", nothing),
    ("predict RUN", 2, "IMAGE", nothing),
    ("bench default --dtype fp64", 2, "fp64", nothing),
    ("bench tiny.cfg --compare none.json", 2, "none.json: No such file", nothing),
    ("bench tiny.cfg --compare tiny.cfg", 2, "tiny.cfg: a line that 'convjit bench NET --json' has printed", nothing),
    ("bench tiny.cfg --compare zeros.png", 2, "zeros.png: a line that", image_of_zeros),
    ("net", 2, "NET", nothing),
    ("train lenet", 1, r"no file and no net 'lenet' \(did you mean 'lenet5'\?\)", nothing),
    ("net none.cfg", 1, "no file 'none.cfg'", nothing),
    ("check-grads lenet4", 1, "did you mean 'lenet5'", nothing),
    ("train tiny.cfg", 2, "says? --data PATH|say --data PATH", nothing),
    ("train tiny.cfg --data none", 1, "none: no such file or folder", nothing),
    ("train tiny.cfg --data tiny.cfg", 1, "tiny.cfg", nothing),
    ("train cifar10-80sec --data data", 1, "layer '", nothing),
    ("train tiny.cfg --data data --params none.cfg", 1, "none.cfg", nothing),
    ("train tiny.cfg --data data --set conv1", 1, "LAYER.KEY=VALUE", nothing),
    ("train tiny.cfg --data data --set conv2.epsW=1", 1, "no layer 'conv2'", nothing),
    ("train tiny.cfg --data data --set conv1.epsX=1", 1, "epsX", nothing),
    ("train tiny.cfg --data data --set conv1.epsW=nan", 1, "epsW", nothing),
    ("train tiny.cfg --data data --set conv1.filters=1000000000", 1, "conv1", nothing),
    ("train tiny.cfg --data data --set recipe.crop=9", 1, "crop", nothing),
    ("train tiny.cfg --data data --out full", 1, "full: is not empty and holds no run", full),
    ("train tiny.cfg --data data --out tiny.cfg", 1, "tiny.cfg: is a file", nothing),
    ("train --resume none", 1, "none: no such folder", nothing),
    ("train --resume full", 1, "run.json is missing", full),
    ("train tiny.cfg --resume full", 2, "NET cannot be given with --resume", full),
    ("train --resume full --set conv1.epsW=1", 2, "--set cannot be given with --resume", full),
    ("test none", 1, "none: no such folder", nothing),
    ("test full", 1, "run.json is missing", full),
    ("test tiny.cfg", 1, "no checkpoint of convjit", nothing),
    ("predict none image.png", 1, "none: no such folder", nothing),
    ("--wrong train", 2, "--wrong", nothing),
]


@pytest.mark.parametrize(("line", "code", "match", "prepare"), ERRORS, ids=[error[0] for error in ERRORS])
def test_every_error_is_one_line(
    place: Path, convjit_: Command, line: str, code: int, match: str, prepare: Callable[[Path], Any]
) -> None:
    prepare(place)
    assert re.search(match, convjit_.error(*line.split(), code=code))
    assert not (place / "runs").exists()


def test_errors_of_a_run(place: Path, convjit_: Command) -> None:
    convjit_(*TRAIN, "--epochs", "1", "--out", "run")
    assert "holds a run; go on with --resume run" in convjit_.error(*TRAIN, "--out", "run")
    assert "--epochs" in convjit_.error(*TRAIN, "--epochs", "-1", code=2)
    image_of_zeros(place)
    for image in ("zeros.png", "none.png", "data", "tiny.cfg"):
        assert convjit_.error("predict", "run", image).startswith(image)
    out, err = convjit_("predict", "run", "none.png", "image.png", code=1)
    assert "image.png" in out and err.startswith("error: none.png")
    write_idx(place / "more", tiny_data(classes=("0", "1", "2"), train=100))
    assert "other images" in convjit_.error("train", "--resume", "run", "--data", "more", "--epochs", "2")
    assert "test error" in convjit_("test", "run", "--data", "more")[0]
    for path in (place / "run" / "checkpoints").iterdir():
        path.write_bytes(b"")
    assert "no whole checkpoint" in convjit_.error("test", "run")


def test_a_loss_that_is_no_number(place: Path, convjit_: Command) -> None:
    assert "no finite number" in convjit_.error(*TRAIN, "--set", "conv1.epsW=1e30")


def test_a_bug_is_one_line_too(place: Path, convjit_: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(bench_module, "benchmark", fail)
    line = convjit_.error("bench", "tiny.cfg", code=70)
    assert line.startswith("internal error") and line.endswith("ZeroDivisionError: two lines")
    with pytest.raises(ZeroDivisionError):
        main(["--debug", "bench", "tiny.cfg"])
    monkeypatch.setattr(bench_module, "benchmark", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    assert "not enough memory" in convjit_.error("bench", "tiny.cfg")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_everything(place: Path, convjit_: Command, number: int, code: int) -> None:
    with process(*TRAIN, "--epochs", "100000", "--out", "run") as running:
        assert running.stdout
        while not running.stdout.readline().startswith("epoch "):
            assert running.poll() is None
        running.send_signal(number)
        out, err = running.communicate(timeout=20)
    assert running.returncode == code and not err
    found = re.search(r"stopped after step (\d+); go on with: convjit train --resume run", out)
    assert found and (place / "run" / "checkpoints" / f"step-{int(found[1]):08d}.safetensors").exists()


def test_who_stops_reading_stops_it_quietly(place: Path) -> None:
    with process("net", "tiny.cfg", "--program") as running:
        assert running.stdout and running.stderr
        running.stdout.close()
        err = running.stderr.read()
    assert not err


def test_python_m_convjit_is_quick() -> None:
    """Neither the package nor --help loads what only a run needs."""
    code = "import sys, convjit.cli; print([m for m in ('numpy', 'llvmlite', 'rich', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment())
    assert done.stdout == "[]\n"
