"""From the command line of cuda-convnet to a job of ours: data, recipe, net, and the run that is gone on with."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from convjit.cfg import NetTexts, definition_text, find_net, parameter_text, parse_net, read
from convjit.data import Dataset, join_place
from convjit.data.stream import shown
from convjit.errors import ConfigError, RunError, UsageError
from convjit.graph import Net
from convjit.layers.data import TARGETS
from convjit.train.checkpoint import newest
from convjit.train.job import Job, Notes, new_job, open_data
from convjit.train.original_checkpoint import OriginalCheckpoint, find_original, read_original_checkpoint
from convjit.train.original_import import ORDER, import_run
from convjit.train.original_options import OPTIONS, RESTORED, Original, restored
from convjit.train.original_trainer import Testing
from convjit.train.resume import resumed_job
from convjit.train.run_folder import RunFolder, check_new
from convjit.train.surgery import conv_to_local, unshare_weights
from convjit.train.trainer import Trainer

__all__ = [
    "checked_net",
    "data_of",
    "goes_on",
    "job_of",
    "keep_options",
    "new_folder",
    "operated",
    "resumed",
    "started",
    "testing_of",
    "views_of",
]

_KEPT = "original.json"
# What the layer files said of a net that surgery has changed since.
_BEFORE = "original.cfg"
_DUMMY_CLASSES = 10
_FIXED = tuple(name for name, option in OPTIONS.items() if option.once and option.kind in ("count", "number"))


def goes_on(original: Original) -> tuple[Original, RunFolder | OriginalCheckpoint | None]:
    """What is gone on with, if anything: --load-file, or --save-file where it exists. Its options are defaults now."""
    where = original.text("load-file") or original.text("save-file")
    path = Path(where)
    if not where or (not original.text("load-file") and not (path.exists() and any(path.iterdir()))):
        return original, None
    path = _run_of(path)
    if (path / "run.json").is_file():
        folder = RunFolder.open(path)
        kept = _options(folder)
        # Which program it was is not told by an option such as --load-file.
        program = original.program if "compat" in original.given else kept.get("compat", original.program)
        _check_fixed(original, kept)
        return Original(program, original.given, kept), folder
    found = find_original(path)
    if found is None:
        raise RunError(f"{shown(path)}: holds neither a run of convjit nor a checkpoint of cuda-convnet")
    checkpoint = read_original_checkpoint(found)
    named = {name.replace("_", "-"): value for name, value in checkpoint.options.items()}
    program = original.program if "compat" in original.given else checkpoint.program
    return Original(program, original.given, restored(named)), checkpoint


def _run_of(path: Path) -> Path:
    """The run that a folder of checkpoints or its newest checkpoint is of; other paths as they are."""
    if path.is_file() and (path.parent.parent / "run.json").is_file():
        latest = newest(path.parent, lambda text: None).path
        if latest.name != path.name:
            raise UsageError(f"{shown(path)}: a run goes on from its newest checkpoint, which is {latest.name}")
        return path.parent.parent
    checkpoints = path.is_dir() and not (path / "run.json").is_file() and (path.parent / "run.json").is_file()
    return path.parent if checkpoints else path


def _check_fixed(original: Original, kept: Mapping[str, str]) -> None:
    """UsageError for an option that has another value than when the run began, and cannot change since."""
    for name in _FIXED:
        if name in original.given and name in kept and float(original.given[name]) != float(kept[name]):
            found = f"--{name}={original.given[name]}: was {kept[name]} when the run began"
            raise UsageError(f"{found}, and cannot change within it")


def _options(folder: RunFolder) -> dict[str, str]:
    """The options that a run was started with; none if it was not started in this way."""
    try:
        found = json.loads(folder.read_text(_KEPT) or b"{}")
    except (ValueError, RecursionError):
        found = {}
    return restored(found) if isinstance(found, dict) else {}


def data_of(original: Original, notes: Notes, *, testing: bool = False) -> tuple[Dataset, str]:
    """The data set with the batches of the two ranges, and its place."""
    original.need("data-path", "data-provider", "test-range", *(() if testing else ("train-range",)))
    test = original.range("test-range")
    train = original.range("train-range") if original.text("train-range") else test
    place = join_place(str(Path(original.text("data-path")).absolute()), train, test)
    return open_data(place, notes), place


def _overrides(original: Original, shape: tuple[int, int, int]) -> list[str]:
    """The recipe that a command line asks for, for images (C, H, W)."""
    provider, _ = original.provider
    side = min(shape[1:])
    crop = original.count("inner-size") if original.program == "cc2" else 0
    if provider == "cifar-cropped":
        crop = side - 2 * original.count("crop-border")
        if crop < 1:
            raise UsageError(
                f"--crop-border={original.text('crop-border')}: nothing is left of images of {side} pixels"
            )
    if crop > side:
        raise UsageError(f"--inner-size={crop}: the images have {side} pixels")
    mirror = provider in ("cifar-cropped", "image") or crop > 0
    found = {
        "crop": str(crop),
        "mirror": str(mirror).lower(),
        "epochs": str(max(original.count("epochs"), 1)),
        "minibatch": original.text("mini"),
        "views": str(views_of(original)),
    }
    if original.program == "cc2":
        found["colourNoise"] = original.text("color-noise")
        # The original's default of -1 means off; its provider `cifar` subtracted it all the same, which was a mistake.
        found["scalarMean"] = original.text("scalar-mean") if original.number("scalar-mean") >= 0 else "-1"
    return [*ORDER[original.program], *(f"recipe.{key}={value}" for key, value in found.items())]


def views_of(original: Original) -> int:
    """From how many places tests look: 9 for cuda-convnet2's cifar, 10 for the rest, 1 without --multiview-test."""
    if not original.flag("multiview-test"):
        return 1
    return 9 if original.program == "cc2" and original.provider[0] == "cifar" else 10


