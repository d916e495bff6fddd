"""One image at a time: orientation, bombs, damage."""

from __future__ import annotations

import io
import time
import warnings

import numpy as np
import pytest
from image_sets import picture, png
from PIL import Image

from convjit.data.decode import BrokenImageError, WrongSizeError, decode


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation: int) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    # How each camera position stores the upright picture.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(file, "PNG", exif=exif)
    assert np.array_equal(decode(file.getvalue(), (3, 5)), upright.transpose(2, 0, 1))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_broken_orientation_is_ignored() -> None:
    assert decode(picture(0, kind="JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x99garbage"), None).shape == (3, 6, 5)


def test_bombs_are_refused_by_their_header() -> None:
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in (png(50_000, 50_000), png(65_500, 2_000), png(9_500, 10_000), png(2**31 - 1, 2**31 - 1)):
            with pytest.raises(BrokenImageError):
                decode(data, None)
        with pytest.raises(WrongSizeError, match="65500x1"):
            decode(png(65_500, 1), (1, 1))
    with pytest.raises(BrokenImageError, match="scans"):
        decode(picture(0, kind="JPEG", progressive=True) + b"\xff\xda\0\1" * 100, None)
    with pytest.raises(BrokenImageError, match="33,554,433 bytes"):
        decode(bytes((32 << 20) + 1), None)
    assert time.perf_counter() - start < 2


def test_damaged_images_give_one_kind_of_error() -> None:
    rng = np.random.default_rng(0)
    kinds = ("JPEG", "PNG", "BMP", "PPM", "WEBP")
    good = [picture(i, (16, 16), kind=kind) for i, kind in enumerate(kinds)]
    good.append(picture(9, (16, 16), kind="JPEG", progressive=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(1200):
            data = bytearray(good[rng.integers(len(good))])
            for _ in range(rng.integers(1, 20)):
                data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            if rng.random() < 0.3:
                del data[rng.integers(1, len(data)) :]
            start = time.process_time()
            try:
                pixels = decode(bytes(data), (16, 16))
                assert pixels.dtype == np.uint8 and pixels.shape in ((3, 16, 16), (1, 16, 16))
            except (BrokenImageError, WrongSizeError) as error:
                assert "\n" not in str(error)
            assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", ", but empty"),
        (b"GIF89a" + bytes(50), ", but GIF: save it as one of these"),
        (b"II*\0" + bytes(50), ", but TIFF: save it as one of these"),
        (b"\0\0\0\x18ftypheic" + bytes(50), ", but HEIC, as phones write it: save it as one of these"),
        (b"\0\0\0\x18ftypavif" + bytes(50), ", but AVIF: save it as one of these"),
        (b"\0\0\0\x18ftyp????" + bytes(50), ""),
        (b"words", ""),
    ],
)
def test_what_people_have_besides(data: bytes, says: str) -> None:
    with pytest.raises(BrokenImageError) as error:
        decode(data, None)
    assert str(error.value) == "is none of JPEG, PNG, BMP, PPM, WEBP" + says
