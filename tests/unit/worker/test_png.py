import numpy as np
import pytest

from worker.png import encode_png, is_whole_png, read_metadata, reproduction_metadata


def pixels(size: int = 16) -> np.ndarray:  # type: ignore[type-arg]
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), np.uint8)


def test_an_image_says_how_to_make_it_again() -> None:
    data = encode_png(pixels(), reproduction_metadata("flowers64", "ab" * 32, 7, 20))
    found = read_metadata(data)
    assert found["bouquet:bundle"] == "flowers64"
    assert found["bouquet:bundle-hash"] == "ab" * 32
    assert (found["bouquet:seed"], found["bouquet:steps"], found["bouquet:sampler"]) == ("7", "20", "ddim")
    assert found["Software"].startswith("Bouquet ")


def test_an_image_names_the_sampler_it_comes_from() -> None:
    assert reproduction_metadata("flowers64", "ab" * 32, 7, 20, "multistep")["bouquet:sampler"] == "multistep"


def test_an_image_names_its_kind_where_there_is_one() -> None:
    assert reproduction_metadata("flowers64", "ab" * 32, 7, 20, kind="sunflower")["bouquet:kind"] == "sunflower"
    assert "bouquet:kind" not in reproduction_metadata("flowers64", "ab" * 32, 7, 20)


def test_the_pixels_are_kept() -> None:
    import io

    from PIL import Image

    image = Image.open(io.BytesIO(encode_png(pixels(), {"a": "b"})))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), pixels())


def test_equal_input_gives_equal_bytes() -> None:
    metadata = reproduction_metadata("flowers64", "ab" * 32, 7, 20)
    assert encode_png(pixels(), metadata) == encode_png(pixels().copy(), dict(metadata))


def test_metadata_may_have_any_letters() -> None:
    assert read_metadata(encode_png(pixels(), {"bouquet:bundle": "Blüte 花"}))["bouquet:bundle"] == "Blüte 花"


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_png_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a PNG"):
        read_metadata(data)


def test_a_whole_png_is_told_from_a_torn_one() -> None:
    data = encode_png(pixels(16), {"a": "b"})
    assert is_whole_png(data, 16)
    assert not is_whole_png(data, 64)
    assert not is_whole_png(data[:-1], 16)
    assert not is_whole_png(b"", 16)
