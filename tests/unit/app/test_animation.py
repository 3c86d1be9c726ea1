"""The container around the frames, held to a decoder that did not come with it."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.animation import END_MILLISECONDS, FRAME_MILLISECONDS, animate, webp_size
from worker.webp import encode_webp, is_whole_webp


def pixels(width: int, height: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 6))
def test_a_decoder_sees_every_pixel_of_every_frame(width: int, height: int, count: int) -> None:
    pictures = [pixels(width, height, number) for number in range(count)]
    with Image.open(io.BytesIO(animate([encode_webp(picture) for picture in pictures]))) as image:
        assert (image.format, image.size, image.n_frames) == ("WEBP", (width, height), count)
        assert image.info["loop"] == 0
        for number, picture in enumerate(pictures):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), picture)
            expected = END_MILLISECONDS if number in (0, count - 1) else FRAME_MILLISECONDS
            assert image.info["duration"] == expected


def test_flat_colours_too() -> None:
    """Which a lossless encoder writes in a few bytes, odd numbers of them among others."""
    flat = [np.full((64, 64, 3), level, np.uint8) for level in (0, 7, 255)]
    with Image.open(io.BytesIO(animate([encode_webp(picture) for picture in flat]))) as image:
        for number, picture in enumerate(flat):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), picture)


@given(st.integers(1, 300), st.integers(1, 300))
def test_the_size_is_read(width: int, height: int) -> None:
    picture = encode_webp(pixels(width, height, 1))
    assert webp_size(picture) == (width, height)
    assert is_whole_webp(picture)
    for damaged in (picture[:-1], picture + b"\0", picture[1:], b"", picture[:20], b"RIFX" + picture[4:]):
        assert webp_size(damaged) is None
        assert not is_whole_webp(damaged)


@given(st.binary(max_size=64))
def test_anything_else_has_no_size(data: bytes) -> None:
    assert webp_size(data) is None


def test_frames_that_do_not_fit_together() -> None:
    with pytest.raises(ValueError, match="one size"):
        animate([encode_webp(pixels(4, 4, 1)), encode_webp(pixels(4, 5, 1))])
    with pytest.raises(ValueError, match="one size"):
        animate([encode_webp(pixels(4, 4, 1)), b"RIFF"])
    with pytest.raises(ValueError, match="one size"):
        animate([])
    lossy = io.BytesIO()
    Image.fromarray(pixels(4, 4, 1)).save(lossy, format="WEBP", quality=50)
    with pytest.raises(ValueError, match="one size"):
        animate([lossy.getvalue()])


def test_it_needs_no_library_for_images() -> None:
    source = Path(animate.__code__.co_filename).read_text(encoding="utf-8")
    assert "PIL" not in source
    assert "numpy" not in source