def testing_of(original: Original) -> Testing:
    """How often to test, and on what."""
    cost = original.text("logreg-name")
    first = original.range("train-range").first if original.text("train-range") else 1
    return Testing(max(original.count("test-freq"), 1), original.flag("test-one"), views_of(original), first, cost)


def _texts(original: Original) -> NetTexts:
    original.need("layer-def", "layer-params")
    definition, parameters = original.layer_files()
    return find_net(Path(definition), Path(parameters))


def _shape(original: Original, dataset: Dataset) -> tuple[int, int, int]:
    """(C, H, W) of its images; of encoded ones, what the parameter file says in a section [recipe]."""
    if dataset.shape is not None:
        return dataset.shape
    texts = _texts(original)
    loaded = parse_net(
        texts.definition, texts.parameters, origins=texts.origins, classes=len(dataset.classes), lenient=True
    )
    image = loaded.net.image
    return image.channels, image.height, image.width


def job_of(original: Original, notes: Notes) -> Job:
    """A training from the start."""
    dataset, place = data_of(original, notes)
    original.need("layer-def", "layer-params")
    definition, parameters = original.layer_files()
    overrides = _overrides(original, _shape(original, dataset))
    # The originals passed over keys that they did not know.
    job = new_job(
        Path(definition),
        dataset,
        params=parameters,
        overrides=overrides,
        seed=original.count("seed"),
        lenient=True,
        allow_code=original.flag("allow-code"),
        notes=notes,
    )
    return replace(job, data=place)


def resumed(original: Original, folder: RunFolder, notes: Notes) -> Job:
    """A training that goes on, with the parameter file as it is now and the ranges as they are given."""
    state = newest(folder.checkpoints, notes.warn).state
    dataset, place = data_of(original, notes)
    texts = _texts(original)
    loaded = parse_net(
        state.definition,
        texts.parameters,
        origins=("net.cfg", texts.origins[1]),
        image=state.image,
        classes=len(state.classes),
        overrides=_overrides(original, _shape(original, dataset)),
        lenient=True,
    )
    if not _says(texts, _said(folder, loaded.net), state.image):
        notes.warn(f"{texts.origins[0]}: differs from the net of the run, which is the one that goes on")
    parameters = parameter_text(loaded.net, loaded.recipe)
    job = resumed_job(
        folder, place, epochs=original.count("epochs") or None, parameters=parameters.encode(), notes=notes
    )
    folder.write_text("params.cfg", parameters)
    return job


