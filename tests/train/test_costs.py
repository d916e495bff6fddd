"""Several costs in one net: children that are added to their parent, and what detectors are worth, class by class."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_runs import DETECTOR, NET, PARAMS, Recorder, kernels, tiny_data, train_tiny, write_idx, write_net

import convjit
from convjit.cfg import parse_net
from convjit.cli import main
from convjit.data import Images
from convjit.data.dataset import build, in_memory
from convjit.errors import ConfigError, UsageError
from convjit.train.evaluate import Run
from convjit.train.job import Notes, new_job
from convjit.train.sums import CostSums, Sums
from convjit.train.watch import Result

__all__ = ["kernels"]

# A second classifier, whose cost comes before that of its parent.
TWO = NET.replace(
    "[logprob]",
    "[fc3b]\ntype=fc\ninputs=drop1\noutputs=3\ninitW=0.05\n\n[probsb]\ntype=softmax\ninputs=fc3b\n\n"
    "[child]\ntype=cost.logreg\ninputs=labels, probsb\n\n[logprob]\nchildren=child",
)
TWO_PARAMS = PARAMS + "\n[fc3b]\nepsW=0.001\nepsB=0.004\nmomW=0.9\nmomB=0.9\n\n[child]\ncoeff=1\n"
DETECTOR_PARAMS = PARAMS.replace("[logprob]", "[dce]")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("children")
    return train_tiny(folder, net=write_net(folder, TWO, TWO_PARAMS), epochs=1)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("detector")
    return train_tiny(folder, net=write_net(folder, DETECTOR, DETECTOR_PARAMS), epochs=12)


def rows(run: Run, layer: str) -> NDArray[np.float64]:
    return np.array(list(run.rows(layer, tiny_data().test)), np.float64)


def test_the_parent_alone_is_reported_with_its_children(two: Result) -> None:
    labels = tiny_data().test.labels
    with convjit.load(two.run) as run:
        losses = [-np.log(rows(run, layer)[range(60), labels]).mean() for layer in ("probs", "probsb")]
        wrong = [(rows(run, layer).argmax(1) != labels).mean() for layer in ("probs", "probsb")]
        found = run.test_costs(tiny_data().test)
        viewed = run.test_costs(tiny_data().test, views=9)
        session = run._ready("predict")
        places = session.views(9)
        means = [np.array([*session.mean_rows(layer, tiny_data().test, places)]) for layer in ("probs", "probsb")]
        views = [-np.log(mean[range(60), labels]).mean() for mean in means]
    assert list(found.means()) == ["logprob"] == list(viewed.means())
    assert found.means()["logprob"][:2] == pytest.approx((sum(losses), sum(wrong)), rel=1e-6)
    assert viewed.means()["logprob"][0] == pytest.approx(sum(views), rel=1e-9)
    assert two.test_loss == pytest.approx(sum(losses), rel=1e-6) and two.test_error == pytest.approx(sum(wrong))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "children=child",
            "children=childd",
            "'childd' is not another layer of type cost.logreg (did you mean 'child'?)",
        ),
        ("children=child", "children=logprob", "'logprob' is not another layer"),
        ("children=child", "children=fc3", "'fc3' is not another layer"),
        ("[child]", "[child]\nchildren=logprob", "it is, by way of its children, its own child"),
    ],
)
def test_wrong_children(tmp_path: Path, before: str, after: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"tiny\.cfg:\d+: .*") as found:
        train_tiny(tmp_path, net=write_net(tmp_path, TWO.replace(before, after), TWO_PARAMS))
    assert message in str(found.value)


def test_precision_and_recall(detector: Result) -> None:
    labels = tiny_data().test.labels
    there = np.arange(3) == labels[:, None]
    with convjit.load(detector.run) as run:
        declared = rows(run, "fc3_neuron") >= 0.5
        found = run.test(tiny_data())
        parts = [
            run.test_costs(Images(in_memory(tiny_data().test).pixels[i], labels[i])) for i in (slice(25), slice(25, 60))
        ]
        whole = run.test_costs(tiny_data().test)
    right = (declared & there).sum(0)
    assert right.all(), "a detector that finds nothing shows nothing"
    assert found.rates["precision"] == pytest.approx(right / declared.sum(0))
    assert found.rates["recall"] == pytest.approx(right / there.sum(0))
    assert (parts[0] + parts[1]).rates() == whole.rates()
    last = json.loads((detector.run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["test_precision"] == pytest.approx(right / declared.sum(0)) and len(last["test_recall"]) == 3


def test_targets_are_all_labels_of_an_image(tmp_path: Path) -> None:
    """The net learns of every class of an image, and tests by them, views and data batches apart."""
    data = tiny_data()
    parts = [in_memory(data.train), in_memory(data.test)]
    there = [np.eye(3, dtype=np.uint8)[part.labels] | np.eye(3, dtype=np.uint8)[0] for part in parts]
    train, test = (Images(part.pixels, part.labels, (), rows) for part, rows in zip(parts, there, strict=True))
    net = write_net(tmp_path, DETECTOR, DETECTOR_PARAMS)
    many = build("many", train, test, data.classes)
    result = train_tiny(tmp_path, data=many, net=net, epochs=12)
    with convjit.load(result.run) as run:
        declared = rows(run, "fc3_neuron") >= 0.5
        assert declared[:, 0].all(), "every image is of the first class"
        found = run.test(many)
        parted = run.test_costs(test.some(0, 25)) + run.test_costs(test.some(25, 60))
    assert found.rates["recall"] == pytest.approx((declared & (there[1] > 0)).sum(0) / there[1].sum(0))
    assert parted.class_rates == found.rates


class Counting(Recorder):
    """Notes how many images each step's loss is the mean of."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[int] = []

    def step(self, step: int, sums: Sums) -> None:
        self.images.append(sums.images)


