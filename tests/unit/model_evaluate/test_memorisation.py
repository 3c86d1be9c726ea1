"""Planted copies are found, mirrored or not, and nothing else is."""

import numpy as np
import pytest

from model.dataset import Pixels
from model.memorisation import nearest_photos, pairs_picture


def noise(seed: int, count: int, side: int = 8) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def lightly_changed(photos: Pixels, seed: int = 9) -> Pixels:
    change = np.random.default_rng(seed).integers(-6, 7, photos.shape)
    return np.clip(photos.astype(int) + change, 0, 255).astype(np.uint8)


def test_new_images_are_no_copies() -> None:
    assert not nearest_photos(noise(0, 50), noise(1, 200)).memorised.any()


def test_copies_are_found() -> None:
    photos, images = noise(0, 60), noise(1, 10)
    images[2], images[7] = photos[41], photos[5]
    nearest = nearest_photos(images, photos)
    assert nearest.memorised.nonzero()[0].tolist() == [2, 7]
    assert nearest.photo[[2, 7]].tolist() == [41, 5]
    assert nearest.squared[[2, 7]].tolist() == [0.0, 0.0]
    assert not nearest.mirrored[[2, 7]].any()


def test_mirrored_copies_are_found() -> None:
    photos, images = noise(0, 60), noise(1, 10)
    images[3] = photos[17, :, ::-1]
    nearest = nearest_photos(images, photos)
    assert nearest.memorised.nonzero()[0].tolist() == [3]
    assert nearest.photo[3] == 17
    assert nearest.mirrored[3]


def test_copies_with_some_noise_are_found() -> None:
    photos = noise(0, 60)
    nearest = nearest_photos(lightly_changed(photos[:20]), photos)
    assert nearest.memorised.all()
    assert nearest.photo.tolist() == list(range(20))


def test_an_image_upside_down_is_no_copy() -> None:
    photos = noise(0, 60)
    assert not nearest_photos(photos[:5, ::-1], photos).memorised.any()


def test_a_photo_that_is_there_twice_hides_its_copies() -> None:
    photos = noise(0, 20)
    photos[1] = photos[0]
    assert nearest_photos(photos[[0, 2]], photos).memorised.tolist() == [False, True]


def test_the_border_is_a_third_of_the_distance() -> None:
    photos = np.zeros((2, 2, 2, 3), np.uint8)
    photos[1] = 100
    grey = np.array([24, 25, 26], np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    # At 25 the one photo is three times as far as the other.
    assert nearest_photos(grey, photos).memorised.tolist() == [True, False, False]


@pytest.mark.parametrize(("images", "photos", "side"), [(7, 9, 5), (520, 530, 2), (3, 1100, 3)])
def test_it_is_what_the_definition_says(images: int, photos: int, side: int) -> None:
    """The larger numbers are beyond what is computed at a time."""
    made, trained_on = noise(0, images, side), noise(1, photos, side)
    nearest = nearest_photos(made, trained_on)
    for row in {0, images // 2, images - 1}:
        image = made[row].astype(int)
        distances = [
            min(int(((image - p) ** 2).sum()), int(((image - p[:, ::-1]) ** 2).sum()))
            for p in trained_on.astype(int)
        ]  # fmt: skip
        assert nearest.squared[row] == min(distances) == distances[nearest.photo[row]]
        assert nearest.next_squared[row] == sorted(distances)[1]


@pytest.mark.parametrize(("images", "photos"), [((0, 4, 4, 3), (5, 4, 4, 3)), ((2, 4, 4, 3), (1, 4, 4, 3)),
                                                ((2, 4, 4, 3), (5, 8, 8, 3))])  # fmt: skip
def test_what_cannot_be_compared_is_refused(images: tuple[int, ...], photos: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot look for copies"):
        nearest_photos(np.zeros(images, np.uint8), np.zeros(photos, np.uint8))


def test_the_picture_shows_the_nearest_pairs_first_the_photo_as_found() -> None:
    photos, images = noise(0, 60), noise(1, 10)
    images[4] = lightly_changed(photos[30])
    images[8] = photos[11, :, ::-1]
    nearest = nearest_photos(images, photos)
    picture = np.asarray(pairs_picture(images, photos, nearest, count=6))
    assert picture.shape == (2 * 8 + 6, 4 * 16 + 3 * 6, 3)
    first, second = picture[:8, :16], picture[:8, 22:38]
    np.testing.assert_array_equal(first[:, :8], images[8])
    np.testing.assert_array_equal(first[:, 8:], photos[11, :, ::-1])
    np.testing.assert_array_equal(second[:, :8], images[4])
    np.testing.assert_array_equal(second[:, 8:], photos[30])


def test_the_picture_takes_fewer_images_than_asked_for() -> None:
    photos, images = noise(0, 60), noise(1, 3)
    assert pairs_picture(images, photos, nearest_photos(images, photos), count=32).height == 8
