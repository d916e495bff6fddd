"""The command line of cuda-convnet: every option is taken, and runs go as they went there."""

from __future__ import annotations

import io
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from original_files import Old, old_pickle, write_batches
from photographs import write_photographs
from PIL import Image
from tiny_runs import DETECTOR, NET, PARAMS, kernels, tiny_data

import convjit
from convjit.cli import main
from convjit.data import ranges
from convjit.data.dataset import in_memory
from convjit.errors import UsageError
from convjit.train.original_options import RESTORED, parse_original
from convjit.train.original_trainer import OriginalTrainer

__all__ = ["kernels"]

# Parameters as the originals had them: no recipe.
LAYERS = PARAMS[PARAMS.index("[conv1]") :].replace("linear[base=0.002;tgtFactor=10]", "0.002")
BASE = [
    *("--data-path=data", "--layer-def=layers.cfg", "--layer-params=params.cfg", "--data-provider=cifar-cropped"),
    *("--crop-border=1", "--train-range=1-3", "--test-range=4-5", "--mini=16", "--threads=1"),
]

Command = Callable[..., str]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with layers.cfg, params.cfg and data batches 1 to 5 of 40 images."""
    monkeypatch.chdir(tmp_path)
    data = tiny_data(train=120, test=80)
    every = [
        (part.pixels[i : i + 40], part.labels[i : i + 40].tolist())
        for part in (in_memory(data.train), in_memory(data.test))
        for i in range(0, len(part), 40)
    ]
    write_batches(tmp_path / "data", dict(enumerate(every, 1)))
    (tmp_path / "layers.cfg").write_text(NET)
    (tmp_path / "params.cfg").write_text(LAYERS)
    return tmp_path


@pytest.fixture
def legacy(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        found = main(["legacy", "--", *arguments])
        out, err = capsys.readouterr()
        assert found == code, out + err
        return err if code in (1, 2) else out

    return run


def sha(run: Path) -> str:
    with convjit.load(run) as loaded:
        arrays = dict(loaded.checkpoint.arrays())
    return str([float(array.sum(dtype=np.float64)) for array in arrays.values()])


def jpeg(pixels: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def lines(out: str) -> list[str]:
    """The lines of data batches, without the time."""
    return [
        re.sub(r" \([\d.]+ sec\)", "", line) for line in out.splitlines() if re.match(r"\d+\.\d+( \(|\.\.\.)", line)
    ]


def test_a_training_of_cuda_convnet(place: Path, legacy: Command) -> None:
    out = legacy(*BASE, "--save-path=runs", "--epochs=2", "--test-freq=2", "--gpu=0", "--zip-save=0")
    found = lines(out)
    assert [line.split("...")[0] for line in found] == ["1.1", "1.2", "1.3", "2.1", "2.2", "2.3"]
    assert all(re.fullmatch(r"\d\.\d\.\.\. logprob:  \d+\.\d{6}, \d\.\d{6}", line) for line in found)
    assert out.count("Test output") == 3 == out.count("Averages") == out.count("Saved checkpoint")
    assert re.search(r"Layer 'conv1' weights\[0\]: [\d.e+-]+ \[[\d.e+-]+\] \[[\d.e+-]+\]", out)
    assert re.search(r"Layer 'fc3' biases: [\d.e+-]+ \[[\d.e+-]+\]", out)
    assert "--gpu has no effect" in out and "--zip-save has no effect" in out and "as cuda-convnet does" in out
    (run,) = (place / "runs").iterdir()
    assert re.fullmatch(r"ConvNet__\d{4}-\d\d-\d\d_\d\d\.\d\d\.\d\d", run.name)
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [one["batch"] for one in records] == ["1.1", "1.2", "1.3", "2.1", "2.2", "2.3"]
    # 40 images in minibatches of 16: two whole ones and one of 8, and none of two data batches.
    assert [one["step"] for one in records] == [3, 6, 9, 12, 15, 18]
    # One test batch after the other; the averages are those of the last two.
    assert [i for i, one in enumerate(records) if "test_loss" in one] == [1, 3, 5]
    averages = re.findall(r"Averages-+\nlogprob:  ([\d.]+)", out)
    tests = [one["test_loss"] for one in records if "test_loss" in one]
    assert float(averages[2]) == pytest.approx(np.mean(tests[1:]), abs=1e-6)


def test_a_training_of_cuda_convnet2(place: Path, legacy: Command) -> None:
    options = [item for item in BASE if "crop" not in item]
    (place / "params.cfg").write_text(LAYERS.replace("epsW=0.002", "epsW=dexp[base=0.002;tgtFactor=10;numSteps=2]"))
    wide = ["--data-provider=image", "--inner-size=6", "--color-noise=0.1", "--gpu=0", "--epochs=2", "--test-freq=3"]
    out = legacy(*options, *wide, "--save-file=run", "--test-one=0", "--conserve-mem=1", "--multiview-test=1")
    assert lines(out)[1].startswith("1.2 (16.67%)... logprob:  ") and lines(out)[1].count(",") == 2
    settings = json.loads((place / "run" / "run.json").read_text())["settings"]
    assert settings["crop"] == [6, 6] and settings["mirror"] and settings["batch"] == 16
    assert "colourNoise=0.1" in (place / "run" / "params.cfg").read_text()
    with convjit.load(place / "run") as run:
        assert run.recipe.average == "configured" and run.recipe.views == 10 and run.state.parts == (40, 40, 40)
        axes = dict(run.checkpoint.arrays())["axes"]
        assert axes.shape == (1, 1) and axes[0, 0] == pytest.approx(in_memory(tiny_data().train).pixels.std(), rel=0.1)
        last = json.loads((place / "run" / "metrics.jsonl").read_text().splitlines()[-1])
        assert run.test().loss == pytest.approx(last["test_loss"], rel=1e-9)


def test_detectors_say_what_they_are_worth(place: Path, legacy: Command) -> None:
    (place / "layers.cfg").write_text(DETECTOR)
    (place / "params.cfg").write_text(LAYERS.replace("[logprob]", "[dce]"))
    out = legacy(*BASE, "--compat=cc2", "--save-file=run", "--epochs=1", "--test-freq=3")
    number = r"(?:\d+\.\d{6}|-)"
    line = rf"dce:  {number}, {number}, {number}" + "".join(rf",  \({name}\) {number}, {number}" for name in "abc")
    # Three data batches, a test, and its averages.
    assert len(re.findall(line, out)) == 5, out
    assert re.search(line, legacy("--load-file=run", "--test-only=1"))


def test_it_is_there_already(place: Path, legacy: Command) -> None:
    """--save-file goes on by itself, with the options that it knows; and ends as if it had never stopped."""
    legacy(*BASE, "--compat=cc2", "--save-file=whole", "--epochs=3", "--test-freq=2")
    legacy(*BASE, "--compat=cc2", "--save-file=run", "--epochs=1", "--test-freq=2")
    out = legacy("--save-file=run", "--epochs=3")
    assert lines(out)[0].startswith("2.1 (33.33%)") and len(lines(out)) == 6
    assert sha(place / "run") == sha(place / "whole")
    # Finished: nothing more to do.
    assert not lines(legacy("--load-file=run"))


def test_images_with_several_labels(place: Path, legacy: Command) -> None:
    """One is drawn in every epoch, also by a run that was stopped in between; and the set is not as if it had one."""
    data = tiny_data(train=120, test=80)
    both = in_memory(data.train), in_memory(data.test)
    for name, count in (("one", 1), ("data", 2)):
        several = [(part.pixels, [[n, (n + 1) % 3][:count] for n in part.labels.tolist()]) for part in both]
        write_batches(place / name, dict(enumerate(several, 1)))
    options = [*BASE[1:3], "--data-provider=image", "--inner-size=7", "--mini=16", "--threads=1"]
    options += ["--train-range=1", "--test-range=2"]
    legacy(*options, "--data-path=one", "--save-file=first", "--epochs=2", "--test-freq=1")
    legacy(*options, "--data-path=data", "--save-file=whole", "--epochs=2", "--test-freq=1")
    legacy(*options, "--data-path=data", "--save-file=run", "--epochs=1", "--test-freq=1")
    assert len(lines(legacy("--save-file=run", "--epochs=2"))) == 1
    assert sha(place / "run") == sha(place / "whole") != sha(place / "first")


def test_wider_jpegs(place: Path, legacy: Command) -> None:
    """Data batches in order, a test and features of each; the same bits after a stop."""
    rng = np.random.default_rng(0)
    for number in (1, 2, 3):
        labels = [[int(label)] for label in rng.integers(0, 3, 20)]
        files = [jpeg(rng.integers(0, 256, (8, 12 + i % 3, 3), np.uint8)) for i in range(20)]
        if number == 1:
            pixels = np.zeros((20, 3, 8, 8), np.uint8)
            write_batches(place / "jpegs", dict.fromkeys((1, 2, 3), (pixels, labels)))
        (place / "jpegs" / f"data_batch_{number}").write_bytes(old_pickle({"data": files, "labels": labels}))
    (place / "layers.cfg").write_text(NET.replace("channels=1", "channels=3"))
    (place / "params.cfg").write_text(LAYERS)
    options = ["--data-path=jpegs", *BASE[1:3], "--data-provider=image", "--inner-size=7", "--mini=8", "--threads=1"]
    options += ["--train-range=1-2", "--test-range=3", "--test-freq=1"]
    out = legacy(*options, "--save-file=whole", "--epochs=2")
    assert [line.split()[0] for line in lines(out)] == ["1.1", "1.2", "2.1", "2.2"]
    legacy(*options, "--save-file=run", "--epochs=1")
    assert len(lines(legacy("--save-file=run", "--epochs=2"))) == 2
    assert sha(place / "run") == sha(place / "whole")
    out = legacy("--load-file=run", "--test-only=1", "--test-range=2-3")
    assert len(re.findall(r"batch [23]: logprob", out)) == 2
    legacy("-f", "run", "--write-features=fc3", "--feature-path=out", "--test-range=3")
    with np.load(place / "out" / "features.npz") as written:
        assert written["data"].shape == (20, 3)


def test_own_photographs(place: Path, legacy: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Image files of many sizes in class folders; the parameter file says what they are brought to."""
    monkeypatch.setattr(ranges, "_CUT", 12)
    write_photographs(place / "photos", train=8, test=4)
    (place / "layers.cfg").write_text(NET.replace("channels=1", "channels=3"))
    options = ["--data-path=photos", *BASE[1:3], "--data-provider=image", "--inner-size=10", "--mini=8", "--threads=1"]
    options += ["--train-range=1-2", "--test-range=3", "--test-freq=1"]
    assert "the size of the images is not known: say image=CxHxW" in legacy(*options, "--save-file=run", code=1)
    (place / "params.cfg").write_text("[recipe]\nimage=3x12x12\n" + LAYERS)
    out = legacy(*options, "--save-file=whole", "--epochs=2")
    assert [line.split("...")[0].split()[0] for line in lines(out)] == ["1.1", "1.2", "2.1", "2.2"]
    legacy(*options, "--save-file=run", "--epochs=1")
    assert len(lines(legacy("--save-file=run", "--epochs=2"))) == 2
    assert sha(place / "run") == sha(place / "whole")
    out = legacy("--load-file=run", "--test-only=1", "--test-range=2-3")
    assert len(re.findall(r"batch [23]: logprob", out)) == 2
    legacy("-f", "run", "--write-features=fc3", "--feature-path=out", "--test-range=2-3")
    with np.load(place / "out" / "features-3.npz") as written:
        assert written["data"].shape == (12, 3) and sorted(np.bincount(written["labels"])) == [4, 4, 4]