def unlabelled(images: Images, every: int) -> Images:
    """The same; every so many-th has no label."""
    labels, targets = images.labels.copy(), np.eye(3, dtype=np.uint8)[images.labels]
    labels[::every], targets[::every] = -1, 0
    return Images(images.pixels, labels, (), targets)


def test_images_without_a_label_are_neither_right_nor_wrong(two: Result, detector: Result, tmp_path: Path) -> None:
    test = in_memory(tiny_data().test)
    some, there = unlabelled(test, 3), np.arange(60) % 3 > 0
    known = Images(test.pixels[there], test.labels[there])
    with convjit.load(two.run) as run:
        for views in (1, 9):
            found, plain = run.test_costs(some, views=views), run.test_costs(known, views=views)
            assert (found.images, found.labelled, plain.labelled) == (60, 40, 40)
            assert found.means()["logprob"] == pytest.approx(plain.means()["logprob"], rel=1e-6)
            parts = run.test_costs(some.some(0, 25), views=views) + run.test_costs(some.some(25, 60), views=views)
            assert parts.means()["logprob"] == pytest.approx(found.means()["logprob"], rel=1e-6)
        result = run.test(build("some", known, some, tiny_data().classes))
        assert (result.images, result.unlabelled) == (60, 20)
    with convjit.load(detector.run) as run:
        # Of no class is something that detectors can be right about.
        assert run.test_costs(some).main.images == 60
    counting = Counting()
    data = tiny_data()
    train_tiny(tmp_path, data=build("some", unlabelled(in_memory(data.train), 2), test, data.classes), watcher=counting)
    assert sum(counting.images[:7]) == 100, "the loss of an epoch is the mean of those that have a label"


def test_an_image_of_several_classes_is_confused_with_none_of_them(two: Result) -> None:
    data = tiny_data()
    test = in_memory(data.test)
    targets = np.eye(3, dtype=np.uint8)[test.labels] | np.eye(3, dtype=np.uint8)[0]
    several = build("several", in_memory(data.train), Images(test.pixels, test.labels, (), targets), data.classes)
    with convjit.load(two.run) as run:
        plain, found = run.confusion(data), run.confusion(several)
    assert plain[1:, 0].any() and not found[1:, 0].any(), "each is of the first class too"
    assert np.array_equal(found[1:, 1:], plain[1:, 1:]) and np.array_equal(found.sum(0), plain.sum(0))


def test_several_labels_for_one_are_told(tmp_path: Path) -> None:
    data = tiny_data()
    parts = [in_memory(data.train), in_memory(data.test)]
    for extra, told in ((0, 0), (1, 1)):
        rows = [np.eye(3, dtype=np.uint8)[part.labels] | np.uint8(extra) for part in parts]
        train, test = (Images(part.pixels, part.labels, (), there) for part, there in zip(parts, rows, strict=True))
        notes: list[str] = []
        for net, params, count in ((NET, PARAMS, told), (DETECTOR, DETECTOR_PARAMS, 0)):
            path = write_net(tmp_path / str(len(net)), net, params)
            new_job(path, build("x", train, test, data.classes), notes=Notes(warn=notes.append))
            assert len([line for line in notes if "several labels" in line]) == count
            notes.clear()


