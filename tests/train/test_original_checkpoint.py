"""Checkpoints of cuda-convnet: read in a child process, brought into our order, and gone on with."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from original_files import Old, old_pickle
from tiny_runs import NET, PARAMS, kernels, strip_speed, tiny_data, write_net

import convjit
from convjit.cfg import parse_net
from convjit.data.dataset import in_memory
from convjit.data.statistics import mean_image
from convjit.errors import RunError
from convjit.graph import Net
from convjit.train import original_checkpoint
from convjit.train.api import carry_out
from convjit.train.checkpoint import newest
from convjit.train.original_checkpoint import find_original, read_original_checkpoint, weights_of
from convjit.train.original_import import import_original

__all__ = ["kernels", "strip_speed"]


def net() -> Net:
    return parse_net(NET, PARAMS).net


def layers(seed: int = 0) -> list[dict[str, Any]]:
    """The layers of the tiny net as the programs kept them."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> NDArray[np.float32]:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    conv = {"weights": [draw(9, 4)], "weightsInc": [draw(9, 4)], "biases": draw(4, 1), "biasesInc": draw(4, 1)}
    # fc matrices lie by columns in memory.
    features = net().nodes["fc3"].views[0].features
    fc: dict[str, Any] = {key: [np.asfortranarray(draw(features, 3))] for key in ("weights", "weightsInc")}
    fc |= {"biases": draw(1, 3), "biasesInc": draw(1, 3)}
    return [
        {"name": "data", "type": "data", "start": 0, "dropout": 0.5},
        {"name": "conv1", "type": "conv", "inputs": [0], "filters": 4, "filterSize": [3], **conv},
        {"name": "conv1_neuron", "type": "neuron", "inputs": [1], "neuron": {"type": "relu", "params": {}}},
        {"name": "fc3", "type": "fc", "inputs": [2], "initW": [np.float64(0.1)], "sharedBiases": True, **fc},
        {"name": "logprob", "type": "cost.logreg", "inputs": [0, 3], "coeff": 1.0},
    ]


def checkpoint(program: str, *, epoch: int = 1, batch: int = 1, **changes: Any) -> dict[str, Any]:
    found = layers()
    kept = {one["name"]: one for one in found} if program == "cc2" else found
    option = Old("options Option", {"name": "layer_def", "value": "/home/alex/layers.cfg", "letter": "a"})
    parser = Old(
        "options OptionsParser", {"options": {"layer_def": option, "gpu": Old("options Option", {"value": [0]})}}
    )
    outputs = [({"logprob": [1.5, 0.25]}, 128)]
    state = {"layers": kept, "epoch": epoch, "batchnum": batch, "train_outputs": outputs, "test_outputs": []}
    return {"model_state": {**state, **changes}, "op": parser}


@pytest.mark.parametrize("program", ["cc1", "cc2"])
@pytest.mark.parametrize("protocol", [0, 2])
def test_matrices_and_position(tmp_path: Path, program: str, protocol: int) -> None:
    path = tmp_path / "3.5"
    path.write_bytes(old_pickle(checkpoint(program, epoch=3, batch=5), protocol))
    found = read_original_checkpoint(path)
    assert (found.program, found.epoch, found.batch) == (program, 3, 5)
    assert found.options == {"layer_def": "/home/alex/layers.cfg", "gpu": "0"} and found.kinds["conv1"] == "conv"
    ours = weights_of(found, net())
    assert list(ours) == [f"{a}{b}" for a in net().learned() for b in ("", ".inc")]
    conv, fc = layers()[1], layers()[3]
    for f, y, x in np.ndindex(4, 3, 3):
        assert ours["conv1.weights"][f, 0, y, x] == conv["weights"][0][y * 3 + x, f]
    assert np.array_equal(ours["fc3.weights.inc"], fc["weightsInc"][0].T)
    assert np.array_equal(ours["conv1.biases"], conv["biases"].reshape(ours["conv1.biases"].shape))
    assert np.array_equal(ours["fc3.biases.inc"], fc["biasesInc"].reshape(-1))


def test_rows_are_channel_y_x() -> None:
    text = NET.replace("channels=1", "channels=2").replace("[conv1]", "[conv1]\nchannels=2")
    wide = parse_net(text, PARAMS.replace("1x8x8", "2x8x8")).net
    matrix = np.arange(2 * 9 * 4, dtype=np.float32).reshape(18, 4)
    biases = np.zeros((4, 1), np.float32)
    features = wide.nodes["fc3"].views[0].features
    matrices = {"conv1.weights.0": matrix, "conv1.biases.0": biases}
    matrices |= {"fc3.weights.0": np.zeros((features, 3), np.float32), "fc3.biases.0": np.zeros((1, 3), np.float32)}
    found = original_checkpoint.OriginalCheckpoint(Path("x"), "cc2", 1, 1, {}, matrices, {})
    ours = weights_of(found, wide)
    for f, c, y, x in np.ndindex(4, 2, 3, 3):
        assert ours["conv1.weights"][f, c, y, x] == matrix[(c * 3 + y) * 3 + x, f]
    # Increments that are not there are zeros.
    assert not ours["conv1.weights.inc"].any()


