"""An .npz file written without numpy, read by numpy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.npz import npy_header, write_npz
from tests.unit.app.test_png_pixels import picture


def as_png(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def test_numpy_reads_what_is_written(tmp_path: Path) -> None:
    images = [picture(16, 16, seed) for seed in range(5)]
    seeds = [2**53 - 1, 0, 7, 8, 9]
    target = tmp_path / "flowers.npz"
    write_npz(target, zip(seeds, map(as_png, images), strict=True), 5)
    with np.load(target) as found:
        assert set(found) == {"images", "seeds"}
        assert (found["images"].dtype, found["seeds"].dtype) == (np.uint8, np.int64)
        np.testing.assert_array_equal(found["images"], np.stack(images))
        np.testing.assert_array_equal(found["seeds"], seeds)


@pytest.mark.parametrize("shape", [(1,), (1000, 64, 64, 3), (10**6, 64, 64, 3), (12, 345)])
@pytest.mark.parametrize(("kind", "dtype"), [("|u1", np.uint8), ("<i8", np.int64)])
def test_the_header_is_numpys_own(shape: tuple[int, ...], kind: str, dtype: type) -> None:
    file = io.BytesIO(npy_header(kind, shape))
    assert np.lib.format.read_magic(file) == (1, 0)
    assert np.lib.format.read_array_header_1_0(file) == (shape, False, np.dtype(dtype))
    assert file.tell() % 64 == 0


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        ([(1, as_png(picture(8, 8)))], "1 images, not 2"),
        ([(1, as_png(picture(8, 8))), (2, as_png(picture(8, 9)))], "seed 2 is 9 x 8"),
        ([(1, as_png(picture(8, 8))), (2, b"no PNG")], "PNG"),
    ],
)
def test_it_is_written_whole_or_not_at_all(tmp_path: Path, images: list[tuple[int, bytes]], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        write_npz(tmp_path / "flowers.npz", images, 2)
    assert list(tmp_path.iterdir()) == []