def test_no_class_is_divided_by_nothing() -> None:
    costs = parse_net(DETECTOR, DETECTOR_PARAMS).net.costs
    sums = CostSums(costs, ((1.0, 2.0, 3.0, 4, 0, 0, 3, 0, 0, 6, 0, 2),), 10, 10)
    precision, recall = sums.class_rates["precision"], sums.class_rates["recall"]
    assert precision[0] == 0.75 and math.isnan(precision[1]) and math.isnan(precision[2])
    assert recall[0] == 0.5 and math.isnan(recall[1]) and recall[2] == 0


def test_the_commands_print_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_net(tmp_path, DETECTOR, DETECTOR_PARAMS)
    write_idx(tmp_path / "data", tiny_data())
    train = ["train", "tiny.cfg", "--data", "data", "--epochs", "1", "--threads", "1", "--out", "run"]
    assert main(train) == 0
    share = r"(?:[\d.]+ %|-)"
    out = capsys.readouterr().out
    assert re.search(rf"epoch 1/1 .* precision +{share}  recall +{share}", out), out
    assert main(["test", "run"]) == 0
    out = capsys.readouterr().out
    assert re.search(rf"class +precision +recall\n(?:[012] +{share} +{share} *\n){{3}}mean +{share} +{share}", out), out
    assert main(["test", "run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["recall"]) == 3


def test_the_cost_that_views_are_for(two: Result, detector: Result, tmp_path: Path) -> None:
    with convjit.load(two.run) as run:
        parent, child = (run.test_costs(tiny_data().test, views=9, cost=name).means() for name in ("", "child"))
        assert list(child) == ["child"] and 0 < child["child"][0] < parent["logprob"][0]
        with pytest.raises(UsageError, match=r"there is no layer 'childd' \(did you mean 'child'\?\)"):
            run.test_costs(tiny_data().test, views=9, cost="childd")
    with convjit.load(detector.run) as run, pytest.raises(UsageError, match=r"'dce' is of type cost\.dce"):
        run.test(tiny_data(), views=10)
    # It is said before anything is compiled, not at the first test.
    params = DETECTOR_PARAMS.replace("[recipe]", "[recipe]\nviews=9")
    with pytest.raises(UsageError, match=r"averaged for a cost\.logreg: 'dce' is of type cost\.dce"):
        train_tiny(tmp_path, net=write_net(tmp_path, DETECTOR, params))


def test_a_cost_that_counts_no_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An autoencoder: nothing is called an error, and what needs classes says so on one line."""
    layers = (
        "[data]\ntype=data\ndataIdx=0\n\n[scaled]\ntype=neuron\ninputs=data\nneuron=linear[0.01,0]\n\n"
        "[code]\ntype=fc\ninputs=scaled\noutputs=5\ninitW=0.2\nneuron=tanh[1,1]\n\n"
        "[image]\ntype=fc\ninputs=code\noutputs=49\n\n[lost]\ntype=eltsum\ninputs=scaled, image\ncoeffs=1, -1\n\n"
        "[cost]\ntype=cost.sum2\ninputs=lost\n"
    )
    learning = "".join(f"[{name}]\nepsW=0.002\nepsB=0.002\nmomW=0.9\nmomB=0.9\n\n" for name in ("code", "image"))
    params = PARAMS[: PARAMS.index("[conv1]")] + learning + "[cost]\ncoeff=1\n"
    write_idx(tmp_path / "data", tiny_data())
    run = tmp_path / "run"
    net = write_net(tmp_path / "net", net=layers, params=params)
    assert main(["train", str(net), "--data", str(tmp_path / "data"), "--out", str(run)]) == 0
    said = capsys.readouterr().out
    losses = [float(found) for found in re.findall(r"epoch .*  loss (\S+)  test \S+  ", said)]
    assert len(losses) == 3 and losses[2] < losses[0] and "error" not in said and "convjit predict" not in said
    assert main(["test", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_error"] is None
    for words in (["predict", str(run), str(tmp_path / "any.png")], ["test", str(run), "--confusion"]):
        assert main(words) == 1
        told = capsys.readouterr().err
        assert "layer 'lost' ends in 49 numbers, not in one for each of the 3 classes; convjit features" in told