def test_a_lower_rate_and_more_batches(place: Path, legacy: Command) -> None:
    options = [item for item in BASE if "range" not in item]
    legacy(*options, "--train-range=1-2", "--test-range=5", "--save-file=run", "--epochs=2", "--compat=cc1")
    (place / "params.cfg").write_text(LAYERS.replace("epsW=0.002", "epsW=0.0002"))
    (place / "layers.cfg").write_text(NET.replace("filters=4", "filters=5"))
    out = legacy("--load-file=run", "--train-range=1-3", "--epochs=3")
    assert [line[:3] for line in lines(out)] == ["3.1", "3.2", "3.3"]
    assert "layers.cfg: differs from the net of the run" in out
    assert "epsW=0.0002" in (place / "run" / "params.cfg").read_text()
    with convjit.load(place / "run") as run:
        assert run.state.parts == (40, 40, 40) and run.state.step == 27 and run.state.data.endswith("#train=1-3,test=5")


def test_rates_by_data_batch_and_two_ways_to_divide(
    place: Path, legacy: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convjit.train import session

    seen: list[tuple[float, int]] = []
    step = session.Session.step

    def spy(self: Any, batch: Any, **options: Any) -> Any:
        seen.append((round(options["progress"], 6), options["divisor"]))
        return step(self, batch, **options)

    monkeypatch.setattr(session.Session, "step", spy)
    legacy(*BASE, "--compat=cc2", "--save-file=a", "--epochs=2", "--test-freq=100")
    assert seen[:9] == [(p, 16) for p in (0, 0, 0, 0.166667, 0.166667, 0.166667, 0.333333, 0.333333, 0.333333)]
    seen.clear()
    legacy(*BASE, "--save-path=b", "--epochs=1", "--test-freq=100")
    assert [divisor for _, divisor in seen] == [16, 16, 8] * 3


def test_looking_without_training(place: Path, legacy: Command) -> None:
    legacy(*BASE, "--save-file=run", "--epochs=1", "--compat=cc1")
    out = legacy("--load-file", "run", "--test-only", "1", "--test-range", "4-5")
    assert len(re.findall(r"batch [45]: logprob:  [\d.]+, [\d.]+\n", out)) == 2
    whole = re.search(r"Test output: logprob:  ([\d.]+), ([\d.]+)", out)
    with convjit.load(place / "run") as run:
        found = run.test()
    assert whole and float(whole[1]) == pytest.approx(found.loss, abs=1e-6)
    out = legacy("-f", "run", "--test-only=1", "--write-features=fc3", "--feature-path=out", "--test-range=4-5")
    with np.load(place / "out" / "features-5.npz") as written:
        assert written["data"].shape == (40, 3)
    legacy("-f", "run", "--test-out=preds", "--logreg-name=logprob", "--multiview-test=1", "--test-range=4")
    with np.load(place / "preds" / "predictions.npz") as written:
        assert np.allclose(written["data"].sum(1), 1, atol=1e-5) and written["labels"].shape == (40,)


def test_surgery(place: Path, legacy: Command) -> None:
    legacy(*BASE, "--save-file=run", "--epochs=1", "--compat=cc2")
    out = legacy("--load-file=run", "--conv-to-local=conv1", "--save-file=new", "--epochs=2")
    # The layer file still says what it said; that surgery has changed the net since is no difference.
    assert "differs from the net" not in out + legacy("--load-file=new", "--epochs=3")
    assert (
        "type=local" in (place / "new" / "net.cfg").read_text()
        and "type=conv\n" in (place / "run" / "net.cfg").read_text()
    )
    assert "conv-to-local" not in (place / "new" / "original.json").read_text()
    (place / "layers.cfg").write_text(NET.replace("filters=4", "filters=5"))
    assert "layers.cfg: differs from the net of the run" in legacy("--load-file=new", "--epochs=4")


def test_surgery_needs_no_initial_weights(place: Path, legacy: Command) -> None:
    """The function that made them may be gone, and is not allowed to run again."""
    (place / "layers.cfg").write_text(NET.replace("initW=0.05\n", "initW=0.05\ninitWFunc=mine.make()\n"))
    place.chmod(0o700)
    mine = place / "mine.py"
    mine.write_text("import numpy\ndef make(name, index, shape, params):\n    return numpy.full(shape, 0.25)\n")
    mine.chmod(0o600)
    out = legacy(*BASE, "--save-file=run", "--epochs=1", "--compat=cc2", code=1)
    assert "initWFunc=mine.make()" in out and "--allow-code" in out and not (place / "run").exists()
    legacy(*BASE, "--save-file=run", "--epochs=1", "--compat=cc2", "--allow-code=1")
    mine.unlink()
    legacy("--load-file=run", "--conv-to-local=conv1", "--save-file=new", "--epochs=2")
    with convjit.load(place / "new") as run:
        assert dict(run.checkpoint.arrays())["fc3.weights"].mean() == pytest.approx(0.25, abs=0.05)


def test_an_old_checkpoint_goes_on(place: Path, legacy: Command) -> None:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return rng.normal(0, 0.05, shape).astype(np.float32)

    layers = [{"name": "conv1", "type": "conv", "weights": [draw(9, 4)], "biases": draw(4, 1)}]
    layers.append({"name": "fc3", "type": "fc", "weights": [draw(36, 3)], "biases": draw(1, 3)})
    state = {"layers": layers, "epoch": 2, "batchnum": 2, "train_outputs": [], "test_outputs": []}
    options: dict[str, Any] = {
        "layer_def": "layers.cfg",
        "layer_params": "params.cfg",
        "data_path": "data",
        "mini": 16,
        "crop_border": 1,
    }
    options |= {"train_range": [1, 2, 3], "test_range": [4, 5], "test_out": "mark"}
    kept = {name: Old("options Option", {"value": value}) for name, value in options.items()}
    old = place / "ConvNet__2011-07-01_12.00.00"
    old.mkdir()
    (old / "2.2").write_bytes(old_pickle({"model_state": state, "op": Old("options OptionsParser", {"options": kept})}))
    wanted = ["--data-provider=cifar-cropped"]
    out = legacy("-f", str(old), *wanted, "--epochs=3", "--test-freq=1", "--threads=1")
    assert [line[:3] for line in lines(out)] == ["2.3", "3.1", "3.2", "3.3"]
    assert [path.name for path in old.iterdir()] == ["2.2"] and len(list(place.glob("ConvNet__*"))) == 2
    out = legacy("-f", str(old), *wanted, "--test-only=1", "--threads=1")
    assert "batch 5: logprob" in out and len(list(place.glob("ConvNet__*"))) == 2


def test_check_grads(place: Path, legacy: Command) -> None:
    out = legacy(
        "--check-grads=1",
        "--layer-path=./",
        "--layer-def=layers.cfg",
        "--layer-params=params.cfg",
        "--data-provider=dummy-cn-64",
    )
    assert "every gradient is right" in out and re.search(r"ALL \d+ TESTS PASSED", out)


def test_stopped_within_a_data_batch(place: Path, legacy: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    options = [*BASE, "--compat=cc2", "--epochs=2", "--test-freq=2", "--color-noise=0.2", "--data-provider=image"]
    legacy(*options, "--save-file=whole", "--crop-border=1", "--inner-size=6")
    advance = OriginalTrainer._advance

    def stop(self: OriginalTrainer, feeder: Any) -> None:
        advance(self, feeder)
        if self._position.step == 4:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(OriginalTrainer, "_advance", stop)
        legacy(*options, "--save-file=run", "--inner-size=6", code=130)
    out = legacy("--save-file=run", "--compat=cc2")
    assert [line.split()[0] for line in lines(out)] == ["1.2", "1.3", "2.1", "2.2", "2.3"]
    assert sha(place / "run") == sha(place / "whole")
    first = re.search(r"logprob:  ([\d.]+)", lines(out)[0])
    assert first and 0.9 < float(first[1]) < 1.4


def test_what_is_gone_on_with_asks_for_nothing(place: Path, legacy: Command) -> None:
    """A run may come from anybody: its options neither write nor run anything, and bad ones are passed over."""
    legacy(*BASE, "--save-file=run", "--epochs=1", "--compat=cc1")
    kept = json.loads((place / "run" / "original.json").read_text())
    assert kept["compat"] == "cc1" and "save-file" not in kept
    hostile = {
        "allow-code": "1",
        "test-out": "mark",
        "test-only": "1",
        "save-path": "mark",
        "mini": "x",
    }
    (place / "run" / "original.json").write_text(json.dumps({**kept, **hostile}))
    out = legacy("--load-file=run", "--mini=16", "--epochs=2")
    assert len(lines(out)) == 3 and not (place / "mark").exists()
    assert not set(hostile) & set(RESTORED) - {"mini"}


def test_nothing_foreign_is_touched(place: Path, legacy: Command) -> None:
    (place / "full").mkdir()
    (place / "full" / "thesis.tex").write_text("mine")
    assert "holds neither a run" in legacy(*BASE, "--save-file=full", "--epochs=1", "--compat=cc2", code=1)
    assert [path.name for path in (place / "full").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (["--test-frek=1"], 2, r"no option --test-frek \(did you mean 'test-freq'\?\)"),
        (["layers.cfg"], 2, "'layers.cfg' is no option"),
        (["--epochs"], 2, "--epochs needs a value"),
        (["--epochs=x"], 2, "--epochs=x: must be a whole number"),
        (["--train-range=5-1"], 2, "--train-range=5-1: must be a or a-b"),
        (["--test-one=2"], 2, "must be 0 or 1"),
        (["--data-provider=mine"], 2, "--data-provider=mine is not known"),
        (["--inner-size=5"], 2, "--crop-border is of cuda-convnet, --inner-size of cuda-convnet2"),
        (["--write-features=fc3"], 2, "--write-features needs --feature-path"),
        (["--test-out=x", "--compat=cc2"], 2, "--test-out needs --logreg-name and --multiview-test=1"),
        (["--compat=cc3"], 2, "--compat=cc3"),
        (["--save-path=runs", "--crop-border=4"], 2, "nothing is left of images of 8 pixels"),
        (["--save-path=runs", "--test-range=9"], 1, "data_batch_9 is missing; there are 1 to 5"),
        (["--save-path=runs", "--layer-def=none.cfg"], 1, "no file 'none.cfg'"),
        ([], 2, "--save-path or --save-file is missing"),
        (["--test-only=1"], 2, "--load-file is missing"),
        (["--load-file=none"], 1, "none: holds neither"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors(place: Path, legacy: Command, change: list[str], code: int, says: str) -> None:
    err = legacy(*BASE, "--epochs=1", *change, code=code)
    assert re.search(says, err) and err.startswith("error: ") and err.count("\n") == 1
    assert not list(place.glob("ConvNet__*")) and not (place / "runs").exists()


def test_missing_options() -> None:
    with pytest.raises(UsageError, match="--train-range is missing"):
        parse_original(["--data-path=x"]).need("data-path", "train-range")


def test_both_spellings() -> None:
    one = parse_original(["--epochs=3", "--mini", "64", "-f", "here", "--test-one", "false"])
    assert dict(one.given) == {"epochs": "3", "mini": "64", "load-file": "here", "test-one": "0"}
    assert one.program == "cc1" and one.text("test-freq") == "50"
    assert parse_original(["--gpu=0,1"]).program == "cc2" and parse_original(["--gpu", "0"]).text("test-freq") == "57"
    assert parse_original(["--data-provider=dummy-lr-48"]).provider == ("dummy-lr", 48)


def test_the_seed_of_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVNET_RANDOM_SEED", "17")
    assert parse_original([]).count("seed") == 17 and parse_original(["--seed=3"]).count("seed") == 3
    monkeypatch.setenv("CONVNET_RANDOM_SEED", "x")
    with pytest.raises(UsageError, match="--seed=x: must be a whole number"):
        parse_original([]).count("seed")


def test_fewer_batches_are_a_new_run(place: Path, legacy: Command) -> None:
    legacy(*BASE, "--save-file=run", "--epochs=2", "--compat=cc1")
    assert "not with fewer" in legacy("--load-file=run", "--train-range=1-2", "--epochs=4", code=2)


def test_what_is_fixed_when_a_run_begins(place: Path, legacy: Command) -> None:
    legacy(*BASE, "--save-file=run", "--epochs=1", "--compat=cc2")
    found = legacy("--load-file=run", "--mini=32", "--epochs=2", code=2)
    assert found == "error: --mini=32: was 16 when the run began, and cannot change within it\n"
    assert "--crop-border=2: was 1" in legacy("--load-file=run", "--crop-border=2", "--epochs=2", code=2)
    assert "--inner-size=4: was 0" in legacy("--load-file=run", "--inner-size=4", "--epochs=2", "--compat=cc2", code=2)
    assert len(lines(legacy("--load-file=run", "--mini=16", "--crop-border=1", "--epochs=2"))) == 3


def test_a_checkpoint_stands_for_its_run(place: Path, legacy: Command) -> None:
    legacy(*BASE, "--save-file=run", "--epochs=1", "--test-freq=1", "--compat=cc1")
    old, new = sorted((place / "run" / "checkpoints").iterdir())
    assert f"newest checkpoint, which is {new.name}" in legacy(f"--load-file={old}", "--epochs=2", code=2)
    assert len(lines(legacy(f"--load-file={new}", "--epochs=2"))) == 3
    assert "Test output" in legacy(f"--load-file={new.parent}", "--test-only=1")
