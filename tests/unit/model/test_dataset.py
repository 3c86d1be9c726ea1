"""Photos from folders and from TFDS."""

import dataclasses
import importlib.util

import numpy as np
import pytest
from PIL import Image

from model.dataset import DatasetError, load_dataset
from tests.photos import paint_flower, paint_folder


def test_the_splits_of_a_folder_are_kept(tmp_path):
    paint_folder(tmp_path / "train" / "rose", 5)
    paint_folder(tmp_path / "valid" / "rose", 3, first_seed=5)
    dataset = load_dataset(str(tmp_path), [16])
    assert dataset.train[16].shape == (5, 16, 16, 3)
    assert dataset.validation[16].shape == (3, 16, 16, 3)
    assert dataset.train[16].dtype == np.uint8
    assert dataset.skipped == ()


def test_the_folder_of_a_photo_names_its_class(tmp_path):
    for split, roses, lilies in (("train", 3, 2), ("valid", 1, 2)):
        paint_folder(tmp_path / split / "rose", roses)
        paint_folder(tmp_path / split / "lily", lilies)
    dataset = load_dataset(str(tmp_path), [16])
    assert dataset.classes == ("lily", "rose")
    assert dataset.train_labels.tolist() == [0, 0, 1, 1, 1]
    assert dataset.validation_labels.tolist() == [0, 0, 1]
    assert dataset.train_labels.dtype == np.int32


def test_a_skipped_photo_has_no_label(tmp_path):
    for split in ("train", "valid"):
        paint_folder(tmp_path / split / "rose", 1)
        paint_folder(tmp_path / split / "lily", 2)
    (tmp_path / "train" / "lily" / "flower-000.png").write_bytes(b"not a photo")
    assert load_dataset(str(tmp_path), [16]).train_labels.tolist() == [0, 1]


def test_photos_outside_of_any_folder_are_of_no_class(tmp_path):
    paint_folder(tmp_path / "lily", 5)
    paint_folder(tmp_path, 5, first_seed=5)
    dataset = load_dataset(str(tmp_path), [16])
    assert (dataset.classes, dataset.train_labels, dataset.validation_labels) == ((), None, None)


def test_other_labels_are_other_data_to_those_who_use_them(tmp_path):
    dataset = load_dataset(str(paint_folder(tmp_path / "lily", 9).parent), [8])
    assert dataset.class_counts == (len(dataset.train[8]),)
    other = dataclasses.replace(dataset, train_labels=dataset.train_labels + 1)
    assert other.fingerprint() != dataset.fingerprint()
    assert other.without_classes().fingerprint() == dataset.without_classes().fingerprint()
    assert (other.without_classes().classes, other.without_classes().class_counts) == ((), ())


def test_one_folder_is_split_80_to_20_always_in_the_same_way(tmp_path):
    paint_folder(tmp_path, 400)
    before = load_dataset(str(tmp_path), [8])
    assert len(before.train[8]) + len(before.validation[8]) == 400
    assert 60 <= len(before.validation[8]) <= 100
    assert load_dataset(str(tmp_path), [8]).fingerprint() == before.fingerprint()


def test_a_photo_stays_in_its_split_whatever_is_added(tmp_path):
    def photos(split):
        return {photo.tobytes() for photo in split[8]}

    paint_folder(tmp_path, 40)
    before = load_dataset(str(tmp_path), [8])
    paint_folder(tmp_path / "more", 60, first_seed=40)
    after = load_dataset(str(tmp_path), [8])
    assert photos(before.train) < photos(after.train)
    assert photos(before.validation) < photos(after.validation)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_few_photos_still_give_both_splits(tmp_path, count):
    dataset = load_dataset(str(paint_folder(tmp_path, count)), [8])
    assert len(dataset.validation[8]) >= 1
    assert len(dataset.train[8]) >= 1


def test_all_sizes_show_the_same_photos(tmp_path):
    paint_folder(tmp_path / "train", 4, width=32, height=32)
    paint_folder(tmp_path / "valid", 2, first_seed=4, width=32, height=32)
    dataset = load_dataset(str(tmp_path), [8, 16], "box")
    halves = dataset.train[16].reshape(4, 8, 2, 8, 2, 3).mean((2, 4))
    np.testing.assert_allclose(dataset.train[8], halves, atol=1.0)


def test_the_crop_is_the_square_in_the_middle(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30] = (200, 100, 50)
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        Image.fromarray(pixels).save(tmp_path / split / "wide.png")
        Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / split / "high.png")
    photos = load_dataset(str(tmp_path), [20]).train[20]
    np.testing.assert_array_equal(photos, np.full((2, 20, 20, 3), (200, 100, 50)))


@pytest.mark.parametrize("resize", ["bilinear", "box", "lanczos"])
def test_reducing_is_antialiased(tmp_path, resize):
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the small picture can show: it has to become grey
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        Image.fromarray(stripes).save(tmp_path / split / "stripes.png")
    photo = load_dataset(str(tmp_path), [8], resize).train[8][0, :, 1:-1]
    np.testing.assert_allclose(photo, 127.5, atol=8.0)


