"""Kill a small run at random moments, go on, and compare its end with that of a run that nobody disturbed.

    python scripts/kill_test.py --times 100

The run writes a checkpoint every 20 ms, so that many of the moments lie within the writing of one. Before each
resumption every checkpoint that is there must be whole.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EPOCHS = 60
LONGEST = 3.0


def child(folder: Path) -> None:
    """Start the run or go on with it, to its end."""
    import numpy as np

    from convjit import from_arrays
    from convjit.graph import Net
    from convjit.layers import Conv, Data, Dropout, Fc, Logreg, Pool, Softmax
    from convjit.train.api import carry_out

    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (300, 1, 8, 8), dtype=np.uint8), rng.integers(0, 3, 300)
    data = from_arrays(pixels[:250], labels[:250], pixels[250:], labels[250:])
    net = Net(
        [
            Data("data"),
            Data("labels", data_idx=1),
            Conv("conv1", "data", filters=4, filter_size=3, padding=1, neuron="relu"),
            Pool("pool1", "conv1", pool="max", size_x=2, stride=2),
            Dropout("drop1", "pool1", keep=0.8),
            Fc("fc3", "drop1", outputs=3),
            Softmax("probs", "fc3"),
            Logreg("logprob", "labels, probs"),
        ],
        image=(1, 8, 8),
        classes=3,
    )
    options = {"threads": 1, "seconds_between_checkpoints": 0.02}
    if (folder / "run.json").exists():
        result = carry_out(data=data, resume=folder, **options)
    else:
        # Killed before it was complete: a folder without run.json holds nothing that anybody could miss.
        shutil.rmtree(folder, ignore_errors=True)
        result = carry_out(net, data, out=folder, epochs=EPOCHS, batch=32, **options)
    print(json.dumps({"sha256": result.weights_sha256, "metrics": _metrics(folder)}))


def _metrics(folder: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    speed = ("images_per_s", "waiting")
    return [{key: value for key, value in record.items() if key not in speed} for record in records]


def main() -> int:
    """0 if every run ended the same."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--child", type=Path, default=None)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        return _kill(options.folder or Path(temporary), options.times, random.Random(options.seed))


def _kill(folder: Path, times: int, chance: random.Random) -> int:
    expected = _finish(folder / "whole")
    start = time.monotonic()
    assert _finish(folder / "timed") == expected, "two undisturbed runs differ"
    longest = min(time.monotonic() - start, LONGEST)
    killed = finished = 0
    run = folder / "killed"
    while killed < times:
        with subprocess.Popen(_command(run), stdout=subprocess.PIPE, text=True) as process:
            try:
                out, _ = process.communicate(timeout=chance.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
                _check(run)
                continue
        assert process.returncode == 0 and json.loads(out) == expected, "a killed run ended differently"
        finished += 1
        shutil.rmtree(run)
    assert _finish(run) == expected, "a killed run ended differently"
    print(f"killed {killed} times; {finished + 1} runs ended as the undisturbed one did")
    return 0


def _command(run: Path) -> list[str]:
    return [sys.executable, __file__, "--child", str(run)]


def _finish(run: Path) -> object:
    done = subprocess.run(_command(run), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _check(run: Path) -> None:
    """What can be resumed has a checkpoint, and none is damaged."""
    from convjit.train.checkpoint import load

    found = sorted((run / "checkpoints").glob("step-*.safetensors")) if run.exists() else []
    for path in found:
        load(path)
    assert found or not (run / "run.json").exists(), "a run without a checkpoint"


if __name__ == "__main__":
    sys.exit(main())