def test_local_and_split_matrices() -> None:
    text = """
[data]
type=data
dataIdx=0
[labels]
type=data
dataIdx=1
[local1]
type=local
inputs=data
channels=2
filters=3
filterSize=2
initW=0.1
[sfc2]
type=sfc
inputs=local1
parts=2
outputs=1
initW=0.1
[probs]
type=softmax
inputs=sfc2
[logprob]
type=cost.logreg
inputs=labels,probs
"""
    params = "[recipe]\nimage=2x3x3\nclasses=2\n[logprob]\ncoeff=1\n"
    params += "".join(f"[{name}]\nepsW=1\nepsB=1\nmomW=0\nmomB=0\n" for name in ("local1", "sfc2"))
    made = parse_net(text, params).net
    # Four modules of 2x2x2 inputs and 3 filters; 12 inputs in two parts of 6.
    local, split = np.arange(32 * 3, dtype=np.float32).reshape(32, 3), np.arange(12, dtype=np.float32).reshape(12, 1)
    biases = np.arange(12, dtype=np.float32).reshape(12, 1)
    matrices = {"local1.weights.0": local, "local1.biases.0": biases, "sfc2.weights.0": split}
    matrices["sfc2.biases.0"] = np.zeros((1, 2), np.float32)
    ours = weights_of(original_checkpoint.OriginalCheckpoint(Path("x"), "cc2", 1, 1, {}, matrices, {}), made)
    for module, f, y, x, c in np.ndindex(4, 3, 2, 2, 2):
        assert ours["local1.weights"][module, f, y, x, c] == local[((module * 2 + c) * 2 + y) * 2 + x, f]
    assert np.array_equal(ours["local1.biases"], biases.reshape(3, 2, 2))
    for part, i in np.ndindex(2, 6):
        assert ours["sfc2.weights"].reshape(2, 6)[part, i] == split[part * 6 + i, 0]


@pytest.mark.parametrize("program", ["cc1", "cc2"])
def test_a_run_goes_on_from_it(tmp_path: Path, program: str) -> None:
    path = tmp_path / "old" / "2.1"
    path.parent.mkdir()
    path.write_bytes(old_pickle(checkpoint(program, epoch=2)))
    (tmp_path / "old" / "10.0").mkdir()
    assert find_original(tmp_path / "old") == path
    data = tiny_data()
    folder = import_original(tmp_path / "old", write_net(tmp_path), data, out=tmp_path / "run", threads=1)
    state = newest(folder.checkpoints, lambda text: None).state
    assert state.step == 14 and state.parts == (200,)
    assert f"average={'actual' if program == 'cc1' else 'configured'}" in state.parameters
    # What the imported net says of an image, worked out by hand.
    arrays = weights_of(read_original_checkpoint(path), net())
    with convjit.load(tmp_path / "run") as run:
        rows = np.array(list(run.rows("conv1", data.test)))
    pixels = in_memory(data.test).pixels[0, 0, :7, :7] - mean_image(data)[0, :7, :7]
    window = np.pad(pixels, 1)[2:5, 3:6]
    expected = (arrays["conv1.weights"][1, 0] * window).sum() + arrays["conv1.biases"].reshape(-1)[1]
    assert rows[0].reshape(4, 7, 7)[1, 2, 3] == pytest.approx(expected, rel=1e-4)
    result = carry_out(data=data, resume=tmp_path / "run", threads=1)
    assert result.step == 21


def test_what_does_not_fit(tmp_path: Path) -> None:
    def refused(value: object, says: str) -> None:
        path = tmp_path / "1.1"
        path.write_bytes(old_pickle(value))
        with pytest.raises(RunError, match=says) as caught:
            weights_of(read_original_checkpoint(path), net())
        assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))

    def changed(layer: str, **values: Any) -> dict[str, Any]:
        found = [one | values if one["name"] == layer else one for one in layers()]
        return checkpoint("cc1", layers=found)

    refused(changed("fc3", name="fc4"), "no weights of layer 'fc3'; its layers are data, conv1")
    refused(changed("conv1", weights=[np.zeros((9, 5), np.float32)]), "weights are 9x5, the net's are 4x1x3x3")
    refused(changed("conv1", weights=[np.ones((4, 9), np.float32)]), "weights are 4x9, the net's are 4x1x3x3")
    refused(changed("conv1", biases=np.array([[np.nan]] * 4, np.float32)), "not finite")
    refused(changed("conv1", name="fc3"), "a layer without a name of its own")
    refused({"op": 1}, "no model_state with layers")
    refused([1], "holds no dictionary")


def test_hostile_files(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    calls = [
        f"cos\nsystem\n(S'touch {mark}'\ntR.",
        f"(S'touch {mark}'\nios\nsystem\n.",
        f"c__builtin__\nexec\n(S'open({str(mark)!r}, \"w\")'\ntR.",
        f"(dS'model_state'\ncsubprocess\nPopen\n(S'touch {mark}'\ntRs.",
    ]
    path = tmp_path / "1.1"
    for data in [
        *(call.encode() for call in calls),
        b"",
        b"no pickle",
        b"\x80\x02}.",
        old_pickle(checkpoint("cc2"))[:-40],
    ]:
        path.write_bytes(data)
        with pytest.raises(RunError) as caught:
            read_original_checkpoint(path)
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    with pytest.raises(RunError, match="none"):
        read_original_checkpoint(tmp_path / "none")


def test_the_child_has_limits(tmp_path: Path) -> None:
    """A file that would take all memory ends in one line."""
    path = tmp_path / "1.1"
    path.write_bytes(b"\x80\x02T\xff\xff\xff\x7fx.")
    with pytest.raises(RunError, match=r"1\.1"):
        read_original_checkpoint(path)
    code = "import resource; from convjit.train import original_worker as w; from pathlib import Path; "
    code += f"w._limit(Path({str(path)!r})); print(resource.getrlimit(resource.RLIMIT_CPU)[0])"
    environment = {"PYTHONPATH": str(Path(convjit.__file__).parents[1]), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert 0 < int(done.stdout) <= 60 and resource.getrlimit(resource.RLIMIT_CPU)[0] != int(done.stdout)