def test_a_file_that_is_no_image_is_named_and_skipped(tmp_path):
    paint_folder(tmp_path / "train", 3)
    paint_folder(tmp_path / "valid", 2)
    (tmp_path / "train" / "broken.jpg").write_bytes(b"not a photo")
    whole = (tmp_path / "train" / "flower-000.png").read_bytes()
    (tmp_path / "train" / "cut.png").write_bytes(whole[: len(whole) // 2])
    dataset = load_dataset(str(tmp_path), [8])
    assert len(dataset.train[8]) == 3
    assert [reason.split(":")[0].rsplit("/", 1)[1] for reason in dataset.skipped] == ["broken.jpg", "cut.png"]


def test_whatever_a_broken_file_makes_its_decoder_raise_it_is_skipped(tmp_path):
    paint_folder(tmp_path / "train", 1)
    paint_folder(tmp_path / "valid", 1)
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    broken = tmp_path / "train" / "odd.png"
    Image.fromarray(noise).save(broken)
    content = broken.read_bytes()
    assert content.count(b"IDAT") > 1
    # Pillow raises a SyntaxError over the unknown chunk in the middle of the pixels.
    broken.write_bytes(b"".join(content.rpartition(b"IDAT")[k] if k != 1 else b"\x1a\xd3nF" for k in range(3)))
    dataset = load_dataset(str(tmp_path), [8])
    assert len(dataset.train[8]) == 1
    assert len(dataset.skipped) == 1
    assert str(broken) in dataset.skipped[0]


def test_grey_and_transparent_photos_become_coloured_ones(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        paint_flower(1).convert("L").save(tmp_path / split / "grey.png")
        paint_flower(2).convert("RGBA").save(tmp_path / split / "transparent.png")
    assert load_dataset(str(tmp_path), [8]).train[8].shape == (2, 8, 8, 3)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere.*no such folder.*tfds"):
        load_dataset(str(tmp_path / "nowhere"), [8])


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="no images in it"):
        load_dataset(str(tmp_path), [8])


def test_nothing_but_broken_files_are_no_photos(tmp_path):
    for split in ("train", "valid"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "broken.jpg").write_bytes(b"not a photo")
    with pytest.raises(DatasetError, match="no readable training photos; 2 files were skipped"):
        load_dataset(str(tmp_path), [8])


def test_a_single_photo_cannot_be_split(tmp_path):
    paint_folder(tmp_path, 1)
    with pytest.raises(DatasetError, match="no readable validation photos"):
        load_dataset(str(tmp_path), [8])


def test_a_photo_smaller_than_what_is_trained_on_is_named(tmp_path):
    paint_folder(tmp_path / "train", 2)
    paint_folder(tmp_path / "valid", 1, width=40, height=12)
    with pytest.raises(DatasetError, match=r"flower-000.png: 40 x 12 pixels, smaller than the 16 x 16"):
        load_dataset(str(tmp_path), [16])


def test_the_fingerprint_tells_photos_apart(tmp_path):
    paint_folder(tmp_path, 10)
    before = load_dataset(str(tmp_path), [8]).fingerprint()
    paint_flower(99).save(tmp_path / "flower-003.png")
    assert load_dataset(str(tmp_path), [8]).fingerprint() != before


@pytest.mark.skipif(importlib.util.find_spec("tensorflow_datasets") is None, reason="needs the extra `train`")
def test_tfds_gives_80_percent_of_each_official_split():
    import tensorflow as tf
    import tensorflow_datasets as tfds

    lengths = {"train": 10, "validation": 20, "test": 30}

    def as_dataset(builder, split, **_):
        """The part of each split that TFDS itself says the text means; a photo's colour is its number."""
        parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(
            {
                name: tfds.core.SplitInfo(name=name, shard_lengths=[length], num_bytes=0)
                for name, length in lengths.items()
            }
        )
        firsts = {"train": 0, "validation": 10, "test": 30}
        numbers = [
            firsts[part.splitname] + k
            for part in parts
            for k in range(part.from_ or 0, part.to or lengths[part.splitname])
        ]
        images = np.stack([np.full((20, 30, 3), number, np.uint8) for number in numbers])
        return tf.data.Dataset.from_tensor_slices({"image": images, "label": np.array(numbers) % 7})

    with tfds.testing.mock_data(as_dataset_fn=as_dataset):
        dataset = load_dataset("tfds", [16])
    train, validation = (set(photos[16][:, 0, 0, 0].tolist()) for photos in (dataset.train, dataset.validation))
    assert train == {*range(8), *range(10, 26), *range(30, 54)}
    assert validation == set(range(60)) - train
    assert dataset.classes == tuple(f"{label + 1:03d}" for label in range(7))
    assert dataset.train_labels.tolist() == (dataset.train[16][:, 0, 0, 0] % 7).tolist()
    assert dataset.validation_labels.tolist() == (dataset.validation[16][:, 0, 0, 0] % 7).tolist()
