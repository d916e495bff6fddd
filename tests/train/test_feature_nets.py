"""One net's features as the data of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_runs import NET, PARAMS, kernels, tiny_data, train_tiny, write_net

import convjit
from convjit.data import open_dataset
from convjit.data.dataset import in_memory
from convjit.errors import ConfigError, RunError
from convjit.train.api import carry_out
from convjit.train.evaluate import Run
from convjit.train.features import write_features

__all__ = ["kernels"]

HEAD = NET[: NET.index("[conv1]")] + NET[NET.index("[fc3]") :].replace("inputs=drop1", "inputs=data")
HEAD_PARAMS = "[recipe]\nmean=none\nepochs=4\nminibatch=32\n\n" + PARAMS[PARAMS.index("[fc3]") :].replace(
    "0.002;", "0.02;"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained net, and its features before the last layer."""
    folder = tmp_path_factory.mktemp("features")
    result = train_tiny(folder, epochs=2)
    with Run.load(result.run) as run:
        for split in ("train", "test"):
            write_features(run, "drop1", tiny_data(), folder / "features" / split, split=split)
    return folder


def head(folder: Path, **changes: str) -> Path:
    params = HEAD_PARAMS
    for key, value in changes.items():
        params = params.replace("[recipe]\n", f"[recipe]\n{key}={value}\n")
    return write_net(folder / "head", net=HEAD, params=params)


def test_a_net_on_features_is_the_end_of_the_net_that_made_them(written: Path, tmp_path: Path) -> None:
    """With the last layer's weights it says, bit for bit, what the whole net says."""
    data = open_dataset(written / "features")
    assert data.numbers and data.shape == (4, 4, 4) and data.classes == ("a", "b", "c")
    result = carry_out(head(tmp_path), written / "features", out=tmp_path / "run", epochs=1, threads=1)
    with Run.load(written / "run") as whole, Run.load(result.run) as end:
        arrays = dict(whole.checkpoint.arrays())
        end._ready("predict")
        names = ("fc3.weights", "fc3.biases")
        end._session.set_arrays([(name, arrays[name]) for name in names], increments=False)
        expected = whole.predict(in_memory(tiny_data().test).pixels)
        assert np.array_equal(end.predict(in_memory(data.test).pixels), expected)


def test_it_learns_and_resumes_bit_for_bit(written: Path, tmp_path: Path) -> None:
    net, features = head(tmp_path, mean="image"), written / "features"
    params = (tmp_path / "head" / "tiny.params.cfg").read_text().replace("mean=none\n", "")
    (tmp_path / "head" / "tiny.params.cfg").write_text(params)
    whole = carry_out(net, features, out=tmp_path / "whole", threads=1)
    assert whole.test_error is not None and whole.test_error < 0.4
    half = carry_out(net, features, out=tmp_path / "half", epochs=2, threads=2)
    again = carry_out(resume=half.run, epochs=4, threads=1)
    assert again.weights_sha256 != half.weights_sha256
    twice = carry_out(net, features, out=tmp_path / "twice", epochs=4, threads=2)
    assert whole.weights_sha256 == twice.weights_sha256
    with convjit.load(whole.run) as run:
        assert run.test().error == whole.test_error
        with pytest.raises(RunError, match="the run's images are features of another net, and no image files"):
            run.predict_file(tmp_path / "some.png")


@pytest.mark.parametrize("change", ["crop=2", "mirror=true", "views=10", "rotate=5", "colourNoise=0.1"])
def test_what_is_for_images_is_refused(written: Path, tmp_path: Path, change: str) -> None:
    key, value = change.split("=")
    with pytest.raises(ConfigError, match=f"tiny.params.cfg:2: .*{key} is for images, and the data are features"):
        carry_out(head(tmp_path, **{key: value}), written / "features", out=tmp_path / "run", threads=1)
