"""A data set: images and labels in memory, or encoded ones that are decoded when they are needed.

N images, C channels, H x W pixels. Pixels are bytes, or float32 for features of another net; a memory map of a file on
disk is as good as an array.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from convjit.data.encoded import ChosenImages, Encoded, HeldImages
from convjit.errors import DataError

__all__ = [
    "MAX_BYTES",
    "Dataset",
    "Images",
    "Pixels",
    "build",
    "check_bytes",
    "check_labels",
    "from_arrays",
    "in_memory",
    "numbered_classes",
    "parts_of",
    "some_of",
]

# A set is decoded as a whole and read at random, so it has to fit in memory.
MAX_BYTES = 2 << 30
# A label is a number that anybody may have written, and every class up to it gets a name.
_MOST_NUMBERED = 1_000_000

Pixels: TypeAlias = NDArray[Any]
"""uint8, or float32 for features."""


@dataclass(frozen=True, eq=False)
class Images:
    """Pixels uint8 (or float32) [N,C,H,W], C-contiguous, their labels int32 [N]; DataError if they are anything else.

    `parts` are the numbers of images in the data batches that they came in, in order; () if they came in one. Where
    images may have several labels, or none, `targets` uint8 [N,K] is 1 for each class of an image; `labels` are then
    the first of each, -1 for none, and in training one of them is drawn.
    """

    pixels: Pixels
    labels: NDArray[np.int32]
    parts: tuple[int, ...] = ()
    targets: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        pixels, labels = self.pixels, self.labels
        if pixels.dtype not in (np.uint8, np.float32) or pixels.ndim != 4 or not pixels.flags.c_contiguous:
            raise DataError(
                f"pixels are {_form(pixels)}; allowed is uint8 of 4 dimensions [N,C,H,W], C-contiguous: "
                "use convjit.data.from_arrays"
            )
        if 0 in pixels.shape:
            raise DataError(f"pixels have the shape {pixels.shape}; every dimension must be at least 1")
        if labels.dtype != np.int32 or labels.shape != pixels.shape[:1]:
            raise DataError(
                f"labels are {_form(labels)} for {pixels.shape[0]} images; allowed is int32 [{pixels.shape[0]}]"
            )
        if self.targets is not None and (self.targets.dtype != np.uint8 or self.targets.shape[:1] != labels.shape):
            raise DataError(f"targets are {_form(self.targets)} for {len(labels)} images; allowed is uint8 [N,K]")
        if self.targets is None and labels.min() < 0:
            raise DataError(f"image {labels.argmin()} has the label {labels.min()}; labels count from 0")
        if self.parts and (min(self.parts) < 1 or sum(self.parts) != len(labels)):
            raise DataError(f"{len(labels)} images in data batches of {sum(self.parts)}; they must agree")

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, start: int, end: int) -> Images:
        """Those from `start` up to `end`, as one data batch."""
        which = slice(start, end)
        targets = None if self.targets is None else self.targets[which]
        return Images(self.pixels[which], self.labels[which], targets=targets)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training set and a test set of one image shape.

    `fingerprint` is the SHA-256 of pixels, labels and classes: equal data have equal fingerprints, whatever
    file they came from. `skipped` names the images that could not be read, each with the reason. `mean` is the mean
    image, float32 [C,H,W], where the set has one of its own; `colours` are axes for colour noise, float32 [C,C],
    one to a row, each as long as the standard deviation along it.
    """

    name: str
    train: Images | Encoded
    test: Images | Encoded
    classes: tuple[str, ...]
    fingerprint: str
    skipped: tuple[str, ...] = ()
    mean: NDArray[np.float32] | None = None
    colours: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        both = self.train, self.test
        held = [one.pixels for one in both if isinstance(one, Images)]
        shapes = [list(pixels.shape[1:]) for pixels in held]
        if len(shapes) == 2 and shapes[0] != shapes[1]:
            found = f"training images are [C,H,W] = {shapes[0]}, test images {shapes[1]}"
            raise DataError(f"{found}; they must agree")
        if len({pixels.dtype for pixels in held}) > 1:
            raise DataError("of training and test images one are bytes and the other numbers; they must agree")
        check_labels(int(max(one.labels.max(initial=-1) for one in both)), self.classes)

    @property
    def numbers(self) -> bool:
        """Whether it holds float32 numbers, such as the features of another net."""
        return isinstance(self.train, Images) and self.train.pixels.dtype == np.float32

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of every image; None where they are encoded, and may be of many sizes."""
        for one in (self.train, self.test):
            if isinstance(one, Images):
                _, channels, height, width = one.pixels.shape
                return channels, height, width
        return None


def check_labels(top: int, classes: tuple[str, ...]) -> None:
    """Raise DataError if the highest label has no class."""
    if top >= len(classes):
        raise DataError(f"the highest label is {top}; {len(classes)} classes allow 0 to {len(classes) - 1}")


def numbered_classes(top: int, where: str) -> tuple[str, ...]:
    """Names for the classes of a set that has none, "0" up to the highest label `top`; DataError for too many."""
    if top >= _MOST_NUMBERED:
        raise DataError(
            f"{where}: a label is {top:,}, and classes have no names; allowed are labels below {_MOST_NUMBERED:,}: "
            "number the classes from 0 on"
        )
    return tuple(map(str, range(top + 1)))


def in_memory(images: Images | Encoded, what: str = "this") -> Images:
    """The images, if they are decoded; DataError that says what cannot be done with others."""
    if not isinstance(images, Images):
        raise DataError(f"{what} needs images of one size that fit into memory; these are encoded")
    return images


def parts_of(images: Images | Encoded) -> tuple[int, ...]:
    """The numbers of images in the data batches that they came in; () if they came in one."""
    return images.parts if isinstance(images, Images | HeldImages | ChosenImages) else ()


def some_of(images: Images | Encoded, start: int, end: int) -> Images | Encoded:
    """Those from `start` up to `end`, as one data batch."""
    return images.some(start, end) if isinstance(images, Images) else ChosenImages.of(images, np.arange(start, end))


def build(name: str, train: Images, test: Images, classes: tuple[str, ...], skipped: tuple[str, ...] = ()) -> Dataset:
    """A Dataset with its fingerprint worked out."""
    digest = hashlib.sha256()
    for part in (train, test):
        digest.update(repr(part.pixels.shape).encode())
        digest.update(part.pixels.data)
        digest.update(part.labels.astype("<i4", order="C", copy=False).data)
        if part.targets is not None:
            digest.update(np.ascontiguousarray(part.targets).data)
    digest.update("\0".join(classes).encode("utf-8", "surrogatepass"))
    return Dataset(name, train, test, classes, digest.hexdigest(), skipped)


def from_arrays(
    train_images: NDArray[Any],
    train_labels: NDArray[Any],
    test_images: NDArray[Any],
    test_labels: NDArray[Any],
    classes: tuple[str, ...] | list[str] | None = None,
    *,
    name: str = "arrays",
) -> Dataset:
    """A Dataset of your own arrays: uint8 images [N,H,W] or [N,C,H,W], labels of any integer type [N].

    Arrays that already have the right form are used in place, so leave them unchanged afterwards. `classes`
    defaults to "0" .. "k-1" for labels up to k-1. Raises DataError, naming the array, for anything else.
    """
    train = _images("training", train_images, train_labels)
    test = _images("test", test_images, test_labels)
    if classes is None:
        classes = numbered_classes(int(max(train.labels.max(), test.labels.max())), name)
    return build(name, train, test, tuple(classes))


def check_bytes(where: str, count: int) -> None:
    """Raise DataError if `count` bytes of pixels are more than this version can hold."""
    if count > MAX_BYTES:
        raise DataError(
            f"{where}: {count / 1e9:.1f} GB of pixels; sets above {MAX_BYTES / 1e9:.1f} GB are not supported yet: "
            "use fewer or smaller images"
        )


def _images(which: str, images: NDArray[Any], labels: NDArray[Any]) -> Images:
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        raise DataError(
            f"{which} images are {_form(images)}; allowed is uint8, 0 to 255: scale, round, then astype('uint8')"
        )
    if images.ndim not in (3, 4):
        raise DataError(f"{which} images are {_form(images)}; allowed are [N,H,W] and [N,C,H,W]")
    if images.ndim == 4 and images.shape[3] in (1, 3) and images.shape[1] > 4:
        raise DataError(
            f"{which} images are {_form(images)}, which looks like [N,H,W,C]; allowed is [N,C,H,W]: "
            "use images.transpose(0, 3, 1, 2)"
        )
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(f"{which} labels are {_form(labels)}; allowed are integers [N]")
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) >= 2**31):
        raise DataError(f"{which} labels go from {labels.min()} to {labels.max()}; they count from 0")
    if len(images) != len(labels):
        raise DataError(f"{len(images)} {which} images have {len(labels)} labels; there must be one for each")
    check_bytes(f"{which} images", images.nbytes)
    pixels = images[:, None] if images.ndim == 3 else images
    try:
        return Images(np.ascontiguousarray(pixels), np.ascontiguousarray(labels, np.int32))
    except DataError as error:
        raise DataError(f"{which} images: {error}") from None


def _form(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