def _said(folder: RunFolder, net: Net) -> str:
    """The definition of a run's net, before surgery if there was any: what layer files are compared with."""
    kept = folder.read_text(_BEFORE)
    return definition_text(net) if kept is None else kept.decode("utf-8", "replace")


def _says(texts: NetTexts, definition: str, image: tuple[int, ...]) -> bool:
    """Whether files that are no longer needed still say what they said once."""
    try:
        now = parse_net(texts.definition, texts.parameters, image=image, lenient=True).net
    except ConfigError:
        return False
    return definition_text(now) == definition


def started(original: Original, checkpoint: OriginalCheckpoint, notes: Notes, out: Path) -> RunFolder:
    """A new run that goes on from a checkpoint of the originals."""
    return import_run(checkpoint, job_of(original, notes), out, threads=original.count("threads") or None)


def operated(original: Original, folder: RunFolder, job: Job, out: Path) -> RunFolder:
    """A new run whose net has gone through --conv-to-local and --unshare-weights; the old one stays as it is."""
    assert job.start is not None
    arrays = dict(job.start.arrays())
    before = _said(folder, job.net)
    step, net = job.start.state.step, job.net
    if names := original.names("unshare-weights"):
        done = unshare_weights(net, arrays, names)
        net, arrays = done.net, done.arrays
    if names := original.names("conv-to-local"):
        done = conv_to_local(net, arrays, names)
        net, arrays = done.net, done.arrays
    parameters = parameter_text(net, job.recipe)
    fresh = replace(job, net=net, definition=definition_text(net), parameters=parameters, start=None)
    check_new(out)
    with Trainer(fresh, threads=original.count("threads") or None, adopted=(arrays, step)) as trainer:
        made = RunFolder.create(out, fresh.name)
        with made.lock():
            trainer.begin(made)
            made.write_text(_BEFORE, before)
    return made


def new_folder(original: Original, beside: Path | None = None) -> Path:
    """Where a new run is kept: --save-file, or a folder with the time in its name in --save-path, or beside another."""
    if where := original.given.get("save-file"):
        return Path(where)
    name = f"ConvNet__{time.strftime('%Y-%m-%d_%H.%M.%S')}"
    if where := original.text("save-path"):
        return Path(where) / name
    if beside is not None:
        return beside.absolute().parent / name
    raise UsageError("--save-path or --save-file is missing; one of them says where the run is kept")


def keep_options(original: Original, folder: RunFolder) -> None:
    """Note the options in the run's folder, so that a resumed one needs none."""
    fixed = {name: original.text(name) for name in _FIXED}
    kept = {**fixed, **original.kept, **original.given, "compat": original.program}
    chosen = {name: value for name, value in kept.items() if name in RESTORED}
    folder.write_text(_KEPT, json.dumps(chosen, indent=2) + "\n")


def _has_targets(texts: NetTexts) -> bool:
    """Whether a net asks for targets of the classes, whose number then has to be known."""
    sections = read(texts.definition, texts.origins[0]).values()
    return any("dataidx" in one.entries and one.entries["dataidx"].value == str(TARGETS) for one in sections)


def checked_net(original: Original, notes: Notes) -> Net:
    """The net whose gradients --check-grads looks at; a dummy provider says how large its images are."""
    texts = _texts(original)
    provider, size = original.provider
    shape: tuple[int, ...] | None = None
    classes: int | None = None
    if size:
        channels = next((c for c in (3, 1) if size % c == 0 and math.isqrt(size // c) ** 2 * c == size), 0)
        shape = (channels, math.isqrt(size // channels), math.isqrt(size // channels)) if channels else (size, 1, 1)
        # Of the labels only what is asked for matters; targets are as many as the original's dummies had.
        classes = _DUMMY_CLASSES if _has_targets(texts) else None
    elif original.text("data-path") and provider not in ("dummy-cn", "dummy-lr"):
        dataset, _ = data_of(original, notes, testing=True)
        shape, classes = dataset.shape, len(dataset.classes)
    loaded = parse_net(
        texts.definition, texts.parameters, origins=texts.origins, image=shape, classes=classes, lenient=True
    )
    for warning in loaded.warnings:
        notes.warn(warning)
    return loaded.net
